//! Publishes what was found, as events of the system that only the platform sees.

use std::time::Duration;

use serde_json::{Value, json};
use tributary_api::time::format_timestamp;
use tributary_engine::{BriefReply, Engine, Ids, Refused, lock};
use tributary_ledger::{Actor, Body, Command, Data, Key, Publish, Topic};

use crate::guard::reports::Report;
use crate::guard::signal::named;
use crate::guard::state::{Guard, Subject};

/// How often it is looked whether a minute or a block is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// First bytes of the keys of these events. Keys that begin with a zero byte are reserved: no caller can use one.
const REPORT_KEY: &[u8] = b"\0security:";

/// Logs and publishes the reports of a guard, for ever. `leads` says whether this node may append; on one that may not, reports are in its
/// log only. `node` is its name in a cluster.
pub(crate) async fn publish_reports(
    guard: &Guard,
    engine: &Engine,
    node: Option<&str>,
    leads: impl Fn() -> bool,
) {
    let reader = engine.reader();
    let mut keys = ReportKeys::new();
    loop {
        guard.sweep();
        let Some(report) = lock(&guard.reports).next(guard.clock.running()) else {
            let _elapsed = tokio::time::timeout(LOOK_EVERY, guard.reported.notified()).await;
            continue;
        };
        let (topic, data) = describe(&report, guard, reader.ids(), node);
        tracing::warn!(%data, "{topic}: too many requests went wrong; docs/abuse.md says what to do");
        if leads() {
            publish(engine, command(topic, &data, keys.next()), &leads).await;
        }
    }
}

/// Submits a command until the engine takes it: under the same key, so that it makes one event.
async fn publish(engine: &Engine, command: Command, leads: impl Fn() -> bool) {
    while leads() {
        match engine.submit(vec![command.clone()]).await {
            Ok(replies) => {
                let rejected = replies.iter().find_map(|reply| match reply {
                    BriefReply::Done { rejection, .. } => *rejection,
                    _ => None,
                });
                if let Some(rejection) = rejected {
                    tracing::error!(
                        code = rejection.code(),
                        "the ledger refused an event about abuse"
                    );
                }
                return;
            }
            Err(Refused::Stopping | Refused::TooLarge) => return,
            Err(_for_now) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Makes idempotency keys: a random number for the process, and a count.
struct ReportKeys {
    process: [u8; 8],
    count: u64,
}

impl ReportKeys {
    fn new() -> ReportKeys {
        let mut process = [0; 8];
        getrandom::fill(&mut process).expect("the operating system gives random bytes");
        ReportKeys { process, count: 0 }
    }

    fn next(&mut self) -> Key {
        self.count += 1;
        let key = [REPORT_KEY, &self.process, &self.count.to_le_bytes()].concat();
        Key::from_bytes(&key).expect("it is short")
    }
}

/// Returns the type and the data of the event of a report.
fn describe(
    report: &Report<Subject>,
    guard: &Guard,
    ids: &Ids,
    node: Option<&str>,
) -> (&'static str, Value) {
    let (subject, finding) = match report {
        Report::Of(subject, finding) => (*subject, finding),
        Report::Others(others) => {
            let data = json!({
                "findings": others.findings,
                "blocks": others.blocks,
                "signals": named(&others.counts),
                "node": node,
            });
            return ("security.others", data);
        }
    };
    let topic = match finding.until {
        Some(_) => "security.blocked",
        None => "security.suspected",
    };
    let (kind, id) = subject.describe(ids);
    let until = finding.until;
    let data = json!({
        "kind": kind,
        "id": id,
        "reason": finding.reason.name(),
        "signals": named(&finding.counts),
        "until": until.map(|until| format_timestamp(guard.ledger_time(until))),
        "node": node,
    });
    (topic, data)
}

fn command(topic: &str, data: &Value, key: Key) -> Command {
    let data = data.to_string();
    Command {
        key,
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body: Body::Publish(Publish {
            topic: Topic::new(topic).expect("it is one of the system"),
            key: None,
            data: Data::new(Data::PLAIN, data.as_bytes()).expect("it is small"),
        }),
    }
}
