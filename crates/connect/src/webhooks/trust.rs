//! Trusted certificates of receivers: those of the system, or of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

/// Where systems keep the certificates that they trust, in one file: Debian and Alpine, Fedora, openSUSE, macOS.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What makes TLS connections that trust the certificates in `file`; without one, those of the system. If the system has none, no
/// receiver is trusted, and that is in the log.
pub(super) fn connector(file: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let path = match file {
        Some(path) => Some(path.to_owned()),
        None => SYSTEM_FILES
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists()),
    };
    if let Some(path) = path {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(&error))?;
        let (added, _not_understood) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(wrong(&"it holds no certificate"));
        }
    } else {
        tracing::warn!(
            "this system has no list of trusted certificates: no webhook over https will arrive"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
