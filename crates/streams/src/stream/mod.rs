//! Streams: figures over windows of events, by key.
//!
//! A [`Definition`] says which events count, by which fields they are put together, over which time and window, and what
//! is computed. A [`Stream`] takes events and times in the order of the journal and gives results. It is pure: the caller
//! gives positions and times, keeps checkpoints and puts results where they belong.
//!
//! - **Time** is whole nanoseconds since 1970. Windows are half-open: [start, end), but (start, end] for trailing windows.
//!   Events with equal times are in the order of their records.
//! - **Journal time** never goes back. A window ends at the first record with its end or a later time: an event, or a
//!   barrier that is due at [`Stream::next_deadline`].
//! - **Event time** has a watermark. Events wait until it has passed their time and are counted in the order of their
//!   times; an event that comes after that is late.
//! - **Never a silent guess.** A condition or an input without a value, a sum that does not fit and a bound that is
//!   reached stop the stream, for ever and with a reason: [`Stopped`].
//! - **Exactly once.** State and position are one checkpoint, and the id of a result depends on nothing but the stream,
//!   its version, the key, the window's end and the revision.

mod aggregate;
pub(crate) mod codec;
mod definition;
mod errors;
mod keys;
mod machine;
mod output;
mod plan;
mod value;
mod window;

pub use self::definition::{
    AGGREGATES_MAX, Aggregate, Bounds, Definition, Emit, Give, KEY_BYTES_MAX, KEY_FIELDS_MAX,
    NAME_BYTES_MAX, SOURCES_MAX, SPAN_NS_MAX, Source, Time, To, VALUE_BYTES_MAX,
    WINDOWS_PER_EVENT_MAX, Window,
};
pub use self::errors::{DefinitionError, RestoreError, StopReason, Stopped};
pub use self::machine::{Expected, LOOK_WAITING_MAX, Stream};
pub use self::output::{Event, LateEvent, Output, ResultId, Row, StreamResult};
pub(crate) use self::plan::compile;
pub use self::value::OwnedScalar;
pub use self::window::Usage;
