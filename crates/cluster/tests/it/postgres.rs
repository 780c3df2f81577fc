//! The log in PostgreSQL: the contract, and what a standby that is cut off does to it.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};
use tributary_cluster::log::{Appended, Log, LogError};
use tributary_cluster::postgres::{Options, PostgresLog};
use tributary_testkit::engine::Engine;

use crate::contract::{self, PATIENCE, Rig, begin, read_all};
use crate::{lockstep, members};

/// A primary of its own.
struct Primary {
    engine: Engine,
    runtime: tokio::runtime::Runtime,
    allow_single_copy: bool,
}

impl Primary {
    /// Starts a server with the table of the log; none if it is not installed.
    fn start(allow_single_copy: bool) -> Option<Primary> {
        let engine = Engine::find("postgresql")?;
        engine.start();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let primary = Primary {
            engine,
            runtime,
            allow_single_copy,
        };
        let mut log = primary.log(0);
        in_time("PostgreSQL starts", || log.create().is_ok());
        Some(primary)
    }

    fn log(&self, stream: i16) -> PostgresLog {
        log_at(&self.engine, stream, self.allow_single_copy)
    }

    /// Runs statements as an administrator, over a connection of their own.
    fn run(&self, statements: &[&str]) {
        run(&self.runtime, &self.engine, statements);
    }
}

fn log_at(engine: &Engine, stream: i16, allow_single_copy: bool) -> PostgresLog {
    log_at_one_of(&[engine.address()], stream, allow_single_copy)
}

fn log_at_one_of(hosts: &[SocketAddr], stream: i16, allow_single_copy: bool) -> PostgresLog {
    let hosts: Vec<String> = hosts.iter().map(SocketAddr::to_string).collect();
    let options = Options {
        url: format!("postgresql://tributary@{}/postgres", hosts.join(",")),
        password: Some("tributary".to_owned()),
        tls: None,
        stream,
        allow_single_copy,
    };
    PostgresLog::new(options).expect("the url is fit")
}

fn run(runtime: &tokio::runtime::Runtime, engine: &Engine, statements: &[&str]) {
    runtime.block_on(async {
        let client = admin(engine).await;
        for statement in statements {
            let done = client.simple_query(statement).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
    });
}

/// Connects as soon as the server lets in.
async fn admin(engine: &Engine) -> Client {
    let url = format!(
        "postgresql://tributary:tributary@{}/postgres",
        engine.address()
    );
    let begun = Instant::now();
    loop {
        match tokio_postgres::connect(&url, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return client;
            }
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[track_caller]
fn in_time(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends the other sessions of Tributary.
const CUT: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tributary'";

impl Rig for PrimaryRig {
    fn connect(&self) -> Box<dyn Log> {
        Box::new(log_at(&self.0, 0, true))
    }

    fn cut(&self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        run(&runtime, &self.0, &[CUT]);
    }

    fn kill(&self) {
        self.0.kill();
        self.0.start();
    }
}

struct PrimaryRig(Engine);

#[test]
fn postgresql_keeps_the_contract() {
    let Some(primary) = Primary::start(true) else {
        return;
    };
    let rig = PrimaryRig(primary.engine);
    contract::pass(&rig);
    streams_are_apart(&rig);
}

#[test]
fn a_node_over_postgresql_agrees_with_the_model() {
    if let Some(primary) = Primary::start(true) {
        let connect = move || -> Box<dyn Log> { Box::new(primary.log(0)) };
        lockstep::check(connect, 7, 200);
    }
}

#[test]
fn nodes_over_postgresql_pay_once_whoever_leads() {
    if let Some(primary) = Primary::start(true) {
        members::play(&PrimaryRig(primary.engine));
    }
}

fn streams_are_apart(rig: &PrimaryRig) {
    let mut other = log_at(&rig.0, 1, true);
    begin(&mut other);
    assert_eq!(other.append(0, b"first", PATIENCE), Appended::At(0));
    assert_eq!(read_all(&mut other, 0), [b"first"]);
}

#[test]
fn a_server_that_may_lose_entries_is_refused() {
    let Some(primary) = Primary::start(false) else {
        return;
    };
    let check = |part: &str| match primary.log(0).session() {
        Err(LogError::Unfit(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    };
    check("synchronous_standby_names");
    let mut log = log_at(&primary.engine, 0, true);
    begin(&mut log);
    primary.run(&["ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"]);
    // A session that is open hears of it, too.
    in_time("fsync = off is told", || match log.check_settings() {
        Err(LogError::Unfit(why)) => why.contains("fsync = off"),
        _ => false,
    });
    primary.run(&["ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()"]);
    in_time("it is fit again", || log.check_settings().is_ok());
    primary.run(&["DROP TABLE tributary_log"]);
    match log_at(&primary.engine, 0, true).session() {
        Err(LogError::Unfit(why)) => assert!(why.contains("cluster init"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// The primary is cut from its standby in the middle of a commit, the wait is cancelled, and the standby promoted.
#[test]
fn an_entry_that_the_standby_does_not_have_is_unknown_and_gone_after_a_failover() {
    let Some(primary) = Primary::start(false) else {
        return;
    };
    let standby = Engine::find("postgresql").expect("it was found before");
    let port = primary.engine.address().port().to_string();
    std::fs::write(standby.folder().join("follow"), port).expect("there is room");
    standby.start();
    primary.run(&[
        "ALTER SYSTEM SET synchronous_standby_names = 'standby'",
        "SELECT pg_reload_conf()",
    ]);
    let mut log = primary.log(0);
    in_time("it is fit", || log.session().is_ok());
    in_time("the standby follows", || {
        log.session().is_ok() && log.append(0, b"both", Duration::from_secs(5)) != Appended::Unknown
    });
    begin(&mut log);
    let mut reader = primary.log(0);
    begin(&mut reader);
    assert_eq!(read_all(&mut reader, 0), [b"both"]);
    // A standby is never read.
    match log_at(&standby, 0, true).session() {
        Err(LogError::Disconnected(why)) => assert!(why.contains("standby"), "{why}"),
        other => panic!("{other:?}"),
    }
    // Of several hosts the primary is used, also behind one that takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let hosts = [
        silent.local_addr().expect("it is bound"),
        standby.address(),
        primary.engine.address(),
    ];
    let mut one_of = log_at_one_of(&hosts, 0, false);
    begin(&mut one_of);
    assert_eq!(read_all(&mut one_of, 0), [b"both"]);

    standby.kill();
    let mut kept = primary.log(0);
    let session = begin(&mut kept);
    std::thread::scope(|scope| {
        // The connection is kept, the wait cancelled.
        let appending = scope.spawn(|| kept.append(1, b"unconfirmed", PATIENCE));
        cancel_wait(&primary, "pg_cancel_backend");
        assert_eq!(appending.join().expect("no panic"), Appended::Unknown);
    });
    assert_eq!(begin(&mut kept), session, "the connection was kept");
    // Being readable proves nothing.
    assert_eq!(read_all(&mut reader, 0), [&b"both"[..], b"unconfirmed"]);
    std::thread::scope(|scope| {
        // The connection is dropped.
        let appending = scope.spawn(|| log.append(2, b"dropped", PATIENCE));
        cancel_wait(&primary, "pg_terminate_backend");
        assert_eq!(appending.join().expect("no panic"), Appended::Unknown);
    });

    primary.engine.kill();
    standby.start();
    run(&primary.runtime, &standby, &["SELECT pg_promote(true, 60)"]);
    let mut reader = log_at(&standby, 0, true);
    begin(&mut reader);
    assert_eq!(read_all(&mut reader, 0), [b"both"]);
    assert_eq!(reader.append(1, b"other", PATIENCE), Appended::At(1));
    let lost = one_of.read(1, 1 << 20, Duration::ZERO, &mut Vec::new());
    assert!(matches!(lost, Err(LogError::Disconnected(_))), "{lost:?}");
    one_of = log_at_one_of(&hosts, 0, true);
    begin(&mut one_of);
    assert_eq!(read_all(&mut one_of, 0), [&b"both"[..], b"other"]);
}

/// Ends the wait of a session for the standby, as soon as there is one.
fn cancel_wait(primary: &Primary, how: &str) {
    let cancel = format!(
        "SELECT {how}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'tributary'"
    );
    primary.runtime.block_on(async {
        let client = admin(&primary.engine).await;
        let begun = Instant::now();
        while client
            .query(&cancel, &[])
            .await
            .expect("an administrator")
            .is_empty()
        {
            assert!(begun.elapsed() < PATIENCE, "nobody waits for the standby");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}
