//! A proxy between an adapter and its broker, by which a test cuts connections.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes bytes on to a broker, on a port of its own.
pub(super) struct Proxy {
    address: SocketAddr,
    cut: Arc<Notify>,
}

impl Proxy {
    /// Listens, and connects to `broker` for each connection.
    pub(super) async fn start(broker: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        Proxy::serve(listener, broker)
    }

    /// Connects to `broker` for each connection to `listener`.
    pub(super) fn serve(listener: TcpListener, broker: SocketAddr) -> Proxy {
        let address = listener.local_addr().expect("it is bound");
        let cut = Arc::new(Notify::new());
        let cuts = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let cuts = cuts.clone();
                tokio::spawn(async move {
                    let cut = cuts.notified();
                    tokio::pin!(cut);
                    cut.as_mut().enable();
                    let passing = async {
                        if let Ok(mut server) = TcpStream::connect(broker).await {
                            let _ = copy_bidirectional(&mut client, &mut server).await;
                        }
                    };
                    // Dropped, the streams are closed wherever in a message they are.
                    tokio::select! {
                        () = passing => {}
                        () = cut => {}
                    }
                });
            }
        });
        Proxy { address, cut }
    }

    /// Where the adapter connects to.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        self.cut.notify_waiters();
    }
}
