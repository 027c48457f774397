//! Requests as `wg` sends them: what the tests of each part share.

mod configuration;
mod printing;
mod reading;
mod steps;

use ipnet::IpNet;

use super::{Change, Outcome, Parser};
use crate::plan::PublicKey;

fn zone(name: &str) -> Option<u32> {
    (name == "eth0").then_some(7)
}

/// Every outcome of these bytes.
fn outcomes(bytes: &[u8]) -> Vec<Outcome> {
    outcomes_in_pieces(&[bytes])
}

fn outcomes_in_pieces(pieces: &[&[u8]]) -> Vec<Outcome> {
    let mut parser = Parser::new(zone);
    let mut outcomes = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (unread, outcome) = parser.read(rest);
            assert!(unread.len() < rest.len(), "it reads on");
            rest = unread;
            outcomes.extend(outcome);
            if let Some(Outcome::Lost(_)) = outcomes.last() {
                return outcomes;
            }
        }
    }
    outcomes
}

fn set(lines: &str) -> Outcome {
    let outcomes = outcomes(format!("set=1\n{lines}\n").as_bytes());
    assert_eq!(outcomes.len(), 1, "{lines}");
    outcomes.into_iter().next().unwrap()
}

fn change(lines: &str) -> Change {
    match set(lines) {
        Outcome::Set(change) => change,
        other => panic!("{lines}: {other:?}"),
    }
}

fn errno(lines: &str) -> i32 {
    match set(lines) {
        Outcome::Refused(refusal) => refusal.errno.number(),
        other => panic!("{lines}: {other:?}"),
    }
}

fn key(byte: u8) -> PublicKey {
    PublicKey([byte; 32])
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}
