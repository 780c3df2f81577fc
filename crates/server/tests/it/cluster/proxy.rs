//! A relay in front of a server, which can lose answers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Relays connections to a server. While it loses answers, it closes a connection as soon as the server begins to answer.
pub(super) struct Proxy {
    pub(super) addr: SocketAddr,
    loses_answers: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    pub(super) fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Proxy {
            addr: listener.local_addr().expect("it listens"),
            loses_answers: Arc::default(),
            lost: Arc::default(),
        };
        let (loses, lost) = (proxy.loses_answers.clone(), proxy.lost.clone());
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect(server).expect("the server listens");
                let (loses, lost) = (loses.clone(), lost.clone());
                let (mut there, mut back) = (copy(&client), copy(&server));
                let (mut to_server, mut to_client) = (server, client);
                std::thread::spawn(move || {
                    let _broke = std::io::copy(&mut there, &mut to_server);
                    let _gone = to_server.shutdown(Shutdown::Write);
                });
                std::thread::spawn(move || {
                    let mut piece = [0; 4096];
                    while let Ok(bytes @ 1..) = back.read(&mut piece) {
                        if loses.load(Ordering::SeqCst) {
                            lost.fetch_add(1, Ordering::SeqCst);
                            break;
                        }
                        if to_client.write_all(&piece[..bytes]).is_err() {
                            break;
                        }
                    }
                    let _gone = to_client.shutdown(Shutdown::Both);
                });
            }
        });
        proxy
    }

    pub(super) fn lose_answers(&self, loses: bool) {
        self.loses_answers.store(loses, Ordering::SeqCst);
    }

    /// Number of answers that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle")
}
