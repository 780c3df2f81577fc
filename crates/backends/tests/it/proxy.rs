//! A proxy between a node and the server that cuts the connection around COMMIT.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// When to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cut {
    /// Not at all.
    Never = 0,
    /// COMMIT never reaches the server.
    BeforeCommit = 1,
    /// The server commits; its answer never reaches the node.
    AfterCommit = 2,
    /// COMMIT is passed on and both sides are cut at once.
    DuringCommit = 3,
}

/// Listens on the loopback address until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    cut: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let proxy = Proxy {
            address: listener.local_addr().expect("it is bound"),
            cut: Arc::default(),
            cuts: Arc::default(),
            stop: Arc::default(),
        };
        let (cut, cuts, stop) = (proxy.cut.clone(), proxy.cuts.clone(), proxy.stop.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) {
                    serve(client, server, cut.clone(), cuts.clone());
                }
            }
        });
        proxy
    }

    /// The URL with this proxy in the place of the server.
    pub(crate) fn url(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once('@').expect("user@host");
        let (_, database) = after.split_once('/').expect("host/database");
        format!("{before}@{}/{database}", self.address)
    }

    /// Cuts the connection of the next COMMIT.
    pub(crate) fn cut_next(&self, cut: Cut) {
        self.cut.store(cut as u8, Ordering::SeqCst);
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener; if it is gone already, so much the better.
        let _woken = TcpStream::connect(self.address);
    }
}

/// The address in a URL.
pub(crate) fn address_in(url: &str) -> SocketAddr {
    let host = url.rsplit_once('@').expect("user@host").1;
    let host = host.split('/').next().expect("there is a first part");
    std::net::ToSocketAddrs::to_socket_addrs(host)
        .expect("the host has an address")
        .next()
        .expect("at least one")
}

fn serve(client: TcpStream, server: TcpStream, cut: Arc<AtomicU8>, cuts: Arc<AtomicUsize>) {
    let cut_at_answer = Arc::new(AtomicBool::new(false));
    let clone = |stream: &TcpStream| stream.try_clone().expect("sockets can be shared");
    let (client_back, server_back) = (clone(&client), clone(&server));
    let answer = cut_at_answer.clone();
    let answer_cuts = cuts.clone();
    std::thread::spawn(move || {
        pump(&server_back, &client_back, |_| {
            let cut = answer.load(Ordering::SeqCst);
            if cut {
                answer_cuts.fetch_add(1, Ordering::SeqCst);
            }
            if cut { Pass::Neither } else { Pass::On }
        });
    });
    std::thread::spawn(move || {
        pump(&client, &server, |bytes| {
            if !bytes.windows(7).any(|window| window == b"COMMIT\0") {
                return Pass::On;
            }
            match cut.swap(Cut::Never as u8, Ordering::SeqCst) {
                1 => {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    Pass::Neither
                }
                2 => {
                    cut_at_answer.store(true, Ordering::SeqCst);
                    Pass::On
                }
                3 => {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    Pass::ThenCut
                }
                _ => Pass::On,
            }
        });
    });
}

enum Pass {
    On,
    ThenCut,
    Neither,
}

/// Copies until one side ends or `decide` says so, then ends both.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut decide: impl FnMut(&[u8]) -> Pass) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let pass = decide(&buffer[..len]);
        if matches!(pass, Pass::Neither)
            || to.write_all(&buffer[..len]).is_err()
            || matches!(pass, Pass::ThenCut)
        {
            break;
        }
    }
    for side in [from, to] {
        // It may be closed already.
        let _closed = side.shutdown(Shutdown::Both);
    }
}
