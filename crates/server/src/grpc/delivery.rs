//! Responses of `Receive`: written from records as they lie in the journal.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::render::event::data_json;
use tributary_ledger::codec::{Operation, RecordRef};
use tributary_ledger::{Data, FORMAT_VERSION, OwnerId, OwnerName, event_type};
use tributary_messaging::{Delivery, DeliveryIds, Frame, Messaging, Receipt};

use crate::app::Shared;
use crate::grpc::wire::{put_varint, varint_len};

/// Bytes of events after which a response takes no more.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// So many ids are made at once.
const IDS_AT_ONCE: usize = 64;
/// Records of the journal for each event up to which whole frames are read for them.
const FRAME_WORTH: u64 = 32;

/// A response on its way into bytes.
pub(crate) struct Response {
    bytes: Vec<u8>,
    /// The events that are in it.
    pub(crate) sent: Vec<Receipt>,
    /// Events that can't be read, and why.
    pub(crate) unreadable: Vec<(Receipt, ApiError)>,
}

impl Response {
    /// With this number, 0 for none, and room for so many bytes and events.
    pub(crate) fn new(number: u64, bytes: usize, events: usize) -> Response {
        let mut bytes = Vec::with_capacity(bytes);
        if number > 0 {
            bytes.put_u8(0x08);
            put_varint(&mut bytes, number);
        }
        Response {
            bytes,
            sent: Vec::with_capacity(events),
            unreadable: Vec::new(),
        }
    }

    /// Appends a receipt whose attempt is over.
    pub(crate) fn expired(&mut self, receipt: &[u8]) {
        put_bytes(&mut self.bytes, 3, receipt);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.bytes.into()
    }

    /// Appends published events as long as they are in memory, from the beginning of `taken`; gives how many it was done
    /// with. Never waits for the disk.
    pub(crate) fn add_kept(
        &mut self,
        shared: &Shared,
        messaging: &Messaging,
        taken: &[Delivery],
    ) -> usize {
        let mut owners = Owners::new(shared);
        let mut frame: Option<Arc<Frame>> = None;
        let ids = shared.reader.ids();
        let with_ids = taken.chunks(IDS_AT_ONCE).flat_map(|some| {
            let receipts: Vec<Receipt> = some.iter().map(|one| one.receipt).collect();
            some.iter().zip(ids.delivery_blocks(&receipts))
        });
        for (done, (delivery, ids)) in with_ids.enumerate() {
            if self.is_full() {
                return done;
            }
            let position = delivery.position;
            if !frame.as_ref().is_some_and(|frame| frame.holds(position)) {
                frame = messaging.cached_frame(position);
            }
            let payload = frame.as_ref().and_then(|frame| frame.payload(position));
            let record = payload.and_then(|payload| RecordRef::parse(payload, FORMAT_VERSION).ok());
            let published = record.and_then(|record| Some((record, published(&record)?)));
            let Some((record, data)) = published else {
                return done;
            };
            self.add(&mut owners, delivery, ids, &record, data);
        }
        taken.len()
    }

    /// Appends events from the beginning of `taken`; gives how many it was done with. May read from the disk.
    pub(crate) fn add_all(
        &mut self,
        shared: &Shared,
        messaging: &Messaging,
        taken: &[Delivery],
    ) -> usize {
        let mut owners = Owners::new(shared);
        let reach = match taken {
            [first, .., last] => last.position.abs_diff(first.position),
            _ => 0,
        };
        let whole_frames = taken.len() > 1 && reach <= taken.len() as u64 * FRAME_WORTH;
        let (mut frame, mut single): (Option<Arc<Frame>>, _) = (None, Vec::new());
        for (done, delivery) in taken.iter().enumerate() {
            if self.is_full() {
                return done;
            }
            let position = delivery.position;
            let added = (|| {
                let payload = if whole_frames {
                    let current = match frame.take().filter(|frame| frame.holds(position)) {
                        Some(current) => current,
                        None => messaging.frame(position).map_err(read_error)?,
                    };
                    frame.insert(current).payload(position)
                } else {
                    let found = shared.reader.payload(position, &mut single);
                    found.map_err(read_error)?.then_some(&*single)
                };
                let payload = payload.ok_or_else(|| ApiError::not_found("event", "id"))?;
                let record = RecordRef::parse(payload, FORMAT_VERSION)
                    .map_err(|error| read_error(damaged(position, &error)))?;
                let [ids] = *shared.reader.ids().delivery_blocks(&[delivery.receipt]) else {
                    unreachable!("as many as were given");
                };
                if let Some(data) = published(&record) {
                    self.add(&mut owners, delivery, ids, &record, data);
                    return Ok(());
                }
                let whole = record.to_record();
                let whole = whole.map_err(|error| read_error(damaged(position, &error)))?;
                let data = data_json(&shared.reader, &whole)?;
                self.add(&mut owners, delivery, ids, &record, &data);
                Ok(())
            })();
            if let Err(error) = added {
                self.unreadable.push((delivery.receipt, error));
            }
        }
        taken.len()
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= RESPONSE_BYTES_MAX
    }

    #[inline]
    fn add(
        &mut self,
        owners: &mut Owners<'_>,
        delivery: &Delivery,
        [event, receipt]: [[u8; 16]; 2],
        record: &RecordRef<'_>,
        data: &[u8],
    ) {
        let kind = event_type(record).as_bytes();
        let key = record.order_key().unwrap_or_default();
        let owner = match record.operation() {
            Operation::Publish => owners.name(record.actor().owner),
            _ => &[],
        };
        let attempt = u64::from(delivery.attempt);
        let len = 2 * (2 + 16)
            + bytes_len(kind)
            + (1 + 8)
            + bytes_len(key)
            + bytes_len(owner)
            + bytes_len(data)
            + (1 + varint_len(attempt));
        let into = &mut self.bytes;
        into.reserve(len + 8);
        into.put_u8(0x12);
        put_varint(into, len as u64);
        put_bytes(into, 1, &event);
        put_bytes(into, 2, kind);
        into.put_u8(0x19);
        into.put_u64_le(record.context().timestamp);
        put_bytes(into, 4, key);
        put_bytes(into, 5, owner);
        put_bytes(into, 6, data);
        into.put_u8(0x38);
        put_varint(into, attempt);
        put_bytes(into, 8, &receipt);
        self.sent.push(delivery.receipt);
    }
}

fn damaged(position: u64, what: &dyn std::fmt::Display) -> tributary_engine::Failure {
    tributary_engine::Failure::RecordDamaged {
        position,
        what: what.to_string(),
    }
}

/// Returns the published data of an event that a caller published.
#[inline]
fn published<'a>(record: &RecordRef<'a>) -> Option<&'a [u8]> {
    match record.data() {
        Some((Data::PLAIN, data)) if record.rejection().is_none() => Some(data),
        _ => None,
    }
}

/// Bytes that a field takes; none if it is empty.
#[inline]
fn bytes_len(bytes: &[u8]) -> usize {
    match bytes.len() {
        0 => 0,
        len => 1 + varint_len(len as u64) + len,
    }
}

/// Writes a field below 16; nothing if it is empty.
#[inline]
fn put_bytes(into: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        into.put_u8(number << 3 | 2);
        put_varint(into, bytes.len() as u64);
        into.put_slice(bytes);
    }
}

/// Names of owners: the last one is remembered.
struct Owners<'a> {
    shared: &'a Shared,
    last: Option<(OwnerId, Option<OwnerName>)>,
}

impl<'a> Owners<'a> {
    fn new(shared: &'a Shared) -> Owners<'a> {
        Owners { shared, last: None }
    }

    #[inline]
    fn name(&mut self, owner: OwnerId) -> &[u8] {
        if owner == OwnerId::PLATFORM {
            return b"platform";
        }
        if self.last.as_ref().is_none_or(|(last, _)| *last != owner) {
            self.last = Some((owner, self.shared.reader.owner_name(owner)));
        }
        let name = self.last.as_ref().and_then(|(_, name)| name.as_ref());
        name.map_or(&[], |name| name.as_bytes())
    }
}
