//! The clock of a sandbox.

use crate::world::{World, by, command};
use tributary_ledger::codec::{Operation, RecordRef};
use tributary_ledger::*;

#[test]
fn the_clock_is_moved_forwards_by_a_time_or_to_a_time() {
    let mut world = World::new();
    assert_eq!(world.set.time_offset(), TimeOffset::default());
    world.must(Body::AdvanceTime(AdvanceTime::By(100)));
    let first = world.set.time_offset();
    assert_eq!((first.nanos, first.changed_at), (100, world.position));
    let later = world.timestamp + 30;
    world.must(Body::AdvanceTime(AdvanceTime::To(later)));
    let second = world.set.time_offset();
    assert_eq!((second.nanos, second.changed_at), (130, world.position));
    let back = world.submit(Actor::SYSTEM, Body::AdvanceTime(AdvanceTime::To(1)));
    assert_eq!(back.rejection, Some(Rejection::TimeOutOfRange));
    assert_eq!(world.set.time_offset(), second);
    world.check_mirror();
}

#[test]
fn a_record_that_moves_the_clock_is_internal_and_no_other_is() {
    let mut world = World::new();
    world.must(Body::AdvanceTime(AdvanceTime::By(1)));
    let bytes = world.records.last().unwrap().clone();
    let record = RecordRef::parse(&bytes, FORMAT_VERSION).unwrap();
    assert_eq!((record.subject(), record.legs().len()), (None, 0));
    for operation in Operation::ALL {
        assert_eq!(operation.is_internal(), operation == record.operation());
    }
}

#[test]
fn a_group_that_is_undone_leaves_the_clock_as_it_was() {
    let mut world = World::new();
    world.must(Body::AdvanceTime(AdvanceTime::By(5)));
    let before = world.set.time_offset();
    let advance = Command {
        linked: true,
        ..command(Actor::SYSTEM, Body::AdvanceTime(AdvanceTime::By(7)))
    };
    let refused = command(Actor::SYSTEM, Body::Void(PaymentId(9_999)));
    world.run_group(&[advance, refused]);
    assert_eq!(world.set.time_offset(), before);
    let other = world.submit(by(OwnerId(77)), Body::AdvanceTime(AdvanceTime::By(7)));
    assert_eq!(other.rejection, Some(Rejection::Forbidden));
    world.check_mirror();
}
