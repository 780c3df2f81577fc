//! A server in this process for commands that write to a data directory, such as `import --data`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tributary_api::caller::internal_token;
use tributary_api::token::Secret;
use tributary_connect::adapters::Adapters;
use tributary_connect::webhooks::Keyring;
use tributary_server::{Running, Server, ServerConfig, Services};

use crate::client::Client;
use crate::exit::StorageFailed;
use crate::store::Store;

/// A server in this process, on a loopback port, with a key that only this process knows.
pub(crate) struct LocalServer {
    store: Store,
    server: Running,
    token: String,
}

impl LocalServer {
    /// Starts a server on a data directory, which is created if it does not exist.
    pub(crate) fn start(data: &Path) -> anyhow::Result<Self> {
        let store = Store::open_dir(data)?;
        let internal = Secret::random();
        let mut config = ServerConfig {
            threads: 1,
            internal: Some(internal.clone()),
            ..ServerConfig::default()
        };
        config.listen.set_port(0);
        let keyring = Keyring::unusable("this command seals no secrets");
        let ids = store.engine.reader().ids().clone();
        let brokers = Adapters::of_build(keyring, ids, store.engine.clock());
        let services = Services {
            messaging: store.messaging.clone(),
            transport: None,
            brokers: Arc::new(brokers),
            streaming: store.streams.clone(),
            risk: store.streams.rules(),
            leadership: None,
        };
        let server = Server::start(config, store.engine.clone(), services)
            .context("cannot listen on the loopback")?;
        let token = internal_token(store.engine.reader().ids(), &internal);
        Ok(Self {
            store,
            server,
            token,
        })
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::new(&format!("http://{}", self.server.addr()), &self.token, None)
    }

    /// Stops the server. Every answered command is durable.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.server.shutdown();
        self.store.shutdown();
        match self.store.failure() {
            Some(why) => Err(StorageFailed(why).into()),
            None => Ok(()),
        }
    }
}
