//! The fold against its definition, and entries against their bytes.

use proptest::prelude::*;
use tributary_cluster::entry::{BadEntry, Body, Entry, Genesis, HeadMark, Header, Mark};
use tributary_cluster::fold::{Fold, Ignored, Step, Stop};
use tributary_engine::{NEWEST, Versions};
use tributary_journal::{Epoch, FrameBuilder, Head};

const LOG_ID: [u8; 16] = [9; 16];
/// Versions in which a log begins here.
const OLD: Versions = Versions {
    rules: NEWEST.rules - 1,
    ..NEWEST
};

/// What a writer of nonsense appends.
#[derive(Clone, Debug)]
enum Written {
    Genesis,
    Claim {
        term: u64,
        nonce: u64,
    },
    /// A frame that follows the head after one of the frames that were made before; 0 is the empty journal.
    Frame {
        term: u64,
        nonce: u64,
        after: usize,
        is_newer: bool,
    },
    Upgrade {
        term: u64,
        nonce: u64,
        to: Versions,
    },
    Beat {
        term: u64,
        nonce: u64,
    },
    Yield {
        term: u64,
        nonce: u64,
    },
    /// An entry of the log beside the journal, with its number.
    Beside {
        term: u64,
        nonce: u64,
        number: u64,
    },
    Barrier,
    OfAnotherLog {
        term: u64,
    },
}

fn written() -> impl Strategy<Value = Written> {
    let term = 0_u64..6;
    let nonce = 1_u64..4;
    prop_oneof![
        1 => Just(Written::Genesis),
        3 => (term.clone(), nonce.clone()).prop_map(|(term, nonce)| Written::Claim { term, nonce }),
        6 => (term.clone(), nonce.clone(), 0_usize..100, any::<bool>()).prop_map(
            |(term, nonce, after, is_newer)| Written::Frame { term, nonce, after, is_newer }
        ),
        1 => (term.clone(), nonce.clone(), prop::sample::select(vec![OLD, NEWEST]))
            .prop_map(|(term, nonce, to)| Written::Upgrade { term, nonce, to }),
        3 => (term.clone(), nonce.clone(), 1_u64..5)
            .prop_map(|(term, nonce, number)| Written::Beside { term, nonce, number }),
        1 => (term.clone(), nonce.clone()).prop_map(|(term, nonce)| Written::Beat { term, nonce }),
        1 => (term.clone(), nonce).prop_map(|(term, nonce)| Written::Yield { term, nonce }),
        1 => Just(Written::Barrier),
        1 => term.prop_map(|term| Written::OfAnotherLog { term }),
    ]
}

fn genesis() -> Genesis {
    Genesis {
        cluster_id: [1; 16],
        sandbox: true,
        master_key_id: 5,
        epochs: vec![
            Epoch {
                number: 1,
                first_position: 1,
            },
            Epoch {
                number: 4,
                first_position: 70,
            },
        ],
        sealed_id_key: vec![8; 44],
        head: HeadMark::default(),
        versions: OLD,
    }
}

fn header(term: u64, nonce: u64) -> Header {
    Header {
        log_id: LOG_ID,
        term,
        nonce,
        settled: Mark::default(),
    }
}

fn claim(term: u64, nonce: u64, log_id: [u8; 16]) -> Vec<u8> {
    let header = Header {
        log_id,
        ..header(term, nonce)
    };
    let (head, node, url) = (HeadMark::default(), "n", "u");
    Entry::encode(&header, &Body::Claim { head, node, url })
}

/// A frame of one record that follows a head, and the head after it.
fn frame(after: &Head, content: u64, versions: Versions) -> (Vec<u8>, Head) {
    let mut frame = FrameBuilder::new(after.position + 1, after.timestamp + 1, versions);
    frame
        .push(|into| into.extend_from_slice(&content.to_le_bytes()))
        .expect("there is room");
    let sealed = frame.seal(after);
    (sealed.bytes().to_vec(), sealed.head())
}

/// What is added to the number of an entry beside the journal, among those of frames.
const BESIDE: usize = 1_000_000;

/// Makes a log, and says what of it must count: frames and entries beside the journal, by the number of each.
fn make(all: &[Written]) -> (Vec<Vec<u8>>, Vec<usize>) {
    let first = Entry::encode(&header(0, 0), &Body::Genesis(genesis()));
    let mut log = vec![first];
    let mut heads = vec![Head {
        epoch: 1,
        ..Head::default()
    }];
    let (mut counted, mut head, mut led, mut beside) = (Vec::new(), 0, (0, 0), 0);
    let mut upgraded = false;
    for one in all {
        log.push(match *one {
            Written::Genesis => Entry::encode(&header(0, 0), &Body::Genesis(genesis())),
            Written::Claim { term, nonce } => {
                // A claim counts if its term is above those of all claims before it.
                if term > led.0 {
                    led = (term, nonce);
                }
                claim(term, nonce, LOG_ID)
            }
            Written::Upgrade { term, nonce, to } => {
                upgraded |= (term, nonce) == led && term > 0 && to == NEWEST;
                Entry::encode(&header(term, nonce), &Body::Upgrade(to))
            }
            Written::Frame {
                term,
                nonce,
                after,
                is_newer,
            } => {
                let after = after % heads.len();
                let number = heads.len();
                let (bytes, next) = frame(
                    &heads[after],
                    number as u64,
                    if is_newer { NEWEST } else { OLD },
                );
                heads.push(next);
                let is_known = upgraded || !is_newer;
                if (term, nonce) == led && term > 0 && after == head && is_known {
                    counted.push(number);
                    head = number;
                }
                Entry::encode(&header(term, nonce), &Body::Frame(&bytes))
            }
            Written::Beside {
                term,
                nonce,
                number,
            } => {
                if (term, nonce) == led && term > 0 && number == beside + 1 {
                    beside = number;
                    counted.push(BESIDE + usize::try_from(number).expect("a small number"));
                }
                let bytes = number.to_le_bytes();
                let bytes = &bytes[..];
                Entry::encode(&header(term, nonce), &Body::Beside { number, bytes })
            }
            Written::Beat { term, nonce } => {
                let head = HeadMark {
                    position: heads[head].position,
                    hash: heads[head].hash,
                };
                Entry::encode(&header(term, nonce), &Body::Beat { head })
            }
            Written::Yield { term, nonce } => {
                Entry::encode(&header(term, nonce), &Body::Yield { to: "n" })
            }
            Written::Barrier => Entry::encode(&header(0, 7), &Body::Barrier),
            Written::OfAnotherLog { term } => claim(term + 10, 1, [4; 16]),
        });
    }
    (log, counted)
}

/// Folds entries, and returns the numbers of what counted.
fn fold(fold: &mut Fold, log: &[Vec<u8>]) -> Vec<usize> {
    let mut counted = Vec::new();
    for entry in log {
        let step = fold.step(entry).expect("no reason to stop");
        let (bytes, added) = match &step {
            Step::Frame(frame) => {
                let record = frame.records().next().expect("a record");
                (record.payload(), 0)
            }
            Step::Beside(bytes) => (*bytes, BESIDE),
            _ => continue,
        };
        let number = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        counted.push(added + usize::try_from(number).expect("a small number"));
    }
    counted
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever reads a prefix, at once or in pieces, finds the same; what counted counts for ever, and follows what counted before.
    #[test]
    fn all_readers_agree_which_frames_count(
        all in prop::collection::vec(written(), 0..80),
        cut in 0_usize..80,
    ) {
        let (log, expected) = make(&all);
        let mut whole = Fold::default();
        let counted = fold(&mut whole, &log);
        prop_assert_eq!(&counted, &expected);
        let cut = cut.min(log.len());
        let mut pieces = Fold::default();
        let before = fold(&mut pieces, &log[..cut]);
        prop_assert_eq!(&before[..], &counted[..before.len()]);
        let mut resumed = pieces.clone();
        let after = fold(&mut resumed, &log[cut..]);
        prop_assert_eq!([before, after].concat(), counted);
        prop_assert_eq!(&resumed, &whole);
        let first = pieces.genesis().map(|genesis| genesis.versions);
        prop_assert!(first.is_none_or(|first| first.are_known_to(pieces.versions())));
        prop_assert!(first.is_none() || pieces.versions().are_known_to(whole.versions()));
        let frames = expected.iter().filter(|number| **number < BESIDE).count();
        prop_assert_eq!(whole.head().position, frames as u64);
        prop_assert_eq!(whole.beside(), (expected.len() - frames) as u64);
        prop_assert_eq!(whole.mark().entries, log.len() as u64);
        prop_assert!(whole.is_last_entry(&log[log.len() - 1]));
    }

    /// No bytes crash a reader, and none that were changed are taken for an entry.
    #[test]
    fn changed_bytes_are_no_entry(
        one in written(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let (log, _) = make(&[one]);
        let mut bytes = log[1].clone();
        prop_assert!(Entry::parse(&bytes).is_ok());
        prop_assert!(Entry::parse(&bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Entry::parse(&bytes).is_err());
    }
}

#[test]
fn every_kind_of_entry_is_read_as_it_was_written() {
    let head = HeadMark {
        position: 4,
        hash: [6; 32],
    };
    let header = Header {
        settled: Mark {
            entries: 3,
            chain: [2; 32],
        },
        ..header(8, u64::MAX)
    };
    let (bytes, _) = frame(&Head::default(), 1, OLD);
    let bodies = [
        Body::Genesis(genesis()),
        Body::Claim {
            head,
            node: "zürich-1",
            url: "https://10.0.0.1:8080",
        },
        Body::Frame(&bytes),
        Body::Beat { head },
        Body::Yield { to: "" },
        Body::Barrier,
        Body::Closed { head, node: "n" },
        Body::Beside {
            number: 3,
            bytes: &[1, 2],
        },
        Body::Upgrade(NEWEST),
    ];
    for body in bodies {
        let bytes = Entry::encode(&header, &body);
        let entry = Entry::parse(&bytes).expect("what was written can be read");
        assert_eq!(entry, Entry { header, body });
    }
}

/// Bytes of an entry with another byte, and a checksum that matches.
fn with_byte(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    bytes.truncate(bytes.len() - 4);
    bytes[at] = byte;
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn a_newer_format_stops_a_node_before_it() {
    let (log, _) = make(&[Written::Barrier]);
    for (at, byte) in [(4, 2), (6, 10)] {
        let newer = with_byte(log[1].clone(), at, byte);
        let why = Entry::parse(&newer).expect_err("it is newer").0;
        assert!(why.contains("newer version of the program"), "{why}");
        let mut node = Fold::default();
        fold(&mut node, &log[..1]);
        let before = node.clone();
        let stop = node.step(&newer).expect_err("it can't be read");
        assert!(
            matches!(stop, Stop::Unreadable { offset: 1, .. }),
            "{stop:?}"
        );
        assert_eq!(node, before);
    }
    let (log, _) = make(&[]);
    assert_eq!(Entry::parse(&[]), Err(BadEntry("it is cut short")));
    assert!(matches!(
        Fold::default().step(b"something else"),
        Err(Stop::NoGenesis)
    ));
    assert!(matches!(
        Fold::default().step(&claim(1, 1, LOG_ID)),
        Err(Stop::NoGenesis)
    ));
    assert!(matches!(Fold::default().step(&log[0]), Ok(Step::Genesis)));
}

#[test]
fn versions_that_a_node_does_not_know_stop_it_before_any_frame_of_them() {
    let newer = Versions {
        format: NEWEST.format + 1,
        ..NEWEST
    };
    let (log, _) = make(&[Written::Claim { term: 1, nonce: 1 }]);
    let mut node = Fold::default();
    fold(&mut node, &log);
    assert_eq!(node.versions(), OLD);
    let before = node.clone();
    let upgrade = Entry::encode(&header(1, 1), &Body::Upgrade(newer));
    let stop = node.step(&upgrade).expect_err("the node is older");
    assert_eq!(
        stop,
        Stop::Newer {
            offset: 2,
            versions: newer
        }
    );
    assert_eq!(node, before);
    let first = Genesis {
        versions: newer,
        ..genesis()
    };
    let first = Entry::encode(&header(0, 0), &Body::Genesis(first));
    let stop = Fold::default().step(&first).map(|_| ());
    assert_eq!(
        stop,
        Err(Stop::Newer {
            offset: 0,
            versions: newer
        })
    );
}

#[test]
fn a_node_with_another_journal_or_log_stops_the_others() {
    let (mut log, _) = make(&[Written::Claim { term: 1, nonce: 1 }]);
    let (bytes, head) = frame(
        &Head {
            epoch: 1,
            ..Head::default()
        },
        1,
        OLD,
    );
    log.push(Entry::encode(&header(1, 1), &Body::Frame(&bytes)));
    let mut node = Fold::default();
    fold(&mut node, &log);
    assert_eq!(node.head(), head);
    let claims = |position, hash| {
        let head = HeadMark { position, hash };
        Entry::encode(
            &header(2, 2),
            &Body::Claim {
                head,
                node: "other",
                url: "",
            },
        )
    };
    for (position, hash) in [(1, [7; 32]), (2, head.hash)] {
        let stop = node.clone().step(&claims(position, hash)).map(|_| ());
        let expected = Stop::Diverged {
            node: "other".to_owned(),
            position: 1,
        };
        assert_eq!(stop, Err(expected));
    }
    assert!(
        node.clone().step(&claims(0, [0; 32])).is_ok(),
        "one that is behind"
    );
    // What the writer knows to be settled is not what was read here.
    for settled in [
        Mark {
            chain: [1; 32],
            ..node.mark()
        },
        Mark {
            entries: node.mark().entries + 1,
            chain: [1; 32],
        },
    ] {
        let header = Header {
            settled,
            ..header(1, 1)
        };
        let stop = node
            .clone()
            .step(&Entry::encode(&header, &Body::Barrier))
            .map(|_| ());
        assert_eq!(stop, Err(Stop::WentBack { offset: 3 }));
    }
}

#[test]
fn a_log_ends_once_and_only_at_its_head() {
    let (log, _) = make(&[Written::Claim { term: 3, nonce: 1 }]);
    let mut node = Fold::default();
    fold(&mut node, &log);
    let closed = |term, position, node: &str, nonce| {
        let head = HeadMark {
            position,
            ..HeadMark::default()
        };
        Entry::encode(&header(term, nonce), &Body::Closed { head, node })
    };
    let ignored = |node: &mut Fold, entry: &[u8]| match node.step(entry) {
        Ok(Step::Ignored(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(ignored(&mut node, &closed(2, 0, "a", 1)), Ignored::OldTerm);
    assert_eq!(
        ignored(&mut node, &closed(3, 1, "a", 1)),
        Ignored::AnotherHead
    );
    assert!(matches!(node.step(&closed(3, 0, "a", 2)), Ok(Step::Closed)));
    assert_eq!(ignored(&mut node, &closed(3, 0, "b", 3)), Ignored::AfterEnd);
    assert_eq!(ignored(&mut node, &claim(9, 1, LOG_ID)), Ignored::AfterEnd);
    let end = node.closed().expect("it has ended");
    assert_eq!((&*end.node, end.nonce), ("a", 2));
}
