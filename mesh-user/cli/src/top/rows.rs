//! What stands in the tables: a row for each thing, from one look at the daemon and, for rates, the one before.

use std::{cmp::Ordering, collections::BTreeMap};

use mesh_core::api::{
    Connection, ConnectionState,
    node::{LocalPeer, RemotePeer},
};

use super::model::Reading;
use crate::table::{bytes, latency};

/// WireGuard ends a session at this age (seconds) unless it is renewed.
const SESSION: u64 = 180;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    #[default]
    Groups,
    Peers,
    Paths,
    Drops,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Of a number: sorted by it, the greatest first.
    weight: Option<f64>,
}

pub(super) type Row = Vec<Cell>;

/// Bytes and packets received and sent, or dropped, of everything by name.
type Counts = BTreeMap<String, (u64, u64)>;

impl Tab {
    pub(super) const ALL: [Tab; 4] = [Tab::Groups, Tab::Peers, Tab::Paths, Tab::Drops];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Tab::Groups => "Groups",
            Tab::Peers => "Peers",
            Tab::Paths => "Paths",
            Tab::Drops => "Drops",
        }
    }

    pub(super) const fn header(self) -> &'static [&'static str] {
        match self {
            Tab::Groups => &["GROUP", "MEMBER", "ADDRESS", "DEVICE", "STATE", "PEERS", "IN", "OUT"],
            Tab::Peers => &["GROUP", "MEMBER", "ADDRESS", "PATH", "LATENCY", "HANDSHAKE", "IN", "OUT", "PEER"],
            Tab::Paths => &["CONNECTION", "REMOTE", "STATE", "LATENCY", "HANDSHAKE", "IN", "OUT", "PATH"],
            Tab::Drops => &["REASON", "PACKETS", "RATE"],
        }
    }

    /// Columns of names, which are shortened where the screen is too narrow: the first of them first.
    pub(super) const fn elastic(self) -> &'static [usize] {
        match self {
            Tab::Groups => &[4, 1, 0, 3],
            Tab::Peers => &[8, 1, 0],
            Tab::Paths => &[0, 1],
            Tab::Drops => &[],
        }
    }

    pub(super) fn rows(self, now: &Reading, before: Option<&Reading>) -> Vec<Row> {
        let rates = Rates::between(now, before, |reading| self.counts(reading));
        match self {
            Tab::Groups => now.peers.iter().map(|local| group(local, &rates)).collect(),
            Tab::Peers => {
                let peers = now.peers.iter().flat_map(|local| local.peers.iter().map(move |peer| (local, peer)));
                peers.map(|(local, peer)| remote(local, peer, &rates)).collect()
            }
            Tab::Paths => now.status.connections.iter().map(|path| connection(path, &rates)).collect(),
            Tab::Drops => {
                let row = |(reason, packets): (&String, &u64)| {
                    let (rate, _) = rates.of(reason);
                    vec![Cell::text(reason), Cell::count(*packets), Cell::number(per_second(rate), rate)]
                };
                now.status.drops.iter().map(row).collect()
            }
        }
    }

    fn counts(self, reading: &Reading) -> Counts {
        let of_peer = |local: &LocalPeer, peer: &RemotePeer| (remote_name(local, peer), (peer.rx_bytes, peer.tx_bytes));
        match self {
            Tab::Groups => reading.peers.iter().map(|local| (local.device.clone(), total(local))).collect(),
            Tab::Peers => {
                let peers = |local| move |peer| of_peer(local, peer);
                reading.peers.iter().flat_map(|local| local.peers.iter().map(peers(local))).collect()
            }
            Tab::Paths => {
                let path = |path: &Connection| (path.name.clone(), (path.rx_bytes, path.tx_bytes));
                reading.status.connections.iter().map(path).collect()
            }
            Tab::Drops => {
                reading.status.drops.iter().map(|(reason, packets)| (reason.clone(), (*packets, 0))).collect()
            }
        }
    }
}

fn group(local: &LocalPeer, rates: &Rates) -> Row {
    let live = local.peers.iter().filter(|peer| peer.handshake_age_s.is_some_and(|age| age < SESSION)).count();
    let state = match (local.up, local.hub_reachable) {
        (false, _) if local.detail.is_empty() => "down".to_owned(),
        (false, _) => local.detail.clone(),
        (true, false) => "up, hub away".to_owned(),
        (true, true) => "up".to_owned(),
    };
    let (received, sent) = rates.of(&local.device);
    vec![
        Cell::text(local.ng_label.as_str()),
        Cell::text(local.member.as_str()),
        Cell::text(&local.address.to_string()),
        Cell::text(&local.device),
        Cell::text(&state),
        Cell::number(format!("{live}/{}", local.peers.len()), live as f64),
        Cell::rate(received),
        Cell::rate(sent),
    ]
}

fn remote(local: &LocalPeer, peer: &RemotePeer, rates: &Rates) -> Row {
    let (received, sent) = rates.of(&remote_name(local, peer));
    vec![
        Cell::text(local.ng_label.as_str()),
        Cell::text(peer.member.as_str()),
        Cell::text(&peer.address.to_string()),
        Cell::text(peer.endpoint.as_deref().unwrap_or("-")),
        Cell::latency(peer.latency_us),
        Cell::age(peer.handshake_age_s),
        Cell::rate(received),
        Cell::rate(sent),
        Cell::text(peer.peer.as_str()),
    ]
}

fn connection(path: &Connection, rates: &Rates) -> Row {
    let (received, sent) = rates.of(&path.name);
    let state = match path.state {
        ConnectionState::Connecting => "connecting",
        ConnectionState::Connected => "connected",
        ConnectionState::Error => "error",
    };
    vec![
        Cell::text(&path.name),
        Cell::text(&path.remote),
        Cell::text(state),
        Cell::latency(path.latency_us),
        Cell::age(path.handshake_age_s),
        Cell::rate(received),
        Cell::rate(sent),
        Cell::text(path.endpoint.as_deref().unwrap_or("-")),
    ]
}

fn remote_name(local: &LocalPeer, peer: &RemotePeer) -> String {
    format!("{}/{}", local.device, peer.peer)
}

fn total(local: &LocalPeer) -> (u64, u64) {
    let sum = |count: fn(&RemotePeer) -> u64| local.peers.iter().map(count).sum();
    (sum(|peer| peer.rx_bytes), sum(|peer| peer.tx_bytes))
}

/// What is added to the counts in a second. A count that became smaller began anew.
struct Rates(BTreeMap<String, (f64, f64)>);

impl Rates {
    fn between(now: &Reading, before: Option<&Reading>, counts: impl Fn(&Reading) -> Counts) -> Rates {
        let Some(before) = before else { return Rates(BTreeMap::new()) };
        let seconds = now.at.saturating_sub(before.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates(BTreeMap::new());
        }
        let old = counts(before);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let rates = counts(now).into_iter().filter_map(|(name, (received, sent))| {
            let (was_received, was_sent) = *old.get(&name)?;
            Some((name, (rate(received, was_received), rate(sent, was_sent))))
        });
        Rates(rates.collect())
    }

    fn of(&self, name: &str) -> (f64, f64) {
        self.0.get(name).copied().unwrap_or_default()
    }
}

fn per_second(rate: f64) -> String {
    if 0.0 < rate && rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

impl Cell {
    fn text(text: &str) -> Cell {
        Cell { text: text.to_owned(), weight: None }
    }

    fn number(text: String, weight: f64) -> Cell {
        Cell { text, weight: Some(weight) }
    }

    fn count(count: u64) -> Cell {
        Cell::number(count.to_string(), count as f64)
    }

    fn rate(rate: f64) -> Cell {
        Cell::number(format!("{}/s", bytes(rate as u64)), rate)
    }

    /// Behind every number.
    fn none() -> Cell {
        Cell::number("-".to_owned(), f64::NEG_INFINITY)
    }

    fn latency(micros: Option<u64>) -> Cell {
        micros.map_or_else(Cell::none, |micros| Cell::number(latency(micros), micros as f64))
    }

    fn age(seconds: Option<u64>) -> Cell {
        seconds.map_or_else(Cell::none, |age| Cell::number(format!("{age} s"), age as f64))
    }

    pub(super) fn is_number(&self) -> bool {
        self.weight.is_some()
    }

    pub(super) fn order(&self, other: &Cell) -> Ordering {
        match (self.weight, other.weight) {
            (Some(one), Some(other)) => other.total_cmp(&one),
            _ => self.text.cmp(&other.text),
        }
    }
}
