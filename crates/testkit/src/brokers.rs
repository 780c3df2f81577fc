//! Brokers of Kafka behind proxies: one alone, or three that know each other.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::engine::Engine;
use crate::ports::free_port;
use crate::proxy::Proxy;

/// Longest wait for an answer about a topic.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Number and version of the request for what is known of topics.
const METADATA: [i16; 2] = [3, 1];

/// A broker. Users connect to it by the proxy; tests, which are no users, without.
#[derive(Debug)]
pub struct Broker {
    /// The broker itself.
    pub engine: Engine,
    /// What users connect to.
    pub proxy: Proxy,
}

/// The one partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Place of its leader among the brokers.
    pub leader: usize,
    /// Number of brokers that have everything that is acknowledged.
    pub in_sync: usize,
}

impl Broker {
    /// Finds a broker, and does not start it yet; none if it is not installed.
    #[must_use]
    pub fn find() -> Option<Broker> {
        let engine = Engine::find("kafka")?;
        let port = free_port();
        let proxy = Proxy::start(port);
        engine.write("sasl/port", &port.to_string());
        engine.write("sasl/advertised", &proxy.address().port().to_string());
        Some(Broker { engine, proxy })
    }

    /// Starts three brokers that know each other; none if they are not installed.
    #[must_use]
    pub fn start_three() -> Option<[Broker; 3]> {
        let brokers = [Broker::find()?, Broker::find()?, Broker::find()?];
        let members: String = (1..=brokers.len())
            .map(|number| format!("{number} {}\n", free_port()))
            .collect();
        for (broker, number) in brokers.iter().zip(1..) {
            let text = format!("{number}\n{members}");
            broker.engine.write("cluster", &text);
        }
        // None of them listens before two of them have elected a controller.
        thread::scope(|scope| {
            for broker in &brokers {
                scope.spawn(|| broker.engine.start());
            }
        });
        Some(brokers)
    }
}

/// Asks the brokers at these addresses, one after another, for the one partition of a topic. None if nobody knows a leader.
#[must_use]
pub fn find_partition(addresses: &[SocketAddr], topic: &str) -> Option<Partition> {
    let ask = |address: &SocketAddr| ask_for_partition(*address, topic).ok().flatten();
    addresses.iter().find_map(ask)
}

/// Asks a broker, by the few bytes of Kafka's protocol that this takes.
fn ask_for_partition(address: SocketAddr, topic: &str) -> io::Result<Option<Partition>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut request = Vec::new();
    for number in METADATA {
        request.extend_from_slice(&number.to_be_bytes());
    }
    // Number of the request, no name of the client, and one topic.
    request.extend_from_slice(&1_i32.to_be_bytes());
    request.extend_from_slice(&(-1_i16).to_be_bytes());
    request.extend_from_slice(&1_i32.to_be_bytes());
    let length = i16::try_from(topic.len()).map_err(io::Error::other)?;
    request.extend_from_slice(&length.to_be_bytes());
    request.extend_from_slice(topic.as_bytes());
    let length = i32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(read_partition(&mut Fields(&answer)))
}

/// Reads the answer. None if it is broken off, or the partition has no leader.
fn read_partition(fields: &mut Fields<'_>) -> Option<Partition> {
    let _number_of_the_request = fields.int()?;
    for _ in 0..fields.int()? {
        let (_id, _host, _port, _rack) =
            (fields.int()?, fields.text()?, fields.int()?, fields.text()?);
    }
    let _controller = fields.int()?;
    let _topics = fields.int()?;
    let (_error, _topic, _is_internal) = (fields.short()?, fields.text()?, fields.take::<1>()?);
    let _partitions = fields.int()?;
    let (_error, _partition) = (fields.short()?, fields.int()?);
    let leader = usize::try_from(fields.int()?).ok()?.checked_sub(1)?;
    for _ in 0..fields.int()? {
        let _copy = fields.int()?;
    }
    let in_sync = usize::try_from(fields.int()?).ok()?;
    Some(Partition { leader, in_sync })
}

/// What is left of an answer.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn short(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// Steps over a text, which may be missing.
    fn text(&mut self) -> Option<()> {
        let length = usize::try_from(self.short()?).unwrap_or(0);
        self.0 = self.0.get(length..)?;
        Some(())
    }
}
