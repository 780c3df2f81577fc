//! A broker that takes only TLS, and users by SCRAM.

use std::process::Command;

use tributary_cluster::kafka::{KafkaLog, Mechanism};
use tributary_cluster::log::{Appended, Log, LogError};
use tributary_testkit::ports::free_port;

use super::FIT;
use super::broker::{Broker, options};
use crate::contract::{PATIENCE, begin};
use crate::members::in_time;

/// Makes a certificate for a broker, and the one that signed it, and one that signed nothing.
const MAKE_CERTIFICATES: &str = r#"
    new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl req -x509 $new -days 30 -subj /CN=ca -keyout ca-key.pem -out ca.pem
    openssl req -x509 $new -days 30 -subj /CN=other -keyout other-key.pem -out other.pem
    openssl req $new -subj /CN=server -keyout key.pem -out request.pem
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile names -out cert.pem
    cat key.pem cert.pem >broker.pem
"#;

#[test]
fn a_broker_is_reached_by_tls_and_scram() {
    let Some(broker) = Broker::find() else {
        return;
    };
    let port = free_port();
    broker.engine.write("tls/port", &port.to_string());
    broker
        .engine
        .write("tls/names", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    let folder = broker.engine.folder().join("tls");
    let mut make = Command::new("sh");
    let made = make.args(["-ec", MAKE_CERTIFICATES]).current_dir(&folder);
    let made = made.output().expect("sh is there");
    assert!(made.status.success(), "{made:?}");
    broker.engine.start();
    broker.create("one-copy", 1, &FIT);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("it was made");
    let connect = |roots: &str, mechanism, allow_single_copy| {
        let mut options = options(&[&broker], "one-copy", allow_single_copy);
        options.brokers = vec![format!("localhost:{port}")];
        options.trusted_roots = Some(read(roots));
        options.user.as_mut().expect("there is one").mechanism = mechanism;
        KafkaLog::new(options).expect("the options are fit")
    };
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let mut log = connect("ca.pem", mechanism, true);
        begin(&mut log);
        let appended = log.append(0, b"by TLS", PATIENCE);
        assert!(matches!(appended, Appended::At(_)), "{appended:?}");
    }
    // The features are asked for by a connection of its own.
    let mut log = connect("ca.pem", Mechanism::Plain, false);
    in_time("the features are told", || match log.session() {
        Err(LogError::Unfit(why)) => {
            assert!(why.contains("replication factor 1"), "{why}");
            true
        }
        other => {
            assert!(other.is_err(), "{other:?}");
            false
        }
    });
    let mut log = connect("other.pem", Mechanism::Plain, true);
    let refused = log.session();
    assert!(
        matches!(refused, Err(LogError::Disconnected(_))),
        "{refused:?}"
    );
}
