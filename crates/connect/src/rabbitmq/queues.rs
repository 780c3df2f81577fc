//! The queue of a binding and that of its dead letters: whether they are there, whether they lose messages, and how they are made.
//!
//! AMQP 0-9-1 has no question for a queue's arguments. But a declaration with other arguments than the queue has is refused, and
//! RabbitMQ names the first one that differs with its value. So a queue is declared again and again, each time with the argument
//! that was named, until nothing differs. Policies can't be seen so.

use lapin::Queue;
use lapin::options::QueueDeclareOptions;
use lapin::protocol::AMQPSoftError;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::link::{self, Link};
use crate::port::{Trouble, TroubleKind};

/// Maximum number of arguments that a queue is asked for.
const ARGUMENTS_MAX: usize = 24;

const TYPE: &str = "x-queue-type";
const OVERFLOW: &str = "x-overflow";
const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
const DEAD_LETTER_KEY: &str = "x-dead-letter-routing-key";
const DEAD_LETTER_STRATEGY: &str = "x-dead-letter-strategy";
const DELIVERY_LIMIT: &str = "x-delivery-limit";
/// First version that drops a message of a quorum queue after 20 deliveries, unless the queue's limit is -1.
const VERSION_WITH_LIMIT: u32 = 4;
const LENGTHS: [&str; 2] = ["x-max-length", "x-max-length-bytes"];
const EXPIRIES: [&str; 2] = ["x-message-ttl", "x-expires"];

/// Fails unless the queues are there and, as far as it can be seen, lose no messages. The second one holds dead letters.
pub(super) async fn check(link: &Link, queues: &[String; 2]) -> Result<(), Trouble> {
    for queue in queues {
        if !exists(link, queue).await? {
            let text = format!(
                "the queue {queue} does not exist at {}: create it, or set declare to create",
                link.place()
            );
            return Err(Trouble::new(TroubleKind::DestinationMissing, text));
        }
        check_arguments(link, queue).await?;
    }
    Ok(())
}

/// Makes those of the queues that are missing. The second one takes what the broker gives up of the first one.
pub(super) async fn create(link: &Link, queues: &[String; 2]) -> Result<(), Trouble> {
    let [queue, dead_letters] = queues;
    let quorum = || with(FieldTable::default(), TYPE, "quorum");
    if !exists(link, dead_letters).await? {
        declare_new(link, dead_letters, quorum()).await?;
    }
    if !exists(link, queue).await? {
        let arguments = with(quorum(), DEAD_LETTER_EXCHANGE, "");
        let arguments = with(arguments, DEAD_LETTER_KEY, dead_letters);
        // Without these two, a dead letter is lost if its queue is away for a moment.
        let arguments = with(arguments, DEAD_LETTER_STRATEGY, "at-least-once");
        let arguments = with(arguments, OVERFLOW, "reject-publish");
        declare_new(link, queue, arguments).await?;
    }
    Ok(())
}

fn with(mut arguments: FieldTable, name: &str, value: &str) -> FieldTable {
    arguments.insert(name.into(), AMQPValue::LongString(value.into()));
    arguments
}

/// Returns the number of messages that a queue holds and that no consumer has.
pub(super) async fn waiting(link: &Link, queue: &str) -> Option<u64> {
    let found = declare(link, queue, passive(), FieldTable::default()).await;
    Some(found.ok()?.ok()?.message_count().into())
}

async fn exists(link: &Link, queue: &str) -> Result<bool, Trouble> {
    match declare(link, queue, passive(), FieldTable::default()).await? {
        Ok(_) => Ok(true),
        Err(error) if link::is_soft(&error, &AMQPSoftError::NOTFOUND) => Ok(false),
        Err(error) => Err(link.trouble(&format!("look for the queue {queue}"), &error)),
    }
}

async fn declare_new(link: &Link, queue: &str, mut arguments: FieldTable) -> Result<(), Trouble> {
    if link.major_version() >= VERSION_WITH_LIMIT {
        arguments.insert(DELIVERY_LIMIT.into(), AMQPValue::LongLongInt(-1));
    }
    declare(link, queue, durable(), arguments)
        .await?
        .map(drop)
        .map_err(|error| link.trouble(&format!("create the queue {queue}"), &error))
}

fn passive() -> QueueDeclareOptions {
    QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    }
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    }
}

/// Declares a queue on a channel of its own, since a refusal closes the channel.
async fn declare(
    link: &Link,
    queue: &str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) -> Result<lapin::Result<Queue>, Trouble> {
    let name = ShortString::try_new(queue).map_err(|error| {
        Trouble::new(TroubleKind::Refused, format!("the queue {queue}: {error}"))
    })?;
    let channel = link.channel().await?;
    link.ask(&format!("declare the queue {queue}"), async {
        Ok(channel.queue_declare(name, options, arguments).await)
    })
    .await
}

/// Fails if the arguments of a queue make it lose messages. A user who may not configure the queue can't see them.
async fn check_arguments(link: &Link, queue: &str) -> Result<(), Trouble> {
    let unfit = |why: String| {
        let text = format!("the queue {queue} at {} {why}", link.place());
        Err(Trouble::new(TroubleKind::DestinationUnfit, text))
    };
    // If the queue were deleted just now, this would make one that loses nothing.
    let mut arguments = with(FieldTable::default(), TYPE, "quorum");
    for _ in 0..ARGUMENTS_MAX {
        let error = match declare(link, queue, durable(), arguments.clone()).await? {
            Ok(_) => {
                return match find_loss(&arguments, link.major_version()) {
                    Some(why) => unfit(why),
                    None => Ok(()),
                };
            }
            Err(error) if link::is_soft(&error, &AMQPSoftError::PRECONDITIONFAILED) => error,
            Err(error) if link::is_soft(&error, &AMQPSoftError::ACCESSREFUSED) => {
                tracing::info!(queue, "this user may not see the arguments of the queue");
                return Ok(());
            }
            Err(error) => return Err(link.trouble(&format!("look at the queue {queue}"), &error)),
        };
        match Difference::parse(&error.to_string()) {
            Some(Difference::Argument(name, Some(value))) => {
                arguments.insert(name, value);
            }
            Some(Difference::Argument(name, None)) => arguments = without(&arguments, &name),
            Some(Difference::Property(name)) => {
                let why = match name.as_str() {
                    "durable" => "is not durable: its messages are lost when RabbitMQ restarts",
                    _ => "is deleted when nobody reads it (auto_delete)",
                };
                return unfit(format!("{why}; delete it and create it anew"));
            }
            // A text that this version of RabbitMQ words differently.
            None => {
                tracing::info!(queue, %error, "the arguments of the queue can't be seen");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn without(arguments: &FieldTable, name: &ShortString) -> FieldTable {
    let mut kept = arguments.inner().clone();
    kept.remove(name);
    FieldTable::from(kept)
}

/// Says how a queue with these arguments loses messages.
fn find_loss(arguments: &FieldTable, major_version: u32) -> Option<String> {
    let text = |name: &str| match arguments.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => String::new(),
    };
    if text(TYPE) == "stream" {
        return Some("is a stream: it forgets no message that was acknowledged".to_owned());
    }
    if let Some(name) = EXPIRIES.iter().find(|name| arguments.contains_key(name)) {
        return Some(format!("has {name}: it loses messages that wait too long"));
    }
    let is_full_silently = !text(OVERFLOW).starts_with("reject-publish");
    if let Some(name) = LENGTHS.iter().find(|name| arguments.contains_key(name))
        && is_full_silently
    {
        return Some(format!(
            "has {name} without {OVERFLOW} reject-publish: it loses its oldest messages when it is full"
        ));
    }
    let has_limit = match arguments.inner().get(DELIVERY_LIMIT) {
        Some(AMQPValue::LongLongInt(limit)) => *limit >= 0,
        _ => major_version >= VERSION_WITH_LIMIT && text(TYPE) == "quorum",
    };
    if has_limit && !arguments.contains_key(DEAD_LETTER_EXCHANGE) {
        return Some(format!(
            "has a limit of deliveries and no {DEAD_LETTER_EXCHANGE}: it loses messages that were delivered too often. \
             Give it that argument, or {DELIVERY_LIMIT} -1; if a policy does so, set declare to none"
        ));
    }
    None
}

/// What RabbitMQ says about a declaration that does not fit the queue.
#[derive(Debug, PartialEq)]
enum Difference {
    /// An argument, and the value that the queue has.
    Argument(ShortString, Option<AMQPValue>),
    /// `durable` or `auto_delete`.
    Property(String),
}

impl Difference {
    /// Reads "inequivalent arg 'NAME' for queue '…' in vhost '…': received … but current is …".
    fn parse(text: &str) -> Option<Difference> {
        let (_, rest) = text.split_once("inequivalent arg '")?;
        let (name, rest) = rest.split_once('\'')?;
        if matches!(name, "durable" | "auto_delete") {
            return Some(Difference::Property(name.to_owned()));
        }
        let name = ShortString::try_new(name).ok()?;
        let (_, current) = rest.rsplit_once(" but current is ")?;
        if current.starts_with("none") {
            return Some(Difference::Argument(name, None));
        }
        // If both have a value, only these are told: so it is with the type of a queue.
        let Some(typed) = current.strip_prefix("the value '") else {
            let text = current.strip_prefix('\'')?.split('\'').next()?;
            return Some(Difference::Argument(
                name,
                Some(AMQPValue::LongString(text.into())),
            ));
        };
        let (value, kind) = typed.rsplit_once("' of type '")?;
        let value = match kind.split('\'').next()? {
            "longstr" => AMQPValue::LongString(value.into()),
            "bool" => AMQPValue::Boolean(value.parse().ok()?),
            _ => AMQPValue::LongLongInt(value.parse().ok()?),
        };
        Some(Difference::Argument(name, Some(value)))
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::Difference;

    #[track_caller]
    fn check(differs: &str, expected: Option<Difference>) {
        let text = format!("protocol error: PRECONDITION_FAILED - inequivalent arg {differs}");
        assert_eq!(Difference::parse(&text), expected, "{text}");
    }

    fn argument(name: &str, value: Option<AMQPValue>) -> Option<Difference> {
        Some(Difference::Argument(name.into(), value))
    }

    #[test]
    fn what_a_queue_has_is_read_from_refusals() {
        let text = |text: &str| Some(AMQPValue::LongString(text.into()));
        check(
            "'x-queue-type' for queue 'a' in vhost '/': received the value 'quorum' of type 'longstr' but current is none",
            argument("x-queue-type", None),
        );
        check(
            "'x-queue-type' for queue 'it's' in vhost '/': received 'quorum' but current is 'stream'",
            argument("x-queue-type", text("stream")),
        );
        check(
            "'x-message-ttl' for queue 'a' in vhost '/': received none but current is the value '60000' of type 'signedint'",
            argument("x-message-ttl", Some(AMQPValue::LongLongInt(60_000))),
        );
        check(
            "'x-single-active-consumer' for queue 'a' in vhost '/': received none but current is the value 'true' of type 'bool'",
            argument("x-single-active-consumer", Some(AMQPValue::Boolean(true))),
        );
        check(
            "'x-dead-letter-routing-key' for queue 'a' in vhost '/': received none but current is the value 'it's' of type 'longstr'",
            argument("x-dead-letter-routing-key", text("it's")),
        );
        check(
            "'durable' for queue 'a' in vhost '/': received 'true' but current is 'false'",
            Some(Difference::Property("durable".to_owned())),
        );
    }

    #[test]
    fn a_refusal_that_was_cut_off_says_nothing() {
        check(
            "'x-message-ttl' for queue 'a…' in vhost '/': received no...",
            None,
        );
        check(
            "'x-message-ttl' for queue 'a' in vhost '/': received none but current is the val...",
            None,
        );
    }
}
