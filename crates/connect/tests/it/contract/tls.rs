//! Whom an adapter trusts: certificates for an engine, and others.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tributary_connect::port::{Binder, TroubleKind};

use super::engine::Engine;
use super::{Rig, binding, failed, in_time, outgoing, take};

/// Makes a certificate for an engine, for the name in the file `names`, and the one that signed it.
const MAKE: &str = r#"
    new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    openssl req -x509 $new -days 30 -subj /CN=ca -keyout ca-key.pem -out ca.pem
    openssl req $new -subj /CN=server -keyout key.pem -out request.pem
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile names -out cert.pem
    cat key.pem cert.pem >broker.pem
"#;

/// Makes a certificate that signed nothing.
const MAKE_OTHER: &str = r"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=other \
        -keyout other-key.pem -out other.pem
";

/// Certificates of an engine, which takes TLS.
pub(super) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them for a name, such as `DNS:localhost`, and starts the engine again. It takes TLS at `port` then, if it has one for that.
    pub(super) async fn make(
        engine: &Arc<Engine>,
        rig: &dyn Rig,
        name: &str,
        port: u16,
    ) -> Certificates {
        let made = Certificates::made_by(engine);
        let write = |file: &str, text: String| std::fs::write(made.folder.join(file), text);
        std::fs::create_dir(&made.folder).expect("the folder is there");
        write("port", port.to_string()).expect("there is room");
        write("names", format!("subjectAltName={name}\n")).expect("there is room");
        made.run(MAKE);
        rig.kill().await;
        rig.restart().await;
        made
    }

    /// Those that an engine made for itself.
    pub(super) fn made_by(engine: &Engine) -> Certificates {
        let folder = engine.folder().join("tls");
        Certificates { folder }
    }

    /// Checks that messages pass by TLS at `url`, whose host is named in the certificate, and that nobody else is trusted: other
    /// certificates, those of the system, and the same engine at `other_url`.
    pub(super) async fn check(&self, rig: &dyn Rig, url: String, other_url: String) {
        let right = Binder {
            url,
            trusted_roots: Some(self.read("ca.pem")),
            ..rig.binder()
        };
        rig.adapter().check_binder(&right).expect("it is fit");
        let queue = rig.make_queue().await;
        let sink = in_time("TLS", async {
            loop {
                match rig.adapter().open_sink(&right).await {
                    Ok(sink) => return sink,
                    // It may not listen there yet.
                    Err(trouble) => assert!(!trouble.text.contains("certificate"), "{trouble}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        let sent = sink.send(&outgoing(rig, &queue, "by TLS")).await;
        sent.expect("it is confirmed");
        let opened = rig.adapter().open_source(&right, &binding(&queue, 1)).await;
        let mut source = opened.expect("it is trusted");
        assert_eq!(take(source.as_mut(), 1).await, ["by TLS"]);
        source.close().await;
        self.run(MAKE_OTHER);
        let wrong = Binder {
            trusted_roots: Some(self.read("other.pem")),
            ..right.clone()
        };
        let system = Binder {
            trusted_roots: None,
            ..right.clone()
        };
        let other_name = Binder {
            url: other_url,
            ..right
        };
        for unsound in [wrong, system, other_name] {
            let opened = rig.adapter().open_sink(&unsound).await;
            let trouble = failed(opened, TroubleKind::Unreachable);
            assert!(trouble.text.contains("certificate"), "{trouble}");
        }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).expect("it was made")
    }

    fn run(&self, commands: &str) {
        let done = Command::new("sh")
            .args(["-e", "-c", commands])
            .current_dir(&self.folder)
            .output()
            .expect("there is a shell");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "openssl: {said}");
    }
}
