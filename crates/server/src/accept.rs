//! The `Accept` header: whether an answer is wanted as XML rather than as JSON.

use axum::http::{HeaderMap, header};

/// Weight of a media type that the caller does not want.
const UNWANTED: u16 = 0;

/// How much a caller wants a format, in thousandths, and whether by its own name.
type Wish = (u16, bool);

/// Returns whether the caller wants XML more than JSON. By the same weight XML is preferred to a wildcard, and JSON to XML.
pub(crate) fn prefers_xml(headers: &HeaderMap) -> bool {
    let (mut json, mut xml): (Option<Wish>, Option<Wish>) = (None, None);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(weight).unwrap_or(1_000);
            match media.as_str() {
                "application/xml" | "text/xml" => xml = xml.max(Some((weight, true))),
                "application/json" => json = Some((weight, true)),
                "application/*" | "*/*" => {
                    let named = json.is_some_and(|(_, named)| named);
                    json = if named {
                        json
                    } else {
                        json.max(Some((weight, false)))
                    };
                }
                _ => {}
            }
        }
    }
    let json = json.unwrap_or((UNWANTED, false));
    xml.is_some_and(|xml| xml.0 > UNWANTED && xml > json)
}

/// Reads the parameter `q` of a media range, in thousandths. A weight that cannot be read is none.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f64 = value
        .trim()
        .parse()
        .ok()
        .filter(|weight| (0.0..=1.0).contains(weight))?;
    Some((weight * 1_000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn xml_is_answered_to_those_who_prefer_it() {
        for (values, xml) in [
            (&[][..], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&["application/xml"], true),
            (&["text/xml"], true),
            (&["Application/XML; charset=utf-8"], true),
            (&["application/xml, */*"], true),
            (&["*/*, application/xml"], true),
            (&["application/xml, application/json"], false),
            (&["application/xml;q=0.9, application/json"], false),
            (&["application/xml, application/json;q=0.9"], true),
            (&["application/xml; q=0.5, */*; q=0.4"], true),
            (&["application/xml; q=0.4, */*; q=0.5"], false),
            (
                &["application/json; q=0.1, */*, application/xml; q=0.5"],
                true,
            ),
            (&["application/xml;q=0"], false),
            (&["application/json", "application/xml;q=0.2"], false),
            (&["application/json;q=0.1", "application/xml;q=0.2"], true),
            (&["application/soap+xml"], false),
            (&["text/html"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("accept", HeaderValue::from_static(value));
            }
            assert_eq!(prefers_xml(&headers), xml, "{values:?}");
        }
    }
}
