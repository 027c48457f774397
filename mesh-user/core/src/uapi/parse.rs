//! Bytes become requests, however they are cut.

use std::net::{SocketAddr, SocketAddrV6};

use ipnet::IpNet;
use zeroize::{Zeroize as _, Zeroizing};

use super::{AllowedIpChange, Change, Errno, Existence, PeerChange, PrivateKey, Refusal};
use crate::plan::{PresharedKey, PublicKey};

/// Bytes of one line; the longest that means something has 78.
pub const LINE_LIMIT: usize = 1 << 10;
/// Bytes of one request: 65,534 peers with 10 allowed IPs each fit.
pub const REQUEST_LIMIT: usize = 64 << 20;

/// What was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Get,
    Set(Change),
    /// The request was read to its end; the next one may follow.
    Refused(Refusal),
    /// Where the next request would begin is unknown: answer and hang up.
    Lost(Refusal),
}

/// Reads one request after the other.
#[derive(Debug)]
pub struct Parser {
    /// Index of a named IPv6 zone, as in `fe80::1%eth0`.
    zone: fn(&str) -> Option<u32>,
    state: State,
    /// The line that has no end yet; keys may be in it.
    line: Zeroizing<Vec<u8>>,
    /// Bytes of this request so far.
    taken: usize,
}

#[derive(Debug)]
enum State {
    Operation,
    Get,
    Set(Change),
    /// The rest of the request is skipped.
    Refused(Refusal),
}

impl Parser {
    pub fn new(zone: fn(&str) -> Option<u32>) -> Parser {
        // Room for the longest line, so that no half of a key is left behind where a buffer grew.
        let line = Zeroizing::new(Vec::with_capacity(LINE_LIMIT));
        Parser { zone, state: State::Operation, line, taken: 0 }
    }

    /// Reads on to the end of a request or of the bytes; returns what was not read. After [`Outcome::Lost`] there is
    /// nothing more to read.
    pub fn read<'a>(&mut self, mut bytes: &'a [u8]) -> (&'a [u8], Option<Outcome>) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            bytes = rest;
            self.taken += part.len();
            if self.line.len() + part.len() > LINE_LIMIT || self.taken > REQUEST_LIMIT {
                let text = format!("a line has more than {LINE_LIMIT} bytes, or a request more than {REQUEST_LIMIT}");
                return (bytes, Some(Outcome::Lost(Refusal::new(Errno::Protocol, text))));
            }
            self.line.extend_from_slice(part);
            if end.is_none() {
                break;
            }
            if let Some(outcome) = self.take_line() {
                return (bytes, Some(outcome));
            }
        }
        (bytes, None)
    }

    fn take_line(&mut self) -> Option<Outcome> {
        self.line.pop();
        let outcome = if self.line.is_empty() { self.end() } else { self.begin_or_go_on() };
        self.line.zeroize();
        if outcome.is_some() {
            self.taken = 0;
        }
        outcome
    }

    fn end(&mut self) -> Option<Outcome> {
        Some(match std::mem::replace(&mut self.state, State::Operation) {
            State::Operation => Outcome::Lost(Refusal::new(Errno::Protocol, "a blank line where a request begins")),
            State::Get => Outcome::Get,
            State::Set(change) => Outcome::Set(change),
            State::Refused(refusal) => Outcome::Refused(refusal),
        })
    }

    fn begin_or_go_on(&mut self) -> Option<Outcome> {
        match &mut self.state {
            State::Operation => match &self.line[..] {
                b"get=1" => self.state = State::Get,
                b"set=1" => self.state = State::Set(Change::default()),
                _ => {
                    let refusal = Refusal::new(Errno::Protocol, "a request begins with 'get=1' or 'set=1'");
                    return Some(Outcome::Lost(refusal));
                }
            },
            State::Get => {
                let refusal = Refusal::new(Errno::Invalid, "a blank line ends 'get=1'");
                self.state = State::Refused(refusal);
            }
            State::Set(change) => {
                if let Err(refusal) = take(change, &self.line, self.zone) {
                    self.state = State::Refused(refusal);
                }
            }
            State::Refused(_) => {}
        }
        None
    }
}

/// One line of a `set`.
fn take(change: &mut Change, line: &[u8], zone: fn(&str) -> Option<u32>) -> Result<(), Refusal> {
    let (key, value) = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.split_once('='))
        .ok_or_else(|| Refusal::new(Errno::Protocol, "a line is not KEY=VALUE"))?;
    let taken = if key == "public_key" {
        hex(value).map(|bytes| change.peers.push(PeerChange::new(PublicKey(*bytes))))
    } else if let Some(peer) = change.peers.last_mut() {
        take_peer(peer, key, value, zone)
    } else {
        take_device(change, key, value)
    };
    taken.ok_or_else(|| {
        let shown = if key.ends_with("_key") { "(a key)" } else { value };
        Refusal::new(Errno::Invalid, format!("{key:?} is unknown here, or {shown:?} is no value for it"))
    })
}

fn take_device(change: &mut Change, key: &str, value: &str) -> Option<()> {
    match key {
        "private_key" => change.private_key = Some(PrivateKey::new(&*hex(value)?)),
        "listen_port" => change.listen_port = Some(number(value)?),
        "fwmark" => change.fwmark = Some(number(value)?),
        "replace_peers" => {
            yes(value)?;
            change.replace_peers = true;
        }
        _ => return None,
    }
    Some(())
}

fn take_peer(peer: &mut PeerChange, key: &str, value: &str, zone: fn(&str) -> Option<u32>) -> Option<()> {
    match key {
        "remove" => {
            yes(value)?;
            peer.existence = Existence::Remove;
        }
        "update_only" => {
            yes(value)?;
            // What is removed is not updated.
            if peer.existence == Existence::Ensure {
                peer.existence = Existence::UpdateOnly;
            }
        }
        "preshared_key" => peer.preshared_key = Some(preshared_key(&*hex(value)?)),
        "endpoint" => peer.endpoint = Some(endpoint(value, zone)?),
        "persistent_keepalive_interval" => peer.keepalive = Some(number(value)?),
        "replace_allowed_ips" => {
            yes(value)?;
            peer.replace_allowed_ips = true;
            peer.allowed_ips.clear();
        }
        "allowed_ip" => peer.allowed_ips.push(match value.strip_prefix('-') {
            Some(gone) => AllowedIpChange::Remove(prefix(gone)?),
            None => AllowedIpChange::Add(prefix(value)?),
        }),
        "protocol_version" => return (value == "1").then_some(()),
        _ => return None,
    }
    Some(())
}

fn yes(value: &str) -> Option<()> {
    (value == "true").then_some(())
}

/// Decimal digits only: `parse` by itself would take a sign.
fn number<T: std::str::FromStr>(value: &str) -> Option<T> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

fn hex(value: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if value.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(value.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

/// `None`: all zeros, which stands for no key.
fn preshared_key(bytes: &[u8; 32]) -> Option<PresharedKey> {
    (*bytes != [0; 32]).then_some(PresharedKey(*bytes))
}

fn prefix(value: &str) -> Option<IpNet> {
    value.parse::<IpNet>().ok().map(|net| net.trunc())
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820` or `[fe80::1%eth0]:51820`.
fn endpoint(value: &str, zone: fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let (address, rest) = value.strip_prefix('[')?.split_once('%')?;
    let (name, port) = rest.split_once("]:")?;
    Some(SocketAddrV6::new(address.parse().ok()?, number(port)?, 0, zone(name)?).into())
}
