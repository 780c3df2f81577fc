//! How many commands were refused before they reached the ledger, by API key and code.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tributary_ledger::ApiKeyId;

/// Maximum number of pairs of API key and code that are counted apart. Further API keys are counted together.
pub const REFUSALS_COUNTED_MAX: usize = 1_000;

/// Number of commands of one API key that were refused with one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// The API key; none for the keys that are counted together.
    pub api_key: Option<ApiKeyId>,
    /// The code of the error.
    pub code: &'static str,
    /// Commands since the start.
    pub count: u64,
}

#[derive(Default)]
pub(super) struct Refusals(Mutex<BTreeMap<(Option<ApiKeyId>, &'static str), u64>>);

impl Refusals {
    pub(super) fn count(&self, api_key: ApiKeyId, code: &'static str) {
        let mut counts = self.counts();
        let own = (Some(api_key), code);
        let counted_apart = counts.len() < REFUSALS_COUNTED_MAX || counts.contains_key(&own);
        let place = if counted_apart { own } else { (None, code) };
        *counts.entry(place).or_default() += 1;
    }

    pub(super) fn all(&self) -> Vec<RefusalCount> {
        let counts = self.counts();
        let each = counts.iter().map(|((api_key, code), count)| RefusalCount {
            api_key: *api_key,
            code,
            count: *count,
        });
        each.collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<(Option<ApiKeyId>, &'static str), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_keys_without_number_take_bounded_memory_and_none_goes_uncounted() {
        let refusals = Refusals::default();
        let keys = 2 * REFUSALS_COUNTED_MAX as u64;
        for key in 1..=keys {
            refusals.count(ApiKeyId(key), "forbidden");
        }
        refusals.count(ApiKeyId(1), "forbidden");
        let all = refusals.all();
        assert_eq!(all.len(), REFUSALS_COUNTED_MAX + 1);
        assert_eq!(all.iter().map(|one| one.count).sum::<u64>(), keys + 1);
        let first = all.iter().find(|one| one.api_key == Some(ApiKeyId(1)));
        assert_eq!(first.map(|one| one.count), Some(2));
    }
}
