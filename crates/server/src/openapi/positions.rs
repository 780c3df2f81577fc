//! Positions: the query parameters of every read, and the header of every answer.

use tributary_api::form::query::{CONSISTENCY, MIN_POSITION};
use utoipa::openapi::Required;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// Adds to a read what it may ask of the view that it is answered from.
pub(super) fn add_parameters(operation: &mut Operation) {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(parameter(
        MIN_POSITION,
        "The `Tributary-Position` of an earlier answer: the server answers once it shows that position, so that the answer shows \
         what the earlier one did. 503 if that takes too long.",
        text().build(),
    ));
    parameters.push(parameter(
        CONSISTENCY,
        "`strict`: the answer shows everything that was answered anywhere before the request. On a node of a cluster that takes a \
         round through the shared log; a server that is alone always answers so.",
        text().enum_values(Some(["strict"])).build(),
    ));
}

fn parameter(name: &str, about: &str, schema: Object) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

/// Returns the header with the position of the view, with its name.
pub(super) fn position_header() -> (String, Header) {
    let about = "How far the server's view was when it answered; later reads give it as `min_position`. The number of the last \
                 record for a platform key, an opaque text for others.";
    let header = HeaderBuilder::new()
        .schema(ObjectBuilder::new().schema_type(Type::String))
        .description(Some(about))
        .build();
    ("Tributary-Position".to_owned(), header)
}
