//! What is said in XML is what is said in JSON, and what is refused.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{element_name, parse};
use crate::error::ApiError;
use crate::form::batch::BatchForm;
use crate::form::json;
use crate::form::owner::OwnerUpdate;
use crate::form::request::{AccountCreate, EventCreate, PaymentCreate};
use crate::form::subscription::{SubscriptionCreate, SubscriptionUpdate};
use crate::settings::apply::SettingsApply;

const XSI: &str = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";

/// A document that says the same as `value`.
fn document(value: &Value) -> String {
    let mut xml = String::new();
    match value {
        Value::Array(items) => {
            items
                .iter()
                .for_each(|item| element("item", item, &mut xml));
            format!("<batch {XSI}>{xml}</batch>")
        }
        value => {
            element("request", value, &mut xml);
            xml.replacen("<request", &format!("<request {XSI}"), 1)
        }
    }
}

fn element(name: &str, value: &Value, xml: &mut String) {
    let text = match value {
        Value::Null => {
            xml.push_str(&format!("<{name} xsi:nil=\"true\"/>"));
            return;
        }
        Value::Array(items) if items.is_empty() => String::new(),
        Value::Array(items) => {
            items.iter().for_each(|item| element(name, item, xml));
            return;
        }
        Value::Object(fields) => {
            xml.push_str(&format!("<{name}>\n"));
            for (field, value) in fields {
                element(&element_name(field), value, xml);
            }
            xml.push_str(&format!(" </{name}>\r\n"));
            return;
        }
        Value::String(text) => escape(text),
        literal => format!(" {literal}\n"),
    };
    xml.push_str(&format!("<{name}>{text}</{name}>"));
}

fn escape(text: &str) -> String {
    let mut xml = String::new();
    for (at, char) in text.chars().enumerate() {
        match char {
            '<' => xml.push_str("&lt;"),
            '&' => xml.push_str("&amp;"),
            '>' => xml.push_str("<![CDATA[>]]>"),
            // Whichever way a text is written, it is the same.
            char if at % 5 == 3 => xml.push_str(&format!("&#x{:x};", u32::from(char))),
            char if at % 7 == 6 => xml.push_str(&format!("<!-- {at} -->{char}")),
            char => xml.push(char),
        }
    }
    xml
}

fn outcome<T: Debug>(
    read: Result<T, ApiError>,
) -> Result<String, (&'static str, Option<String>, String)> {
    read.map(|form| format!("{form:?}")).map_err(|error| {
        let param = error.parameter().map(str::to_owned);
        (error.code(), param, error.message().to_owned())
    })
}

fn same<T: DeserializeOwned + Debug>(value: &Value) -> Result<(), TestCaseError> {
    let from_json = outcome(json::parse::<T>(value.to_string().as_bytes()));
    let xml = document(value);
    let from_xml = outcome(parse::<T>(xml.as_bytes()));
    prop_assert_eq!(from_xml, from_json, "{}", xml);
    Ok(())
}

fn one_of(values: &[Value]) -> BoxedStrategy<Value> {
    proptest::sample::select(values.to_vec()).boxed()
}

fn amount() -> BoxedStrategy<Value> {
    one_of(&[
        json!(0),
        json!(1),
        json!(100),
        json!(9_007_199_254_740_991_u64),
        json!(9_007_199_254_740_992_u64),
        json!(u64::MAX),
        json!(-1),
        json!(1.5),
    ])
}

fn account() -> BoxedStrategy<Value> {
    let sound = "acct_00000000000000000000000001".to_owned();
    prop_oneof![8 => Just(json!(sound)), 1 => Just(json!("acct_")), 1 => Just(json!(""))].boxed()
}

fn text() -> BoxedStrategy<Value> {
    "[ -~é€<>&\"']{0,12}|\\PC{0,70}"
        .prop_map(Value::from)
        .boxed()
}

fn metadata() -> BoxedStrategy<Value> {
    proptest::collection::btree_map("[ -~é_x]{0,9}", "[ -~é<>&]{0,9}", 0..4)
        .prop_map(|map: BTreeMap<String, String>| json!(map))
        .boxed()
}

/// An object of some of these fields; now and then one is null.
fn object(fields: Vec<(&'static str, u32, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields = fields.into_iter().map(|(name, weight, value)| {
        let value = prop_oneof![
            weight => value.prop_map(Some),
            1 => Just(Some(Value::Null)),
            4 => Just(None),
        ];
        value.prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    });
    let fields: Vec<_> = fields.collect();
    fields
        .prop_map(|fields| Value::Object(fields.into_iter().flatten().collect::<Map<_, _>>()))
        .boxed()
}

fn array(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    // An element with nothing in it, by itself, is the array with nothing in it.
    let is_clear = |items: &Vec<Value>| items != &[json!({})] && items != &[json!("")];
    proptest::collection::vec(item, 0..4)
        .prop_filter("ambiguous", is_clear)
        .prop_map(Value::Array)
        .boxed()
}

fn payment() -> BoxedStrategy<Value> {
    let part = || {
        object(vec![
            ("account", 100, account()),
            ("amount", 5, amount()),
            (
                "basis_points",
                5,
                one_of(&[json!(1), json!(10_000), json!(10_001)]),
            ),
        ])
    };
    let queue = object(vec![
        ("priority", 5, one_of(&[json!(0), json!(9), json!(10)])),
        (
            "not_before",
            5,
            one_of(&[json!("2026-12-01T00:00:00Z"), json!("soon")]),
        ),
        ("correlation_id", 5, text()),
    ]);
    object(vec![
        ("amount", 200, amount()),
        (
            "currency",
            200,
            one_of(&[json!("EUR"), json!("eur"), json!("JPY")]),
        ),
        ("source", 200, account()),
        ("destination", 20, account()),
        ("splits", 10, array(part())),
        ("fees", 10, array(part())),
        (
            "capture_method",
            10,
            one_of(&[
                json!("manual"),
                json!("automatic"),
                json!("never"),
                json!(""),
            ]),
        ),
        (
            "expires_at",
            10,
            one_of(&[json!("2026-12-01T00:00:00Z"), json!("")]),
        ),
        ("reference", 10, text()),
        (
            "effective_at",
            10,
            one_of(&[json!("2026-12-01"), json!("1.12.2026")]),
        ),
        ("description", 10, text()),
        ("metadata", 10, metadata()),
        ("queue", 5, queue),
        ("tip", 1, text()),
    ])
}

fn command() -> BoxedStrategy<Value> {
    let keyed = |field: &'static str, form: BoxedStrategy<Value>| {
        object(vec![
            ("idempotency_key", 200, one_of(&[json!("k-1"), json!(" ")])),
            (field, 200, form),
        ])
    };
    prop_oneof![
        keyed("payment", payment()),
        keyed("freeze", object(vec![("account", 50, account())])),
        keyed(
            "capture",
            object(vec![
                ("payment", 50, text()),
                ("final", 9, one_of(&[json!(true), json!(false)]))
            ])
        ),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn a_payment_in_xml_is_the_payment_in_json(value in payment()) {
        same::<PaymentCreate>(&value)?;
    }

    #[test]
    fn a_batch_in_xml_is_the_batch_in_json(
        value in array(prop_oneof![3 => command(), 1 => object(vec![("group", 50, array(command()))])].boxed())
    ) {
        same::<BatchForm>(&value)?;
    }

    #[test]
    fn other_forms_in_xml_are_what_they_are_in_json(
        account in object(vec![
            ("owner", 20, one_of(&[json!("ann"), json!("")])),
            ("currency", 50, one_of(&[json!("EUR")])),
            ("overdraft", 20, one_of(&[json!("unlimited"), json!(5), json!(-5), json!("none")])),
            ("kind", 20, one_of(&[json!("wallet"), json!("purse")])),
        ]),
        update in object(vec![
            ("external_id", 5, text()),
            ("description", 5, text()),
            ("metadata", 5, metadata()),
        ]),
        subscription in object(vec![
            ("events", 50, array(one_of(&[json!("payment.*"), json!("#")]))),
            ("attempts_max", 5, one_of(&[json!(1), json!(4_294_967_296_u64)])),
            ("backoff", 5, object(vec![("factor", 5, one_of(&[json!(2), json!(1.5)])), ("delays_seconds", 5, array(one_of(&[json!(1)])))])),
            ("metadata", 5, metadata()),
            ("name", 5, text()),
        ]),
    ) {
        same::<AccountCreate>(&account)?;
        same::<OwnerUpdate>(&update)?;
        same::<SubscriptionCreate>(&subscription)?;
        same::<SubscriptionUpdate>(&subscription)?;
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "(<a>|</a>|<b/>|&lt;|&#9;|<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|[ x\n]){0,12}") {
        let _refused = parse::<PaymentCreate>(&bytes);
        let _refused = parse::<BatchForm>(text.as_bytes());
        let _refused = parse::<EventCreate>(format!("<e><data>{text}</data></e>").as_bytes());
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Form {
    text: Option<String>,
    number: Option<u64>,
    truth: Option<bool>,
    #[serde(default)]
    list: Option<Vec<String>>,
    map: Option<BTreeMap<String, String>>,
    any: Option<Value>,
    raw: Option<Box<RawText>>,
}

/// JSON as it stands, comparable.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct RawText(Box<RawValue>);

impl PartialEq for RawText {
    fn eq(&self, other: &RawText) -> bool {
        self.0.get() == other.0.get()
    }
}

#[test]
fn what_is_taken_means_what_the_table_says() {
    for (xml, value) in [
        ("<f/>", json!({})),
        ("<f> \r\n\t</f>", json!({})),
        (
            "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?>\n<!-- a --><f></f>\n<!-- b -->\n",
            json!({}),
        ),
        ("<f><text>a</text></f>", json!({"text": "a"})),
        ("<f><text/></f>", json!({"text": ""})),
        (
            "<f><text> a  b\r\nc\rd </text></f>",
            json!({"text": " a  b\nc\nd "}),
        ),
        ("<f><text>  </text></f>", json!({"text": "  "})),
        (
            "<f><text>a&amp;&#x42;&lt;<![CDATA[<&amp;]]>&#67;<!-- x -->d&#13;</text></f>",
            json!({"text": "a&B<<&amp;Cd\r"}),
        ),
        (
            "<f><text>5</text><number> 5 </number><truth>\ntrue</truth></f>",
            json!({"text": "5", "number": 5, "truth": true}),
        ),
        (
            "<f><number><![CDATA[5]]></number></f>",
            json!({"number": 5}),
        ),
        ("<f><list>a</list></f>", json!({"list": ["a"]})),
        (
            "<f><list>a</list> <list/><!-- c --><list> </list></f>",
            json!({"list": ["a", "", " "]}),
        ),
        ("<f><list/></f>", json!({"list": []})),
        (
            "<f><list> </list><text>x</text></f>",
            json!({"list": [], "text": "x"}),
        ),
        ("<f><list><![CDATA[]]></list></f>", json!({"list": [""]})),
        ("<f><list/><list/></f>", json!({"list": ["", ""]})),
        (
            "<f><map><a_x0020_b>1</a_x0020_b><größe>2</größe></map></f>",
            json!({"map": {"a b": "1", "größe": "2"}}),
        ),
        ("<f><map/></f>", json!({"map": {}})),
        ("<f><any>5</any></f>", json!({"any": 5})),
        ("<f><any><![CDATA[5]]></any></f>", json!({"any": "5"})),
        ("<f><any>007</any></f>", json!({"any": "007"})),
        ("<f><any>false</any></f>", json!({"any": false})),
        (
            "<f><any><a>1</a><b>x</b></any></f>",
            json!({"any": {"a": 1, "b": "x"}}),
        ),
        (
            "<f><any>1</any> <any><b>x</b></any><text>y</text></f>",
            json!({"any": [1, {"b": "x"}], "text": "y"}),
        ),
        (
            "<f><any><a>1</a><a><b/><b>2</b></a></any></f>",
            json!({"any": {"a": [1, {"b": ["", 2]}]}}),
        ),
        ("<f><raw>5</raw></f>", json!({"raw": "5"})),
        (
            "<f><raw><a>1</a><a>\"</a><b><c/></b><d><e>1</e><e>2</e></d></raw></f>",
            json!({"raw": {"a": ["1", "\""], "b": {"c": ""}, "d": {"e": ["1", "2"]}}}),
        ),
        (
            "<f xmlns:p=\"http://www.w3.org/2001/XMLSchema-instance\"><text p:nil=\"1\"/><number p:nil='true'> </number></f>",
            json!({"text": null, "number": null}),
        ),
        (
            "<f xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\"><text xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\" i:nil=\"false\">a</text></f>",
            json!({"text": "a"}),
        ),
    ] {
        let wanted: Form = serde_json::from_value::<Form>(value.clone())
            .or_else(|_| serde_json::from_str(&value.to_string()))
            .expect("a form");
        let found = parse::<Form>(xml.as_bytes());
        assert_eq!(found.expect(xml), wanted, "{xml}");
    }
}

#[test]
fn what_is_no_plain_xml_is_refused() {
    let laughs =
        "<!DOCTYPE f [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;\">]><f><text>&b;</text></f>";
    let deep = "<a>".repeat(10_000) + &"</a>".repeat(10_000);
    let raw = format!("<f><raw>{deep}</raw></f>");
    let deep_any = format!("<f><any>{deep}</any></f>");
    let many = format!(
        "<f {}/>",
        (0..10_000)
            .map(|at| format!("xmlns:p{at}=\"x\" "))
            .collect::<String>()
    );
    let nil = format!("<f {XSI}><text xsi:nil=\"true\">x</text></f>");
    for (xml, why) in [
        (laughs, "document type"),
        (
            "<!DOCTYPE f SYSTEM \"file:///etc/passwd\"><f/>",
            "document type",
        ),
        ("<f><text>&e;</text></f>", "entities"),
        ("<f><text>&nbsp;</text></f>", "entities"),
        ("<f><text>a & b</text></f>", ""),
        ("<f><text>&#0;</text></f>", ""),
        ("<f><text>&#x1F;</text></f>", "character"),
        ("<f><text>&#xD800;</text></f>", ""),
        ("<f><text>&#99999999;</text></f>", ""),
        (&raw, "inside each other"),
        (&deep_any, "inside each other"),
        (&many, "too many attributes"),
        ("<f text=\"a\"/>", "attributes"),
        ("<f><text lang=\"en\">a</text></f>", "attributes"),
        ("<f text=a/>", ""),
        ("<f xmlns=\"urn:x\"/>", "default namespace"),
        ("<p:f xmlns:p=\"urn:x\"/>", "namespace prefix"),
        ("<f><text xsi:nil=\"true\"/></f>", "prefix of nil"),
        (
            "<f xmlns:xsi=\"urn:x\"><text xsi:nil=\"true\"/></f>",
            "prefix of nil",
        ),
        (
            "<f><list xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\"/><text i:nil=\"true\"/></f>",
            "prefix of nil",
        ),
        (&nil, "nil has content"),
        ("<f/><f/>", "second outermost"),
        ("<f></f>x", "outside"),
        ("x<f/>", "outside"),
        ("", "no element"),
        (" <!-- a --> ", "no element"),
        ("<f>", "ends inside"),
        ("<f><text>a", ""),
        ("<f><text>a</f></text>", ""),
        ("</f>", ""),
        ("<f>a<text/></f>", "beside elements"),
        ("<f><text/>a</f>", "beside elements"),
        ("<f><raw><a/>b</raw></f>", "beside elements"),
        ("<f><?php x?></f>", "processing"),
        ("<?xml-stylesheet href=\"a\"?><f/>", "processing"),
        (" <?xml version=\"1.0\"?><f/>", "beginning"),
        ("<f><?xml version=\"1.0\"?></f>", "beginning"),
        ("<?xml version=\"1.1\"?><f/>", "1.0"),
        (
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><f/>",
            "encoding",
        ),
        (
            "<?xml version=\"1.0\" encoding=\"UTF-16\"?><f/>",
            "encoding",
        ),
        ("<f><text>a\0</text></f>", "character"),
        ("<f><text>\u{1}</text></f>", "character"),
        ("<f><text>\u{FFFE}</text></f>", "character"),
        ("<f><text>]]></text></f>", "]]>"),
        ("<f><!-- a -- b --></f>", ""),
        ("<f><1a/></f>", "name"),
        ("< f/>", "name"),
        ("<f><te\"xt/></f>", ""),
        ("<f><te=xt/></f>", "name"),
    ] {
        let error = parse::<Form>(xml.as_bytes()).expect_err(&xml[..xml.len().min(80)]);
        let message = error.message();
        assert_eq!(error.code(), "xml_malformed", "{xml:.80}: {message}");
        assert!(
            message.contains(why) && message.len() < 400,
            "{xml:.80}: {message}"
        );
    }
    let utf16: Vec<u8> = "<f/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&b"<f><text>\xff</text></f>"[..], b"\xfe\xff\0<\0f", &utf16] {
        let error = parse::<Form>(bytes).expect_err("no UTF-8");
        assert_eq!(error.code(), "xml_malformed");
    }
}

#[test]
fn an_error_names_the_place_or_the_field() {
    for (xml, code, param, message) in [
        (
            "<f>\n <text>é&x;</text></f>",
            "xml_malformed",
            None,
            "line 2 column 12",
        ),
        (
            "<f><a>1</a></f>",
            "parameter_unknown",
            Some("a"),
            "There is no field",
        ),
        (
            "<f><text>1</text><number>1</number><text>2</text></f>",
            "parameter_invalid",
            Some("text"),
            "is given twice",
        ),
        (
            "<f><list>1</list><text>1</text><list>2</list></f>",
            "parameter_invalid",
            Some("list"),
            "is given twice",
        ),
        (
            "<f><number>1.5</number></f>",
            "parameter_invalid",
            Some("number"),
            "floating point",
        ),
        (
            "<f><number/></f>",
            "parameter_invalid",
            Some("number"),
            "string \"\"",
        ),
        (
            "<f><number>+1</number></f>",
            "parameter_invalid",
            Some("number"),
            "string",
        ),
        (
            "<f><truth>1</truth></f>",
            "parameter_invalid",
            Some("truth"),
            "string",
        ),
        (
            "<f><text><a/></text></f>",
            "parameter_invalid",
            Some("text"),
            "map",
        ),
        (
            "<f><list>a</list><list><b/></list></f>",
            "parameter_invalid",
            Some("list[1]"),
            "map",
        ),
        ("text", "xml_malformed", None, "outside"),
        ("<f>text</f>", "parameter_invalid", None, "string \"text\""),
    ] {
        let error = parse::<Form>(xml.as_bytes()).expect_err(xml);
        assert_eq!(
            (error.code(), error.parameter()),
            (code, param),
            "{xml}: {}",
            error.message()
        );
        assert!(
            error.message().contains(message),
            "{xml}: {}",
            error.message()
        );
    }
    let error = parse::<BatchForm>(b"<b><item><void/></item><other/></b>").expect_err("no payment");
    assert_eq!(error.parameter(), Some("[0].void.payment"));
    let payment = "<void><payment>pay_00000000000000000000000001</payment></void>";
    let two = format!("<b><item>{payment}</item><other>{payment}</other></b>");
    let error = parse::<BatchForm>(two.as_bytes()).expect_err("two names");
    assert!(error.message().contains("one name"), "{}", error.message());
}

#[test]
fn a_file_of_settings_has_numbers_where_numbers_are_wanted() {
    let xml = "<apply><settings><kind>subscription</kind><slug>s</slug><attempts_max>3</attempts_max>\
               <events>a.b</events><events>#</events><name><![CDATA[12]]></name></settings></apply>";
    let found = parse::<SettingsApply>(xml.as_bytes()).expect("a file");
    let json = json!({"settings": [{"kind": "subscription", "slug": "s", "attempts_max": 3, "events": ["a.b", "#"], "name": "12"}]});
    let wanted: SettingsApply = serde_json::from_value(json).expect("a file");
    assert_eq!(format!("{found:?}"), format!("{wanted:?}"));
}
