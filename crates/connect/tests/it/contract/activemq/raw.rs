//! A sender that writes AMQP 1.0 byte by byte, so that it can send what no library would.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::contract::{USER, in_time};

const SASL_OUTCOME: u8 = 0x44;
const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const FLOW: u8 = 0x13;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;

/// Sends these payloads to a queue, each as one message in one frame, and waits until the broker has answered each.
pub(super) async fn send(broker: SocketAddr, queue: &str, payloads: &[Vec<u8>]) {
    in_time("sending raw messages", async {
        let mut raw = Raw(TcpStream::connect(broker).await.expect("it is up"));
        raw.log_in().await;
        raw.write(0, &performative(OPEN, &[text("raw")])).await;
        let window = || uint(1_000);
        raw.write(
            0,
            &performative(BEGIN, &[null(), uint(0), window(), window()]),
        )
        .await;
        let target = [text(queue), null(), null(), null(), null(), null()];
        let target = [&target[..], &[symbol("queue")]].concat();
        let fields = [
            text("raw"),
            uint(0),
            vec![0x42],
            null(),
            null(),
            performative(0x28, &[]),
            performative(0x29, &target),
            null(),
            null(),
            uint(0),
        ];
        raw.write(0, &performative(ATTACH, &fields)).await;
        raw.wait_for(FLOW).await;
        for (number, payload) in payloads.iter().enumerate() {
            let number = u32::try_from(number).expect("few");
            let tag = [&[0xa0, 4], &number.to_be_bytes()[..]].concat();
            let transfer = performative(TRANSFER, &[uint(0), uint(number), tag, uint(0)]);
            raw.write(0, &[&transfer[..], payload].concat()).await;
            raw.wait_for(DISPOSITION).await;
        }
    })
    .await;
}

struct Raw(TcpStream);

impl Raw {
    async fn log_in(&mut self) {
        self.header(3).await;
        let response = format!("\0{USER}\0{USER}");
        let response = [&[0xa0, response.len() as u8], response.as_bytes()].concat();
        let init = performative(0x41, &[symbol("PLAIN"), response]);
        self.write(1, &init).await;
        self.wait_for(SASL_OUTCOME).await;
        self.header(0).await;
    }

    async fn header(&mut self, protocol: u8) {
        let header = [b'A', b'M', b'Q', b'P', protocol, 1, 0, 0];
        self.0.write_all(&header).await.expect("it is up");
        let mut answer = [0; 8];
        self.0.read_exact(&mut answer).await.expect("it is up");
        assert_eq!(answer, header);
    }

    async fn write(&mut self, kind: u8, body: &[u8]) {
        let mut frame = (body.len() as u32 + 8).to_be_bytes().to_vec();
        frame.extend([2, kind, 0, 0]);
        frame.extend(body);
        self.0.write_all(&frame).await.expect("it is up");
    }

    async fn wait_for(&mut self, code: u8) {
        loop {
            let length = self.0.read_u32().await.expect("it is up");
            let mut frame = vec![0; length as usize - 4];
            self.0.read_exact(&mut frame).await.expect("it is up");
            match frame.get(6) {
                Some(found) if *found == code => return,
                // What ends a link, a session or the connection.
                Some(0x16..=0x18) => panic!("{}", String::from_utf8_lossy(&frame)),
                _ => {}
            }
        }
    }
}

/// A list under a descriptor of one byte: a performative, or a section of a message.
pub(super) fn performative(code: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    [vec![0x00, 0x53, code], compound(0xd0, fields)].concat()
}

/// A list (0xd0) or a map (0xd1).
pub(super) fn compound(code: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let inner = items.concat();
    let mut compound = vec![code];
    compound.extend((inner.len() as u32 + 4).to_be_bytes());
    compound.extend((items.len() as u32).to_be_bytes());
    compound.extend(inner);
    compound
}

pub(super) fn section(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, code], value].concat()
}

pub(super) fn null() -> Vec<u8> {
    vec![0x40]
}

pub(super) fn uint(number: u32) -> Vec<u8> {
    [&[0x70], &number.to_be_bytes()[..]].concat()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    variable(0xb1, text.as_bytes())
}

pub(super) fn symbol(text: &str) -> Vec<u8> {
    variable(0xb3, text.as_bytes())
}

/// Binary (0xb0), text (0xb1) or a symbol (0xb3).
pub(super) fn variable(code: u8, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u32).to_be_bytes();
    [&[code], &length[..], bytes].concat()
}
