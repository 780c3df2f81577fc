//! One source of a binding: takes in messages, has them decided, and acknowledges what is durable.
//!
//! All bindings share few threads. Whatever reads the journal may wait for the disk, so it runs in [`block_in_place`]: the other
//! bindings go on meanwhile.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::Instant;
use tributary_api::brokers::Standing;
use tributary_api::caller::{Caller, acting_as, authenticate};
use tributary_engine::{BriefReply, Engine, NotQueued, Permit, Refused};
use tributary_ledger::codec::Record;
use tributary_ledger::{ApiKeyId, Command};

use super::back_off::BackOff;
use super::dead_letter::dead_letter;
use super::order::{Order, Orders, Undecidable};
use super::outlet::Outlet;
use super::reply::{self, Outcome};
use crate::counters::{Counters, InHand, Part, Tally};
use crate::port::{Binding, Message, Outgoing, Refusal, SendError, Source, Trouble};

/// Messages that go to the ledger as one request: as many as have come already, at most so many.
const BATCH_MAX: usize = 256;
/// At least so many batches share the prefetch, so that some are read and others acknowledged while one waits for the disk.
const BATCHES_MIN: usize = 4;
/// Bytes of messages that go to the ledger as one request.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// How long a binding that stops waits for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How often a paused binding looks whether it may work.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often the broker is asked how many messages wait.
const BACKLOG_EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer: no message is received meanwhile.
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);

/// What all sources of a binding share.
pub(super) struct Inbound {
    pub(super) engine: Engine,
    pub(super) orders: Orders,
    pub(super) binding: Binding,
    pub(super) acts_as: ApiKeyId,
    pub(super) outlet: Arc<Outlet>,
    pub(super) counters: Arc<Counters>,
    pub(super) permit: Arc<dyn Permit>,
    pub(super) back_off: BackOff,
    /// How often a message is tried whose fault may pass.
    pub(super) attempts_max: u32,
    /// When one of the sources asked last how many messages wait.
    pub(super) asked_backlog: Mutex<Option<Instant>>,
}

/// Why a source is used no longer.
enum End {
    Stop,
    Lost(Trouble),
    Pause(String),
}

/// What became of a batch.
#[derive(Default)]
struct Settled {
    /// Messages to acknowledge.
    tokens: Vec<u64>,
    /// Messages to give back to their senders.
    refused: Vec<(u64, Refusal)>,
    tally: Tally,
    /// Why the others can't be decided now.
    pause: Option<String>,
}

type Answer = Pin<Box<dyn Future<Output = Answered> + Send>>;
type Answered = std::result::Result<Vec<BriefReply>, Refused>;

impl Settled {
    /// Number of messages that were done with.
    fn count(&self) -> usize {
        self.tokens.len() + self.refused.len()
    }
}

/// What is left of a message after it was finished.
enum Finished {
    Done(Tally),
    /// It goes back to its sender.
    Refused(Refusal),
}

/// A batch that is on its way to the ledger.
struct UnderWay {
    batch: Vec<(Message, Reading)>,
    in_hand: InHand,
    /// None if there is no command among them.
    answer: Option<Answer>,
}

/// What a message of a batch is.
enum Reading {
    /// The next command of the batch.
    Command,
    Other(Order),
}

impl Inbound {
    /// Works until `stop` says so.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut waits = self.back_off.clone();
        while !*stop.borrow_and_update() {
            if let Err(why) = self.may_work() {
                let stopped = Standing::Stopped { why };
                self.counters.stand(Part::Receiving, stopped);
                if sleep(&mut stop, LOOK_EVERY).await.is_break() {
                    return;
                }
                continue;
            }
            let binder = self.outlet.binder();
            let opening = self.outlet.adapter().open_source(binder, &self.binding);
            let opened = tokio::select! {
                opened = opening => opened,
                _ = stop.changed() => return,
            };
            let mut source = match opened {
                Ok(source) => source,
                Err(trouble) => {
                    self.tell(&trouble, false);
                    if sleep(&mut stop, waits.next()).await.is_break() {
                        return;
                    }
                    continue;
                }
            };
            self.counters.stand(Part::Receiving, Standing::Running);
            let (end, worked) = self.serve(source.as_mut(), &mut stop).await;
            self.counters.set_lag(None);
            if worked {
                waits = self.back_off.clone();
            }
            match end {
                End::Stop => {
                    source.close().await;
                    return;
                }
                End::Lost(trouble) => {
                    drop(source);
                    self.tell(&trouble, true);
                }
                End::Pause(why) => {
                    source.close().await;
                    tracing::warn!(binding = self.binding.slug, why, "a binding waits");
                    let waiting = Standing::Waiting { kind: None, why };
                    self.counters.stand(Part::Receiving, waiting);
                }
            }
            if sleep(&mut stop, waits.next()).await.is_break() {
                return;
            }
        }
    }

    fn tell(&self, trouble: &Trouble, was_connected: bool) {
        let (binding, kind) = (&self.binding.slug, trouble.kind.as_str());
        tracing::warn!(
            binding,
            kind,
            why = trouble.text,
            "a binding lost its broker"
        );
        self.counters
            .trouble(Part::Receiving, trouble, was_connected);
    }

    /// Whether messages may be taken in now.
    fn may_work(&self) -> Result<Caller, String> {
        if !self.permit.is_granted() {
            return Err("another node works".to_owned());
        }
        acting_as(&self.orders.reader, self.acts_as)
            .map_err(|error| format!("acts_as: {}", error.message()))
    }

    /// Takes in messages. Returns why it ended, and whether a message was done with.
    async fn serve(
        self: &Arc<Self>,
        source: &mut dyn Source,
        stop: &mut watch::Receiver<bool>,
    ) -> (End, bool) {
        let prefetch = usize::from(self.binding.prefetch);
        let mut under_way: JoinSet<Settled> = JoinSet::new();
        let (mut held, mut worked) = (0, false);
        // A key may be revoked while nothing comes.
        let mut look = tokio::time::interval(LOOK_EVERY);
        let end = loop {
            tokio::select! {
                biased;
                _ = stop.changed() => break End::Stop,
                _ = look.tick() => {
                    if let Err(why) = self.may_work() {
                        break End::Pause(why);
                    }
                    if self.is_backlog_due() {
                        let backlog = tokio::time::timeout(BACKLOG_TIMEOUT, source.backlog()).await;
                        self.counters.set_lag(backlog.unwrap_or(None));
                    }
                }
                Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                    let settled = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                    held -= settled.count();
                    worked |= settled.count() > 0;
                    if let Err(trouble) = acknowledge(source, &settled).await {
                        return (End::Lost(trouble), worked);
                    }
                    if let Some(why) = settled.pause {
                        break End::Pause(why);
                    }
                }
                received = source.receive(), if held < prefetch => {
                    let first = match received {
                        Ok(message) => message,
                        Err(trouble) => return (End::Lost(trouble), worked),
                    };
                    let room = (prefetch - held).min(prefetch.div_ceil(BATCHES_MIN));
                    let batch = drain(source, first, room);
                    held += batch.len();
                    let caller = match self.may_work() {
                        Ok(caller) => caller,
                        Err(why) => break End::Pause(why),
                    };
                    let prepared = block_in_place(|| self.prepare(&caller, batch));
                    let inbound = self.clone();
                    under_way.spawn(async move { inbound.settle(caller, prepared).await });
                }
            }
        };
        // What is under way becomes durable whatever happens: acknowledged now, it does not come again.
        let draining = async {
            while let Some(done) = under_way.join_next().await {
                if let Ok(settled) = done
                    && acknowledge(source, &settled).await.is_err()
                {
                    break;
                }
            }
        };
        let _late = tokio::time::timeout(DRAIN_MAX, draining).await;
        (end, worked)
    }

    /// Whether a source must ask how many messages wait. Of all sources, one does.
    fn is_backlog_due(&self) -> bool {
        let asked = self.asked_backlog.lock();
        let mut asked = asked.unwrap_or_else(PoisonError::into_inner);
        let is_due = asked.is_none_or(|asked| asked.elapsed() >= BACKLOG_EVERY);
        if is_due {
            *asked = Some(Instant::now());
        }
        is_due
    }

    /// Reads the messages of a batch and hands their commands to the ledger at once, so that they are decided in the order in which
    /// they came. What messages name is looked for in the journal, which may wait for the disk.
    fn prepare(&self, caller: &Caller, messages: Vec<Message>) -> UnderWay {
        let clock = self.engine.clock();
        let redelivered = messages.iter().filter(|message| message.redelivered);
        let in_hand = self
            .counters
            .take(messages.len(), redelivered.count(), &*clock);
        let mut commands = Vec::with_capacity(messages.len());
        let mut batch = Vec::with_capacity(messages.len());
        for message in messages {
            let reading = match self.read(caller, &message) {
                Order::Command(command) => {
                    commands.push(*command);
                    Reading::Command
                }
                other => Reading::Other(other),
            };
            batch.push((message, reading));
        }
        UnderWay {
            batch,
            in_hand,
            answer: (!commands.is_empty()).then(|| self.submit(commands)),
        }
    }

    fn read(&self, caller: &Caller, message: &Message) -> Order {
        // Where no broker stands between, the sender says who it is.
        if let Some(key) = &message.api_key {
            let authorization = format!("Bearer {}", key.expose());
            let sender = authenticate(&self.orders.reader, None, Some(&authorization), || {
                self.engine.now()
            });
            if !sender.is_ok_and(|sender| sender.actor == caller.actor) {
                let text = "The API key is not the one that the binding acts as.";
                return Order::Undecidable(Undecidable::new("api_key_invalid", text));
            }
        }
        self.orders.read(caller, message)
    }

    /// Hands commands to the ledger before it returns.
    fn submit(&self, commands: Vec<Command>) -> Answer {
        let engine = self.engine.clone();
        let mut answer: Answer = Box::pin(async move { engine.submit(commands).await });
        // A future does nothing before it is polled.
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answered) => Box::pin(std::future::ready(answered)),
            Poll::Pending => answer,
        }
    }

    /// Waits for what becomes of a batch, and does what follows from it.
    async fn settle(&self, caller: Caller, under_way: UnderWay) -> Settled {
        let mut settled = Settled::default();
        let answered = match under_way.answer {
            Some(answer) => answer.await,
            None => Ok(Vec::new()),
        };
        let too_large = matches!(answered, Err(Refused::TooLarge));
        let mut answers = match answered {
            Ok(answers) => Some(answers.into_iter()),
            Err(Refused::TooLarge) => None,
            Err(refused) => {
                settled.pause = Some(refused.to_string());
                None
            }
        };
        for (message, reading) in under_way.batch {
            let order = match (reading, &mut answers) {
                (Reading::Other(order), _) => Ok(order),
                (Reading::Command, Some(answers)) => {
                    let answer = answers.next().expect("the ledger answers every command");
                    match self.decided(&message, answer) {
                        Ok(Some(order)) => Ok(order),
                        Ok(None) => {
                            settled.tally.decided += 1;
                            settled.tokens.push(message.token);
                            continue;
                        }
                        Err(why) => Err(why),
                    }
                }
                (Reading::Command, None) if too_large => Ok(self.alone(&caller, &message).await),
                (Reading::Command, None) => continue,
            };
            let order = match order {
                Ok(order) => self.try_again(&caller, &message, order).await,
                Err(why) => Order::NotNow(why),
            };
            match self.finish(&message, order).await {
                Ok(Finished::Refused(refusal)) => {
                    settled.refused.push((message.token, refusal));
                    settled.tally.dead_letters += 1;
                }
                Ok(Finished::Done(tally)) => {
                    settled.tokens.push(message.token);
                    settled.tally.decided += tally.decided;
                    settled.tally.repeated += tally.repeated;
                    settled.tally.left_out += tally.left_out;
                    settled.tally.dead_letters += tally.dead_letters;
                }
                Err(why) => {
                    settled.pause.get_or_insert(why);
                }
            }
        }
        let clock = self.engine.clock();
        under_way.in_hand.settle(settled.tally, &*clock);
        settled
    }

    /// What follows from the ledger's answer: nothing for a decision made now.
    fn decided(&self, message: &Message, answer: BriefReply) -> Result<Option<Order>, String> {
        match answer {
            BriefReply::Done {
                replayed: false, ..
            } => Ok(None),
            BriefReply::Done { position, .. } | BriefReply::KeyConflict { position } => {
                let record = block_in_place(|| self.orders.reader.record(position));
                let record = record.map_err(|failure| failure.to_string())?;
                let record = record.ok_or("a record is missing")?;
                Ok(Some(self.orders.decided(message, record)))
            }
            BriefReply::NotQueued(why) => Err(not_queued(why).to_owned()),
            BriefReply::GroupKeyConflict => Err("a group was answered".to_owned()),
        }
    }

    /// Has one message decided by itself.
    async fn alone(&self, caller: &Caller, message: &Message) -> Order {
        let command = match block_in_place(|| self.read(caller, message)) {
            Order::Command(command) => command,
            other => return other,
        };
        match self.submit(vec![*command]).await {
            Ok(answers) => {
                let answer = answers.into_iter().next();
                let answer = answer.expect("the ledger answers every command");
                match self.decided(message, answer) {
                    Ok(Some(order)) => order,
                    Ok(None) => Order::DecidedNow,
                    Err(why) => Order::NotNow(why),
                }
            }
            Err(Refused::TooLarge) => {
                let text = "The command is larger than the ledger takes.";
                Order::Undecidable(Undecidable::new("body_too_large", text))
            }
            Err(refused) => Order::NotNow(refused.to_string()),
        }
    }

    /// Tries a message again whose fault may pass: what it names may come. Others overtake it.
    async fn try_again(&self, caller: &Caller, message: &Message, mut order: Order) -> Order {
        let mut waits = self.back_off.clone();
        for _ in 1..self.attempts_max {
            match &order {
                Order::Undecidable(why) if why.may_pass => {}
                _ => return order,
            }
            tokio::time::sleep(waits.next()).await;
            order = self.alone(caller, message).await;
        }
        order
    }

    /// Does what is left to do about a message that this batch did not decide.
    async fn finish(&self, message: &Message, order: Order) -> Result<Finished, String> {
        match order {
            Order::Command(_) => unreachable!("commands went to the ledger"),
            Order::NotNow(why) => Err(why),
            Order::Decided(record) => {
                self.reply_again(message, &record).await?;
                Ok(Finished::Done(Tally {
                    repeated: 1,
                    ..Tally::default()
                }))
            }
            Order::DecidedNow => Ok(Finished::Done(Tally {
                decided: 1,
                ..Tally::default()
            })),
            Order::LeftOut => Ok(Finished::Done(Tally {
                left_out: 1,
                ..Tally::default()
            })),
            Order::Undecidable(why) => {
                let adapter = self.outlet.adapter();
                if adapter.refuses() {
                    let Undecidable { code, message, .. } = why;
                    tracing::debug!(
                        binding = self.binding.slug,
                        code,
                        why = message,
                        "a message goes back to its sender"
                    );
                    return Ok(Finished::Refused(Refusal { code, message }));
                }
                let letter = dead_letter(&**adapter, &self.binding, message, &why);
                let sent = self.outlet.send(&letter).await;
                sent.map_err(|error| format!("the dead letter was not taken: {error}"))?;
                let (binding, code) = (&self.binding.slug, &why.code);
                tracing::warn!(
                    binding,
                    code,
                    why = why.message,
                    "a message is a dead letter"
                );
                Ok(Finished::Done(Tally {
                    dead_letters: 1,
                    ..Tally::default()
                }))
            }
        }
    }

    /// Answers the sender of a message that was decided before: it may have missed the first reply.
    async fn reply_again(&self, message: &Message, record: &Record) -> Result<(), String> {
        let Some(reply) = block_in_place(|| self.reply_to_repeated(message, record))? else {
            return Ok(());
        };
        match self.outlet.send(&reply).await {
            Ok(()) => Ok(()),
            // Whoever asked has gone, and the first reply was its own delivery.
            Err(SendError::Refused(trouble) | SendError::Absent(trouble)) => {
                tracing::info!(
                    binding = self.binding.slug,
                    why = trouble.text,
                    "a repeated reply was not taken"
                );
                Ok(())
            }
            Err(SendError::Disconnected(trouble)) => Err(trouble.text),
        }
    }

    /// Returns the reply to a message that was decided before; none if it wants none, or there is no result yet.
    fn reply_to_repeated(
        &self,
        message: &Message,
        record: &Record,
    ) -> Result<Option<Outgoing>, String> {
        let Some(origin) = &record.command.origin else {
            return Ok(None);
        };
        let Ok(Some(address)) = self.orders.reply_address(message) else {
            return Ok(None);
        };
        let reader = &self.orders.reader;
        let found = reply::result_of(reader, record).map_err(|failure| failure.to_string())?;
        let Outcome::At(position) = found else {
            return Ok(None);
        };
        let adapter = self.outlet.adapter();
        let content_type = self.orders.terms.reply.content_type.as_deref();
        let reply = reply::reply(reader, &**adapter, &address, origin, position, content_type)?;
        Ok(Some(reply))
    }
}

/// Takes what has come already, after `first`, without waiting.
fn drain(source: &mut dyn Source, first: Message, room: usize) -> Vec<Message> {
    let mut bytes = first.body.len();
    let mut batch = vec![first];
    while batch.len() < room.min(BATCH_MAX) && bytes < BATCH_BYTES_MAX {
        let mut receiving = source.receive();
        let mut context = Context::from_waker(Waker::noop());
        match receiving.as_mut().poll(&mut context) {
            Poll::Ready(Ok(message)) => {
                bytes += message.body.len();
                batch.push(message);
            }
            // The next call tells what is wrong.
            Poll::Ready(Err(_)) | Poll::Pending => break,
        }
    }
    batch
}

async fn acknowledge(source: &mut dyn Source, settled: &Settled) -> Result<(), Trouble> {
    source.acknowledge_all(&settled.tokens).await?;
    for (token, refusal) in &settled.refused {
        source.refuse(*token, refusal).await?;
    }
    Ok(())
}

/// Waits. Breaks if there is something else to do.
pub(super) async fn sleep(stop: &mut watch::Receiver<bool>, time: Duration) -> ControlFlow<()> {
    tokio::select! {
        () = tokio::time::sleep(time) => ControlFlow::Continue(()),
        _ = stop.changed() => ControlFlow::Break(()),
    }
}

fn not_queued(why: NotQueued) -> &'static str {
    match why {
        NotQueued::Full => "the payment queue is full",
        NotQueued::ShareFull => "this owner's share of the payment queue is full",
        NotQueued::Draining => "the payment queue is draining",
        NotQueued::GroupTooLarge => "the group is too large",
    }
}
