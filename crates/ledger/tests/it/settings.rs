//! Settings: revisions, names, limits, and what a record says of them.

use crate::world::{World, by, command};
use tributary_ledger::codec::RecordRef;
use tributary_ledger::*;

pub(crate) fn put(id: u64, slug: &str, replaces: u64, body: &[u8]) -> PutSetting {
    PutSetting {
        id: SettingId(id),
        kind: SettingKind::SUBSCRIPTION,
        slug: Slug::new(slug).unwrap(),
        managed_by: None,
        replaces,
        body: SettingBody::new(body).unwrap(),
        request: [id as u8; 16],
    }
}

pub(crate) fn body_of(put: PutSetting) -> Body {
    Body::PutSetting(Box::new(put))
}

fn delete(id: u64, replaces: u64) -> Body {
    Body::DeleteSetting(DeleteSetting {
        id: SettingId(id),
        kind: SettingKind::SUBSCRIPTION,
        replaces,
    })
}

fn shop(world: &mut World) -> Actor {
    let account = world.wallet("shop");
    by(world.owner_of(account))
}

fn last(world: &World) -> RecordRef<'_> {
    RecordRef::parse(world.records.last().unwrap(), FORMAT_VERSION).unwrap()
}

/// Fills the store with settings of a kind that only a later version knows: no kind of this version can.
pub(crate) fn fill(world: &mut World) {
    let body = [0; SettingBody::BYTES_MAX];
    for number in 0..(SETTINGS_BYTES_MAX / body.len()) as u64 {
        let ctx = world.next();
        let setting = PutSetting {
            kind: SettingKind(999),
            ..put(1_000_000 + number, &format!("filler-{number}"), 0, &body)
        };
        let outcome = Outcome {
            setting: Some(Box::new(SettingChange {
                revision: 1,
                owner: OwnerId::PLATFORM,
                created: ctx,
                prev: 0,
            })),
            ..Outcome::default()
        };
        world.take(&command(Actor::SYSTEM, body_of(setting)), &outcome);
    }
}

#[test]
fn revisions_count_and_lead_back_to_the_first() {
    let mut world = World::new();
    let shop = shop(&mut world);
    let mut positions = Vec::new();
    for revision in 1..=4_u64 {
        let content = format!("revision {revision}");
        let setting = put(7, "orders", revision - 1, content.as_bytes());
        assert!(world.submit(shop, body_of(setting)).is_accepted());
        let expected = match revision {
            1 => "subscription.created",
            _ => "subscription.updated",
        };
        assert_eq!(event_type(&last(&world)), expected);
        positions.push(world.position);
        let found = world.set.setting(SettingId(7)).unwrap();
        assert_eq!(found.revision, revision);
        assert_eq!(found.body.as_bytes(), content.as_bytes());
        assert_eq!(found.created.position, positions[0]);
        assert_eq!(found.owner, shop.owner);
    }
    assert!(world.submit(shop, delete(7, 4)).is_accepted());
    assert_eq!(event_type(&last(&world)), "subscription.deleted");
    assert_eq!(world.set.setting(SettingId(7)), None);
    positions.push(world.position);
    // Back from the last record, by what each says itself.
    let mut at = world.position;
    for revision in (1..=5).rev() {
        assert_eq!(at, positions[revision as usize - 1]);
        let bytes = &world.records[at as usize - 1];
        let record = RecordRef::parse(bytes, FORMAT_VERSION).unwrap();
        let change = record.setting_change().unwrap();
        assert_eq!((change.revision, change.owner), (revision, shop.owner));
        assert_eq!(record.subject(), Some(positions[0]));
        at = change.prev;
    }
    assert_eq!(at, 0);
    world.check_mirror();
}

#[test]
fn a_slug_and_an_id_are_free_again_after_a_delete() {
    let mut world = World::new();
    let shop = shop(&mut world);
    for id in [7, 8, 7] {
        let outcome = world.submit(shop, body_of(put(id, "orders", 0, b"x")));
        assert_eq!(outcome.rejection, None);
        let slug = Slug::new("orders").unwrap();
        let found = world
            .set
            .setting_by_slug(shop.owner, SettingKind::SUBSCRIPTION, &slug);
        assert_eq!(found.unwrap().id, SettingId(id));
        assert_eq!(found.unwrap().revision, 1);
        // 0 deletes any revision.
        assert!(world.submit(shop, delete(id, 0)).is_accepted());
    }
    assert_eq!(world.set.settings().count(), 0);
    assert_eq!(world.set.settings_bytes(), 0);
    world.check_mirror();
}

#[test]
fn a_replacement_may_rename_and_gives_the_old_name_free() {
    let mut world = World::new();
    let shop = shop(&mut world);
    world.submit(shop, body_of(put(7, "old", 0, b"x")));
    let renamed = PutSetting {
        managed_by: Some(ManagedBy::new("deploy").unwrap()),
        ..put(7, "new", 1, b"longer")
    };
    assert!(world.submit(shop, body_of(renamed)).is_accepted());
    assert_eq!(world.set.settings_bytes(), 6);
    let managed_by = &world.set.setting(SettingId(7)).unwrap().managed_by;
    assert_eq!(managed_by.as_ref().unwrap().as_str(), "deploy");
    assert!(
        world
            .submit(shop, body_of(put(8, "old", 0, b"x")))
            .is_accepted()
    );
    // Two owners may use the same slug.
    world.must(body_of(put(9, "old", 0, b"x")));
    let ids: Vec<u64> = world.set.settings().map(|setting| setting.id.0).collect();
    assert_eq!(ids, [7, 8, 9]);
    let later = world
        .set
        .settings_after(world.set.setting(SettingId(7)).unwrap().created.position);
    assert_eq!(later.count(), 2);
    world.check_mirror();
}

/// The platform changes and deletes everybody's settings; they stay their owner's.
#[test]
fn the_owner_stays_whoever_changes_a_setting() {
    let mut world = World::new();
    let shop = shop(&mut world);
    world.submit(shop, body_of(put(7, "orders", 0, b"x")));
    world.must(body_of(put(7, "orders", 1, b"y")));
    let found = world.set.setting(SettingId(7)).unwrap();
    assert_eq!((found.owner, found.revision), (shop.owner, 2));
    world.must(delete(7, 2));
    world.check_mirror();
}

/// The digest of a put is the caller's request: id, content and revision differ from one attempt to the next.
#[test]
fn the_digest_of_a_put_is_that_of_its_request() {
    let first = command(Actor::SYSTEM, body_of(put(7, "orders", 0, b"sealed")));
    let mut again = put(8, "orders", 3, b"sealed anew");
    again.request = [7; 16];
    assert_eq!(
        first.digest(),
        command(Actor::SYSTEM, body_of(again)).digest()
    );
    assert_eq!(first.digest(), [7; 16]);
    assert_ne!(
        command(Actor::SYSTEM, delete(7, 0)).digest(),
        command(Actor::SYSTEM, delete(7, 1)).digest()
    );
}

#[test]
fn settings_of_unknown_kinds_are_kept_and_refused() {
    let mut world = World::new();
    fill(&mut world);
    assert_eq!(world.set.settings_bytes(), SETTINGS_BYTES_MAX);
    assert_eq!(event_type(&last(&world)), "setting.created");
    let id = world.set.settings().next().unwrap().id;
    let outcome = world.submit(
        Actor::SYSTEM,
        Body::DeleteSetting(DeleteSetting {
            id,
            kind: SettingKind(999),
            replaces: 1,
        }),
    );
    assert_eq!(outcome.rejection, Some(Rejection::SettingKindUnknown));
    assert_eq!(event_type(&last(&world)), "setting.refused");
    assert_eq!(world.set.count_settings_of_kind(SettingKind(999)), 4_640);
    assert_eq!(
        world
            .set
            .count_settings(OwnerId::PLATFORM, SettingKind(999)),
        4_640
    );
}

/// What a group that is refused changed of settings is taken back, deletes and new holders of a name too.
#[test]
fn a_refused_group_leaves_the_settings_as_they_were() {
    let mut world = World::new();
    world.must(body_of(put(7, "kept", 0, b"x")));
    let before = world.set.digest_all();
    let linked = |body| Command {
        linked: true,
        ..command(Actor::SYSTEM, body)
    };
    let group = [
        linked(body_of(put(7, "renamed", 1, b"y"))),
        linked(body_of(put(8, "kept", 0, b"z"))),
        linked(delete(7, 2)),
        linked(body_of(put(7, "again", 0, b"z"))),
        command(Actor::SYSTEM, delete(99, 0)),
    ];
    let outcomes = world.run_group(&group);
    let last = outcomes.last().unwrap().rejection;
    assert_eq!(last, Some(Rejection::SettingNotFound));
    assert_eq!(world.set.digest_all(), before);
    assert_eq!(world.set.settings_bytes(), 1);
    world.check_mirror();
    let outcomes = world.run_group(&group[..4]);
    assert!(outcomes.iter().all(Outcome::is_accepted));
    let revisions: Vec<(u64, u64)> = world
        .set
        .settings()
        .map(|setting| (setting.id.0, setting.revision))
        .collect();
    assert_eq!(revisions, [(8, 1), (7, 1)]);
    world.check_mirror();
}

#[test]
fn slugs_have_one_form() {
    let long = "a".repeat(64);
    for (text, is_slug) in [
        ("a", true),
        ("0", true),
        ("orders.eu-1_b", true),
        (&long, true),
        (&format!("{long}a"), false),
        ("", false),
        ("-a", false),
        (".a", false),
        ("A", false),
        ("a b", false),
        ("ä", false),
    ] {
        assert_eq!(Slug::new(text).is_ok(), is_slug, "{text}");
    }
}

/// A put in the making, and the world around it.
pub(crate) struct Draft {
    world: World,
    actor: Actor,
    put: PutSetting,
}

/// Two faults that use the same place cannot be combined.
pub(crate) struct Fault {
    pub(crate) rejection: Rejection,
    place: &'static str,
    make: fn(&mut Draft),
}

impl Draft {
    fn new() -> Self {
        let mut world = World::new();
        let actor = shop(&mut world);
        let put = put(7, "orders", 0, b"content");
        Draft { world, actor, put }
    }

    /// Another setting of the same owner.
    fn another(&mut self, id: u64, slug: &str) {
        let other = put(id, slug, 0, b"other");
        let outcome = self.world.submit(by(self.actor.owner), body_of(other));
        assert_eq!(outcome.rejection, None);
    }

    fn run(mut self) -> Option<Rejection> {
        let before = self.world.set.digest();
        let outcome = self.world.submit(self.actor, body_of(self.put));
        if outcome.rejection.is_some() {
            assert_eq!(outcome.setting, None);
            assert_eq!(self.world.set.digest(), before);
            let record = last(&self.world);
            assert_eq!(record.subject(), None);
            assert!(event_type(&record).ends_with(".refused"));
        }
        outcome.rejection
    }
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        rejection: Rejection::ActorKeyNotFound,
        place: "",
        make: |draft| draft.actor.api_key = ApiKeyId(9_999),
    },
    Fault {
        rejection: Rejection::SettingKindUnknown,
        place: "kind",
        make: |draft| draft.put.kind = SettingKind(999),
    },
    Fault {
        rejection: Rejection::SettingTooLarge,
        place: "kind",
        make: |draft| {
            draft.put.kind = SettingKind::APPLIED_FILE;
            draft.put.body = SettingBody::new(&[0; 1_025]).unwrap();
        },
    },
    Fault {
        rejection: Rejection::SettingNotFound,
        place: "replaces",
        make: |draft| draft.put.replaces = 1,
    },
    // Another owner's setting is refused like an invented one.
    Fault {
        rejection: Rejection::SettingNotFound,
        place: "replaces",
        make: |draft| {
            let other = put(draft.put.id.0, "theirs", 0, b"x");
            draft.world.must(body_of(other));
            draft.put.replaces = 1;
        },
    },
    Fault {
        rejection: Rejection::Forbidden,
        place: "kind",
        make: |draft| draft.put.kind = SettingKind::APPLIED_FILE,
    },
    Fault {
        rejection: Rejection::SettingConflict,
        place: "replaces",
        make: |draft| {
            draft.another(draft.put.id.0, "mine");
            draft.put.replaces = 2;
        },
    },
    Fault {
        rejection: Rejection::SlugInUse,
        place: "",
        make: |draft| draft.another(8, "orders"),
    },
    Fault {
        rejection: Rejection::SettingIdInUse,
        place: "replaces",
        make: |draft| draft.another(draft.put.id.0, "mine"),
    },
    Fault {
        rejection: Rejection::TooManySettings,
        place: "count",
        make: |draft| {
            let made = draft
                .world
                .set
                .count_settings(draft.actor.owner, SettingKind::SUBSCRIPTION);
            for number in made as u64..500 {
                draft.another(1_000 + number, &format!("another-{number}"));
            }
        },
    },
    Fault {
        rejection: Rejection::SettingsFull,
        place: "",
        make: |draft| fill(&mut draft.world),
    },
];

#[test]
fn a_sound_put_is_accepted() {
    assert_eq!(Draft::new().run(), None);
}

#[test]
fn every_fault_of_a_put_is_refused_for_its_reason() {
    for fault in FAULTS {
        let mut draft = Draft::new();
        (fault.make)(&mut draft);
        assert_eq!(draft.run(), Some(fault.rejection));
    }
}

#[test]
fn of_two_faults_of_a_put_the_lower_number_is_given() {
    let mut pairs = 0;
    for (at, low) in FAULTS.iter().enumerate() {
        for high in &FAULTS[at + 1..] {
            let same_place = low.place == high.place && !low.place.is_empty();
            // A setting whose kind is not the one named does not exist, and what is replaced is not counted again.
            let is = |rejection| low.rejection == rejection || high.rejection == rejection;
            let unrelated = is(Rejection::SettingConflict)
                && (is(Rejection::Forbidden) || is(Rejection::TooManySettings))
                || is(Rejection::Forbidden) && high.rejection.number() > 530
                || is(Rejection::SettingNotFound) && is(Rejection::Forbidden);
            if same_place || unrelated {
                continue;
            }
            let mut draft = Draft::new();
            // Filling the store comes last: it leaves no room for another fault's preparation.
            (low.make)(&mut draft);
            (high.make)(&mut draft);
            let (first, second) = (low.rejection, high.rejection);
            assert_eq!(draft.run(), Some(first), "{first:?} and {second:?}");
            pairs += 1;
        }
    }
    assert!(pairs >= 30, "{pairs} pairs");
}

/// The platform is held to the limit of all owners together, not to that of one.
#[test]
fn the_platform_may_have_as_many_settings_as_all_together() {
    let mut world = World::new();
    for number in 0..2_000 {
        world.must(body_of(put(
            number + 1,
            &format!("number-{number}"),
            0,
            b"x",
        )));
    }
    let more = world.submit(Actor::SYSTEM, body_of(put(9_999, "more", 0, b"x")));
    assert_eq!(more.rejection, Some(Rejection::TooManySettings));
    // What exists can be replaced all the same.
    world.must(body_of(put(1, "number-0", 1, b"y")));
}

/// Four owners, each with a quarter, would leave nothing for the platform.
#[test]
fn an_owner_has_a_quarter_of_the_settings_and_a_quarter_is_the_platform_s() {
    let mut world = World::new();
    let owners: Vec<Actor> = (0..4)
        .map(|number| {
            let account = world.wallet(&format!("owner-{number}"));
            by(world.owner_of(account))
        })
        .collect();
    let mut id = 0;
    let mut add = |world: &mut World, actor| {
        id += 1;
        let outcome = world.submit(actor, body_of(put(id, &format!("number-{id}"), 0, b"x")));
        outcome.rejection
    };
    for owner in &owners[..3] {
        for _ in 0..500 {
            assert_eq!(add(&mut world, *owner), None);
        }
        assert_eq!(add(&mut world, *owner), Some(Rejection::TooManySettings));
    }
    assert_eq!(add(&mut world, owners[3]), Some(Rejection::TooManySettings));
    for _ in 0..500 {
        assert_eq!(add(&mut world, Actor::SYSTEM), None);
    }
    assert_eq!(
        add(&mut world, Actor::SYSTEM),
        Some(Rejection::TooManySettings)
    );
}

/// A full store takes no larger bodies, but smaller ones.
#[test]
fn a_full_store_is_made_smaller() {
    let mut world = World::new();
    world.must(body_of(put(7, "orders", 0, b"0123456789")));
    fill(&mut world);
    let larger = world.submit(Actor::SYSTEM, body_of(put(7, "orders", 1, b"0123456789+")));
    assert_eq!(larger.rejection, Some(Rejection::SettingsFull));
    world.must(delete(7, 1));
    let equal = SETTINGS_BYTES_MAX - world.set.settings_bytes();
    assert_eq!(equal, 0);
}
