//! Trusted certificates of receivers and brokers: those of the system, of a file, or of a setting.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

use crate::port::{Binder, Unfit};

/// Where systems keep the certificates that they trust, in one file: Debian and Alpine, Fedora, openSUSE, macOS.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Environment variable that names another file instead of the system's, as OpenSSL and many other programs know it.
const SYSTEM_FILE_VARIABLE: &str = "SSL_CERT_FILE";

/// Returns the file with the certificates that the system trusts; none if it has no such file.
pub fn system_roots_file() -> Option<PathBuf> {
    let named = std::env::var_os(SYSTEM_FILE_VARIABLE).map(PathBuf::from);
    let mut known = SYSTEM_FILES.map(PathBuf::from).into_iter();
    named.or_else(|| known.find(|path| path.exists()))
}

/// Returns the certificates in `file`; without a file, those that the system trusts. None if the system has no list of them.
///
/// # Errors
/// If the file can't be read or holds no certificate; the text names the file.
pub fn load_trusted_roots(file: Option<&Path>) -> Result<Option<RootCertStore>, String> {
    let path = file.map(Path::to_owned).or_else(system_roots_file);
    let Some(path) = path else {
        return Ok(None);
    };
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let pem = std::fs::read(&path).map_err(|error| wrong(&error))?;
    let roots = parse_trusted_roots(&pem).map_err(|error| wrong(&error))?;
    Ok(Some(roots))
}

/// Returns the certificates in `pem`.
///
/// # Errors
/// If it is not PEM, or holds no certificate.
pub fn parse_trusted_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let (added, _not_understood) = roots.add_parsable_certificates(certificates);
    match added {
        0 => Err("it holds no certificate".to_owned()),
        _ => Ok(roots),
    }
}

/// What makes TLS connections that trust the certificates in `file`; without one, those of the system. If the system has none, no
/// receiver is trusted, and that is in the log.
pub(crate) fn connector(file: Option<&Path>) -> Result<TlsConnector, String> {
    let roots = load_trusted_roots(file)?.unwrap_or_else(|| {
        tracing::warn!(
            "this system has no list of trusted certificates: no webhook over https will arrive"
        );
        RootCertStore::empty()
    });
    let mut config = client_config(roots)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Returns how TLS connections are made that trust `roots`, with the one provider of cryptography in this program.
///
/// # Errors
/// Never in practice: if the provider knows no version of TLS.
pub fn client_config(roots: RootCertStore) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Checks the certificates that a binder trusts. They need TLS: a url that begins with `scheme`.
///
/// # Errors
/// If the binder's url asks for no TLS, or they can't be read.
pub(crate) fn check_trusted_roots(
    binder: &Binder,
    is_tls: bool,
    scheme: &str,
) -> Result<(), Unfit> {
    let unfit = |what| Err(Unfit::new("trusted_roots", what));
    let Some(pem) = &binder.trusted_roots else {
        return Ok(());
    };
    if !is_tls {
        return unfit(format!("needs a url that begins with {scheme}://"));
    }
    match parse_trusted_roots(pem.as_bytes()) {
        Ok(_) => Ok(()),
        Err(error) => unfit(format!("must be certificates in PEM: {error}")),
    }
}
