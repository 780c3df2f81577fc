//! The master key of a system: created at the first start, and known by its id ever after.
//!
//! The id of the key is a setting, so that it is in every backup and on every node: a server whose file holds another key, or
//! none, serves payments, but neither seals new secrets nor opens those that are sealed.

use std::path::{Path, PathBuf};

use tributary_connect::webhooks::{Keyring, MasterKey};
use tributary_engine::{Engine, Reply};
use tributary_ledger::{
    Actor, Body, Command, Key, PutSetting, SettingBody, SettingId, SettingKind, Slug,
};

use crate::config::Config;

/// Idempotency key of the record that names the master key. Keys that begin with a zero byte are the system's own.
const RECORD_KEY: &[u8] = b"\0master key";
/// There is one setting of this kind, so its number need not be random.
const SETTING: SettingId = SettingId(1);

/// Returns where the master key is: by default beside the data directory.
pub(crate) fn master_key_path(config: &Config) -> PathBuf {
    let beside = || {
        let mut name = config.data.clone().into_os_string();
        name.push(".key");
        name.into()
    };
    config.master_key_file.clone().unwrap_or_else(beside)
}

/// Loads the master key of a cluster, which a node never makes.
pub(crate) fn open_existing(engine: &Engine, path: &Path) -> Keyring {
    usable(match recorded_id(engine) {
        Some(id) => load_recorded(path, &id),
        None => Err(anyhow::anyhow!("the cluster has recorded no master key")),
    })
}

/// Loads the master key in `path`. At the first start creates the file, and records the id of its key.
pub(crate) fn open(engine: &Engine, path: &Path) -> Keyring {
    usable(load(engine, path))
}

fn usable(key: anyhow::Result<MasterKey>) -> Keyring {
    match key {
        Ok(key) => Keyring::new(key),
        Err(error) => {
            let why = format!("{error:#}");
            tracing::error!(
                error = why,
                "the master key can't be used: payments are served, but no webhook is sent and no secret is made"
            );
            Keyring::unusable(&why)
        }
    }
}

fn load(engine: &Engine, path: &Path) -> anyhow::Result<MasterKey> {
    let recorded = recorded_id(engine);
    if recorded.is_none() && !path.exists() {
        tracing::info!(path = %path.display(), "creating the master key: keep a copy of this file apart from the data");
    }
    if let Some(id) = recorded {
        return load_recorded(path, &id);
    }
    let key = MasterKey::load(path, true)?;
    record_id(engine, &key.id())?;
    Ok(key)
}

fn load_recorded(path: &Path, id: &str) -> anyhow::Result<MasterKey> {
    let key = MasterKey::load(path, false)?;
    anyhow::ensure!(
        id == key.id(),
        "{} holds master key {}, and the secrets of this system are sealed under {id}: put back the file that holds that key, or name \
         it with master_key_file",
        path.display(),
        key.id()
    );
    Ok(key)
}

/// Returns the id of the key that seals the secrets of this system; none before its first start.
fn recorded_id(engine: &Engine) -> Option<String> {
    let settings = engine.reader().settings(SettingKind::MASTER_KEY, None);
    let body = settings.into_iter().next()?.body;
    Some(String::from_utf8_lossy(body.as_bytes()).into_owned())
}

fn record_id(engine: &Engine, id: &str) -> anyhow::Result<()> {
    let body = PutSetting {
        id: SETTING,
        kind: SettingKind::MASTER_KEY,
        slug: Slug::new("master-key")?,
        managed_by: None,
        replaces: 0,
        body: SettingBody::new(id.as_bytes())?,
        request: [0; 16],
    };
    let command = Command {
        key: Key::from_bytes(RECORD_KEY)?,
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body: Body::PutSetting(Box::new(body)),
    };
    let replies = engine.execute_blocking(vec![command])?;
    match replies.first() {
        Some(Reply::Done { record, .. }) if record.outcome.rejection.is_none() => Ok(()),
        other => anyhow::bail!("the id of the master key could not be recorded: {other:?}"),
    }
}
