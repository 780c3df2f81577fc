//! A proxy between a node and the server that cuts connections around COMMIT and around the journal's lock.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// When to cut. Half-open: only the node's side is cut, so that the session lives on and keeps its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Not at all.
    Never,
    /// COMMIT never reaches the server.
    BeforeCommit,
    /// The server commits; its answer never reaches the node.
    AfterCommit,
    /// COMMIT is passed on and both sides are cut at once.
    DuringCommit,
    /// As [`Cut::AfterCommit`], half-open.
    HalfOpenAfterCommit,
    /// The node asks for the journal's lock; the server never hears of it. Half-open.
    HalfOpenBeforeLock,
    /// The server gives the journal's lock; the node never hears of it. Half-open.
    HalfOpenAfterLock,
}

impl Cut {
    /// What the node says right before.
    fn asked(self) -> &'static [u8] {
        match self {
            Cut::HalfOpenBeforeLock | Cut::HalfOpenAfterLock => b"pg_try_advisory_lock",
            _ => b"COMMIT\0",
        }
    }

    /// Whether this is the answer that never reaches the node.
    fn is_answered_by(self, bytes: &[u8]) -> bool {
        // One row with one column, which is true.
        const GIVEN: &[u8] = b"D\0\0\0\x0b\0\x01\0\0\0\x01\x01";
        self != Cut::HalfOpenAfterLock || contains(bytes, GIVEN)
    }

    fn is_half_open(self) -> bool {
        matches!(
            self,
            Cut::HalfOpenAfterCommit | Cut::HalfOpenBeforeLock | Cut::HalfOpenAfterLock
        )
    }
}

/// Listens on the loopback address until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    plan: Arc<Plan>,
    stop: Arc<AtomicBool>,
}

/// The cuts of all connections.
#[derive(Default)]
struct Plan(Mutex<Cuts>);

#[derive(Default)]
struct Cuts {
    next: VecDeque<Cut>,
    made: usize,
    /// The server's sides of connections that were cut half-open.
    half_open: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let proxy = Proxy {
            address: listener.local_addr().expect("it is bound"),
            plan: Arc::default(),
            stop: Arc::default(),
        };
        let (plan, stop) = (proxy.plan.clone(), proxy.stop.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) {
                    serve(client, server, &plan);
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

    /// Cuts a connection as soon as it comes to that, after the cuts that were asked for before.
    pub(crate) fn cut_next(&self, cut: Cut) {
        if cut != Cut::Never {
            self.plan.lock().next.push_back(cut);
        }
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.plan.lock().made
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the listener; if it is gone already, so much the better.
        let _woken = TcpStream::connect(self.address);
        for server in &self.plan.lock().half_open {
            let _ended = server.shutdown(Shutdown::Both);
        }
    }
}

impl Plan {
    fn lock(&self) -> std::sync::MutexGuard<'_, Cuts> {
        self.0.lock().expect("no holder panics")
    }

    fn next(&self) -> Option<Cut> {
        self.lock().next.front().copied()
    }

    /// Takes note that the next cut is made now.
    fn made(&self, ends: &Ends) {
        let mut cuts = self.lock();
        cuts.made += 1;
        if cuts.next.pop_front().is_some_and(Cut::is_half_open) {
            ends.half_open.store(true, Ordering::SeqCst);
            let server = ends.server.try_clone().expect("sockets can be shared");
            cuts.half_open.push(server);
        }
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

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A connection.
struct Ends {
    client: TcpStream,
    server: TcpStream,
    /// The server's end stays as it is when the client's is closed.
    half_open: AtomicBool,
    /// The cut to be made at the answer to what the node asked last.
    at_answer: Mutex<Option<Cut>>,
}

fn serve(client: TcpStream, server: TcpStream, plan: &Arc<Plan>) {
    let ends = Arc::new(Ends {
        client,
        server,
        half_open: AtomicBool::new(false),
        at_answer: Mutex::default(),
    });
    let (back, back_plan) = (ends.clone(), plan.clone());
    std::thread::spawn(move || {
        pump(&back.server, &back.client, |bytes| {
            match *back.at_answer.lock().expect("no holder panics") {
                Some(cut) if cut.is_answered_by(bytes) => {
                    back_plan.made(&back);
                    Pass::Neither
                }
                _ => Pass::On,
            }
        });
        back.end();
    });
    let plan = plan.clone();
    std::thread::spawn(move || {
        pump(&ends.client, &ends.server, |bytes| {
            let mut at_answer = ends.at_answer.lock().expect("no holder panics");
            if contains(bytes, b"SELECT") {
                // Another question: the one before is answered.
                *at_answer = None;
            }
            let Some(next) = plan.next().filter(|next| contains(bytes, next.asked())) else {
                return Pass::On;
            };
            match next {
                Cut::Never => Pass::On,
                Cut::BeforeCommit | Cut::HalfOpenBeforeLock => {
                    plan.made(&ends);
                    Pass::Neither
                }
                Cut::DuringCommit => {
                    plan.made(&ends);
                    Pass::ThenCut
                }
                Cut::AfterCommit | Cut::HalfOpenAfterCommit | Cut::HalfOpenAfterLock => {
                    *at_answer = Some(next);
                    Pass::On
                }
            }
        });
        ends.end();
    });
}

impl Ends {
    /// Any side may be closed already.
    fn end(&self) {
        if !self.half_open.load(Ordering::SeqCst) {
            let _closed = self.server.shutdown(Shutdown::Both);
        }
        let _closed = self.client.shutdown(Shutdown::Both);
    }
}

enum Pass {
    On,
    ThenCut,
    Neither,
}

/// Copies until one side ends or `decide` says so.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut decide: impl FnMut(&[u8]) -> Pass) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let pass = decide(&buffer[..len]);
        if matches!(pass, Pass::Neither)
            || to.write_all(&buffer[..len]).is_err()
            || matches!(pass, Pass::ThenCut)
        {
            return;
        }
    }
}
