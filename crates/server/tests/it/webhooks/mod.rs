//! Webhooks, as a receiver meets them: sent for the subscriptions of a server.

mod feed;
#[path = "../../../../connect/tests/it/receiver.rs"]
pub(crate) mod receiver;

use std::net::IpAddr;
use std::sync::Arc;

use tributary_connect::webhooks::{Rules, Settings};

use crate::client::PATIENCE;

/// Settings that let tests send to themselves: every name leads to the loopback, and nothing is given up because the machine is slow.
pub(crate) fn open_settings() -> Settings {
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
