//! The state that handlers share.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::Bytes;
use tokio::sync::watch;
use tributary_api::brokers::Brokers;
use tributary_api::error::ApiError;
use tributary_api::failures::{internal_error, outcome_unknown};
use tributary_api::intake::Intake;
use tributary_api::risk::Risk;
use tributary_api::settings::SettingTypes;
use tributary_api::streaming::Streaming;
use tributary_api::subscriptions::require_messaging;
use tributary_api::transport::PushTransport;
use tributary_engine::{Engine, Reader, SubmitQueue};
use tributary_ledger::OwnerId;
use tributary_messaging::Messaging;

use crate::admission::Admission;
use crate::cluster::node::ClusterNode;
use crate::cluster::peer_client::PeerClient;
use crate::config::ServerConfig;
use crate::guard::Guard;
use crate::metrics::request_timeouts::RequestTimeouts;
use crate::metrics::requests::Counters;
use crate::parameters::QueryParameters;
use crate::rate::RateLimiter;
use crate::statement_pages::StatementPages;
use crate::streams::Streams;
use crate::timeouts::Timeouts;

/// State of a handler: shared by all threads, except the counters, the queue to the writer, the time-outs and the connections to
/// other nodes of its own thread.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) submit_queue: Arc<SubmitQueue>,
    pub(crate) timeouts: Arc<Timeouts>,
    /// Connections to the other nodes of a cluster; none for a server that is alone.
    pub(crate) peers: Option<Arc<PeerClient>>,
}

/// State that all threads share.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) engine: Engine,
    /// This server as a node of a cluster; none for a server that is alone.
    pub(crate) cluster: Option<ClusterNode>,
    /// The subscriptions; none where they are not kept, or could not be read.
    pub(crate) messaging: Option<Arc<Messaging>>,
    /// Transport of subscriptions that have a URL; none where webhooks are not sent.
    pub(crate) transport: Option<Arc<dyn PushTransport>>,
    /// What checks binders and bindings.
    pub(crate) brokers: Arc<dyn Brokers>,
    /// What checks and runs streams.
    pub(crate) streaming: Arc<dyn Streaming>,
    /// What checks and applies rule sets.
    pub(crate) risk: Arc<dyn Risk>,
    /// The kinds of settings that can be applied.
    pub(crate) setting_types: SettingTypes,
    pub(crate) reader: Reader,
    /// Intake of commands.
    pub(crate) intake: Intake,
    pub(crate) rate: RateLimiter,
    /// Counts abuse and blocks; none where that is off.
    pub(crate) guard: Option<Guard>,
    pub(crate) request_timeouts: RequestTimeouts,
    /// The counters of every thread, for a scrape.
    pub(crate) threads: Vec<Arc<Counters>>,
    pub(crate) openapi: Bytes,
    pub(crate) docs: Bytes,
    /// Query parameters of each route.
    pub(crate) parameters: QueryParameters,
    pub(crate) draining: AtomicBool,
    /// Whether the start is over.
    pub(crate) started: AtomicBool,
    /// True once the server is told to stop: what lasts, ends itself then.
    pub(crate) stopped: watch::Receiver<bool>,
    pub(crate) request_ids: RequestIds,
    /// Statement pages as rendered; none where they are not cached.
    pub(crate) statement_pages: Option<StatementPages>,
    /// Places for event streams.
    pub(crate) streams: Streams,
    /// Places for connections.
    pub(crate) admission: Arc<Admission>,
}

/// The id of the request at hand.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Makes request ids: a random number for the process, and a count.
pub(crate) struct RequestIds {
    /// Beginning of all request ids of this process.
    process: String,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> RequestIds {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        RequestIds {
            process: format!("req_{:016x}", u64::from_le_bytes(bytes)),
            count: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(self.process.len() + 16);
        id.push_str(&self.process);
        write!(id, "{count:010x}").expect("memory takes what is written");
        RequestId(id)
    }
}

impl Shared {
    /// Returns the subscriptions, or the error of a server that keeps none.
    pub(crate) fn messaging(&self) -> Result<&Arc<Messaging>, ApiError> {
        require_messaging(self.messaging.as_ref())
    }

    /// Returns the transport of subscriptions that have a URL.
    pub(crate) fn transport(&self) -> Option<&dyn PushTransport> {
        self.transport.as_deref()
    }
}

impl App {
    /// [`App::blocking`] for work that waits for the ledger: no longer than a request may.
    pub(crate) async fn blocking_within<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let timeout = self.shared.config.limits.request_timeout;
        let done = self.timeouts.within(timeout, self.blocking(work)).await;
        done.ok_or_else(outcome_unknown)?
    }

    /// [`App::blocking`] for a read by a key of this owner, who has a share of the reads at once.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        owner: OwnerId,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.shared.streams.read(owner)?;
        self.blocking(move |shared| {
            // Kept until the work is done, also when nobody waits for it any more.
            let _place = place;
            work(shared)
        })
        .await
    }

    /// Runs what may read much from disk on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(_panicked) => Err(internal_error()),
        }
    }
}
