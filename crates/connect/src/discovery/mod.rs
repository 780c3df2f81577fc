//! Finding the nodes of a cluster, and a place for the configuration that they share: Consul, etcd, DNS or a fixed list.
//!
//! [`port`] says what each of them does; an adapter is one file. They speak HTTP with JSON and need no client library. **It must not
//! know** what the configuration means, or which node leads.

mod consul;
mod dns;
mod etcd;
mod fixed;
mod http;
mod keeper;
mod place;
pub mod port;

use consul::Consul;
use dns::Dns;
use etcd::Etcd;
use fixed::Fixed;
use place::{Kind, Place};
use port::{Access, ConfigurationSource, Discovery, DiscoveryError};

/// Returns whether a text names a place of this kind, rather than a file.
pub fn is_place(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, _)| Kind::of_scheme(scheme).is_some())
}

/// Returns what finds nodes at `url`: `consul://host:8500/service`, `etcd://host:2379/service`, `dns://host:8080` or
/// `static://host:8080,host:8080`. Nothing is asked yet.
///
/// # Errors
/// [`DiscoveryError::Unfit`] if the URL or the access can't be used.
pub fn open_discovery(url: &str, access: &Access) -> Result<Box<dyn Discovery>, DiscoveryError> {
    let place = Place::parse(url)?;
    Ok(match place.kind {
        Kind::Consul => Box::new(Consul::open(place, access)?),
        Kind::Etcd => Box::new(Etcd::open(place, access)?),
        Kind::Dns => Box::new(Dns::open(&place)?),
        Kind::Static => Box::new(Fixed::open(place)?),
    })
}

/// Returns the configuration at `url`: `consul://host:8500/key` or `etcd://host:2379/key`. Nothing is asked yet.
///
/// # Errors
/// [`DiscoveryError::Unfit`] if the URL or the access can't be used.
pub fn open_source(
    url: &str,
    access: &Access,
) -> Result<Box<dyn ConfigurationSource>, DiscoveryError> {
    let place = Place::parse(url)?;
    match place.kind {
        Kind::Consul => Ok(Box::new(Consul::open(place, access)?)),
        Kind::Etcd => Ok(Box::new(Etcd::open(place, access)?)),
        Kind::Dns | Kind::Static => Err(DiscoveryError::Unfit(format!(
            "{url} holds no configuration: use consul://host:8500/key or etcd://host:2379/key"
        ))),
    }
}
