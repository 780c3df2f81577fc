//! The adapters to brokers that this build has. They check binders and bindings for the API, and make of them what the port takes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tributary_api::brokers::{self, BinderTerms, BindingFigures, BindingTerms, Brokers, Direction};
use tributary_api::code::ErrorCode;
use tributary_api::error::ApiError;
use tributary_engine::{Clock, Ids};
use tributary_ledger::{SettingId, SettingKind};

use crate::counters::Registry;
use crate::port::{Adapter, Binder, Binding, Declare, Secret, Unfit};
use crate::webhooks::{Keyring, MasterKey};

/// Every type of broker that has an adapter, which is the name of its cargo feature too.
const TYPES: [&str; 7] = [
    "activemq", "kafka", "nats", "rabbitmq", "redis", "rocketmq", "zeromq",
];

/// The adapters of a server, and what the bindings at work with them do.
pub struct Adapters {
    adapters: Vec<Arc<dyn Adapter>>,
    keyring: Keyring,
    ids: Ids,
    clock: Arc<dyn Clock>,
    counters: Registry,
}

/// Why the password of a binder can't be opened, as an operator reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the password of the binder {binder} can't be opened: {why}; give the binder its password again"
)]
pub struct PasswordUnreadable {
    /// Name of the binder.
    pub binder: String,
    /// What is wrong.
    pub why: String,
}

impl Adapters {
    /// The adapters that this build has. `keyring` seals passwords, and `ids` are those of the journal.
    pub fn of_build(keyring: Keyring, ids: Ids, clock: Arc<dyn Clock>) -> Adapters {
        Adapters::new(built(), keyring, ids, clock)
    }

    /// These adapters.
    pub fn new(
        adapters: Vec<Arc<dyn Adapter>>,
        keyring: Keyring,
        ids: Ids,
        clock: Arc<dyn Clock>,
    ) -> Adapters {
        Adapters {
            adapters,
            keyring,
            ids,
            clock,
            counters: Registry::default(),
        }
    }

    /// Returns the counters of the bindings at work.
    pub(crate) fn counters(&self) -> &Registry {
        &self.counters
    }

    /// Returns the adapter to a type of broker.
    ///
    /// # Errors
    /// If this build has none, or there is none; as a sentence about `type`.
    pub fn find(&self, broker: &str) -> Result<&Arc<dyn Adapter>, String> {
        let found = self.adapters.iter().find(|known| known.name() == broker);
        found.ok_or_else(|| match TYPES.contains(&broker) {
            true => format!(
                "This server was built without {broker}: build it with the cargo feature {broker}, or with full."
            ),
            false => format!("type must be one of {}.", TYPES.join(", ")),
        })
    }

    /// Returns a binder as the port has it, with its password opened.
    ///
    /// # Errors
    /// If the password can't be opened.
    pub fn binder(
        &self,
        id: SettingId,
        slug: &str,
        terms: &BinderTerms,
    ) -> Result<Binder, PasswordUnreadable> {
        let open = |sealed: &String| {
            self.open_password(id, sealed)
                .map_err(|why| PasswordUnreadable {
                    binder: slug.to_owned(),
                    why,
                })
        };
        Ok(Binder {
            slug: slug.to_owned(),
            url: terms.url.clone(),
            username: terms.username.clone(),
            password: terms.sealed_password.as_ref().map(open).transpose()?,
            trusted_roots: terms.trusted_roots.clone(),
        })
    }

    fn open_password(&self, id: SettingId, sealed: &str) -> Result<Secret, String> {
        let key = self.keyring.key()?;
        let bytes = BASE64.decode(sealed).map_err(|error| error.to_string())?;
        let opened = key.open(&self.place(id), &bytes);
        let opened = opened.map_err(|error| error.to_string())?;
        let text = String::from_utf8(opened).map_err(|_| "it is no text".to_owned())?;
        Ok(Secret::new(text))
    }

    /// What a password is sealed for: it can't be moved to another binder.
    fn place(&self, id: SettingId) -> String {
        let id = self.ids.encode_setting(SettingKind::BINDER, id);
        format!("password of binder {id}")
    }

    fn key(&self) -> Result<&MasterKey, ApiError> {
        self.keyring.key().map_err(|error| {
            tracing::error!(%error, "the master key can't be used");
            unavailable(
                "Passwords of binders need the master key, which can't be used. The operator must look at it.",
            )
        })
    }
}

/// Returns a binding as the port has it.
pub fn binding(slug: &str, terms: &BindingTerms) -> Binding {
    Binding {
        slug: slug.to_owned(),
        destination: terms.destination.clone(),
        group: terms.group.clone(),
        concurrency: terms.consumer.concurrency,
        prefetch: terms.prefetch,
        declare: match terms.declare {
            brokers::Declare::Check => Declare::Check,
            brokers::Declare::Create => Declare::Create,
            brokers::Declare::None => Declare::None,
        },
    }
}

/// The adapters that the features of this build add: one line for each.
fn built() -> Vec<Arc<dyn Adapter>> {
    vec![
        #[cfg(feature = "kafka")]
        Arc::new(crate::kafka::Kafka::new()),
        #[cfg(feature = "activemq")]
        Arc::new(crate::activemq::ActiveMq::new()),
        #[cfg(feature = "nats")]
        Arc::new(crate::nats::Nats::new()),
        #[cfg(feature = "rabbitmq")]
        Arc::new(crate::rabbitmq::RabbitMq::new()),
        #[cfg(feature = "redis")]
        Arc::new(crate::redis::Redis::new()),
        #[cfg(feature = "rocketmq")]
        Arc::new(crate::rocketmq::RocketMq::new()),
        #[cfg(feature = "zeromq")]
        Arc::new(crate::zeromq::ZeroMq::new()),
    ]
}

impl Brokers for Adapters {
    fn check_binder(&self, id: SettingId, slug: &str, terms: &BinderTerms) -> Result<(), ApiError> {
        let adapter = self.find(&terms.broker);
        let adapter = adapter.map_err(|message| ApiError::invalid("type", message))?;
        let binder = self.binder(id, slug, terms).map_err(|error| {
            tracing::error!(%error);
            unavailable(
                "The password of this binder can't be read: give it again. The operator must look at the master key.",
            )
        })?;
        adapter.check_binder(&binder).map_err(invalid)
    }

    fn check_binding(
        &self,
        broker: &str,
        slug: &str,
        terms: &BindingTerms,
    ) -> Result<(), ApiError> {
        let adapter = self.find(broker);
        let adapter = adapter.map_err(|message| ApiError::invalid("binder", message))?;
        if terms.direction == Direction::Out {
            adapter.check_out().map_err(invalid)?;
        }
        adapter
            .check_binding(&binding(slug, terms))
            .map_err(invalid)
    }

    fn seal_password(
        &self,
        id: SettingId,
        password: &str,
        before: Option<&str>,
    ) -> Result<String, ApiError> {
        let key = self.key()?;
        if let Some(before) = before
            && self
                .open_password(id, before)
                .is_ok_and(|opened| opened.expose() == password)
        {
            return Ok(before.to_owned());
        }
        Ok(BASE64.encode(key.seal(&self.place(id), password.as_bytes())))
    }

    fn figures(&self, binding: SettingId) -> Option<BindingFigures> {
        let counters = self.counters.get(binding);
        counters.map(|counters| counters.read(self.clock.now()))
    }

    fn mac_password(&self, password: &str) -> Result<[u8; 32], ApiError> {
        Ok(self.key()?.mac(password.as_bytes()))
    }
}

fn invalid(unfit: Unfit) -> ApiError {
    ApiError::invalid(unfit.field, format!("{unfit}."))
}

fn unavailable(message: &'static str) -> ApiError {
    ApiError::new(ErrorCode::MessagingUnavailable, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tributary_engine::SystemClock;

    use crate::memory::{Broker, Memory};

    fn adapters(folder: &tempfile::TempDir) -> Adapters {
        let key = MasterKey::load(&folder.path().join("key"), true).expect("a key");
        let memory = Memory::new(Broker::new());
        let ids = Ids::new(&[7; 16], &[(1, 1)]);
        Adapters::new(
            vec![Arc::new(memory)],
            Keyring::new(key),
            ids,
            Arc::new(SystemClock),
        )
    }

    fn terms(broker: &str, sealed_password: Option<String>) -> BinderTerms {
        BinderTerms {
            broker: broker.to_owned(),
            url: "memory:".to_owned(),
            username: None,
            sealed_password,
            trusted_roots: None,
        }
    }

    #[test]
    fn a_password_opens_for_its_binder_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let adapters = adapters(&folder);
        let sealed = adapters.seal_password(SettingId(7), "secret", None);
        let sealed = sealed.expect("there is a key");
        assert!(!sealed.contains("secret"));
        let terms = terms("memory", Some(sealed.clone()));
        let opened = adapters.binder(SettingId(7), "main", &terms);
        let password = opened.expect("it opens").password.expect("it has one");
        assert_eq!(password.expose(), "secret");
        let moved = adapters.binder(SettingId(8), "main", &terms);
        let error = moved.expect_err("another binder").to_string();
        assert!(error.contains("main") && !error.contains("secret"));
        // The same password stays as it is sealed; another one, or one of another binder, is sealed anew.
        let again = |id, password| adapters.seal_password(SettingId(id), password, Some(&sealed));
        assert_eq!(again(7, "secret").expect("a key"), sealed);
        assert_ne!(again(7, "other").expect("a key"), sealed);
        assert_ne!(again(8, "secret").expect("a key"), sealed);
    }

    #[test]
    fn an_unknown_type_and_one_that_is_not_built_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let adapters = adapters(&folder);
        let check = |broker| adapters.check_binder(SettingId(7), "main", &terms(broker, None));
        assert!(check("memory").is_ok());
        let unknown = check("carrier_pigeon").expect_err("nobody knows it");
        assert_eq!(unknown.parameter(), Some("type"));
        for known in TYPES {
            assert!(unknown.message().contains(known), "{known}");
            let absent = check(known).expect_err("only memory is there");
            let feature = format!("cargo feature {known},");
            assert!(absent.message().contains(&feature), "{}", absent.message());
        }
    }

    #[test]
    fn a_server_without_its_master_key_seals_nothing() {
        let ids = Ids::new(&[7; 16], &[(1, 1)]);
        let adapters = Adapters::new(
            Vec::new(),
            Keyring::unusable("it is lost"),
            ids,
            Arc::new(SystemClock),
        );
        let error = adapters.seal_password(SettingId(7), "secret", None);
        assert_eq!(error.expect_err("no key").code(), "messaging_unavailable");
        assert!(adapters.mac_password("secret").is_err());
    }
}
