//! The connection of one peer: its handshake, what it says, and what it is told.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::hub::{Hub, Peer, Pending};
use super::protocol::{Answer, LIMITS, answer, read_request};
use super::zmtp::{self, Command, Decoder, GREETING_BYTES, Item, Message, Violation};

/// How long a peer may take to say who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a message may take from its first byte to its last one.
const MESSAGE_MAX: Duration = Duration::from_secs(30);
/// How long a peer may take to read what is written at once.
const WRITE_MAX: Duration = Duration::from_secs(30);
/// How long a peer may be silent before it is asked whether it is there.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Heartbeats without an answer after which a peer is given up.
const BEATS_MAX: u32 = 3;
/// How long a connection that ends takes to write what is left, and then to let the peer read it.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Room for what is read at once, bytes.
const READ_BYTES: usize = 16 * 1024;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("{0}")]
    Lost(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Late(&'static str),
    #[error("another peer needs its place")]
    Evicted,
    #[error("the last source of this address was closed")]
    Stopped,
}

/// Serves a peer until it goes, or `stop` says so. Nothing of it is left in `hub` then.
pub(super) async fn serve(
    stream: TcpStream,
    peer: Arc<Peer>,
    hub: Arc<Hub>,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.into_split();
    let end = tokio::select! {
        biased;
        () = peer.evicted.notified() => End::Evicted,
        end = talk(&mut read, &mut write, &peer, &hub, &mut stop) => end,
    };
    tracing::debug!(peer = peer.name, why = %end, "a ZeroMQ peer has gone");
    hub.leave(&peer);
    if matches!(end, End::Stopped) {
        // Closed with bytes that were not read, the connection would take what was just written with it.
        let _late = timeout(LINGER_MAX, read_rest(&mut read)).await;
    }
}

async fn talk(
    read: &mut OwnedReadHalf,
    write: &mut OwnedWriteHalf,
    peer: &Arc<Peer>,
    hub: &Hub,
    stop: &mut watch::Receiver<bool>,
) -> End {
    let mut reader = Reader {
        read,
        buffer: BytesMut::new(),
        decoder: Decoder::new(LIMITS),
        begun: None,
    };
    let shaken = tokio::select! {
        biased;
        _ = stop.wait_for(|stopped| *stopped) => Ok(Err(End::Stopped)),
        shaken = timeout(HANDSHAKE_MAX, reader.shake_hands(write)) => shaken,
    };
    let beats = match shaken {
        Ok(Ok(beats)) => beats,
        Ok(Err(end)) => return end,
        Err(_) => return End::Late("it did not end its handshake in time"),
    };
    let telling = tell(write, peer);
    tokio::pin!(telling);
    tokio::select! {
        biased;
        _ = stop.wait_for(|stopped| *stopped) => {}
        listened = reader.listen(peer, hub, beats) => {
            let Err(end) = listened;
            return end;
        }
        Err(end) = &mut telling => return end,
    }
    // What was begun is written to its end, so that the peer can read it.
    peer.outbox.end();
    let _late = timeout(LINGER_MAX, telling).await;
    End::Stopped
}

/// What a peer says.
struct Reader<'a> {
    read: &'a mut OwnedReadHalf,
    buffer: BytesMut,
    decoder: Decoder,
    /// When the first byte came of what is not all there.
    begun: Option<Instant>,
}

/// Nothing, forever: only the end is returned.
type Never = std::convert::Infallible;

impl Reader<'_> {
    /// Greets the peer. Returns whether it knows heartbeats.
    async fn shake_hands(&mut self, write: &mut OwnedWriteHalf) -> Result<bool, End> {
        write.write_all(&zmtp::greeting()).await?;
        let mut greeting = [0; GREETING_BYTES];
        // What speaks another protocol is found out by its first byte.
        self.read.read_exact(&mut greeting[..1]).await?;
        if greeting[0] == 0xff {
            self.read.read_exact(&mut greeting[1..]).await?;
        }
        let beats = zmtp::read_greeting(&greeting)?;
        write.write_all(&zmtp::ready()).await?;
        loop {
            match self.decoder.decode(&mut self.buffer)? {
                Some(Item::Command(Command::Ready { socket_type })) => {
                    if &socket_type[..] == b"DEALER" {
                        return Ok(beats);
                    }
                    write.write_all(&zmtp::error("connect a DEALER")).await?;
                    return Err(End::Late("it is no DEALER"));
                }
                Some(_) => return Err(End::Late("it speaks before it is ready")),
                None => self.fill().await?,
            }
        }
    }

    /// Waits for more bytes.
    async fn fill(&mut self) -> Result<(), End> {
        self.buffer.reserve(READ_BYTES);
        match self.read.read_buf(&mut self.buffer).await? {
            0 => Err(End::Closed),
            _ => Ok(()),
        }
    }

    /// Takes in requests.
    async fn listen(&mut self, peer: &Arc<Peer>, hub: &Hub, beats: bool) -> Result<Never, End> {
        let mut asked = 0;
        loop {
            while let Some(item) = self.decoder.decode(&mut self.buffer)? {
                match item {
                    Item::Message(message) => {
                        take_in(peer, hub, message).await;
                        // The peer is not late while it waits for its window.
                        self.begun = None;
                    }
                    Item::Command(Command::Ping { context }) => {
                        peer.outbox.pong(zmtp::pong(&context));
                    }
                    Item::Command(_) => {}
                }
            }
            let mut patience = SILENCE_MAX;
            if self.buffer.is_empty() && !self.decoder.is_within_message() {
                self.begun = None;
            } else {
                let begun = *self.begun.get_or_insert_with(Instant::now);
                patience = MESSAGE_MAX.saturating_sub(begun.elapsed());
                if patience.is_zero() {
                    return Err(End::Late("its message did not end in time"));
                }
            }
            match timeout(patience, self.fill()).await {
                Ok(filled) => {
                    filled?;
                    asked = 0;
                }
                Err(_) if self.begun.is_none() && beats => {
                    if asked == BEATS_MAX {
                        return Err(End::Late("it does not answer heartbeats"));
                    }
                    asked += 1;
                    peer.outbox.beat(zmtp::ping());
                }
                Err(_) => {}
            }
        }
    }
}

/// Takes in a request as soon as the peer's window has room for it.
async fn take_in(peer: &Arc<Peer>, hub: &Hub, message: Message) {
    let bytes = message.frames.iter().map(Bytes::len).sum();
    let place = peer.place(bytes).await;
    match read_request(message) {
        Ok(request) => hub.submit(Pending::new(peer.clone(), request, place)),
        Err(malformed) => {
            let refused = answer(&malformed.id, Answer::Refused(&malformed.refusal));
            peer.outbox.answer(refused, place);
        }
    }
}

/// Writes what the peer is told, until there will be no more.
async fn tell(write: &mut OwnedWriteHalf, peer: &Peer) -> Result<(), End> {
    while let Some((bytes, places)) = peer.outbox.next().await {
        match timeout(WRITE_MAX, write.write_all(&bytes)).await {
            Ok(written) => written?,
            Err(_) => return Err(End::Late("it does not read what it is told")),
        }
        drop(places);
    }
    Ok(write.shutdown().await?)
}

async fn read_rest(read: &mut OwnedReadHalf) {
    let mut discarded = [0; 4_096];
    while read.read(&mut discarded).await.is_ok_and(|count| count > 0) {}
}
