//! Makes the caches that the configuration asks for.

use tributary_engine::{CachePolicy, RecordCacheOptions};

use crate::config::{Cache, Policy};

/// Returns the size of the cache of rendered statement pages: half of what all caches may take.
pub(crate) fn statement_bytes_max(config: &Cache) -> u64 {
    config.bytes_max / 2
}

/// Returns the policy of all caches.
pub(crate) fn policy(config: &Cache) -> CachePolicy {
    match config.policy {
        Policy::TinyLfu => CachePolicy::TinyLfu,
        Policy::Lru => CachePolicy::Lru,
    }
}

/// Returns the options of the cache of records.
///
/// # Errors
/// If the password of Redis can't be read, or this build knows no Redis.
pub(crate) fn record_cache(config: &Cache) -> anyhow::Result<RecordCacheOptions> {
    let mut options = RecordCacheOptions {
        bytes_max: config.bytes_max - statement_bytes_max(config),
        policy: policy(config),
        shared: None,
    };
    if let Some(url) = &config.redis.url {
        add_redis(&mut options, url, config)?;
    }
    Ok(options)
}

#[cfg(feature = "redis")]
fn add_redis(options: &mut RecordCacheOptions, url: &str, config: &Cache) -> anyhow::Result<()> {
    use std::sync::Arc;

    use tributary_connect::redis::{RecordStore, RecordStoreConfig};

    let password = config.redis.password_file.as_deref();
    let password = password.map(crate::config::read_secret).transpose()?;
    let store = RecordStoreConfig::new(url, password.as_deref());
    let store = store
        .map_err(|unfit| crate::exit::usage_error(format!("cache.redis.url {}", unfit.what)))?;
    options.shared = Some(Arc::new(move |meta| RecordStore::start(&store, meta)));
    Ok(())
}

#[cfg(not(feature = "redis"))]
fn add_redis(_: &mut RecordCacheOptions, _: &str, _: &Cache) -> anyhow::Result<()> {
    Err(crate::exit::usage_error(
        "cache.redis.url: this program was built without the feature `redis`",
    ))
}
