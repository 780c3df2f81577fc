//! Lists of accounts, and of where the chains of an owner's accounts end: of any number of accounts, the view is held for a
//! bounded slice at a time.

use std::collections::VecDeque;

use tributary_ledger::{Account, AccountId, OwnerId};

use super::walk::ChainEnd;
use super::{Page, RECORDS_SCANNED_MAX, Reader, Slice, Start};
use crate::failure::Failure;
use crate::view::Published;

/// Accounts looked at under one hold of the view.
const SLICE_ACCOUNTS: usize = 512;
/// Accounts of an owner whose chains are merged; the records of an owner with more are found by looking at all.
pub(crate) const CHAINS_MAX: usize = 10_000;

impl Reader {
    /// Accounts, newest first: all, or those of `owner`.
    pub fn accounts(
        &self,
        owner: Option<OwnerId>,
        page: Page,
        keep: impl Fn(&Account) -> bool,
    ) -> Result<Slice<Account>, Failure> {
        let (first, last) = self.window(page, self.published())?;
        let newest_first = !matches!(page.start, Start::After(_));
        let mut walk = match owner {
            None => AccountWalk::All { first, last },
            Some(owner) if newest_first => AccountWalk::Owned {
                next: self.newest_of(owner, page.start),
                first,
                last,
            },
            Some(owner) => AccountWalk::Listed(self.nearest_of(owner, first, last)),
        };
        let mut slice = Slice {
            items: Vec::new(),
            has_more: false,
            next: None,
        };
        let mut scanned = 0;
        'full: loop {
            let accounts = walk.next(self, newest_first);
            if accounts.is_empty() {
                break;
            }
            for account in accounts {
                if slice.items.len() == page.limit || scanned == RECORDS_SCANNED_MAX {
                    slice.has_more = true;
                    break 'full;
                }
                scanned += 1;
                slice.next = Some(account.id.0);
                if keep(&account) {
                    slice.items.push(account);
                }
            }
        }
        if !newest_first {
            slice.items.reverse();
        }
        Ok(slice)
    }

    /// Where the chains of the owner's accounts end; none if they are more than [`CHAINS_MAX`]. What is recorded meanwhile may be
    /// in some of them and not in others.
    pub(crate) fn chain_ends(&self, owner: OwnerId) -> Option<Vec<ChainEnd>> {
        let mut ends = Vec::new();
        let mut next = self.newest_of(owner, Start::Newest);
        while next.is_some() {
            next = self.each_owned(next, |account| {
                ends.push(ChainEnd {
                    account: account.id,
                    last: account.chain.last(),
                    seq: account.chain.seq(),
                });
                true
            });
            if ends.len() > CHAINS_MAX {
                return None;
            }
        }
        Some(ends)
    }

    /// The newest account of the owner, or the one before that which the page goes on from.
    fn newest_of(&self, owner: OwnerId, start: Start) -> Option<AccountId> {
        let published = self.view.read();
        let from = match start {
            Start::Before(position) => published.set.account(AccountId(position)),
            Start::Newest | Start::After(_) => None,
        };
        match from.filter(|account| account.owner == owner) {
            Some(account) => account.owner_prev.get(),
            None => published.set.owner(owner)?.last_account,
        }
    }

    /// Accounts of `owner` within `first..=last`, the oldest first: those nearest to `first` that one request may look at, and
    /// one more.
    fn nearest_of(&self, owner: OwnerId, first: u64, last: u64) -> VecDeque<AccountId> {
        let mut nearest = VecDeque::new();
        let mut next = self.newest_of(owner, Start::Newest);
        while next.is_some() {
            next = self.each_owned(next, |account| {
                if (first..=last).contains(&account.id.0) {
                    nearest.push_front(account.id);
                    nearest.truncate(RECORDS_SCANNED_MAX + 1);
                }
                account.id.0 >= first
            });
        }
        nearest
    }

    /// Visits a slice of an owner's accounts from `next` towards the oldest, while `visit` says so; gives where to go on.
    fn each_owned(
        &self,
        mut next: Option<AccountId>,
        mut visit: impl FnMut(&Account) -> bool,
    ) -> Option<AccountId> {
        let published = self.view.read();
        for _ in 0..SLICE_ACCOUNTS {
            let account = published.set.account(next?)?;
            if !visit(account) {
                return None;
            }
            next = account.owner_prev.get();
        }
        next
    }
}

/// Accounts within `first..=last`, a slice at a time.
enum AccountWalk {
    /// All of them, in either direction.
    All { first: u64, last: u64 },
    /// Those of an owner, from `next` towards the oldest.
    Owned {
        next: Option<AccountId>,
        first: u64,
        last: u64,
    },
    /// These.
    Listed(VecDeque<AccountId>),
}

impl AccountWalk {
    /// The next accounts; none at the end.
    fn next(&mut self, reader: &Reader, newest_first: bool) -> Vec<Account> {
        match self {
            AccountWalk::All { first, last } => {
                let accounts = accounts_slice(&reader.view.read(), *first, *last, newest_first);
                if let Some(reached) = accounts.last() {
                    if newest_first {
                        *last = reached.id.0 - 1;
                    } else {
                        *first = reached.id.0 + 1;
                    }
                }
                accounts
            }
            AccountWalk::Owned { next, first, last } => {
                let mut accounts = Vec::new();
                while accounts.is_empty() && next.is_some() {
                    *next = reader.each_owned(*next, |account| {
                        if (*first..=*last).contains(&account.id.0) {
                            accounts.push(account.clone());
                        }
                        account.id.0 >= *first
                    });
                }
                accounts
            }
            AccountWalk::Listed(ids) => {
                let published = reader.view.read();
                let ids = ids.drain(..ids.len().min(SLICE_ACCOUNTS));
                ids.filter_map(|id| published.set.account(id).cloned())
                    .collect()
            }
        }
    }
}

/// A slice of all accounts within `first..=last`.
pub(super) fn accounts_slice(
    published: &Published,
    first: u64,
    last: u64,
    newest_first: bool,
) -> Vec<Account> {
    let set = &published.set;
    // A window may be empty in either direction.
    let to = set.account_slot_from(last.saturating_add(1));
    let from = set.account_slot_from(first).min(to);
    let at = |slot| set.account_in_slot(slot).cloned();
    if newest_first {
        let from = from.max(to.saturating_sub(SLICE_ACCOUNTS));
        (from..to).rev().filter_map(at).collect()
    } else {
        let to = to.min(from + SLICE_ACCOUNTS);
        (from..to).filter_map(at).collect()
    }
}
