//! The features that a cluster of brokers has switched on, which librdkafka can't tell: a request `ApiVersions` of version 3, over a
//! connection of its own. Brokers answer it before anybody logs in.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use super::client::disconnected;
use super::options::Options;
use crate::log::LogError;

/// Maximum time until the broker is connected, and until each part of its answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of the request, and its version.
const API_VERSIONS: i16 = 18;
const VERSION: i16 = 3;
const CORRELATION: i32 = 1;
/// Maximum number of bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Number of the field that has the features which are switched on.
const FINALIZED_FEATURES: u64 = 2;

/// Asks the broker at `host` and `port` for the level of a feature, which is 0 if it is switched off.
pub(super) fn find_level(
    options: &Options,
    host: &str,
    port: u16,
    feature: &str,
) -> Result<i16, LogError> {
    let failed = |error: io::Error| {
        disconnected(format!(
            "{host}:{port} can't be asked for its features: {error}"
        ))
    };
    let stream = connect(host, port).map_err(failed)?;
    let answer = match &options.trusted_roots {
        None => exchange(stream).map_err(failed)?,
        Some(roots) => {
            let connection = begin_tls(roots, host)?;
            exchange(rustls::StreamOwned::new(connection, stream)).map_err(failed)?
        }
    };
    level(&answer, feature).ok_or_else(|| {
        LogError::Unfit(format!(
            "{host}:{port} does not tell its features as Kafka 2.7 and later do: see which server listens there"
        ))
    })
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut error = io::Error::other("its name leads nowhere");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
                stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
                return Ok(stream);
            }
            Err(refused) => error = refused,
        }
    }
    Err(error)
}

fn begin_tls(roots: &str, host: &str) -> Result<rustls::ClientConnection, LogError> {
    let unfit = |why: &dyn std::fmt::Display| {
        LogError::Unfit(format!(
            "{host} of Kafka can't be connected to by TLS: {why}"
        ))
    };
    let mut trusted = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        let root = root.map_err(|error| unfit(&error))?;
        trusted.add(root).map_err(|error| unfit(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(&error))?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| unfit(&error))?;
    rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| unfit(&error))
}

/// Sends the request, and returns the answer without its length.
fn exchange(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(&request())?;
    stream.flush()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::other("its answer is too large"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn request() -> Vec<u8> {
    let name = b"tributary-cluster";
    let name_length = u8::try_from(name.len()).expect("it is short");
    let mut body = Vec::new();
    body.extend(API_VERSIONS.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend(i16::from(name_length).to_be_bytes());
    body.extend(name);
    // No fields with numbers.
    body.push(0);
    // Name and version of the client. In compact texts the length is one more.
    for text in [&name[..], b"1"] {
        body.push(u8::try_from(text.len() + 1).expect("it is short"));
        body.extend(text);
    }
    body.push(0);
    let length = u32::try_from(body.len()).expect("it is short");
    [&length.to_be_bytes()[..], &body].concat()
}

/// Returns the level of a feature by an answer; none if it is no such answer.
fn level(answer: &[u8], feature: &str) -> Option<i16> {
    let mut answer = Bytes(answer);
    let _correlation = answer.take(4)?;
    if answer.i16()? != 0 {
        return None;
    }
    for _api in 0..answer.count()? {
        let _key_and_versions = answer.take(6)?;
        answer.skip_fields()?;
    }
    let _throttle_time = answer.take(4)?;
    for _field in 0..answer.varint()? {
        let number = answer.varint()?;
        let length = usize::try_from(answer.varint()?).ok()?;
        let mut field = Bytes(answer.take(length)?);
        if number != FINALIZED_FEATURES {
            continue;
        }
        for _feature in 0..field.count()? {
            let length = field.count()?;
            let name = field.take(length)?;
            let level = field.i16()?;
            let _least = field.i16()?;
            field.skip_fields()?;
            if name == feature.as_bytes() {
                return Some(level);
            }
        }
    }
    Some(0)
}

/// Bytes that are left to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// The length of a compact list or text, which is one less than the number that is there.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?.checked_sub(1)?).ok()
    }

    fn skip_fields(&mut self) -> Option<()> {
        for _field in 0..self.varint()? {
            let _number = self.varint()?;
            let length = usize::try_from(self.varint()?).ok()?;
            let _field = self.take(length)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::{level, request};

    const ELR: &str = "eligible.leader.replicas.version";

    /// An answer with one API and the features that are given.
    fn answer(features: &[(&str, i16)]) -> Vec<u8> {
        let mut field = vec![u8::try_from(features.len() + 1).expect("a few")];
        for (name, level) in features {
            field.push(u8::try_from(name.len() + 1).expect("it is short"));
            field.extend(name.as_bytes());
            field.extend(level.to_be_bytes());
            field.extend([0, 1, 0]);
        }
        let mut answer = vec![0, 0, 0, 1, 0, 0];
        answer.extend([2, 0, 18, 0, 0, 0, 4, 0]);
        answer.extend([0; 4]);
        // The epoch of the features comes first.
        answer.extend([2, 1, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
        let length = field.len();
        assert!(length < 1 << 14);
        answer.push(2);
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        answer.extend([low | 0x80, u8::try_from(length >> 7).expect("seven bits")]);
        answer.extend(field);
        answer
    }

    #[test]
    fn the_level_of_a_feature_is_found() {
        let both = [("metadata.version", 29), (ELR, 1)];
        assert_eq!(level(&answer(&both), ELR), Some(1));
        assert_eq!(level(&answer(&both[..1]), ELR), Some(0));
        assert_eq!(level(&answer(&[]), ELR), Some(0));
    }

    #[test]
    fn an_answer_that_is_cut_or_an_error_is_no_answer() {
        let whole = answer(&[(ELR, 1)]);
        for length in 0..whole.len() {
            assert_eq!(level(&whole[..length], ELR), None, "{length} bytes");
        }
        let mut error = whole;
        error[5] = 35;
        assert_eq!(level(&error, ELR), None);
    }

    #[test]
    fn the_request_says_its_length() {
        let request = request();
        let (length, body) = request.split_at(4);
        assert_eq!(
            length,
            u32::try_from(body.len()).expect("short").to_be_bytes()
        );
    }
}
