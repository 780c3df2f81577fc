//! Where the configuration of `serve` is kept: in a file, or as a key of Consul or etcd, which is watched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tributary_connect::discovery::port::{Access, ConfigurationSource, Watch};
use tributary_connect::discovery::{is_place, open_source};

use crate::exit::usage_error;

/// Variables with the access to the registry: what is in the configuration comes too late to read it.
const CREDENTIAL_FILE: &str = "TRIBUTARY_DISCOVERY_CREDENTIAL_FILE";
const CA_FILE: &str = "TRIBUTARY_DISCOVERY_CA_FILE";

/// A watched configuration.
pub(crate) struct ConfigWatch {
    is_changed: Arc<AtomicBool>,
    _watch: Watch,
}

impl ConfigWatch {
    /// Returns whether the configuration was changed since the last call.
    pub(crate) fn take_change(&self) -> bool {
        self.is_changed.swap(false, Ordering::Relaxed)
    }
}

/// Reads the configuration at `place`, a path or a URL.
pub(crate) fn read(place: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read the configuration {}", place.display());
    match open(place)? {
        Some(source) => source.read().with_context(cannot),
        None => std::fs::read_to_string(place).with_context(cannot),
    }
}

/// Watches the configuration, if `place` is a URL. A file is read again at SIGHUP only.
pub(crate) fn watch(place: Option<&Path>) -> anyhow::Result<Option<ConfigWatch>> {
    let Some(place) = place else {
        return Ok(None);
    };
    let Some(source) = open(place)? else {
        return Ok(None);
    };
    let is_changed = Arc::new(AtomicBool::new(false));
    let flag = is_changed.clone();
    let watch = source.watch(Box::new(move || flag.store(true, Ordering::Relaxed)));
    let watch =
        watch.with_context(|| format!("cannot read the configuration {}", place.display()))?;
    Ok(Some(ConfigWatch {
        is_changed,
        _watch: watch,
    }))
}

/// Opens the source that a URL names; none for a path.
fn open(place: &Path) -> anyhow::Result<Option<Box<dyn ConfigurationSource>>> {
    let Some(url) = place.to_str().filter(|text| is_place(text)) else {
        return Ok(None);
    };
    let file = |name| std::env::var_os(name).map(PathBuf::from);
    let access = read_access(file(CREDENTIAL_FILE).as_deref(), file(CA_FILE).as_deref())?;
    let source = open_source(url, &access).map_err(|error| usage_error(error.to_string()))?;
    Ok(Some(source))
}

/// Reads what it takes to be let in by a registry.
pub(crate) fn read_access(credential: Option<&Path>, ca: Option<&Path>) -> anyhow::Result<Access> {
    let credential = credential.map(|path| {
        let text = std::fs::read_to_string(path);
        let text =
            text.with_context(|| format!("cannot read the credential in {}", path.display()))?;
        Ok::<String, anyhow::Error>(text.trim().to_owned())
    });
    Ok(Access {
        credential: credential.transpose()?,
        ca_file: ca.map(Path::to_owned),
    })
}
