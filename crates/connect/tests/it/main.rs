//! Webhooks, as a receiver meets them: the sender alone, without a server. The contract of adapters to brokers. Registries of nodes.

mod attempts;
mod bindings;
mod contract;
mod discovery;
mod fairness;
mod receiver;
#[cfg(feature = "redis")]
mod record_store;
mod standard;

use std::net::IpAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tributary_connect::webhooks::{
    Attempt, Endpoint, EndpointUrl, Job, Rules, Sender, Settings, SigningSecret, SigningSecrets,
};
use tributary_engine::SystemClock;

/// The longest that a test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A sender, and what it says of its attempts.
struct Sending {
    sender: Sender,
    done: Mutex<mpsc::Receiver<(Job, Attempt)>>,
}

impl Sending {
    fn start(settings: Settings) -> Sending {
        let (tell, done) = mpsc::channel();
        let sender = Sender::start(settings, Arc::new(SystemClock), move |job, attempt| {
            // A test that has seen enough listens no more.
            let _ = tell.send((job, attempt));
        });
        Sending {
            sender: sender.expect("it starts"),
            done: Mutex::new(done),
        }
    }

    #[track_caller]
    fn offer(&self, job: Job) {
        self.sender.offer(job).expect("there is room");
    }

    #[track_caller]
    fn next(&self) -> (Job, Attempt) {
        let done = self.done.lock().expect("nobody panics");
        done.recv_timeout(PATIENCE).expect("an attempt")
    }

    /// Sends one and tells what came of it.
    #[track_caller]
    fn send(&self, job: Job) -> Attempt {
        self.offer(job);
        self.next().1
    }

    fn is_quiet_for(&self, time: Duration) -> bool {
        let done = self.done.lock().expect("nobody panics");
        matches!(done.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

/// Settings that let tests send to themselves: every name leads to the loopback, and nothing is given up because the machine is slow.
fn open() -> Settings {
    Settings {
        rules: Rules {
            allow_http: true,
            allow_private: true,
            ..Rules::default()
        },
        resolver: Arc::new(|_| Ok(vec![IpAddr::from([127, 0, 0, 1])])),
        timeout: PATIENCE,
        connect_timeout: PATIENCE,
        ..Settings::default()
    }
}

fn endpoint(url: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint {
        id: "sub_test".to_owned(),
        url: EndpointUrl::parse(url).expect(url),
        secrets: SigningSecrets::new(SigningSecret::random()),
    })
}

fn job(endpoint: &Arc<Endpoint>, event: usize) -> Job {
    Job {
        endpoint: endpoint.clone(),
        event_id: format!("evt_{event}"),
        attempt: 1,
        body: format!("{{\"type\":\"payment.captured\",\"n\":{event}}}").into(),
    }
}
