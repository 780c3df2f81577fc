//! What streams have to submit now: results that wait, and what is told of streams that stopped or pause themselves.

use std::sync::{Arc, Mutex};

use tributary_api::caller::{Caller, acting_as};
use tributary_api::settings::automation::paused_stream;
use tributary_api::streaming::DeadLetters;
use tributary_engine::{BriefReply, Reader, lock};
use tributary_ledger::{Command, Key, OwnerId, SettingId};

use super::action::{self, Acting, Step};
use super::publish;
use super::runner::{Outcome, Runner, Settled, Waiting};
use super::slot::{Slot, Version};

/// Commands that are submitted together.
pub(super) const COMMANDS_AT_ONCE: usize = 100;

/// A command of a stream, and what it is about.
pub(super) struct Asked {
    pub(super) slot: Arc<Mutex<Slot>>,
    version: u64,
    about: About,
    pub(super) command: Command,
}

/// What a command is about.
enum About {
    /// A result, and what becomes of it if the ledger accepts the command.
    Result(Settled),
    /// That the stream stopped.
    Stopped,
    /// That the stream pauses itself.
    Paused,
}

/// Dead letters that are to be delivered again for a result.
struct Requeue {
    slot: Arc<Mutex<Slot>>,
    version: u64,
    waiting: Waiting,
    caller: Caller,
    subscription: SettingId,
}

/// What is to be submitted.
struct Due<'a> {
    reader: &'a Reader,
    /// Nanoseconds since the Unix epoch.
    now: u64,
    asked: Vec<Asked>,
    requeues: Vec<Requeue>,
}

/// Returns what is to be submitted at `now`, nanoseconds since the Unix epoch. Blocks while dead letters are put back.
pub(super) fn due(
    reader: &Reader,
    slots: &[Arc<Mutex<Slot>>],
    now: u64,
    dead_letters: Option<&dyn DeadLetters>,
) -> Vec<Asked> {
    let mut due = Due {
        reader,
        now,
        asked: Vec::new(),
        requeues: Vec::new(),
    };
    for shared in slots {
        let mut slot = lock(shared);
        if !slot.is_paused {
            due.ask(shared, &mut slot);
        }
    }
    // No stream is locked meanwhile: payments look at figures of streams.
    for requeue in std::mem::take(&mut due.requeues) {
        let done = action::requeue(dead_letters, &requeue.caller, requeue.subscription);
        due.tell(requeue, done);
    }
    due.asked
}

impl Due<'_> {
    /// Adds what a stream has to submit.
    fn ask(&mut self, shared: &Arc<Mutex<Slot>>, slot: &mut Slot) {
        let second = self.now / 1_000_000_000;
        if slot.published.0 != second {
            slot.published = (second, 0);
        }
        slot.fault = None;
        let is_live = slot.versions.last().is_some_and(|newest| newest.is_live);
        let mut actions = slot.actions_at(self.now);
        let mut is_changing = false;
        for version in &mut slot.versions {
            let is_live = is_live || version.is_live;
            let runner = &version.runner;
            if let Some((position, why)) = &runner.stopped
                && !version.is_told
                && let Ok(command) = publish::stopped(runner, *position, why)
            {
                self.add(shared, runner, About::Stopped, command);
            }
            let Some(acts_as) = runner.terms.acts_as() else {
                continue;
            };
            // What was published before a restart is in the journal.
            if runner.waiting().is_empty() || !is_live {
                continue;
            }
            let caller: Caller = match acting_as(self.reader, acts_as) {
                Ok(caller) => caller,
                Err(error) => {
                    let what = match &runner.terms.act {
                        Some(_) => "nothing is done",
                        None => "nothing is published",
                    };
                    slot.fault = Some(format!("{what}: {}", error.message()));
                    continue;
                }
            };
            let left = runner
                .ready
                .events_per_second
                .saturating_sub(slot.published.1);
            let room = COMMANDS_AT_ONCE.saturating_sub(self.asked.len());
            let count = room.min(usize::try_from(left).unwrap_or(room));
            let mut too_large = None;
            for waiting in runner.waiting().iter().take(count) {
                let act = runner.terms.act.as_ref().filter(|_| !waiting.is_late);
                let Some(act) = act else {
                    match publish::event_of(slot.id, runner, waiting, &caller) {
                        Ok(command) => {
                            let about = About::Result(settled(slot.id, waiting, Outcome::Done));
                            self.add(shared, runner, about, command);
                        }
                        Err(why) => {
                            too_large = Some(why);
                            break;
                        }
                    }
                    slot.published.1 += 1;
                    continue;
                };
                if actions >= runner.ready.actions_per_minute {
                    self.pause(shared, slot.id, runner);
                    break;
                }
                // Changes of one setting would overtake each other.
                if std::mem::replace(&mut is_changing, action::is_of_setting(act)) {
                    break;
                }
                actions += 1;
                slot.published.1 += 1;
                let acting = Acting {
                    reader: self.reader,
                    stream: slot.id,
                    runner,
                    act,
                    waiting,
                    caller: &caller,
                };
                self.act(shared, &acting);
            }
            if let Some(why) = too_large {
                let position = version.runner.position;
                version.runner.stop(position, why);
            }
        }
    }

    /// Adds what is to be done for a result.
    fn act(&mut self, slot: &Arc<Mutex<Slot>>, acting: &Acting<'_>) {
        let (runner, waiting) = (acting.runner, acting.waiting);
        let (body, outcome) = match acting.step(self.now) {
            Step::Submit(body) => (body, Outcome::Done),
            Step::Refuse(why) => (acting.told(Err(&why)), Outcome::Refused(why)),
            Step::Requeue(subscription) => {
                if self.is_on_record(waiting) {
                    return;
                }
                self.requeues.push(Requeue {
                    slot: slot.clone(),
                    version: runner.terms.version,
                    waiting: waiting.clone(),
                    caller: *acting.caller,
                    subscription,
                });
                return;
            }
        };
        let about = About::Result(settled(acting.stream, waiting, outcome));
        let command = publish::command_of(acting.stream, runner, waiting, acting.caller, body);
        self.add(slot, runner, about, command);
    }

    /// Whether it is on record what was done for a result that the stream has not come to yet: another node did it, before it ceased to
    /// lead.
    fn is_on_record(&self, waiting: &Waiting) -> bool {
        let key = Key::from_bytes(&publish::key_of(waiting)).expect("it is short");
        self.reader
            .key_used(OwnerId::PLATFORM, &key)
            .unwrap_or(true)
    }

    fn add(&mut self, slot: &Arc<Mutex<Slot>>, runner: &Runner, about: About, command: Command) {
        self.asked.push(Asked {
            slot: slot.clone(),
            version: runner.terms.version,
            about,
            command,
        });
    }

    /// Pauses a stream that would do more than it may.
    fn pause(&mut self, slot: &Arc<Mutex<Slot>>, id: SettingId, runner: &Runner) {
        let Some(setting) = self.reader.setting(id) else {
            return;
        };
        let max = runner.ready.actions_per_minute;
        let why = format!(
            "more than {max} actions in a minute (bounds.actions_per_minute): see what it did, then resume or change it"
        );
        match paused_stream(&setting, why.clone()) {
            Ok(Some(body)) => {
                tracing::error!(stream = runner.name(), why, "a stream pauses itself");
                for command in publish::paused(runner, &setting, body, &why) {
                    self.add(slot, runner, About::Paused, command);
                }
            }
            // It is paused already.
            Ok(None) => {}
            Err(error) => {
                let cause = error.message();
                tracing::error!(stream = runner.name(), %cause, "a stream can't pause itself");
            }
        }
    }

    /// Tells what became of dead letters that were to be delivered again.
    fn tell(&mut self, requeue: Requeue, done: Result<Result<u64, String>, String>) {
        let mut slot = lock(&requeue.slot);
        let done = match done {
            Ok(done) => done,
            Err(why) => {
                slot.fault = Some(format!("nothing is done: {why}"));
                return;
            }
        };
        let of_number = |one: &&Version| one.runner.terms.version == requeue.version;
        let Some(version) = slot.versions.iter().find(of_number) else {
            return;
        };
        let runner = &version.runner;
        let Some(act) = &runner.terms.act else {
            return;
        };
        let (waiting, caller) = (&requeue.waiting, &requeue.caller);
        let acting = Acting {
            reader: self.reader,
            stream: slot.id,
            runner,
            act,
            waiting,
            caller,
        };
        let body = acting.told(done.as_ref().map(|count| *count).map_err(String::as_str));
        let outcome = done.map_or_else(Outcome::Refused, |_| Outcome::Done);
        let about = About::Result(settled(slot.id, waiting, outcome));
        let command = publish::command_of(slot.id, runner, waiting, caller, body);
        self.add(&requeue.slot, runner, about, command);
    }
}

fn settled(stream: SettingId, waiting: &Waiting, outcome: Outcome) -> Settled {
    Settled {
        stream,
        id: waiting.id,
        attempt: waiting.attempt,
        outcome,
    }
}

impl Asked {
    /// Takes the reply to the command, which came at `now`, nanoseconds since the Unix epoch.
    pub(super) fn settle(self, reply: BriefReply, now: u64) {
        let mut slot = lock(&self.slot);
        let versions = &mut slot.versions;
        let version = versions
            .iter_mut()
            .find(|one| one.runner.terms.version == self.version);
        let Some(version) = version else { return };
        match (self.about, reply) {
            (
                About::Paused,
                BriefReply::Done {
                    rejection: Some(cause),
                    ..
                },
            ) => {
                let stream = version.runner.name();
                tracing::error!(stream, %cause, "a stream can't pause itself");
            }
            (About::Paused, _) => {}
            (About::Stopped, _) => version.is_told = true,
            (About::Result(mut settled), BriefReply::Done { rejection, .. }) => {
                if rejection.is_some() {
                    settled.outcome = publish::outcome_of(rejection);
                }
                version.runner.settle(&settled, now);
            }
            (About::Result(_), BriefReply::KeyConflict { position }) => {
                let at = version.runner.position;
                // Another node did it in another way, and the stream has not come to that record yet.
                if position > at && version.runner.terms.act.is_some() {
                    return;
                }
                let why = format!(
                    "the record at {position} published another result under the same id; report this as a fault of the program"
                );
                version.runner.stop(at, why);
            }
            (About::Result(_), BriefReply::GroupKeyConflict | BriefReply::NotQueued(_)) => {}
        }
    }
}
