//! Subscriptions: events of the journal, delivered at least once.
//!
//! Every record is one event, except internal ones. A subscription wants some of them; what it still has to be given is a view of the
//! journal plus a small log beside it, which says how far it is and what is exceptional: events done out of order, waiting for another
//! attempt, or dead. Losing the end of that log means that events are delivered again and nothing else. What became of every
//! attempt is kept as history, which nothing depends on.
//!
//! [`Core`] decides and knows neither clock nor disk; [`Log`] is the log; [`Messaging`] drives both beside the engine, whose
//! commit hook it is. How an event travels to its receiver is not known here: no HTTP, no gRPC, no broker.

mod ascending_map;
mod codec;
mod content;
mod core;
mod definitions;
mod delivery;
mod driver;
mod ended;
mod flow;
mod frames;
mod history;
mod hook;
mod ids;
mod image;
mod log;
mod matcher;
mod memory;
mod notices;
mod operations;
mod revisions;
mod scan;
mod settings;
mod start;
mod storage;

pub use content::{SubscriptionContent, UnreadableContent};
pub use core::{Core, Known, Refusal};
pub use delivery::{Delivery, Matched, Receipt, ReceiptExpired};
pub use driver::{Messaging, Unsettled};
pub use ended::{AttemptEnd, NOTE_BYTES_MAX};
pub use flow::{
    DEAD_BYTES_MAX, DEAD_MAX, Figures, Flow, NAMED_MAX, RECEIVER_TEXT_MARK, REPLAYS_MAX, Wanted,
};
pub use frames::Frame;
pub use history::{AttemptPage, AttemptQuery, EndedAttempt};
pub use ids::DeliveryIds;
pub use image::{ATTEMPTS_KEPT, Attempt, Change, ERROR_BYTES_MAX, Image, Images, Letter};
pub use log::{DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION, Log, restore_snapshot};
pub use matcher::Matcher;
pub use memory::{
    IN_FLIGHT_IN_ALL_MAX, LETTER_BYTES_IN_ALL_MAX, WINDOW_MAX, WINDOW_MIN, WINDOWS_IN_ALL_MAX,
};
pub use notices::{DEAD_LETTER_NOTICE_EVERY, DeadLetterNotice};
pub use revisions::{FILTERS_KEPT_MAX, Revisions};
pub use scan::{StartAt, scan};
pub use settings::{
    Backoff, BadSetting, Filter, Kind, Order, Pattern, Policy, Subscription, SubscriptionId, Terms,
};
pub use start::start_engine;
pub use storage::{HISTORY_BYTES_MAX, Storage};
