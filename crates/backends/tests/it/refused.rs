//! What the backend refuses to work with.

use tributary_backends::postgres::{OpenError, Options, Postgres};
use tributary_engine::{Clock, Failure};
use tributary_ledger::{AccountKind, Overdraft};

use crate::database::{RUNNING, TestClock, database, meta};
use crate::driver::Node;
use crate::workload::{SECOND, command, open};

fn an_account(key: &str) -> Vec<tributary_ledger::Command> {
    vec![command(
        key,
        open("anna", AccountKind::Wallet, Overdraft::NONE),
    )]
}

#[test]
fn a_second_node_is_refused_until_the_first_lets_go() {
    let Some(database) = database() else { return };
    let clock = TestClock::running();
    let mut first = Node::start(database.open().expect("it opens"), clock.clone());
    first.execute(an_account("a"));
    let second = database.open();
    assert!(
        matches!(second, Err(OpenError::Locked { .. })),
        "{:?}",
        second.err()
    );
    first.execute(an_account("b"));
    first.core.close();
    let mut second = Node::start(database.open().expect("the lock is free"), clock.clone());
    second.execute(an_account("c"));
    assert_eq!(second.reader.head().position, 3);
    second.core.close();
}

#[test]
fn a_node_that_lost_its_lock_to_another_writes_nothing_more() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let mut first = Node::start(database.open().expect("it opens"), clock.clone());
    first.execute(an_account("a"));
    database.kill("writer");
    let mut second = Node::start(database.open().expect("the lock is free"), clock.clone());
    let refused = first.accept(an_account("b"));
    assert!(
        matches!(refused, Err(Failure::Unavailable(_))),
        "{refused:?}"
    );
    second.execute(an_account("c"));
    second.core.close();
    // It could lock now, but it does not know what the other one wrote.
    let refused = first.accept(an_account("b"));
    assert!(matches!(refused, Err(Failure::Fatal(_))), "{refused:?}");
}

#[test]
fn a_server_that_answers_before_a_commit_is_durable_is_refused() {
    let Some(database) = database() else { return };
    let clock = TestClock::running();
    for (setting, accepted) in [("off", false), ("local", true), ("on", true)] {
        let separator = if database.options.url.contains('?') {
            '&'
        } else {
            '?'
        };
        let options = Options {
            url: format!(
                "{}{separator}options=-c%20synchronous_commit%3D{setting}",
                database.options.url
            ),
            ..database.options.clone()
        };
        match Postgres::open(&options, clock.clone(), &meta()) {
            Ok(_) => assert!(accepted, "{setting}"),
            Err(OpenError::Unsafe(_)) => assert!(!accepted, "{setting}"),
            Err(other) => panic!("{setting}: {other}"),
        }
    }
}

#[test]
fn a_url_that_demands_tls_is_refused_and_not_ignored() {
    let Some(database) = database() else {
        return;
    };
    let separator = if database.options.url.contains('?') {
        '&'
    } else {
        '?'
    };
    let options = Options {
        url: format!("{}{separator}sslmode=require", database.options.url),
        ..database.options.clone()
    };
    let opened = Postgres::open(&options, TestClock::running(), &meta());
    assert!(
        matches!(opened, Err(OpenError::Unavailable(_))),
        "{:?}",
        opened.err()
    );
}

#[test]
fn a_clock_too_far_from_the_servers_stops_writing_until_it_is_right() {
    let Some(database) = database() else { return };
    let clock = TestClock::running();
    let right = clock.now();
    let backend = database.open_by(clock.clone()).expect("it opens");
    let mut node = Node::start(backend, clock.clone());
    for wrong in [right - 60 * SECOND, right + 60 * SECOND] {
        clock.set(wrong);
        let refused = node.accept(an_account("a"));
        assert!(
            matches!(&refused, Err(Failure::Unavailable(why)) if why.contains("clock")),
            "{refused:?}"
        );
    }
    clock.set(RUNNING);
    node.execute(an_account("a"));
    node.core.close();
}

#[test]
fn a_database_taken_back_to_an_older_state_stops_the_node() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    node.execute(an_account("a"));
    database.sql("CREATE TABLE old_head AS SELECT * FROM head");
    node.execute(an_account("b"));
    database.sql("DELETE FROM frames WHERE first_position = 2; DELETE FROM head; INSERT INTO head SELECT * FROM old_head");
    let refused = node.accept(an_account("c"));
    assert!(
        matches!(&refused, Err(Failure::Fatal(why)) if why.contains("older state")),
        "{refused:?}"
    );
}

#[test]
fn a_head_that_the_frames_do_not_lead_to_is_not_opened() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    node.execute(an_account("a"));
    node.execute(an_account("b"));
    node.core.close();
    for sql in [
        "DELETE FROM frames WHERE first_position = 2",
        "DELETE FROM frames",
    ] {
        database.sql(sql);
        let opened = database.open();
        assert!(
            matches!(opened, Err(OpenError::Damaged(_))),
            "{sql}: {:?}",
            opened.err()
        );
    }
}

#[test]
fn a_damaged_frame_is_found_when_it_is_read() {
    let Some(mut database) = database() else {
        return;
    };
    let clock = TestClock::running();
    let mut node = Node::start(database.open().expect("it opens"), clock.clone());
    node.execute(an_account("a"));
    node.execute(an_account("b"));
    node.core.close();
    for byte in [0, 40, 126, 130, 200] {
        database.sql(&format!(
            "UPDATE frames SET bytes = set_byte(bytes, {byte}, get_byte(bytes, {byte}) # 16) WHERE first_position = 1"
        ));
        let node = Node::start(database.open().expect("it opens"), clock.clone());
        let mut payload = Vec::new();
        let read = node.reader.read(1, &mut payload);
        assert!(
            matches!(read, Err(Failure::RecordDamaged { position: 1, .. })),
            "byte {byte}: {read:?}"
        );
        assert!(
            node.reader
                .read(2, &mut payload)
                .expect("the other one is whole")
        );
        drop(node);
        database.sql(&format!(
            "UPDATE frames SET bytes = set_byte(bytes, {byte}, get_byte(bytes, {byte}) # 16) WHERE first_position = 1"
        ));
    }
}

#[test]
fn tables_of_a_newer_program_are_left_alone() {
    let Some(mut database) = database() else {
        return;
    };
    for _ in 0..2 {
        drop(
            database
                .open()
                .expect("preparing the tables again changes nothing"),
        );
    }
    assert_eq!(
        database.number("SELECT version::int8 FROM schema_version"),
        1
    );
    database.sql("UPDATE schema_version SET version = 99");
    let opened = database.open();
    assert!(
        matches!(opened, Err(OpenError::Newer { found: 99, .. })),
        "{:?}",
        opened.err()
    );
}

#[test]
fn the_tables_decide_nothing() {
    let Some(mut database) = database() else {
        return;
    };
    drop(database.open().expect("it opens"));
    let ours = format!("'{}'::regnamespace", database.options.schema);
    let count = |from: &str| format!("SELECT count(*) FROM {from}").replace("ours", &ours);
    let tables = "(SELECT oid FROM pg_class WHERE relnamespace = ours)";
    for (what, from, expected) in [
        (
            "tables",
            "pg_class WHERE relnamespace = ours AND relkind = 'r'".into(),
            13,
        ),
        (
            "triggers",
            format!("pg_trigger WHERE tgrelid IN {tables}"),
            0,
        ),
        ("rules", format!("pg_rewrite WHERE ev_class IN {tables}"), 0),
        ("functions", "pg_proc WHERE pronamespace = ours".into(), 0),
        (
            "checks but of lengths and single rows",
            "pg_constraint WHERE connamespace = ours AND contype = 'c' \
             AND pg_get_constraintdef(oid) !~ '^CHECK \\((one|\\(octet_length.*)\\)$'"
                .into(),
            0,
        ),
        (
            "defaults and generated columns but of single rows",
            format!(
                "pg_attrdef WHERE adrelid IN {tables} AND pg_get_expr(adbin, adrelid) <> 'true'"
            ),
            0,
        ),
    ] {
        assert_eq!(database.number(&count(&from)), expected, "{what}");
    }
}

#[test]
fn a_password_is_not_shown_by_debug_output() {
    let options = Options::new("postgres://user:sesame@127.0.0.1/db");
    assert!(!format!("{options:?}").contains("sesame"));
}
