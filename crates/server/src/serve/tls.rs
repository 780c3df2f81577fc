//! TLS by a certificate and a key from files.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;
use crate::serve::StartError;

/// What accepts TLS connections with these files.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, StartError> {
    let mut reader = open(&files.certificate)?;
    let chain: Result<Vec<_>, _> = rustls_pemfile::certs(&mut reader).collect();
    let chain = chain.map_err(|error| wrong(&files.certificate, error))?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, "it holds no certificate"));
    }
    let key = rustls_pemfile::private_key(&mut open(&files.key)?)
        .map_err(|error| wrong(&files.key, error))?
        .ok_or_else(|| wrong(&files.key, "it holds no private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.certificate, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn open(path: &Path) -> Result<BufReader<File>, StartError> {
    File::open(path)
        .map(BufReader::new)
        .map_err(|error| wrong(path, error))
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> StartError {
    StartError::Tls(format!("{}: {why}", path.display()))
}
