//! The pages at `/docs`: the OpenAPI document and the error codes as HTML. The page of the document is made once at the start.
//! The pages load nothing from elsewhere; the one script filters the page of the document and asks nobody.

mod escaping;
mod markdown;
mod schema;

use std::fmt::Write as _;

use serde_json::Value;
use tributary_api::error_pages;

use self::escaping::{escape, text};
use self::markdown::{render, render_with_links};
use self::schema::{details, form};

/// Style of all pages.
pub(crate) const STYLE: &str = include_str!("style.css");
/// Script of the search field.
pub(crate) const SEARCH: &str = include_str!("search.js");

/// The page of the OpenAPI document.
pub(crate) fn page(document: &str) -> String {
    let api: Value = serde_json::from_str(document).expect("the document is JSON");
    let mut out = String::with_capacity(512 << 10);
    let title = format!("{} API", text(&api["info"]["title"]));
    begin(&mut out, &title, "docs/style.css");
    put(
        &mut out,
        format_args!("<h1>{title} {}</h1>", text(&api["info"]["version"])),
    );
    out.push_str(&markdown_of(&api["info"]["description"]));
    out.push_str(
        "<p>For programs: <a href=\"openapi.json\">openapi.json</a>. All <a href=\"docs/errors\">error codes</a>.</p>\
         <input id=\"search\" type=\"search\" placeholder=\"Search operations and schemas\" aria-label=\"Search\" hidden>\
         <script src=\"docs/search.js\" defer></script><nav>",
    );
    let tags: Vec<&Value> = api["tags"].as_array().into_iter().flatten().collect();
    let mut groups: Vec<String> = tags.iter().map(|tag| text(&tag["name"])).collect();
    groups.extend(["webhooks".to_owned(), "schemas".to_owned()]);
    for name in groups {
        put(&mut out, format_args!("<a href=\"#{name}\">{name}</a>"));
    }
    out.push_str("</nav>");
    for tag in &tags {
        begin_group(&mut out, &text(&tag["name"]), &tag["description"]);
        for (path, item) in api["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                if operation["tags"][0] == tag["name"] {
                    operation_item(&mut out, &api, method, path, operation);
                }
            }
        }
        out.push_str("</section>");
    }
    let about = Value::from("What the server sends to the URL of a subscription.");
    begin_group(&mut out, "webhooks", &about);
    for (name, item) in api["webhooks"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            operation_item(&mut out, &api, method, name, operation);
        }
    }
    out.push_str("</section>");
    begin_group(&mut out, "schemas", &Value::Null);
    let schemas = api["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        let name = escape(name);
        put(
            &mut out,
            format_args!(
                "<section class=\"item\" id=\"schema-{name}\"><h3>{name}</h3><p>{}</p>",
                form(schema)
            ),
        );
        details(&mut out, schema);
        out.push_str("</section>");
    }
    out.push_str("</section>");
    out
}

/// The page of an error code; none if there is no such code.
pub(crate) fn error_page(code: &str) -> Option<String> {
    let page = error_pages::find(code)?;
    let mut out = String::new();
    begin(&mut out, code, "../style.css");
    out.push_str("<nav><a href=\"../../docs\">API</a><a href=\"../errors\">Error codes</a></nav>");
    out.push_str(&render_with_links(page, known_code));
    Some(out)
}

/// The list of all error codes.
pub(crate) fn error_index() -> String {
    let mut out = String::new();
    begin(&mut out, "Error codes", "style.css");
    out.push_str("<nav><a href=\"../docs\">API</a></nav>");
    out.push_str(&render_with_links(error_pages::INDEX, |target| {
        known_code(target).map(|code| format!("errors/{code}"))
    }));
    out
}

/// The code whose page a link in Markdown leads to.
fn known_code(target: &str) -> Option<String> {
    let code = target.strip_suffix(".md")?;
    error_pages::find(code).map(|_| code.to_owned())
}

fn begin(out: &mut String, title: &str, style: &str) {
    put(
        out,
        format_args!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{}</title><link rel=\"stylesheet\" href=\"{style}\">",
            escape(title)
        ),
    );
}

fn begin_group(out: &mut String, name: &str, about: &Value) {
    put(
        out,
        format_args!("<section class=\"group\"><h2 id=\"{name}\">{name}</h2>"),
    );
    out.push_str(&markdown_of(about));
}

fn operation_item(out: &mut String, api: &Value, method: &str, path: &str, operation: &Value) {
    put(
        out,
        format_args!(
            "<section class=\"item\" id=\"{}\"><h3><span class=\"method\">{}</span><code>{}</code></h3>",
            text(&operation["operationId"]),
            escape(method),
            escape(path)
        ),
    );
    out.push_str(&markdown_of(&operation["summary"]));
    out.push_str(&markdown_of(&operation["description"]));
    let parameters: Vec<&Value> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| follow_reference(api, parameter))
        .collect();
    parameter_table(out, &parameters);
    let content = &operation["requestBody"]["content"]["application/json"];
    if !content["schema"].is_null() {
        put(
            out,
            format_args!("<p>Body: {}</p>", form(&content["schema"])),
        );
        details(out, &content["schema"]);
    }
    if !content["example"].is_null() {
        example(out, method, path, &parameters, &content["example"]);
    }
    response_table(out, api, operation);
    out.push_str("</section>");
}

fn parameter_table(out: &mut String, parameters: &[&Value]) {
    if parameters.is_empty() {
        return;
    }
    out.push_str("<table><tr><th>parameter</th><th>in</th><th>form</th><th></th></tr>");
    for parameter in parameters {
        let is_required = parameter["required"] == true;
        put(
            out,
            format_args!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}{}</td><td>{}",
                text(&parameter["name"]),
                text(&parameter["in"]),
                form(&parameter["schema"]),
                if is_required { ", required" } else { "" },
                markdown_of(&parameter["description"]),
            ),
        );
        details(out, &parameter["schema"]);
        out.push_str("</td></tr>");
    }
    out.push_str("</table>");
}

/// The request of an example, as a line for a shell.
fn example(out: &mut String, method: &str, path: &str, parameters: &[&Value], body: &Value) {
    let mut line = format!("curl \"$SERVER{path}\" -H \"Authorization: Bearer $KEY\"");
    if method != "post" {
        let _ = write!(line, " -X {}", method.to_ascii_uppercase());
    }
    if parameters
        .iter()
        .any(|parameter| parameter["name"] == "Idempotency-Key")
    {
        line += " \\\n  -H 'Idempotency-Key: a-key-of-your-own'";
    }
    let body = serde_json::to_string_pretty(body).expect("an example is JSON");
    let _ = write!(
        line,
        " \\\n  -H 'Content-Type: application/json' -d '{body}'"
    );
    put(out, format_args!("<pre>{}</pre>", escape(&line)));
}

fn response_table(out: &mut String, api: &Value, operation: &Value) {
    out.push_str("<table><tr><th>status</th><th>answer</th><th></th></tr>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let response = follow_reference(api, response);
        let content = response["content"]
            .as_object()
            .and_then(|content| content.values().next());
        let answer = content.map_or_else(String::new, |content| form(&content["schema"]));
        let mut about = markdown_of(&response["description"]);
        if status.starts_with(['4', '5']) {
            about = link_codes(&about);
        }
        put(
            out,
            format_args!(
                "<tr><td>{}</td><td>{answer}</td><td>{about}</td></tr>",
                escape(status)
            ),
        );
    }
    out.push_str("</table>");
}

/// Links each error code to its page.
fn link_codes(html: &str) -> String {
    let mut out = String::new();
    for (index, part) in html.split("<code>").enumerate() {
        let named = part.split_once("</code>").filter(|_| index > 0);
        match named {
            Some((code, rest)) if error_pages::find(code).is_some() => put(
                &mut out,
                format_args!("<a href=\"docs/errors/{code}\"><code>{code}</code></a>{rest}"),
            ),
            Some(("code", rest)) => put(
                &mut out,
                format_args!("<a href=\"docs/errors\"><code>code</code></a>{rest}"),
            ),
            _ if index > 0 => put(&mut out, format_args!("<code>{part}")),
            _ => out.push_str(part),
        }
    }
    out
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

/// A text of the document, which is Markdown, as HTML; nothing for anything else.
fn markdown_of(value: &Value) -> String {
    render(value.as_str().unwrap_or_default())
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects the descriptions that a page shows; headers and security schemes are not shown.
    fn descriptions<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(text) if name == "description" || name == "summary" => {
                            into.push(text);
                        }
                        _ if ["headers", "securitySchemes", "example"].contains(&name.as_str()) => {
                        }
                        _ => descriptions(field, into),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| descriptions(item, into)),
            _ => {}
        }
    }

    /// The text of a page, without tags and white space.
    fn plain(html: &str) -> String {
        let text: String = html
            .split('<')
            .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
            .collect();
        text.split_whitespace().collect()
    }

    #[test]
    fn the_page_shows_every_description_of_the_document() {
        let document = crate::openapi_json();
        let api: Value = serde_json::from_str(&document).expect("JSON");
        let shown = plain(&page(&document));
        let mut wanted = Vec::new();
        descriptions(&api, &mut wanted);
        assert!(wanted.len() > 400, "{}", wanted.len());
        for text in wanted {
            assert!(shown.contains(&plain(&render(text))), "{text}");
        }
    }

    #[test]
    fn every_error_page_is_complete_and_its_links_lead_to_pages() {
        for (code, markdown) in error_pages::PAGES {
            let page = error_page(code).expect("a page");
            assert!(page.contains(&format!("<h1><code>{code}</code></h1>")));
            // A link to another document is shown as text: the server has no page for it.
            let links = markdown.matches("](").count() - markdown.matches("](../").count();
            let shown = page.matches("<a href=").count() - 2;
            assert_eq!(links, shown, "{code}: a link leads nowhere");
            assert!(
                error_index().contains(&format!("<a href=\"errors/{code}\">")),
                "{code}"
            );
        }
        assert!(error_page("nothing").is_none());
    }
}
