//! A node as far as registries are concerned: it says whether it is ready.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What answers every request with 200 or 503. It answers until the test's process ends.
pub(super) struct Health {
    address: SocketAddr,
    is_ready: Arc<AtomicBool>,
}

impl Health {
    pub(super) fn start(is_ready: bool) -> Health {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let is_ready = Arc::new(AtomicBool::new(is_ready));
        let ready = is_ready.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                let status = if ready.load(Ordering::SeqCst) {
                    200
                } else {
                    503
                };
                // Whoever asked may be gone.
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        });
        Health { address, is_ready }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::SeqCst);
    }
}
