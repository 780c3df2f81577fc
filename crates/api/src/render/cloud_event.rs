//! The attributes of CloudEvents 1.0 of an event, for sinks that write them beside the event.

use crate::form::cloud_event::SPEC_VERSION;
use crate::render::event::OutgoingEvent;

/// Returns the attributes of `event`, in the order of the specification. `source` names the system that sends, as a URI reference; with
/// the id, which never changes, it is the identity of the event.
pub fn attributes(event: &OutgoingEvent, source: &str) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("specversion", SPEC_VERSION.to_owned()),
        ("id", event.event.id().to_owned()),
        ("source", source.to_owned()),
        ("type", event.event.kind().to_owned()),
    ];
    attributes.extend(event.subject.clone().map(|subject| ("subject", subject)));
    attributes.push(("time", event.event.created().to_owned()));
    attributes.push(("datacontenttype", "application/json".to_owned()));
    attributes
}
