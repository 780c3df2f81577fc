//! A wrong definition is refused: the error names the field and says what to do. A checkpoint fits its stream alone.

use tributary_streams::stream::{
    Aggregate, Definition, RestoreError, SPAN_NS_MAX, Stream, Time, Window,
};

use super::{SECOND, definition, emit, schema, stream};

fn refused(change: impl FnOnce(&mut Definition)) -> String {
    let mut definition = definition(Window::Tumbling { size: SECOND });
    change(&mut definition);
    match Stream::new(definition, 1, &schema()) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn check(change: impl FnOnce(&mut Definition), expected: &str) {
    let found = refused(change);
    assert!(found.starts_with(expected), "{found}\nis not\n{expected}");
    assert!(
        found == "accepted" || found.contains("; "),
        "{found} says not what to do"
    );
}

#[test]
fn a_wrong_definition_is_refused_by_the_name_of_its_field() {
    check(|_| {}, "accepted");
    check(
        |d| d.name.clear(),
        "`name`: a name of 0 bytes; choose one of 1 to 128 bytes",
    );
    check(|d| d.from.clear(), "`from`: 0 entries; give 1 to 32");
    check(|d| d.from[0].event_type.clear(), "`from[0].event_type`: ");
    let filter =
        |source: &'static str| move |d: &mut Definition| d.from[0].filter = Some(source.to_owned());
    check(
        filter("amonut > 1"),
        "`from[0].where`: at byte 0: expected ",
    );
    check(
        filter("amount + 1"),
        "`from[0].where`: the result is an integer; give a condition",
    );
    check(|d| d.key.clear(), "`key`: 0 entries; give 1 to 8");
    check(
        |d| d.key.push("payer".to_owned()),
        "`key[1]`: the events have no field `payer`; choose",
    );
    check(
        |d| d.key.push("customer".to_owned()),
        "`key[1]`: `customer` is there already; remove",
    );
    let time = |value: &str, lateness| {
        let value = value.to_owned();
        move |d: &mut Definition| {
            d.time = Time::Event {
                value,
                unit: 1,
                lateness,
            }
        }
    };
    check(time("time * 1000", 0), "accepted");
    check(
        time("terminal", 0),
        "`time.value`: the result is a string; give",
    );
    check(time("time", -1), "`time.lateness`: -1 ns; choose from 0");
    let window = |window| move |d: &mut Definition| d.window = window;
    check(
        window(Window::Tumbling { size: 0 }),
        "`window.size`: 0 ns; choose from 1",
    );
    check(
        window(Window::Session {
            gap: SPAN_NS_MAX + 1,
        }),
        "`window.gap`: ",
    );
    check(
        window(Window::Trailing { size: 1, delay: -1 }),
        "`window.delay`: ",
    );
    check(
        window(Window::Hopping { size: 1, step: 2 }),
        "`window.step`: 2 ns, longer than the size",
    );
    check(
        window(Window::Hopping {
            size: 1_000,
            step: 1,
        }),
        "accepted",
    );
    check(
        window(Window::Hopping {
            size: 1_001,
            step: 1,
        }),
        "`window.step`: each event would be in 1001 windows",
    );
    check(|d| d.emit.clear(), "`emit`: 0 entries; give 1 to 16");
    check(
        |d| d.emit.push(emit("count", Aggregate::Count)),
        "`emit[1].name`: `count` is there already",
    );
    check(
        |d| d.emit.push(emit("customer", Aggregate::Count)),
        "`emit`: the fields `customer` and `customer`",
    );
    check(
        |d| d.emit.push(emit("window_end", Aggregate::Count)),
        "`emit`: the fields",
    );
    let sum = |source: &str| emit("sum", Aggregate::Sum(source.to_owned()));
    check(
        |d| d.emit.push(sum("terminal")),
        "`emit[1].of`: the result is a string; give",
    );
    check(
        |d| d.having = Some("count".to_owned()),
        "`having`: the result is an integer; give a condition",
    );
    check(
        |d| d.having = Some("amount > 1".to_owned()),
        "`having`: at byte 0: ",
    );
    check(
        |d| d.bounds.keys_max = 0,
        "`bounds.keys_max`: a bound of 0; choose from 1",
    );
    check(
        |d| d.bounds.state_bytes_max = 0,
        "`bounds.state_bytes_max`: ",
    );
}

#[test]
fn a_checkpoint_of_another_stream_or_version_is_refused() {
    let window = Window::Tumbling { size: SECOND };
    let bytes = stream(definition(window)).checkpoint().expect("goes on");
    assert!(stream(definition(window)).restore(&bytes).is_ok());
    let refuse = |definition: Definition, version: u64| {
        let made = Stream::new(definition, version, &schema()).expect("a definition");
        assert_eq!(made.restore(&bytes).err(), Some(RestoreError::OtherStream));
    };
    refuse(definition(window), 2);
    refuse(definition(Window::Session { gap: SECOND }), 1);
    let mut other = definition(window);
    other.name = "others".to_owned();
    refuse(other, 1);
}
