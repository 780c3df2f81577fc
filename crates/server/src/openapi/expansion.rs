//! `expand[]`: the query parameter of operations that show objects.

use tributary_api::form::query::EXPAND;
use tributary_api::render::expand::{Expandable, OF_ACCOUNT, OF_ENTRY, OF_PAYMENT, OF_REFUND};
use utoipa::openapi::Required;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

/// Returns the fields that the answer of an operation can expand.
fn fields(operation: &str) -> &'static [Expandable] {
    match operation {
        "listPayments" | "getPayment" => OF_PAYMENT,
        "listRefunds" | "getRefund" => OF_REFUND,
        "listAccounts" | "getAccount" => OF_ACCOUNT,
        "listAccountEntries" => OF_ENTRY,
        _ => &[],
    }
}

/// Adds the parameter to an operation that can expand fields of its answer.
pub(super) fn add_parameter(operation: &mut Operation) {
    let fields = fields(operation.operation_id.as_deref().unwrap_or_default());
    if !fields.is_empty() {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(parameter(fields));
    }
}

fn parameter(fields: &[Expandable]) -> Parameter {
    let field = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(fields.iter().map(|one| one.field)));
    ParameterBuilder::new()
        .name(EXPAND)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(
            "A field in which the answer shows the whole object in place of its id; once for each field.",
        ))
        .style(Some(ParameterStyle::Form))
        .explode(Some(true))
        .schema(Some(ArrayBuilder::new().items(field)))
        .build()
}
