//! What a message asks for: from its bytes to a command.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use tributary_api::brokers::{BindingTerms, IdentityFrom};
use tributary_api::caller::Caller;
use tributary_api::draft::CommandDraft;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::form::batch::LoneCommand;
use tributary_api::form::body::BodyFormat;
use tributary_api::form::cloud_event::{CloudEvent, is_structured};
use tributary_api::intake::{Intake, message_key};
use tributary_api::map::{self, CompiledMap, Document, FaultCode, IdentityPath, MapError};
use tributary_engine::Reader;
use tributary_ledger::codec::Record;
use tributary_ledger::{Body, Command, Key, Origin, ReplyAddress, ReplyTo, SettingId};

use crate::port::Message;

/// Media type of a message whose sender does not say it.
const DEFAULT_CONTENT_TYPE: &str = "application/json";
/// Header that counts how many systems a message has gone through.
pub(super) const HOPS_HEADER: &str = "tributary-hops";
/// Prefixes of headers that are attributes of CloudEvents: of AMQP (both forms), of Kafka and others, and of NATS.
const ATTRIBUTE_PREFIXES: [&str; 4] = ["cloudEvents:", "cloudEvents_", "ce_", "ce-"];

/// Reads the messages of one revision of a binding.
pub(super) struct Orders {
    pub(super) reader: Reader,
    pub(super) intake: Arc<Intake>,
    pub(super) setting: SettingId,
    pub(super) revision: u64,
    pub(super) terms: Arc<BindingTerms>,
    pub(super) map: Option<Arc<CompiledMap>>,
    pub(super) identity_path: Option<Arc<IdentityPath>>,
    /// Destinations at the broker from which messages come in: what is sent there would come back as an order.
    pub(super) bound_in: Arc<BTreeSet<String>>,
}

/// What became of reading a message.
pub(super) enum Order {
    /// It asks for this command.
    Command(Box<Command>),
    /// It was decided before, by this record.
    Decided(Box<Record>),
    /// It was decided when it was tried again; its reply is a delivery, as of every decision.
    DecidedNow,
    /// A rule of the map leaves it out.
    LeftOut,
    /// It can't be decided: it is a dead letter.
    Undecidable(Undecidable),
    /// It can't be decided now: nothing is wrong with the message.
    NotNow(String),
}

/// Why a message can't be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undecidable {
    /// Stable name of the reason.
    pub(super) code: String,
    /// What is wrong, and with which field.
    pub(super) message: String,
    /// What it names is not there, and may come.
    pub(super) may_pass: bool,
}

impl Undecidable {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Undecidable {
        Undecidable {
            code: code.to_owned(),
            message: message.into(),
            may_pass: false,
        }
    }
}

/// Why there is no command.
enum Fault {
    Undecidable(Undecidable),
    NotNow(String),
}

impl From<Undecidable> for Fault {
    fn from(why: Undecidable) -> Fault {
        Fault::Undecidable(why)
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Fault {
        let status = error.status();
        let message = match error.parameter() {
            Some(field) => format!("{field}: {}", error.message()),
            None => error.message().to_owned(),
        };
        match status {
            429 | 500.. => Fault::NotNow(message),
            _ => Fault::Undecidable(Undecidable {
                code: error.code().to_owned(),
                message,
                may_pass: status == 404,
            }),
        }
    }
}

impl From<map::Fault> for Fault {
    fn from(fault: map::Fault) -> Fault {
        Fault::Undecidable(Undecidable {
            code: fault.code.as_str().to_owned(),
            message: fault.to_string(),
            may_pass: fault.code == FaultCode::AccountMissing,
        })
    }
}

impl From<MapError> for Fault {
    fn from(error: MapError) -> Fault {
        match error {
            MapError::Fault(fault) => fault.into(),
            MapError::Unavailable(error) => Fault::NotNow(error.message().to_owned()),
        }
    }
}

/// The parts of a message.
struct Content<'a> {
    body: Cow<'a, [u8]>,
    content_type: Cow<'a, str>,
    event: Option<CloudEvent>,
}

impl Orders {
    /// Reads a message that came in for `caller`.
    ///
    /// What was decided before is looked for only where there is no command, since the ledger itself recognises a repetition.
    pub(super) fn read(&self, caller: &Caller, message: &Message) -> Order {
        let content = match self.content(message) {
            Ok(content) => content,
            Err(fault) => return fault.into(),
        };
        let (key, document) = match self.identify(message, &content) {
            Ok(identified) => identified,
            Err(fault) => return fault.into(),
        };
        let fault = match self.command(caller, key.clone(), message, &content, document) {
            Ok(Some(command)) => return Order::Command(Box::new(command)),
            Ok(None) => return Order::LeftOut,
            Err(fault) => fault,
        };
        match self.reader.record_by_key(caller.actor.owner, &key) {
            Ok(Some(record)) => self.decided(message, record),
            Ok(None) => fault.into(),
            Err(failure) => Fault::from(read_error(failure)).into(),
        }
    }

    /// What a message is whose identity belongs to `record`: a repetition, or another message under a used identity.
    pub(super) fn decided(&self, message: &Message, record: Record) -> Order {
        let origin = record.command.origin.as_ref();
        if origin.is_some_and(|origin| *origin.message() == hash(message)) {
            return Order::Decided(Box::new(record));
        }
        Order::Undecidable(Undecidable::new(
            "identity_reused",
            "Another message with this identity was decided before.",
        ))
    }

    /// The key of the message, and its body as far as that was read for it.
    fn identify<'a>(
        &self,
        message: &Message,
        content: &'a Content<'_>,
    ) -> Result<(Key, Option<Document<'a>>), Fault> {
        let mut document = None;
        let from = self.terms.identity_from.as_ref();
        let from = from.ok_or_else(|| Fault::NotNow("identity_from is missing".to_owned()))?;
        let (source, id) = match from {
            IdentityFrom::Field(_) => {
                let path = self.identity_path.as_ref();
                let path = path.ok_or_else(|| Fault::NotNow("the path has no form".to_owned()))?;
                let read = document.insert(Document::read(&content.body, &content.content_type)?);
                (String::new(), map::identity(read, path)?)
            }
            IdentityFrom::CloudEvents => {
                let event = content.event.as_ref().ok_or_else(|| {
                    Undecidable::new(
                        "message_unidentified",
                        "identity_from is cloudevents, and this message is no CloudEvent.",
                    )
                })?;
                (event.source.clone(), event.id.clone())
            }
            IdentityFrom::MessageId => {
                let id = message.message_id.clone().ok_or_else(|| {
                    Undecidable::new("message_unidentified", "The message has no message id.")
                })?;
                (String::new(), id)
            }
            IdentityFrom::Broker => {
                let id = message.broker_id.clone().ok_or_else(|| {
                    Undecidable::new("message_unidentified", "The broker gave no id.")
                })?;
                (String::new(), id)
            }
        };
        if id.is_empty() {
            let message = "The id of the message is empty.";
            return Err(Undecidable::new("message_unidentified", message).into());
        }
        let key = message_key(&self.terms.identity, from.kind(), &source, id.as_bytes());
        Ok((key, document))
    }

    fn content<'a>(&'a self, message: &'a Message) -> Result<Content<'a>, Fault> {
        let named = self.terms.content_type.as_deref();
        let content_type = named.or(message.content_type.as_deref());
        let event = match content_type {
            Some(content_type) if is_structured(content_type) => {
                Some(CloudEvent::from_json(&message.body)?)
            }
            _ => binary_event(message, content_type)?,
        };
        let (body, content_type): (Cow<'a, [u8]>, Cow<'a, str>) = match &event {
            Some(event) => (event.data.clone().into(), event.content_type.clone().into()),
            None => {
                let content_type = content_type.filter(|text| !text.is_empty());
                let content_type = content_type.unwrap_or(DEFAULT_CONTENT_TYPE);
                (message.body[..].into(), content_type.into())
            }
        };
        Ok(Content {
            body,
            content_type,
            event,
        })
    }

    fn command(
        &self,
        caller: &Caller,
        key: Key,
        message: &Message,
        content: &Content<'_>,
        document: Option<Document<'_>>,
    ) -> Result<Option<Command>, Fault> {
        let hops = hops(message)?;
        let reply = self.reply_address(message)?;
        let Some(draft) = self.draft(caller, content, document)? else {
            return Ok(None);
        };
        let mut command = self.intake.command(caller, key, draft)?;
        // After the check: the caller may not name this mailbox, the binding is the one that does.
        if reply.is_some()
            && let Body::Pay(pay) = &mut command.body
            && let Some(queue) = &mut pay.queue
        {
            let mailbox = ReplyTo::new(self.setting.0);
            queue.terms.reply_to = queue.terms.reply_to.or(mailbox);
        }
        let origin = Origin::new(self.setting, self.revision, hash(message), hops, reply);
        command.origin = Some(Box::new(origin.expect("the hops were checked")));
        Ok(Some(command))
    }

    /// The draft of the command that a message asks for; none if a rule leaves the message out.
    fn draft(
        &self,
        caller: &Caller,
        content: &Content<'_>,
        document: Option<Document<'_>>,
    ) -> Result<Option<CommandDraft>, Fault> {
        if let Some(map) = &self.map {
            let document = match document {
                Some(document) => document,
                None => Document::read(&content.body, &content.content_type)?,
            };
            return Ok(map.draft(&document, &self.reader, caller)?);
        }
        let format = BodyFormat::from_content_type(&content.content_type).ok_or_else(|| {
            let text = format!(
                "The message is {:?}: send JSON or XML, or name its form by the binding's content_type.",
                content.content_type
            );
            Undecidable::new("content_type_unsupported", text)
        })?;
        let LoneCommand(operation) = format.parse_object(&content.body)?;
        Ok(Some(operation.into_draft(&self.reader, caller)?))
    }

    /// Where the reply goes, if the binding replies and the message asks for it.
    pub(super) fn reply_address(
        &self,
        message: &Message,
    ) -> Result<Option<ReplyAddress>, Undecidable> {
        let Some(to) = message.reply_to.as_deref() else {
            return Ok(None);
        };
        if self.terms.reply.allow.is_empty() {
            return Ok(None);
        }
        let refused =
            |why: &str| Undecidable::new("reply_not_allowed", format!("reply_to {to:?} {why}."));
        if self.bound_in.contains(to) {
            return Err(refused("is a destination from which orders come in"));
        }
        if !self.terms.reply.allows(to) {
            return Err(refused("matches no pattern of the binding's reply.allow"));
        }
        let address = ReplyAddress::new(to, message.correlation_id.as_deref());
        address
            .map(Some)
            .map_err(|_| refused("or its correlation id is empty or has more than 512 bytes"))
    }
}

impl From<Fault> for Order {
    fn from(fault: Fault) -> Order {
        match fault {
            Fault::Undecidable(why) => Order::Undecidable(why),
            Fault::NotNow(why) => Order::NotNow(why),
        }
    }
}

/// What tells one message from another: the hash of its body.
fn hash(message: &Message) -> [u8; 32] {
    *blake3::hash(&message.body).as_bytes()
}

/// The CloudEvent of a message in binary mode: its attributes are headers.
fn binary_event(
    message: &Message,
    content_type: Option<&str>,
) -> Result<Option<CloudEvent>, Fault> {
    let attribute = |name: &'_ str| {
        let prefix = ATTRIBUTE_PREFIXES
            .iter()
            .find(|prefix| name.starts_with(**prefix));
        prefix.map(|prefix| prefix.len())
    };
    let mut attributes = Vec::new();
    for (name, value) in &message.headers {
        if let Some(from) = attribute(name) {
            let text = std::str::from_utf8(value).map_err(|_| {
                Undecidable::new(
                    "parameter_invalid",
                    format!("The header {name} is no UTF-8."),
                )
            })?;
            attributes.push((&name[from..], text));
        }
    }
    if !attributes.iter().any(|(name, _)| *name == "specversion") {
        return Ok(None);
    }
    let body = message.body.to_vec();
    let event = CloudEvent::from_attributes(attributes, content_type, body)?;
    Ok(Some(event))
}

/// How many systems the message has gone through, this one included.
fn hops(message: &Message) -> Result<u8, Fault> {
    let header = message.headers.iter().find(|(name, _)| name == HOPS_HEADER);
    let before = match header {
        None => Some(0),
        Some((_, value)) => {
            let text = std::str::from_utf8(value).ok();
            text.and_then(|text| text.parse::<u8>().ok())
        }
    };
    match before {
        Some(before) if before < Origin::HOPS_MAX => Ok(before + 1),
        Some(_) => {
            let text = format!(
                "The message has gone through {} systems already: something goes round.",
                Origin::HOPS_MAX
            );
            Err(Undecidable::new("too_many_hops", text).into())
        }
        None => {
            let text = format!(
                "{HOPS_HEADER} must be a number of 0 to {}.",
                Origin::HOPS_MAX
            );
            Err(Undecidable::new("parameter_invalid", text).into())
        }
    }
}
