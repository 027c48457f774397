//! What does a probe look like on the wire? Both ends must agree on it.

/// A request and its reply. Only a request may be longer than [`MESSAGE_LENGTH`], so that a responder never amplifies.
///
/// Layout, big-endian: magic (8), kind (1), leg (1), MTU (2), connection (4), sequence (8), run (4), faults (2),
/// reserved zero (2), padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    /// Returned as it came.
    pub leg: Leg,
    /// Of the tunnel, at the sender of this message; 0: it has none, or does not know who asks.
    pub mtu: u16,
    /// The requester's own number of the connection, returned as it came.
    pub connection: u32,
    /// Returned as it came.
    pub sequence: u64,
    /// Tells one run of the sender's daemon from another.
    pub run: u32,
    /// What the sender knows to be wrong with itself.
    pub faults: Faults,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Reply,
}

/// Between which two addresses a probe goes, and so which gateways have to forward it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leg {
    /// Gateway to gateway: nobody forwards.
    Gateways,
    /// Our gateway to the remote's responder: the remote forwards.
    FarForwarding,
    /// Our responder to the remote's gateway: we forward.
    OurForwarding,
    /// Responder to responder: both forward, as between pods.
    Through,
    /// Gateway to gateway, padded.
    Size,
}

/// Bits of [`Message::faults`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub u16);

impl Faults {
    /// There is no responder here, so nothing can be said of forwarding.
    pub const NO_RESPONDER: Faults = Faults(1);
    pub const FORWARDING_V4_OFF: Faults = Faults(2);
    pub const FORWARDING_V6_OFF: Faults = Faults(4);
    /// An interface towards workloads is down.
    pub const WORKLOAD_DOWN: Faults = Faults(8);

    pub fn has(self, other: Faults) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    pub fn with(self, other: Faults) -> Faults {
        Faults(self.0 | other.0)
    }
}

pub const MESSAGE_LENGTH: usize = 32;
const MAGIC: [u8; 8] = *b"meshping";

impl Message {
    pub fn encode(self) -> [u8; MESSAGE_LENGTH] {
        let mut bytes = [0; MESSAGE_LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = match self.kind {
            Kind::Request => 1,
            Kind::Reply => 2,
        };
        bytes[9] = self.leg.number();
        bytes[10..12].copy_from_slice(&self.mtu.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.connection.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.run.to_be_bytes());
        bytes[28..30].copy_from_slice(&self.faults.0.to_be_bytes());
        bytes
    }

    /// `None`: not a message of this form; it deserves no answer.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, padding) = bytes.split_first_chunk::<MESSAGE_LENGTH>()?;
        if head[..8] != MAGIC || head[30..] != [0; 2] {
            return None;
        }
        let kind = match head[8] {
            1 => Kind::Request,
            2 => Kind::Reply,
            _ => return None,
        };
        let leg = Leg::ALL.into_iter().find(|leg| leg.number() == head[9])?;
        if !padding.is_empty() && (kind, leg) != (Kind::Request, Leg::Size) {
            return None;
        }
        Some(Message {
            kind,
            leg,
            mtu: u16::from_be_bytes([head[10], head[11]]),
            connection: u32::from_be_bytes(head[12..16].try_into().ok()?),
            sequence: u64::from_be_bytes(head[16..24].try_into().ok()?),
            run: u32::from_be_bytes(head[24..28].try_into().ok()?),
            faults: Faults(u16::from_be_bytes([head[28], head[29]])),
        })
    }
}

impl Leg {
    pub const ALL: [Leg; 5] = [Leg::Gateways, Leg::FarForwarding, Leg::OurForwarding, Leg::Through, Leg::Size];

    fn number(self) -> u8 {
        match self {
            Leg::Gateways => 1,
            Leg::FarForwarding => 2,
            Leg::OurForwarding => 3,
            Leg::Through => 4,
            Leg::Size => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(leg: Leg) -> Message {
        Message {
            kind: Kind::Request,
            leg,
            mtu: 1_340,
            connection: 0x0102_0304,
            sequence: u64::MAX - 1,
            run: 0xaabb_ccdd,
            faults: Faults::FORWARDING_V6_OFF.with(Faults::WORKLOAD_DOWN),
        }
    }

    #[test]
    fn messages_survive_the_wire_and_others_are_refused() {
        for leg in Leg::ALL {
            let message = message(leg);
            assert_eq!(Message::decode(&message.encode()), Some(message));
            let reply = Message { kind: Kind::Reply, ..message };
            assert_eq!(Message::decode(&reply.encode()), Some(reply));
        }
        let bytes = message(Leg::Gateways).encode();
        assert_eq!(Message::decode(&bytes[..31]), None);
        assert_eq!(Message::decode(&[bytes.as_slice(), &[0]].concat()), None);
        for at in (0..10).chain(30..32) {
            let mut wrong = bytes;
            wrong[at] ^= 0x80;
            assert_eq!(Message::decode(&wrong), None, "byte {at} is checked");
        }
    }

    #[test]
    fn only_a_request_about_sizes_may_be_long() {
        let long = |message: Message| Message::decode(&[message.encode().as_slice(), &[7; 1_000]].concat());
        assert_eq!(long(message(Leg::Size)), Some(message(Leg::Size)));
        assert_eq!(long(Message { kind: Kind::Reply, ..message(Leg::Size) }), None);
        assert_eq!(long(message(Leg::Through)), None);
    }
}
