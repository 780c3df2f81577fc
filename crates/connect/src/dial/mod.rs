//! How adapters connect to a broker that is one server: TCP, with TLS if its url says so.

pub(crate) mod server_url;

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use server_url::ServerUrl;

use crate::port::{Trouble, TroubleKind};
use crate::trust;

/// Maximum time until a connection is made, and the broker has let the user in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection, with TLS or without.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Ends a connection when it is dropped, whatever a client library waits for: its threads and tasks end with the connection.
#[cfg(any(feature = "activemq", feature = "rabbitmq"))]
#[derive(Debug)]
pub(crate) struct Cutter(std::net::TcpStream);

#[cfg(any(feature = "activemq", feature = "rabbitmq"))]
impl Drop for Cutter {
    fn drop(&mut self) {
        // It fails if the broker has closed the connection before.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// Waits for `opening`, which connects to the broker at `place`, for at most [`CONNECT_TIMEOUT`].
pub(crate) async fn open_in_time<T>(
    place: &str,
    opening: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
        Ok(done) => done,
        Err(_) => {
            let seconds = CONNECT_TIMEOUT.as_secs();
            let text = format!("{place} does not answer within {seconds} s");
            Err(Trouble::new(TroubleKind::Unreachable, text))
        }
    }
}

/// Waits for `publishing`, which sends a message to the broker at `place`, for at most `timeout`.
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) async fn confirm_in_time(
    place: &str,
    timeout: Duration,
    publishing: impl Future<Output = Result<(), crate::port::SendError>>,
) -> Result<(), crate::port::SendError> {
    match tokio::time::timeout(timeout, publishing).await {
        Ok(done) => done,
        Err(_) => {
            let seconds = timeout.as_secs();
            let text = format!("{place} did not confirm a message within {seconds} s");
            let trouble = Trouble::new(TroubleKind::Unreachable, text);
            Err(crate::port::SendError::Disconnected(trouble))
        }
    }
}

/// Says that there is no connection to the broker at `place`.
pub(crate) fn unreachable(place: &str, why: impl std::fmt::Display) -> Trouble {
    Trouble::new(
        TroubleKind::Unreachable,
        format!("{place} can't be reached: {why}"),
    )
}

/// Connects to a server, with TLS if its url says so. `protocols` are offered by ALPN.
///
/// # Errors
/// What went wrong, for an operator.
#[cfg(any(feature = "redis", feature = "rocketmq"))]
pub(crate) async fn open_stream(
    server: &ServerUrl,
    trusted_roots: Option<&str>,
    protocols: &[&[u8]],
) -> Result<Box<dyn ByteStream>, String> {
    let stream = connect(server).await?;
    secure(stream, server, trusted_roots, protocols).await
}

/// Like [`open_stream`], for a library that may hold on to the stream: also returns what ends the connection.
#[cfg(any(feature = "activemq", feature = "rabbitmq"))]
pub(crate) async fn open_cut_stream(
    server: &ServerUrl,
    trusted_roots: Option<&str>,
) -> Result<(Box<dyn ByteStream>, Cutter), String> {
    let share = |stream: TcpStream| {
        let stream = stream.into_std()?;
        let cutter = Cutter(stream.try_clone()?);
        Ok((TcpStream::from_std(stream)?, cutter))
    };
    let stream = connect(server).await?;
    let (stream, cutter) = share(stream).map_err(|error: std::io::Error| error.to_string())?;
    let stream = secure(stream, server, trusted_roots, &[]).await?;
    Ok((stream, cutter))
}

/// Connects to a server, without TLS.
///
/// # Errors
/// What went wrong, for an operator.
pub(crate) async fn connect(server: &ServerUrl) -> Result<TcpStream, String> {
    let connecting = async {
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connecting
        .await
        .map_err(|error: std::io::Error| error.to_string())
}

/// Begins TLS on a connection to a server, if its url says so. `protocols` are offered by ALPN.
///
/// # Errors
/// What went wrong, for an operator.
pub(crate) async fn secure(
    stream: TcpStream,
    server: &ServerUrl,
    trusted_roots: Option<&str>,
    protocols: &[&[u8]],
) -> Result<Box<dyn ByteStream>, String> {
    if !server.is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(server.host.clone())
        .map_err(|_| "its name can't be in a certificate".to_owned())?;
    let roots = match trusted_roots {
        Some(pem) => trust::parse_trusted_roots(pem.as_bytes())
            .map_err(|error| format!("trusted_roots: {error}"))?,
        None => trust::load_trusted_roots(None)?.unwrap_or_else(RootCertStore::empty),
    };
    let mut config = trust::client_config(roots)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| format!("TLS failed: {error}"))?;
    Ok(Box::new(stream))
}
