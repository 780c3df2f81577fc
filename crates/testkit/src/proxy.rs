//! A proxy before a server, by which a test cuts connections.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes bytes on to a server, on a port of its own, until the process ends.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// Listens, and connects to the port `behind` for each connection.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(behind: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let streams = Arc::new(Mutex::new(Vec::new()));
        let passing = streams.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Without a server, the client is dropped.
                let _gone = pass(&client, behind, &passing);
            }
        });
        Proxy { address, streams }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.drain(..) {
            let _ended = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(client: &TcpStream, behind: u16, streams: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, behind))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    for (from, to) in [(client, &server), (&server, client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push(from.try_clone()?);
        thread::spawn(move || {
            let _cut = io::copy(&mut from, &mut to);
            let _ended = to.shutdown(Shutdown::Both);
            let _ended = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
