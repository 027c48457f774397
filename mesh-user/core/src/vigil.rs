//! Which gateway nodes of its cluster does a worker still reach: questions in equal steps, answers, and who owes too many.
//!
//! The message is here too, since both ends must agree on it. Sockets and the clock are the daemon's.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

/// UDP port at which gateway nodes answer.
pub const PORT: u16 = 12_346;
/// Every gateway node is asked this often.
pub const PERIOD: Duration = Duration::from_millis(150);
/// So many questions in a row without answer mean that a node is gone.
pub const LOST: u64 = 4;

pub const MESSAGE_LEN: usize = 24;
const MAGIC: [u8; 8] = *b"meshnode";
const ASK: u32 = 1;
const ANSWER: u32 = 2;

/// A question and its answer are of one length, so that nobody is amplified.
///
/// Layout, big-endian: magic (8), kind (4), number of the node in the list of who asks (4), number of the question (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Ask(Question),
    Answer(Question),
}

/// Comes back as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub node: u32,
    pub number: u64,
}

impl Message {
    pub fn bytes(self) -> [u8; MESSAGE_LEN] {
        let (kind, question) = match self {
            Message::Ask(question) => (ASK, question),
            Message::Answer(question) => (ANSWER, question),
        };
        let mut bytes = [0; MESSAGE_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&kind.to_be_bytes());
        bytes[12..16].copy_from_slice(&question.node.to_be_bytes());
        bytes[16..].copy_from_slice(&question.number.to_be_bytes());
        bytes
    }

    /// `None`: not a message of this form; it deserves no answer.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let bytes: &[u8; MESSAGE_LEN] = bytes.try_into().ok()?;
        let (magic, rest) = bytes.split_first_chunk()?;
        let (kind, rest) = rest.split_first_chunk()?;
        let (node, number) = rest.split_first_chunk()?;
        let question = Question { node: u32::from_be_bytes(*node), number: u64::from_be_bytes(*number.first_chunk()?) };
        match u32::from_be_bytes(*kind) {
            _ if *magic != MAGIC => None,
            ASK => Some(Message::Ask(question)),
            ANSWER => Some(Message::Answer(question)),
            _ => None,
        }
    }
}

/// Watches the gateway nodes of a cluster. At the beginning all count as there.
#[derive(Clone, Debug)]
pub struct Vigil {
    nodes: Vec<Watched>,
    /// Of the next round.
    number: u64,
    next: Instant,
}

#[derive(Clone, Debug)]
struct Watched {
    address: IpAddr,
    /// Questions before this one count no more.
    proved: u64,
}

impl Vigil {
    /// The first question is due at once. `first` should not repeat soon, so that an answer to an earlier run is none.
    pub fn new(nodes: impl IntoIterator<Item = IpAddr>, now: Instant, first: u64) -> Vigil {
        let nodes = nodes.into_iter().map(|address| Watched { address, proved: first }).collect();
        Vigil { nodes, number: first, next: now }
    }

    /// When [`Vigil::poll_round`] wants to be called.
    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// Whom to ask what now; nothing where it is too early.
    pub fn poll_round(&mut self, now: Instant) -> Vec<(IpAddr, Question)> {
        if now < self.next || self.nodes.is_empty() {
            return Vec::new();
        }
        self.next = now + PERIOD;
        let number = self.number;
        self.number += 1;
        (0..).zip(&self.nodes).map(|(node, watched)| (watched.address, Question { node, number })).collect()
    }

    /// An answer proves that all is well up to its question.
    pub fn answered(&mut self, question: Question) {
        let Some(node) = self.nodes.get_mut(question.node as usize) else { return };
        if (node.proved..self.number).contains(&question.number) {
            node.proved = question.number + 1;
        }
    }

    /// Nodes that owe the answers of [`LOST`] rounds, the last of which is over.
    pub fn silent(&self, now: Instant) -> BTreeSet<IpAddr> {
        // The round that was begun last may still be answered.
        let over = if now < self.next { self.number - 1 } else { self.number };
        let is_silent = |node: &&Watched| over.saturating_sub(node.proved) >= LOST;
        self.nodes.iter().filter(is_silent).map(|node| node.address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> [IpAddr; 2] {
        ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap())
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        for message in
            [Message::Ask(Question { node: 3, number: 1 << 40 }), Message::Answer(Question { node: 0, number: 7 })]
        {
            assert_eq!(Message::parse(&message.bytes()), Some(message));
        }
        let mut bytes = Message::Ask(Question { node: 0, number: 0 }).bytes();
        assert_eq!(Message::parse(&bytes[1..]), None);
        bytes[11] = 9;
        assert_eq!(Message::parse(&bytes), None, "no such kind");
        bytes[0] = b'x';
        assert_eq!(Message::parse(&bytes), None);
    }

    #[test]
    fn a_node_that_owes_four_answers_is_gone_until_it_answers() {
        let start = Instant::now();
        let mut vigil = Vigil::new(nodes(), start, 90);
        let mut left = None;
        for round in 0..8 {
            let now = vigil.poll_timeout();
            left = left.or((!vigil.silent(now).is_empty()).then(|| now - start));
            let asked = vigil.poll_round(now);
            assert_eq!(asked.len(), 2, "round {round}");
            assert_eq!(vigil.poll_round(now), [], "not before time");
            vigil.answered(asked[0].1);
        }
        assert_eq!(left, Some(PERIOD * 4));
        let now = vigil.poll_timeout();
        assert_eq!(vigil.silent(now), BTreeSet::from([nodes()[1]]));
        // Answers to an earlier run, to nobody's question and of a stranger are none.
        for question in
            [Question { node: 1, number: 89 }, Question { node: 1, number: 98 }, Question { node: 7, number: 91 }]
        {
            vigil.answered(question);
        }
        assert_eq!(vigil.silent(now).len(), 1);
        vigil.answered(Question { node: 1, number: 97 });
        assert!(vigil.silent(now).is_empty());
    }
}
