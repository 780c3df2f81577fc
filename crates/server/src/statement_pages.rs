//! A cache of statement pages as rendered.
//!
//! A line of a statement never changes, so a page changes only when the account's chain of postings grows. Where the chain ends is a
//! part of the key, and is read from the published view for each request, together with whether the caller may see the account: the
//! step that shows a posting makes every older page unreachable.

use bytes::Bytes;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::render::entry::{EntryObject, entry};
use tributary_api::render::list::{List, list};
use tributary_engine::{ByteCache, CacheFigures, CachePolicy, Page, Reader};
use tributary_ledger::{Account, AccountId, OwnerId};

/// The cache, shared by all threads.
pub(crate) struct StatementPages(ByteCache<PageKey, Bytes>);

/// What a page depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PageKey {
    /// Owner of the caller's key, who decides which counterparties are named.
    owner: OwnerId,
    account: AccountId,
    /// Position and number of the newest leg of the account.
    chain_end: (u64, u64),
    page: Page,
}

/// Why a page that was made is not cached.
enum NotKept {
    /// The account changed meanwhile, so the page may be newer than its key says.
    Newer(Bytes),
    Failed(ApiError),
}

impl StatementPages {
    /// Makes an empty cache; none if it may not have a byte.
    pub(crate) fn new(bytes_max: u64, policy: CachePolicy) -> Option<StatementPages> {
        let cache = || ByteCache::new(bytes_max, policy, |body: &Bytes| body.len());
        (bytes_max > 0).then(|| StatementPages(cache()))
    }

    /// Returns the cached page of an account as it is in the view now. Reads no disk.
    pub(crate) fn get(&self, caller: &Caller, account: &Account, page: Page) -> Option<Bytes> {
        self.0.get(&PageKey::new(caller, account, page))
    }

    /// Returns the page of an account as it is in the view now, which was not cached.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub(crate) fn load(
        &self,
        reader: &Reader,
        caller: &Caller,
        account: &Account,
        page: Page,
        url: &str,
    ) -> Result<Bytes, ApiError> {
        let render = || {
            let lines = statement(reader, caller, account.id, page, url)?;
            let body = serde_json::to_vec(&lines).expect("a page is JSON");
            Ok(Bytes::from(body))
        };
        let key = PageKey::new(caller, account, page);
        let chain_end = key.chain_end;
        let loaded = self.0.get_or_load(key, || {
            let body = render().map_err(NotKept::Failed)?;
            let now = reader.account(account.id);
            match now.is_some_and(|now| chain_end_of(&now) == chain_end) {
                true => Ok(body),
                false => Err(NotKept::Newer(body)),
            }
        });
        match loaded {
            Ok(body) | Err(Some(NotKept::Newer(body))) => Ok(body),
            Err(Some(NotKept::Failed(error))) => Err(error),
            Err(None) => render(),
        }
    }

    pub(crate) fn figures(&self) -> CacheFigures {
        self.0.figures()
    }
}

impl PageKey {
    fn new(caller: &Caller, account: &Account, page: Page) -> PageKey {
        PageKey {
            owner: caller.actor.owner,
            account: account.id,
            chain_end: chain_end_of(account),
            page,
        }
    }
}

fn chain_end_of(account: &Account) -> (u64, u64) {
    (account.chain.last(), account.chain.seq())
}

/// Returns a page of an account's statement.
///
/// # Errors
/// If the journal can't be read.
pub(crate) fn statement(
    reader: &Reader,
    caller: &Caller,
    account: AccountId,
    page: Page,
    url: &str,
) -> Result<List<EntryObject>, ApiError> {
    let slice = reader.statement(account, page).map_err(read_error)?;
    list(reader, caller, url.to_owned(), slice, |line| {
        entry(reader, caller, &line)
    })
}
