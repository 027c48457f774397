//! Thousands of changes: the steps lead to what a `get` tells, and both are what a naive model says.

use std::{collections::BTreeMap, net::SocketAddr, sync::LazyLock};

use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample};

use super::{
    super::{
        AllowedIpChange, Change, Configuration, Device, Existence, Live, Outcome, Peer, PeerChange, PrivateKey,
        Session, Step, print,
    },
    change, key, net, outcomes, outcomes_in_pieces,
};
use crate::{
    plan::{PresharedKey, PublicKey},
    tunnel::{AllowedIps, StaticSecret},
};

/// What an engine holds that does each step and knows nothing else.
#[derive(Debug, Default)]
struct Engine {
    secret: Option<PrivateKey>,
    peers: BTreeMap<PublicKey, (Session, Option<SocketAddr>)>,
    allowed: AllowedIps,
}

impl Engine {
    fn take(&mut self, step: Step) {
        match step {
            Step::SetSecret(secret) => self.secret = secret,
            Step::AddPeer(key, session) => {
                let number = session.connection;
                assert!(self.peers.values().all(|(other, _)| other.connection != number), "{number:?} is taken");
                let leads_there = self.allowed.iter().any(|(_, owner)| owner == number);
                assert!(!leads_there, "packets of a former peer would go to {key:?}");
                assert!(self.peers.insert(key, (session, None)).is_none());
            }
            Step::UpdatePeer(key, session) => self.peers.get_mut(&key).unwrap().0 = session,
            Step::MovePeer(key, to) => self.peers.get_mut(&key).unwrap().1 = Some(to),
            Step::RemovePeer(key) => assert!(self.peers.remove(&key).is_some()),
            Step::SetAllowedIps(allowed) => self.allowed = allowed,
        }
    }

    /// As a `get` tells it.
    fn device(&self, fwmark: u32) -> Device {
        let peer = |(key, (session, endpoint)): (&PublicKey, &(Session, Option<SocketAddr>))| {
            let own = self.allowed.iter().filter(|(_, owner)| *owner == session.connection);
            Peer {
                key: *key,
                preshared_key: session.preshared_key.clone(),
                endpoint: *endpoint,
                last_handshake: None,
                sent: 0,
                received: 0,
                keepalive: session.keepalive,
                allowed_ips: own.map(|(prefix, _)| prefix).collect(),
            }
        };
        Device {
            private_key: self.secret.clone(),
            listen_port: 9,
            fwmark,
            peers: self.peers.iter().map(peer).collect(),
        }
    }
}

fn sorted(mut device: Device) -> Device {
    device.peers.iter_mut().for_each(|peer| peer.allowed_ips.sort());
    device
}

fn prefixes() -> impl Strategy<Value = IpNet> {
    let texts = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "::/0", "fd00::/8", "fd00::1/128"];
    sample::select(texts.map(net).to_vec())
}

fn endpoints() -> impl Strategy<Value = SocketAddr> {
    (any::<u16>(), sample::select(vec!["192.0.2.1", "2001:db8::1"]))
        .prop_map(|(port, address)| SocketAddr::new(address.parse().unwrap(), port))
}

fn preshared_keys() -> impl Strategy<Value = Option<PresharedKey>> {
    option::of((1..4u8).prop_map(|byte| PresharedKey([byte; 32])))
}

/// Of the private keys below; the arithmetic is slow in a debug build.
fn public_of(byte: u8) -> PublicKey {
    static KNOWN: LazyLock<[PublicKey; 2]> =
        LazyLock::new(|| [8, 16].map(|byte| StaticSecret::from_bytes([byte; 32]).public_key()));
    KNOWN[usize::from(byte / 8 - 1)]
}

/// Some of these are public keys of [`private_keys`].
fn public_keys() -> impl Strategy<Value = PublicKey> {
    prop_oneof![
        3 => (0..6u8).prop_map(key),
        1 => (1..3u8).prop_map(|byte| public_of(byte << 3)),
    ]
}

fn private_keys() -> impl Strategy<Value = Option<PrivateKey>> {
    (0..3u8).prop_map(|byte| PrivateKey::new(&[byte << 3; 32]))
}

fn peer_changes() -> impl Strategy<Value = PeerChange> {
    let existence =
        prop_oneof![4 => Just(Existence::Ensure), 1 => Just(Existence::UpdateOnly), 1 => Just(Existence::Remove)];
    let allowed = prop_oneof![
        3 => prefixes().prop_map(AllowedIpChange::Add),
        1 => prefixes().prop_map(AllowedIpChange::Remove),
    ];
    let facts = (option::of(preshared_keys()), option::of(endpoints()), option::of(0..3u16));
    (public_keys(), existence, facts, any::<bool>(), vec(allowed, 0..4)).prop_map(
        |(key, existence, (preshared_key, endpoint, keepalive), replace_allowed_ips, allowed_ips)| PeerChange {
            key,
            existence,
            preshared_key,
            endpoint,
            keepalive,
            replace_allowed_ips,
            allowed_ips,
        },
    )
}

fn changes() -> impl Strategy<Value = Change> {
    let replace = prop_oneof![4 => Just(false), 1 => Just(true)];
    let device = (option::of(private_keys()), option::of(any::<u16>()), option::of(0..3u32));
    (device, replace, vec(peer_changes(), 0..5)).prop_map(
        |((private_key, listen_port, fwmark), replace_peers, peers)| Change {
            private_key,
            listen_port,
            fwmark,
            replace_peers,
            peers,
        },
    )
}

/// The lines of a change, as `wg` would send them.
fn text(change: &Change) -> String {
    use std::fmt::Write as _;
    let hex = |bytes: &[u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut out = String::from("set=1\n");
    if let Some(key) = &change.private_key {
        writeln!(out, "private_key={}", hex(key.as_ref().map_or(&[0; 32], |key| key.bytes()))).unwrap();
    }
    change.listen_port.iter().for_each(|port| writeln!(out, "listen_port={port}").unwrap());
    change.fwmark.iter().for_each(|mark| writeln!(out, "fwmark={mark}").unwrap());
    out.push_str(if change.replace_peers { "replace_peers=true\n" } else { "" });
    for peer in &change.peers {
        writeln!(out, "public_key={}", hex(&peer.key.0)).unwrap();
        out.push_str(match peer.existence {
            Existence::Ensure => "",
            Existence::UpdateOnly => "update_only=true\n",
            Existence::Remove => "remove=true\n",
        });
        if let Some(key) = &peer.preshared_key {
            writeln!(out, "preshared_key={}", hex(key.as_ref().map_or(&[0; 32], |key| &key.0))).unwrap();
        }
        peer.endpoint.iter().for_each(|endpoint| writeln!(out, "endpoint={endpoint}").unwrap());
        peer.keepalive.iter().for_each(|seconds| writeln!(out, "persistent_keepalive_interval={seconds}").unwrap());
        out.push_str(if peer.replace_allowed_ips { "replace_allowed_ips=true\n" } else { "" });
        for allowed_ip in &peer.allowed_ips {
            match allowed_ip {
                AllowedIpChange::Add(prefix) => writeln!(out, "allowed_ip={prefix}").unwrap(),
                AllowedIpChange::Remove(prefix) => writeln!(out, "allowed_ip=-{prefix}").unwrap(),
            }
        }
    }
    out + "\n"
}

/// What the protocol's description says that a request does, line by line and without any shortcut.
fn naive(device: &mut Device, change: &Change) {
    if let Some(key) = &change.private_key {
        device.private_key = key.clone();
        let own = own_key(device);
        device.peers.retain(|peer| Some(peer.key) != own);
    }
    device.fwmark = change.fwmark.unwrap_or(device.fwmark);
    if change.replace_peers {
        device.peers.clear();
    }
    for of_peer in &change.peers {
        naive_peer(device, of_peer);
    }
    device.peers.sort_by_key(|peer| peer.key);
}

fn own_key(device: &Device) -> Option<PublicKey> {
    device.private_key.as_ref().map(|key| public_of(key.bytes()[1]))
}

fn naive_peer(device: &mut Device, change: &PeerChange) {
    let at = device.peers.iter().position(|peer| peer.key == change.key);
    let at = match (change.existence, at) {
        (Existence::Remove, at) => {
            at.map(|at| device.peers.remove(at));
            return;
        }
        (Existence::UpdateOnly, None) => return,
        (Existence::Ensure, None) if own_key(device) == Some(change.key) => return,
        (Existence::Ensure, None) => {
            let peer = Peer {
                key: change.key,
                preshared_key: None,
                endpoint: None,
                last_handshake: None,
                sent: 0,
                received: 0,
                keepalive: 0,
                allowed_ips: Vec::new(),
            };
            device.peers.push(peer);
            device.peers.len() - 1
        }
        (_, Some(at)) => at,
    };
    let peer = &mut device.peers[at];
    peer.preshared_key = change.preshared_key.clone().unwrap_or(peer.preshared_key.take());
    peer.endpoint = change.endpoint.or(peer.endpoint);
    peer.keepalive = change.keepalive.unwrap_or(peer.keepalive);
    if change.replace_allowed_ips {
        peer.allowed_ips.clear();
    }
    for allowed_ip in &change.allowed_ips {
        match allowed_ip {
            AllowedIpChange::Add(prefix) => {
                device.peers.iter_mut().for_each(|peer| peer.allowed_ips.retain(|other| other != prefix));
                device.peers[at].allowed_ips.push(*prefix);
            }
            AllowedIpChange::Remove(prefix) => device.peers[at].allowed_ips.retain(|other| other != prefix),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_change_survives_being_written_and_read(change in changes(), cuts in vec(any::<sample::Index>(), 0..6)) {
        let text = text(&change).repeat(2);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).chain([0, text.len()]).collect();
        at.sort();
        let pieces: Vec<&[u8]> = at.windows(2).map(|ends| &text.as_bytes()[ends[0]..ends[1]]).collect();
        prop_assert_eq!(outcomes_in_pieces(&pieces), vec![Outcome::Set(change.clone()), Outcome::Set(change)]);
    }

    #[test]
    fn the_steps_lead_to_what_get_tells(changes in vec(changes(), 1..12)) {
        let (mut configuration, mut engine, mut told) = (Configuration::default(), Engine::default(), Device::default());
        told.listen_port = 9;
        for change in changes {
            naive(&mut told, &change);
            prop_assert_eq!(configuration.check(&change), Ok(()));
            let port = change.listen_port.unwrap_or(configuration.listen_port());
            configuration.apply(change).into_iter().for_each(|step| engine.take(step));
            prop_assert_eq!(configuration.listen_port(), port);
            prop_assert_eq!(&sorted(configuration.device(9, |_| Live::default())), &sorted(told.clone()));
            prop_assert_eq!(&engine.device(told.fwmark), &sorted(told.clone()));
        }
    }

    #[test]
    fn what_get_tells_can_be_set(changes in vec(changes(), 1..6)) {
        let mut configuration = Configuration::default();
        changes.into_iter().for_each(|change| drop(configuration.apply(change)));
        let told = configuration.device(7, |_| Live::default());
        let mut reply = Vec::new();
        print(&told, &mut reply).unwrap();
        let of_state = ["last_handshake", "tx_bytes", "rx_bytes"];
        let lines = String::from_utf8(reply).unwrap();
        let lines: String = lines
            .split_inclusive('\n')
            .filter(|line| !of_state.iter().any(|start| line.starts_with(start)))
            .collect();
        let mut again = Configuration::default();
        again.apply(change(&lines));
        prop_assert_eq!(again.device(7, |_| Live::default()), told);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..400), cut in any::<sample::Index>()) {
        let cut = cut.index(bytes.len() + 1);
        prop_assert_eq!(outcomes_in_pieces(&[&bytes[..cut], &bytes[cut..]]), outcomes(&bytes));
    }

    #[test]
    fn a_damaged_request_is_read_without_a_panic(
        change in changes(),
        damage in vec((any::<sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = text(&change).into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut configuration = Configuration::default();
        for outcome in outcomes(&bytes) {
            if let Outcome::Set(change) = outcome {
                configuration.apply(change);
            }
        }
        prop_assert!(configuration.device(0, |_| Live::default()).peers.len() <= 5);
    }
}
