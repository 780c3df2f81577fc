//! Schemas that the OpenAPI document repeats.

use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// Returns the schema of a text that is one of `words`.
pub fn one_of<const N: usize>(words: [&'static str; N]) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .build()
}
