//! Datagrams at the socket of a device, from strangers and from a peer whose messages somebody changed on the way.

use std::{net::SocketAddr, ops::Range, time::Duration};

use mesh_common::{datapath::DropReason, wire::wireguard::DATA_OVERHEAD};
use mesh_core::tunnel::{BATCH, DATA_HEADER, MESSAGE_ROOM, Opened};

use crate::{
    Bytes,
    pair::{Pair, SENDER, address, packet},
};

const STRANGER: SocketAddr = address(3);
const LONGEST: usize = 2_000;
/// Bytes of an initiation that the receiver looks at while it is not under load: all but the second MAC.
const CHECKED: usize = 132;
/// A receiver answers a peer no more often.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(50);

/// Acts, each a byte that says which and what it needs. A packet comes out only of a message that the peer sealed, once,
/// and exactly as it went in; nothing else moves the peer.
pub fn datagram(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut pair = Pair::new();
    let mut begun = 0;
    for _ in 0..64 {
        if bytes.is_empty() {
            return;
        }
        match bytes.byte() % 7 {
            0 => {
                let len = usize::from(u16::from_le_bytes(bytes.array())) % LONGEST;
                pair.stranger(bytes.take(len));
            }
            1 => {
                let (kind, len) = (bytes.byte() % 5, usize::from(bytes.byte()));
                let content = bytes.take(len);
                pair.forged(kind, content);
            }
            2 => {
                let (at, mask) = (u16::from_le_bytes(bytes.array()), bytes.byte());
                pair.changed(usize::from(at), mask.max(1));
            }
            3 => pair.repeated(usize::from(bytes.byte())),
            4 => pair.batch(&mut bytes),
            5 => {
                begun += 1;
                pair.begun_anew(begun, usize::from(bytes.byte()), bytes.byte().max(1));
            }
            _ => pair.wait(Duration::from_millis(u16::from_le_bytes(bytes.array()).into())),
        }
    }
}

/// What happens to a message on its way.
enum Fate {
    Genuine,
    Changed { at: usize, mask: u8 },
    Repeated,
}

impl Fate {
    fn of(bytes: &mut Bytes<'_>) -> Fate {
        match bytes.byte() % 4 {
            0 | 1 => Fate::Genuine,
            2 => Fate::Changed { at: u16::from_le_bytes(bytes.array()).into(), mask: bytes.byte().max(1) },
            _ => Fate::Repeated,
        }
    }
}

impl Pair {
    /// Any bytes from anywhere.
    fn stranger(&mut self, message: &[u8]) {
        let (opened, _) = self.receive(STRANGER, message);
        assert!(!delivers(opened), "{opened:?} came of {message:02x?}");
        self.is_where_it_was();
    }

    /// A well-formed header for the session in force, and content of the forger's choice.
    fn forged(&mut self, kind: u8, content: &[u8]) {
        let Some(genuine) = self.seal(&packet(40)) else { return };
        let mut message = genuine[..16.min(genuine.len())].to_vec();
        message[0] = kind;
        message.extend_from_slice(content);
        message.resize(message.len().max(32), 0);
        self.stranger(&message);
    }

    /// A genuine message with other bits somewhere.
    fn changed(&mut self, at: usize, mask: u8) {
        let Some(mut message) = self.seal(&packet(100)) else { return };
        let at = at % message.len();
        message[at] ^= mask;
        self.stranger(&message);
    }

    /// A genuine message, then the same again from elsewhere.
    fn repeated(&mut self, len: usize) {
        let Some(message) = self.seal(&packet(len)) else { return };
        let (opened, out) = self.receive(SENDER, &message);
        let Opened::Packet { len: got, .. } = opened else { panic!("{opened:?} of a genuine message") };
        assert_eq!(out[..got], packet(len)[..], "a packet comes out as it went in");
        self.stranger(&message);
    }

    /// Up to 16 messages in one buffer, of which some are changed and some come twice. The genuine ones come out, once each.
    fn batch(&mut self, bytes: &mut Bytes<'_>) {
        let wanted: Vec<_> = (0..1 + bytes.byte() % 16)
            .map(|_| (usize::from(u16::from_le_bytes(bytes.array())) % LONGEST, Fate::of(bytes)))
            .collect();
        let (mut buffer, mut messages) = (Vec::new(), Vec::new());
        for (len, _) in &wanted {
            let packet = packet(*len);
            let start = buffer.len();
            buffer.resize(start + DATA_HEADER, 0);
            buffer.extend_from_slice(&packet);
            buffer.resize(start + packet.len() + DATA_OVERHEAD, 0);
            messages.push(start..buffer.len());
        }
        let sealed = self.sender.seal_batch(self.now, self.to_receiver, &mut buffer, &messages);
        let mut expected: Vec<_> = wanted.iter().take(sealed).map(|(len, _)| Some(*len)).collect();
        messages.truncate(sealed);
        for (at, (len, fate)) in wanted.iter().take(sealed).enumerate() {
            let message = messages[at].clone();
            match fate {
                Fate::Genuine => {}
                Fate::Changed { at: place, mask } => {
                    buffer[message.start + place % message.len()] ^= mask;
                    expected[at] = None;
                }
                Fate::Repeated => {
                    let again = buffer.len()..buffer.len() + packet(*len).len() + DATA_OVERHEAD;
                    buffer.extend_from_within(message);
                    messages.push(again);
                    expected.push(None);
                }
            }
        }
        self.open_all(&mut buffer, &messages, &expected);
    }

    fn open_all(&mut self, buffer: &mut [u8], messages: &[Range<usize>], expected: &[Option<usize>]) {
        let mut first = 0;
        while first < messages.len() {
            let mut opened = [Opened::Refused(DropReason::NotWireguard); BATCH];
            let rest = &messages[first..];
            let count = self.receiver.open_batch(self.now, SENDER, None, buffer, rest, &mut opened);
            // No data message: it takes the way of any datagram.
            if count == 0 {
                let message = buffer[rest[0].clone()].to_vec();
                assert_eq!(expected[first], None, "a genuine message is a data message");
                self.stranger(&message);
                first += 1;
                continue;
            }
            for ((opened, at), expected) in opened[..count].iter().zip(rest).zip(&expected[first..]) {
                match (opened, expected) {
                    (Opened::Packet { len, .. }, Some(expected)) => {
                        let out = &buffer[at.start + DATA_HEADER..][..*len];
                        assert_eq!(out, packet(*expected), "a packet comes out as it went in");
                    }
                    (Opened::Refused(_), None) => {}
                    (opened, expected) => panic!("{opened:?} where {expected:?} was due"),
                }
            }
            first += count;
        }
    }

    /// The sender forgot all and begins anew. What somebody changed is not answered, what he did not is.
    fn begun_anew(&mut self, count: u8, at: usize, mask: u8) {
        self.now += BETWEEN_ANSWERS;
        let genuine = self.initiation(count);
        let mut changed = genuine.clone();
        changed[at % CHECKED] ^= mask;
        self.stranger(&changed);
        let (opened, _) = self.receive(SENDER, &genuine);
        assert!(matches!(opened, Opened::Reply { .. }), "{opened:?} of a genuine initiation");
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let mut out = vec![0; MESSAGE_ROOM];
        for device in [&mut self.sender, &mut self.receiver] {
            for _ in 0..100 {
                if device.poll_transmit(self.now, &mut out).is_none() {
                    break;
                }
            }
        }
    }

    fn is_where_it_was(&self) {
        assert_eq!(self.receiver.path(self.of_sender).map(|path| path.to), Some(SENDER), "a stranger moved the peer");
    }
}

fn delivers(opened: Opened) -> bool {
    match opened {
        Opened::Packet { .. } | Opened::Probe { .. } | Opened::Empty { .. } | Opened::Reply { .. } => true,
        Opened::Cookie { .. } | Opened::Refused(_) => false,
    }
}
