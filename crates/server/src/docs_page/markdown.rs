//! Markdown as HTML. HTML within the Markdown becomes text, and a link leads to where the caller says or is left out.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Renders a text whose links stay as they are.
pub(crate) fn render(text: &str) -> String {
    render_with_links(text, |target| Some(target.to_owned()))
}

/// Renders a text. `link` gives the target of a link, or none for text without a link.
pub(crate) fn render_with_links(text: &str, link: impl Fn(&str) -> Option<String>) -> String {
    let mut links = Vec::new();
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => {
            let target = link(&dest_url);
            links.push(target.is_some());
            target.map(|target| {
                Event::Start(Tag::Link {
                    link_type,
                    dest_url: CowStr::from(target),
                    title,
                    id,
                })
            })
        }
        Event::End(TagEnd::Link) => links.pop().unwrap_or(false).then_some(event),
        event => Some(event),
    });
    let mut out = String::with_capacity(text.len() * 2);
    html::push_html(&mut out, events);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_text_and_unknown_links_go() {
        let text = "a <script>alert(1)</script> `b<c` [d](x.md) [e](y.md)";
        let shown = render_with_links(text, |target| (target == "x.md").then(|| "x".to_owned()));
        assert_eq!(
            shown,
            "<p>a &lt;script&gt;alert(1)&lt;/script&gt; <code>b&lt;c</code> <a href=\"x\">d</a> e</p>\n"
        );
    }
}
