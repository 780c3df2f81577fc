//! Moves the repeated parts of the OpenAPI document to its `components` and leaves a `$ref` in every place.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// Prefix of the schemas that utoipa names after a generic list and its items.
const LIST_PREFIX: &str = "List_";

/// Shares schemas, headers, parameters and responses. The meaning of the document stays the same, and so do the names
/// as long as the operations do.
pub(super) fn share_repeated_parts(document: &mut Value) {
    rename_lists(document);
    refer_to_named_schemas(document);
    share(document, "headers", collect_headers);
    share(document, "parameters", collect_parameters);
    share(document, "responses", collect_responses);
}

/// Names a list after its items: `PaymentList` instead of `List_Payment`.
fn rename_lists(document: &mut Value) {
    let schemas = schemas_of(document);
    *schemas = std::mem::take(schemas)
        .into_iter()
        .map(|(name, schema)| (schema_name(&name), schema))
        .collect();
    rename_references(document);
}

fn rename_references(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix("#/components/schemas/") {
                            *target = reference_path("schemas", &schema_name(name));
                        }
                    }
                    _ => rename_references(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename_references),
        _ => {}
    }
}

pub(super) fn schema_name(name: &str) -> String {
    match name.strip_prefix(LIST_PREFIX) {
        Some(items) => format!("{items}List"),
        None => name.to_owned(),
    }
}

/// Replaces each schema that repeats a named one, such as the items of a list.
fn refer_to_named_schemas(document: &mut Value) {
    let schemas = schemas_of(document);
    // Only a described schema is compared: two bare strings are equal, and yet mean different things.
    let named: Vec<(String, Value)> = schemas
        .iter()
        .filter(|(_, schema)| schema.get("description").is_some())
        .map(|(name, schema)| (name.clone(), schema.clone()))
        .collect();
    for schema in schemas.values_mut() {
        refer_in_children(schema, &named);
    }
    refer_in_children(&mut document["paths"], &named);
}

fn refer_in_children(value: &mut Value, named: &[(String, Value)]) {
    let mut refer = |child: &mut Value| {
        // A child is compared before its own children are replaced.
        match named.iter().find(|(_, schema)| schema == child) {
            Some((name, _)) => *child = reference("schemas", name),
            None => refer_in_children(child, named),
        }
    };
    match value {
        Value::Object(fields) => fields.values_mut().for_each(&mut refer),
        Value::Array(items) => items.iter_mut().for_each(&mut refer),
        _ => {}
    }
}

/// One place of the document where a part of a kind stands.
struct Place<'a> {
    part: &'a mut Value,
    /// Name of the part among the shared ones.
    name: String,
    /// Name that tells the part from other parts of the same name.
    long_name: String,
}

/// A part that stands in several places.
struct Repeated {
    part: Value,
    name: String,
    long_name: String,
    places: usize,
}

/// Moves the parts of a kind that stand in at least two places.
fn share(document: &mut Value, kind: &str, collect: fn(&mut Value) -> Vec<Place<'_>>) {
    let mut repeated: Vec<Repeated> = Vec::new();
    for place in collect(document) {
        match repeated.iter_mut().find(|known| known.part == *place.part) {
            Some(known) => {
                known.places += 1;
                // The shortest name is the most general one: an answer with 200 is named after its schema alone.
                if place.name.len() < known.name.len() {
                    known.name = place.name;
                }
            }
            None => repeated.push(Repeated {
                part: place.part.clone(),
                name: place.name,
                long_name: place.long_name,
                places: 1,
            }),
        }
    }
    repeated.retain(|known| known.places > 1);
    // The part in most places has the short name.
    repeated.sort_by_key(|known| std::cmp::Reverse(known.places));
    let mut shared: Map<String, Value> = Map::new();
    for known in &mut repeated {
        if shared.contains_key(&known.name) {
            known.name.clone_from(&known.long_name);
        }
        let earlier = shared.insert(known.name.clone(), known.part.clone());
        assert!(earlier.is_none(), "two {kind} are named {}", known.name);
    }
    for place in collect(document) {
        if let Some(known) = repeated.iter().find(|known| known.part == *place.part) {
            *place.part = reference(kind, &known.name);
        }
    }
    document["components"][kind] = Value::Object(shared);
}

/// An operation with its path.
struct Operation<'a> {
    path: &'a str,
    /// The operation's id in Pascal case.
    id: String,
    fields: &'a mut Map<String, Value>,
}

fn operations(document: &mut Value) -> impl Iterator<Item = Operation<'_>> {
    let paths = document["paths"]
        .as_object_mut()
        .expect("the document has paths");
    paths.iter_mut().flat_map(|(path, item)| {
        let operations = item.as_object_mut().expect("a path has operations");
        operations.values_mut().map(move |operation| Operation {
            path,
            id: pascal_case(
                operation["operationId"]
                    .as_str()
                    .expect("operations have ids"),
            ),
            fields: operation
                .as_object_mut()
                .expect("an operation is an object"),
        })
    })
}

fn collect_parameters(document: &mut Value) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for operation in operations(document) {
        let parameters = operation.fields.get_mut("parameters");
        for part in parameters
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let name = parameter_name(operation.path, part);
            places.push(Place {
                part,
                long_name: format!("{}{name}", operation.id),
                name,
            });
        }
    }
    places
}

/// A query parameter or header by its name; a part of the path together with the collection before it: `AccountId`.
fn parameter_name(path: &str, parameter: &Value) -> String {
    let name = parameter["name"].as_str().expect("a parameter has a name");
    let segments: Vec<&str> = path.split('/').collect();
    let collection = segments
        .iter()
        .position(|segment| *segment == format!("{{{name}}}"))
        .and_then(|position| segments.get(position.checked_sub(1)?))
        .map_or("", |plural| plural.strip_suffix('s').unwrap_or(plural));
    pascal_case(collection) + &pascal_case(name)
}

fn collect_responses(document: &mut Value) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for operation in operations(document) {
        let responses = operation.fields.get_mut("responses");
        for (status, part) in responses
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            let name = response_name(status, part);
            places.push(Place {
                part,
                long_name: format!("{}{name}", operation.id),
                name,
            });
        }
    }
    places
}

/// An error by its status, `NotFound`; any other answer by its schema and, unless that is 200, its status: `PaymentCreated`.
fn response_name(status: &str, response: &Value) -> String {
    let code: StatusCode = status.parse().expect("a response has an HTTP status");
    let reason = pascal_case(code.canonical_reason().expect("the status is registered"));
    if code.is_client_error() || code.is_server_error() {
        return reason;
    }
    let contents = response["content"].as_object();
    let schema = contents.and_then(|contents| {
        contents.values().next()?["schema"]["$ref"]
            .as_str()?
            .rsplit('/')
            .next()
    });
    match (schema, code) {
        (Some(schema), StatusCode::OK) => schema.to_owned(),
        (Some(schema), _) => format!("{schema}{reason}"),
        (None, _) => reason,
    }
}

fn collect_headers(document: &mut Value) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for operation in operations(document) {
        let responses = operation.fields.get_mut("responses");
        for (status, response) in responses
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            let headers = response.get_mut("headers");
            for (name, part) in headers.and_then(Value::as_object_mut).into_iter().flatten() {
                places.push(Place {
                    part,
                    name: name.clone(),
                    long_name: format!("{}{status}-{name}", operation.id),
                });
            }
        }
    }
    places
}

fn schemas_of(document: &mut Value) -> &mut Map<String, Value> {
    document["components"]["schemas"]
        .as_object_mut()
        .expect("the document has schemas")
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": reference_path(kind, name) })
}

fn reference_path(kind: &str, name: &str) -> String {
    format!("#/components/{kind}/{name}")
}

/// `starting_after`, `Starting-After` and `startingAfter` as `StartingAfter`.
fn pascal_case(name: &str) -> String {
    name.split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter_map(|word| {
            let first = word.chars().next()?;
            Some(first.to_ascii_uppercase().to_string() + &word[first.len_utf8()..])
        })
        .collect()
}
