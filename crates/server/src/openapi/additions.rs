//! What is added to the document as JSON, since utoipa cannot say it: examples, constants and webhooks.

use serde_json::{Map, Value, json};
use tributary_api::error_pages::PAGES;
use tributary_api::render::event::EventObject;
use tributary_api::render::event_schema::event_schemas;
use utoipa::{PartialSchema as _, ToSchema as _};

use super::examples;

/// Adds the example of a request body to an operation.
pub(super) fn add_example(operation: &mut Value) {
    let example = operation["operationId"].as_str().and_then(examples::body);
    let content = operation.pointer_mut("/requestBody/content/application~1json");
    if let (Some(example), Some(content)) = (example, content) {
        content["example"] = example;
    }
}

/// Says `const` where a pattern allows one word only, as in `object`: generators make a literal type of it.
pub(super) fn name_constants(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(word) = only_word(fields) {
                fields.remove("pattern");
                fields.insert("const".to_owned(), Value::from(word));
            }
            fields.values_mut().for_each(name_constants);
        }
        Value::Array(items) => items.iter_mut().for_each(name_constants),
        _ => {}
    }
}

/// Says `int64` where a number without a sign takes 32 bits: `int32` would promise to refuse the upper half of them.
pub(super) fn widen_unsigned(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let unsigned = fields.get("minimum").is_some_and(|least| *least == 0);
            if unsigned && fields.get("format").is_some_and(|format| format == "int32") {
                fields.insert("format".to_owned(), Value::from("int64"));
            }
            fields.values_mut().for_each(widen_unsigned);
        }
        Value::Array(items) => items.iter_mut().for_each(widen_unsigned),
        _ => {}
    }
}

/// The only word that a schema allows.
fn only_word(fields: &Map<String, Value>) -> Option<String> {
    let pattern = fields.get("pattern")?.as_str()?;
    let word = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let plain = |byte: u8| byte == b'_' || byte.is_ascii_lowercase();
    word.bytes().all(plain).then(|| word.to_owned())
}

/// Name of the schema that lists the error codes.
const ERROR_CODE: &str = "ErrorCode";

/// Lists the codes of errors in one schema. A code of an answer is one of them or any other text, so that clients take the codes
/// that later versions add.
pub(super) fn add_error_codes(document: &mut Value) {
    let codes: Vec<&str> = PAGES.iter().map(|(code, _)| *code).collect();
    let schemas = document["components"]["schemas"].as_object_mut();
    let schemas = schemas.expect("the document has schemas");
    for holder in ["ErrorDetail", "Failure"] {
        let code = &mut schemas[holder]["properties"]["code"];
        let fields = code.as_object_mut().expect("a code is described");
        fields.remove("type").expect("a code is a text");
        let alternatives = json!([
            {"$ref": format!("#/components/schemas/{ERROR_CODE}")},
            {"type": "string"},
        ]);
        fields.insert("anyOf".to_owned(), alternatives);
    }
    schemas.insert(
        ERROR_CODE.to_owned(),
        json!({
            "type": "string",
            "enum": codes,
            "description": "Codes of errors, each with a page at `/docs/errors/`. Later versions add codes.",
        }),
    );
}

/// Describes events by their types, wherever one is named or shown.
pub(super) fn add_events(document: &mut Value) {
    let placeholder = serde_json::to_value(EventObject::schema()).expect("a schema is JSON");
    let reference = json!({"$ref": format!("#/components/schemas/{}", EventObject::name())});
    replace(document, &placeholder, &reference);
    let schemas = document["components"]["schemas"].as_object_mut();
    let schemas = schemas.expect("the document has schemas");
    schemas.extend(event_schemas());
}

fn replace(value: &mut Value, part: &Value, by: &Value) {
    if value == part {
        value.clone_from(by);
        return;
    }
    match value {
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| replace(field, part, by)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, part, by)),
        _ => {}
    }
}

/// Describes the requests that the server sends to the URLs of subscriptions.
pub(super) fn add_webhooks(document: &mut Value) {
    let header = |name: &str, about: &str| {
        json!({
            "name": name, "in": "header", "required": true, "description": about, "schema": {"type": "string"},
        })
    };
    document["webhooks"] = json!({"event": {"post": {
        "operationId": "receiveWebhook",
        "summary": "An event is sent to the URL of a subscription.",
        "description": "Signed as Standard Webhooks 1.0 defines, and sent again until the answer is 2xx. An event may come \
                        more than once, always under the same `webhook-id`.",
        "parameters": [
            header("webhook-id", "The event's id, the same at every attempt."),
            header("webhook-timestamp", "Time of this attempt, in seconds since 1970."),
            header(
                "webhook-signature",
                "One or more of `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`, with spaces between them.",
            ),
        ],
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Event"}}},
        },
        "responses": {
            "2XX": {"description": "The event is delivered."},
            "410": {"description": "The URL is no longer wanted: the subscription is paused."},
            "default": {"description": "The event is sent again."},
        },
    }}});
}
