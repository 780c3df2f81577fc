//! The page at `/docs`: the OpenAPI document as plain HTML, made once at the start. It loads nothing and runs nothing.

use std::fmt::Write;

use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}h2{margin-top:3rem;border-bottom:1px solid #ccc}\
h3{margin-top:2rem}.m{font-weight:700;text-transform:uppercase;margin-right:.5rem}\
table{border-collapse:collapse;width:100%}td,th{border:1px solid #ddd;padding:.3rem .6rem;text-align:left;vertical-align:top}\
nav a{display:inline-block;margin-right:1rem}@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}\
a{color:#8bf}td,th{border-color:#444}}";

/// The page of the document.
pub(crate) fn page(document: &str) -> String {
    let api: Value = serde_json::from_str(document).expect("the document is JSON");
    let mut out = String::with_capacity(64 << 10);
    let title = text(&api["info"]["title"]);
    put(
        &mut out,
        format_args!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">"),
    );
    put(
        &mut out,
        format_args!(
            "<meta name=\"viewport\" content=\"width=device-width\"><title>{title} API</title>"
        ),
    );
    put(
        &mut out,
        format_args!(
            "<style>{STYLE}</style><h1>{title} API {}</h1>",
            text(&api["info"]["version"])
        ),
    );
    for paragraph in text(&api["info"]["description"]).split("\n\n") {
        put(&mut out, format_args!("<p>{}</p>", code_spans(paragraph)));
    }
    put(
        &mut out,
        format_args!("<p>For programs: <a href=\"/openapi.json\">/openapi.json</a>.</p><nav>"),
    );
    let tags: Vec<&Value> = api["tags"].as_array().into_iter().flatten().collect();
    for tag in &tags {
        let name = text(&tag["name"]);
        put(&mut out, format_args!("<a href=\"#{name}\">{name}</a>"));
    }
    put(
        &mut out,
        format_args!("<a href=\"#schemas\">schemas</a></nav>"),
    );
    for tag in &tags {
        section(&mut out, &api, tag);
    }
    put(&mut out, format_args!("<h2 id=\"schemas\">schemas</h2>"));
    for (name, schema) in api["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
    {
        put(
            &mut out,
            format_args!("<h3 id=\"schema-{}\">{}</h3>", escape(name), escape(name)),
        );
        schema_block(&mut out, schema);
    }
    out
}

fn section(out: &mut String, api: &Value, tag: &Value) {
    let name = text(&tag["name"]);
    put(
        out,
        format_args!(
            "<h2 id=\"{name}\">{name}</h2><p>{}</p>",
            text(&tag["description"])
        ),
    );
    for (path, item) in api["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if operation["tags"][0] == tag["name"] {
                operation_block(out, api, method, path, operation);
            }
        }
    }
}

fn operation_block(out: &mut String, api: &Value, method: &str, path: &str, operation: &Value) {
    let id = text(&operation["operationId"]);
    put(
        out,
        format_args!(
            "<h3 id=\"{id}\"><span class=\"m\">{}</span><code>{}</code></h3>",
            escape(method),
            escape(path)
        ),
    );
    let about = [text(&operation["summary"]), text(&operation["description"])];
    for paragraph in about.iter().filter(|paragraph| !paragraph.is_empty()) {
        put(out, format_args!("<p>{}</p>", code_spans(paragraph)));
    }
    let parameters: Vec<&Value> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| follow_reference(api, parameter))
        .collect();
    if !parameters.is_empty() {
        put(
            out,
            format_args!("<table><tr><th>parameter</th><th>in</th><th>form</th><th></th></tr>"),
        );
        for parameter in parameters {
            let required = if parameter["required"] == true {
                ", required"
            } else {
                ""
            };
            put(
                out,
                format_args!(
                    "<tr><td><code>{}</code></td><td>{}</td><td>{}{required}</td><td>{}</td></tr>",
                    text(&parameter["name"]),
                    text(&parameter["in"]),
                    form(&parameter["schema"]),
                    code_spans(&text(&parameter["description"])),
                ),
            );
        }
        put(out, format_args!("</table>"));
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        put(out, format_args!("<p>Body: {}</p>", form(body)));
    }
    put(
        out,
        format_args!("<table><tr><th>status</th><th>answer</th><th></th></tr>"),
    );
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let response = follow_reference(api, response);
        let content = response["content"]
            .as_object()
            .and_then(|content| content.values().next());
        let answer = content.map_or_else(String::new, |content| form(&content["schema"]));
        let about = code_spans(&text(&response["description"]));
        put(
            out,
            format_args!(
                "<tr><td>{}</td><td>{answer}</td><td>{about}</td></tr>",
                escape(status)
            ),
        );
    }
    put(out, format_args!("</table>"));
}

/// The target of a reference, or the value itself if it is none.
fn follow_reference<'a>(api: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else {
        return value;
    };
    let target = reference
        .strip_prefix('#')
        .and_then(|pointer| api.pointer(pointer));
    target.expect("a reference leads to a part of the document")
}

fn schema_block(out: &mut String, schema: &Value) {
    let about = code_spans(&text(&schema["description"]));
    put(out, format_args!("<p>{about}</p>"));
    let Some(properties) = schema["properties"].as_object() else {
        put(out, format_args!("<p>{}</p>", form(schema)));
        return;
    };
    put(
        out,
        format_args!("<table><tr><th>field</th><th>form</th><th></th></tr>"),
    );
    let required: Vec<&Value> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    for (name, property) in properties {
        let mark = if required.iter().any(|required| *required == name) {
            ", required"
        } else {
            ""
        };
        let about = code_spans(&text(&property["description"]));
        put(
            out,
            format_args!(
                "<tr><td><code>{}</code></td><td>{}{mark}</td><td>{about}</td></tr>",
                escape(name),
                form(property)
            ),
        );
    }
    put(out, format_args!("</table>"));
}

/// A schema in a few words, with links to the named ones.
fn form(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
    {
        let name = escape(name);
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for many in ["oneOf", "allOf", "anyOf"] {
        if let Some(forms) = schema[many].as_array() {
            return forms.iter().map(form).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let names: Vec<String> = values
            .iter()
            .map(|value| format!("<code>{}</code>", text(value)))
            .collect();
        return names.join(", ");
    }
    let mut words = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        kind => text(kind),
    };
    if schema["items"].is_object() {
        words = format!("array of {}", form(&schema["items"]));
    }
    if let Some(properties) = schema["properties"].as_object() {
        let fields: Vec<String> = properties
            .iter()
            .map(|(name, value)| format!("<code>{}</code>: {}", escape(name), form(value)))
            .collect();
        words = format!("{{ {} }}", fields.join(", "));
    }
    if let Some(kind) = schema["format"].as_str() {
        words = format!("{words} ({})", escape(kind));
    }
    words
}

/// A JSON string as HTML text; nothing for anything else.
fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Escaped text with its back-ticked words as code.
fn code_spans(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        match index % 2 {
            0 => out.push_str(part),
            _ => put(&mut out, format_args!("<code>{part}</code>")),
        }
    }
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes what is written");
}
