//! The state of the guard: who is counted, who is blocked, and what is to be told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_api::time::format_timestamp;
use tributary_engine::{Clock, IdKind, Ids, lock};
use tributary_ledger::{Actor, ApiKeyId, OwnerId};

use crate::admission::{ConnectionPlace, Network};
use crate::guard::declines::Declined;
use crate::guard::entry::{Block, Entry, Finding, Terms};
use crate::guard::limits::AbuseLimits;
use crate::guard::reports::Reports;
use crate::guard::signal::{SIGNALS, Signal};
use crate::guard::table::Table;

/// Maximum number of API keys that are tracked.
const KEYS_MAX: usize = 4_096;
/// Maximum number of addresses that are tracked.
const ADDRESSES_MAX: usize = 16_384;

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// An API key of an owner other than the platform.
    Key(ApiKeyId),
    /// An IPv4 address, or the first 64 bits of an IPv6 address.
    Address(Network),
}

impl Subject {
    /// Returns what the subject is, and its id: that of the API key, or the address.
    pub(crate) fn describe(self, ids: &Ids) -> (&'static str, String) {
        match self {
            Subject::Key(key) => ("api_key", ids.encode(IdKind::ApiKey, key.0)),
            Subject::Address(network) => ("address", network.address().to_string()),
        }
    }
}

/// Counts signals of abuse, and knows what is blocked.
pub(crate) struct Guard {
    pub(super) clock: Arc<dyn Clock>,
    keys: Table<ApiKeyId>,
    addresses: Table<Network>,
    of_keys: Terms,
    of_addresses: Terms,
    of_exempt: Terms,
    exempt: Vec<Network>,
    figures: Figures,
    /// What is to be published.
    pub(super) reports: Mutex<Reports<Subject>>,
    /// Told when there is something to publish.
    pub(super) reported: Notify,
}

/// Numbers since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Signals, by [`Signal`].
    pub(crate) signals: [AtomicU64; SIGNALS],
    /// Requests refused because their API key is blocked.
    pub(crate) refused_of_key: AtomicU64,
    /// Requests refused because their address is blocked.
    pub(crate) refused_of_address: AtomicU64,
}

impl Guard {
    /// Returns a guard with these limits.
    pub(crate) fn new(limits: &AbuseLimits, clock: Arc<dyn Clock>) -> Guard {
        let terms = |blocks: bool| Terms {
            maxima: limits.maxima(),
            block: blocks.then(|| u64::try_from(limits.block.as_nanos()).unwrap_or(u64::MAX)),
        };
        let exempt = limits.exempt_addresses.iter();
        Guard {
            clock,
            keys: Table::new(KEYS_MAX),
            addresses: Table::new(ADDRESSES_MAX),
            of_keys: terms(limits.block_keys),
            of_addresses: terms(limits.block_addresses),
            of_exempt: terms(false),
            exempt: exempt.map(|one| Network::of_address(*one)).collect(),
            figures: Figures::default(),
            reports: Mutex::default(),
            reported: Notify::new(),
        }
    }

    /// Whether no address is blocked for certain. Takes no lock.
    pub(crate) fn blocks_no_address(&self) -> bool {
        self.addresses.blocks_nothing()
    }

    /// Refuses a request over a connection whose address is blocked.
    ///
    /// # Errors
    /// If the address is blocked.
    pub(crate) fn check_address(&self, connection: &ConnectionPlace) -> Result<(), ApiError> {
        let now = self.clock.running();
        match self.addresses.block(connection.network(), now) {
            None => Ok(()),
            Some(block) => {
                self.figures
                    .refused_of_address
                    .fetch_add(1, Ordering::Relaxed);
                Err(self.refusal("This address", &block, now))
            }
        }
    }

    /// Refuses a request of a blocked API key.
    ///
    /// # Errors
    /// If the API key is blocked.
    pub(crate) fn check_key(&self, caller: &Caller) -> Result<(), ApiError> {
        if self.keys.blocks_nothing() {
            return Ok(());
        }
        let now = self.clock.running();
        match self.keys.block(caller.actor.api_key, now) {
            None => Ok(()),
            Some(block) => {
                self.figures.refused_of_key.fetch_add(1, Ordering::Relaxed);
                Err(self.refusal("This API key", &block, now))
            }
        }
    }

    /// Counts signals of an API key of an owner.
    pub(crate) fn count_key(&self, key: ApiKeyId, signal: Signal, number: u32) {
        self.add_to_figures(signal, number);
        let now = self.clock.running();
        let add = |entry: &mut Entry| entry.add(now, signal, number, &self.of_keys);
        if let Some(finding) = self.keys.change(key, now, add) {
            self.report(Subject::Key(key), finding, now);
        }
    }

    /// Counts a signal of the address that a connection comes from. The address is not blocked if it is exempt, or somebody else there
    /// has a valid API key: a proxy, or a network behind one address, is not blocked for one of those behind it.
    pub(crate) fn count_address(&self, connection: &ConnectionPlace, signal: Signal) {
        self.add_to_figures(signal, 1);
        let now = self.clock.running();
        let network = connection.network();
        let terms = match self.exempt.contains(&network) || connection.network_has_key() {
            true => &self.of_exempt,
            false => &self.of_addresses,
        };
        let add = |entry: &mut Entry| entry.add(now, signal, 1, terms);
        if let Some(finding) = self.addresses.change(network, now, add) {
            self.report(Subject::Address(network), finding, now);
        }
    }

    /// Whether payments of this actor are counted.
    pub(crate) fn counts_payments_of(&self, actor: Actor) -> bool {
        actor.owner != OwnerId::PLATFORM
    }

    /// Counts payments that the ledger decided for an API key of an owner.
    pub(crate) fn count_decided(&self, key: ApiKeyId, accepted: u32, declined: &[Declined]) {
        if declined.is_empty() {
            if accepted > 0 && !self.keys.is_empty() {
                let accept = |entry: &mut Entry| entry.accept(accepted);
                let _known = self.keys.change_known(key, accept);
            }
            return;
        }
        let now = self.clock.running();
        let terms = &self.of_keys;
        let (told, probing) = self.keys.change(key, now, |entry| {
            entry.decide(now, accepted, declined, terms)
        });
        let number = u32::try_from(declined.len()).unwrap_or(u32::MAX);
        self.add_to_figures(Signal::Declined, number);
        self.add_to_figures(Signal::Probing, probing);
        if let Some(finding) = told {
            self.report(Subject::Key(key), finding, now);
        }
    }

    /// Returns all blocks that are in force, those that end last first.
    pub(crate) fn blocks(&self) -> Vec<(Subject, Block)> {
        let now = self.clock.running();
        let keys = self.keys.blocks(now).into_iter();
        let keys = keys.map(|(key, block)| (Subject::Key(key), block));
        let addresses = self.addresses.blocks(now).into_iter();
        let addresses = addresses.map(|(network, block)| (Subject::Address(network), block));
        let mut blocks: Vec<(Subject, Block)> = keys.chain(addresses).collect();
        blocks.sort_by_key(|(_, block)| std::cmp::Reverse(block.until));
        blocks
    }

    /// Ends a block. Returns it, if there was one.
    pub(crate) fn lift(&self, subject: Subject) -> Option<Block> {
        let now = self.clock.running();
        let lift = |entry: &mut Entry| {
            let block = entry.block(now);
            entry.lift(now);
            block
        };
        let lifted = match subject {
            Subject::Key(key) => self.keys.change_known(key, lift),
            Subject::Address(network) => self.addresses.change_known(network, lift),
        };
        lifted.flatten()
    }

    /// Returns the numbers since the start.
    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Returns ledger time at a running time, both in nanoseconds.
    pub(crate) fn ledger_time(&self, running: u64) -> u64 {
        let now = self.clock.now();
        let ahead = i128::from(running) - i128::from(self.clock.running());
        u64::try_from(i128::from(now) + ahead).unwrap_or(now)
    }

    /// Forgets what does not count any more.
    pub(super) fn sweep(&self) {
        let now = self.clock.running();
        self.keys.sweep(now);
        self.addresses.sweep(now);
    }

    fn report(&self, subject: Subject, finding: Finding, now: u64) {
        if lock(&self.reports).add(now, subject, finding) {
            self.reported.notify_one();
        }
    }

    fn add_to_figures(&self, signal: Signal, number: u32) {
        let figure = &self.figures.signals[signal as usize];
        figure.fetch_add(u64::from(number), Ordering::Relaxed);
    }

    fn refusal(&self, what: &str, block: &Block, now: u64) -> ApiError {
        let message = format!(
            "{what} is blocked until {}, because of too many requests that went wrong ({}).",
            format_timestamp(self.ledger_time(block.until)),
            block.reason.name()
        );
        // In whole seconds, and never too early.
        let seconds = (block.until - now).div_ceil(1_000_000_000);
        ApiError::new(ErrorCode::TemporarilyBlocked, message)
            .retry_after(Duration::from_secs(seconds))
    }
}
