//! The kind `binder`: a connection to a broker.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tributary_engine::Reader;
use tributary_ledger::{Setting, SettingBody, SettingId, SettingKind, Slug};

use super::SettingType;
use super::defined::{DefinedType, check_text, encode, parse_definition, unreadable};
use crate::brokers::{BinderTerms, Brokers};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::form::binder::BinderCreate;
use crate::render::binder::{BinderObject, binder};

/// Maximum size of a URL, bytes.
const URL_BYTES_MAX: usize = 512;
/// Maximum size of a user's name, bytes.
const USERNAME_BYTES_MAX: usize = 255;
/// Maximum size of a password, bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;
/// Maximum size of the certificates, bytes.
const ROOTS_BYTES_MAX: usize = 12 * 1_024;
/// Parameters of a URL by which clients of brokers take a secret.
const SECRET_PARAMETERS: [&str; 6] = ["password", "passwd", "pass", "secret", "token", "auth"];

/// The kind `binder`.
#[derive(Clone)]
pub struct BinderType {
    reader: Reader,
    brokers: Arc<dyn Brokers>,
}

impl BinderType {
    /// Binders as `reader` shows them, which `brokers` checks.
    pub fn new(reader: Reader, brokers: Arc<dyn Brokers>) -> BinderType {
        BinderType { reader, brokers }
    }

    fn terms(
        &self,
        id: SettingId,
        form: BinderCreate,
        before: Option<&BinderTerms>,
    ) -> Result<BinderTerms, ApiError> {
        check_url(&form.url)?;
        if let Some(username) = &form.username {
            check_text("username", username, USERNAME_BYTES_MAX)?;
        }
        if let Some(roots) = &form.trusted_roots {
            check_roots(roots)?;
        }
        // Another kind of broker is never shown the password of the one before.
        let same_kind = before.filter(|before| before.broker == form.broker);
        let kept = same_kind.and_then(|before| before.sealed_password.as_deref());
        let sealed_password = match &form.password {
            None => kept.map(str::to_owned),
            Some(None) => None,
            Some(Some(password)) => {
                check_text("password", password, PASSWORD_BYTES_MAX)?;
                Some(self.brokers.seal_password(id, password, kept)?)
            }
        };
        Ok(BinderTerms {
            broker: form.broker,
            url: form.url,
            username: form.username,
            sealed_password,
            trusted_roots: form.trusted_roots,
        })
    }
}

impl SettingType for BinderType {
    fn kind(&self) -> SettingKind {
        SettingKind::BINDER
    }

    fn define(
        &self,
        caller: &Caller,
        id: SettingId,
        slug: &Slug,
        definition: &Map<String, Value>,
        before: Option<&Setting>,
    ) -> Result<SettingBody, ApiError> {
        caller.must_be_platform()?;
        let form: BinderCreate = parse_definition(slug, definition)?;
        let before = before.map(terms_of).transpose()?;
        let terms = self.terms(id, form, before.as_ref())?;
        self.brokers.check_binder(id, slug.as_str(), &terms)?;
        encode(SettingKind::BINDER, &terms)
    }

    fn mask(&self, definition: &mut Map<String, Value>) -> Result<(), ApiError> {
        if let Some(Value::String(password)) = definition.get_mut("password") {
            *password = hex::encode(self.brokers.mac_password(password)?);
        }
        Ok(())
    }

    fn render(&self, setting: &Setting) -> Result<Value, ApiError> {
        let object = self.object(setting)?;
        Ok(serde_json::to_value(object).expect("an object is JSON"))
    }

    fn reveal(&self, _setting: &Setting) -> Result<Option<String>, ApiError> {
        Ok(None)
    }

    fn changed_secrets(
        &self,
        before: &Setting,
        after: &Setting,
    ) -> Result<Vec<&'static str>, ApiError> {
        let same = terms_of(before)?.sealed_password == terms_of(after)?.sealed_password;
        Ok(if same { Vec::new() } else { vec!["password"] })
    }
}

impl DefinedType for BinderType {
    type Object = BinderObject;

    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn definition(&self, setting: &Setting) -> Result<Map<String, Value>, ApiError> {
        let terms = terms_of(setting)?;
        let definition = json!({
            "type": terms.broker,
            "url": terms.url,
            "username": terms.username,
            "trusted_roots": terms.trusted_roots,
        });
        match definition {
            Value::Object(fields) => Ok(fields),
            _ => unreachable!("it was made as an object"),
        }
    }

    fn object(&self, setting: &Setting) -> Result<BinderObject, ApiError> {
        Ok(binder(&self.reader, setting, terms_of(setting)?))
    }
}

fn terms_of(setting: &Setting) -> Result<BinderTerms, ApiError> {
    BinderTerms::from_setting(setting).map_err(|error| unreadable(setting, &error))
}

/// Checks that a URL holds no secret. What else it must be depends on the type of broker.
fn check_url(url: &str) -> Result<(), ApiError> {
    check_text("url", url, URL_BYTES_MAX)?;
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let secret = query.split(['&', ';']).any(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        SECRET_PARAMETERS
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
    });
    if url.contains('@') || secret {
        let message = "url must hold no user and no password, and no @: use username and password.";
        return Err(ApiError::invalid("url", message));
    }
    Ok(())
}

/// Checks that certificates are PEM in form. The adapters read them.
fn check_roots(roots: &str) -> Result<(), ApiError> {
    let holds = |text: &str| roots.contains(text);
    let sound = roots.len() <= ROOTS_BYTES_MAX
        && holds("-----BEGIN CERTIFICATE-----")
        && holds("-----END CERTIFICATE-----")
        && !holds("PRIVATE KEY-----");
    if !sound {
        let message = format!(
            "trusted_roots must be certificates in PEM, at most {ROOTS_BYTES_MAX} bytes and without a private key."
        );
        return Err(ApiError::invalid("trusted_roots", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_secret_is_refused() {
        for url in [
            "amqp://broker.example:5672/vhost",
            "one.example:9092,two.example:9092",
            "nats://broker.example?compression=s2",
            "https://broker.example/pass?passive=1",
        ] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "amqp://guest:guest@broker.example",
            "amqp://guest@broker.example",
            "amqp://guest:p/w@broker.example",
            "redis://broker.example?password=x",
            "nats://broker.example?tls=1&TOKEN=x",
            "amqp://broker.example\n",
        ] {
            let error = check_url(url).expect_err(url);
            assert_eq!(error.parameter(), Some("url"));
            assert!(!error.message().contains("guest"));
        }
    }

    #[test]
    fn roots_are_certificates() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
        assert!(check_roots(certificate).is_ok());
        for text in [
            "",
            "a file",
            &format!("{certificate}{key}"),
            &certificate.repeat(300),
        ] {
            assert!(check_roots(text).is_err(), "{text}");
        }
    }
}
