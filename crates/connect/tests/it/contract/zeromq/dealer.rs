//! A DEALER of the tests' own, which shares no code with the adapter.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connected DEALER.
pub(super) struct Dealer {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
    message: Vec<Vec<u8>>,
    /// PONGs that came.
    pub(super) pongs: Vec<Vec<u8>>,
    /// What the server said was wrong.
    pub(super) error: Option<String>,
}

/// The greeting of a client that speaks ZMTP 3.1.
pub(super) fn greeting() -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
    bytes.extend(b"NULL");
    bytes.resize(64, 0);
    bytes
}

/// READY of a socket of a type.
pub(super) fn ready(socket_type: &str) -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type\0\0\0".to_vec();
    body.push(u8::try_from(socket_type.len()).expect("short"));
    body.extend(socket_type.as_bytes());
    let mut command = vec![4, u8::try_from(body.len()).expect("short")];
    command.extend(body);
    command
}

/// A message as bytes.
pub(super) fn encode(frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        // Long lengths throughout: the protocol allows them for short frames too.
        bytes.push(2 | u8::from(index + 1 < frames.len()));
        bytes.extend((frame.len() as u64).to_be_bytes());
        bytes.extend(*frame);
    }
    bytes
}

impl Dealer {
    pub(super) async fn connect(to: SocketAddr) -> io::Result<Dealer> {
        Dealer::connect_as(to, "DEALER").await
    }

    pub(super) async fn connect_as(to: SocketAddr, socket_type: &str) -> io::Result<Dealer> {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(&greeting()).await?;
        stream.write_all(&ready(socket_type)).await?;
        let mut theirs = [0; 64];
        stream.read_exact(&mut theirs).await?;
        assert_eq!((theirs[0], theirs[9], theirs[10]), (0xff, 0x7f, 3));
        Ok(Dealer {
            stream,
            read: Vec::new(),
            message: Vec::new(),
            pongs: Vec::new(),
            error: None,
        })
    }

    pub(super) async fn send(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        self.stream.write_all(&encode(frames)).await
    }

    /// Sends a request.
    pub(super) async fn order(&mut self, to: &str, id: &str, body: &[u8]) -> io::Result<()> {
        let frames: [&[u8]; 6] = [
            b"tributary/1",
            to.as_bytes(),
            id.as_bytes(),
            b"key",
            b"",
            body,
        ];
        self.send(&frames).await
    }

    /// Returns the next message as text. May be dropped without losing one.
    pub(super) async fn receive(&mut self) -> io::Result<Vec<String>> {
        loop {
            while let Some((flags, frame)) = self.frame() {
                if flags & 4 != 0 {
                    if let Some(context) = frame.strip_prefix(b"\x04PONG") {
                        self.pongs.push(context.to_vec());
                    }
                    if let Some(reason) = frame.strip_prefix(b"\x05ERROR") {
                        self.error = Some(String::from_utf8_lossy(&reason[1..]).into_owned());
                    }
                    continue;
                }
                self.message.push(frame);
                if flags & 1 == 0 {
                    let text = |frame: &Vec<u8>| String::from_utf8_lossy(frame).into_owned();
                    let message = self.message.iter().map(text).collect();
                    self.message.clear();
                    return Ok(message);
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let flags = *self.read.first()?;
        let (length, from) = match flags & 2 {
            0 => (usize::from(*self.read.get(1)?), 2),
            _ => {
                let length = self.read.get(1..9)?.try_into().expect("eight bytes");
                (
                    usize::try_from(u64::from_be_bytes(length)).expect("it fits"),
                    9,
                )
            }
        };
        let frame = self.read.get(from..from + length)?.to_vec();
        self.read.drain(..from + length);
        Some((flags, frame))
    }
}
