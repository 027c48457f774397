//! Requests as `wg` sends them, one by one and by the thousand.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::LazyLock,
    time::Duration,
};

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;
use proptest::{collection::vec, option, prelude::*, sample};

use super::*;
use crate::{
    plan::{PresharedKey, PublicKey},
    tunnel::{AllowedIps, StaticSecret},
};

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

#[test]
fn every_key_is_read() {
    let (private, public, preshared) = (hex(0x08), hex(2), hex(0xAB).to_uppercase());
    let read = change(&format!(
        "private_key={private}\nlisten_port=0\nfwmark=4294967295\nreplace_peers=true\npublic_key={public}\n\
         update_only=true\nprotocol_version=1\npreshared_key={preshared}\nendpoint=192.0.2.1:65535\n\
         persistent_keepalive_interval=25\nallowed_ip=10.9.9.9/32\nreplace_allowed_ips=true\nallowed_ip=10.0.0.7/8\n\
         allowed_ip=-fd00::/64\npublic_key={}\nremove=true\nupdate_only=true\nendpoint=[2001:db8::1]:1\n",
        hex(3),
    ));
    let first = PeerChange {
        existence: Existence::UpdateOnly,
        preshared_key: Some(Some(PresharedKey([0xab; 32]))),
        endpoint: Some("192.0.2.1:65535".parse().unwrap()),
        keepalive: Some(25),
        replace_allowed_ips: true,
        allowed_ips: vec![AllowedIpChange::Add(net("10.0.0.0/8")), AllowedIpChange::Remove(net("fd00::/64"))],
        ..PeerChange::new(key(2))
    };
    let second = PeerChange {
        existence: Existence::Remove,
        endpoint: Some("[2001:db8::1]:1".parse().unwrap()),
        ..PeerChange::new(key(3))
    };
    let expected = Change {
        private_key: Some(PrivateKey::new(&[8; 32])),
        listen_port: Some(0),
        fwmark: Some(u32::MAX),
        replace_peers: true,
        peers: vec![first, second],
    };
    assert_eq!(read, expected);
}

#[test]
fn zeros_take_a_key_away() {
    let zeros = hex(0);
    let read = change(&format!("private_key={zeros}\npublic_key={}\npreshared_key={zeros}\n", hex(1)));
    assert_eq!((read.private_key, read.peers[0].preshared_key.clone()), (Some(None), Some(None)));
}

#[test]
fn a_link_local_endpoint_names_its_zone() {
    let endpoint = |text: &str| change(&format!("public_key={}\nendpoint={text}\n", hex(1))).peers[0].endpoint;
    for text in ["[fe80::1%7]:9", "[fe80::1%eth0]:9"] {
        assert_eq!(endpoint(text).unwrap().to_string(), "[fe80::1%7]:9");
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_errno() {
    let peer = format!("public_key={}\n", hex(1));
    for line in ["private_key", "hello", "\u{0}", "set 1"] {
        assert_eq!(errno(&format!("{line}\n")), -71, "{line:?}");
    }
    let device = [
        "private_key=00",
        "private_key=",
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=+1",
        "listen_port=",
        "fwmark=0x1",
        "fwmark=4294967296",
        "replace_peers=false",
        "replace_peers=1",
        "public_key=zz",
        "endpoint=192.0.2.1:1",
        "allowed_ip=::/0",
        "errno=0",
        "=",
        "own_public_key=1",
        "LISTEN_PORT=1",
        "set=1",
    ];
    for line in device {
        assert_eq!(errno(&format!("{line}\n")), -22, "{line}");
    }
    let of_peer = [
        "remove=false",
        "update_only=",
        "preshared_key=1",
        "endpoint=",
        "endpoint=192.0.2.1",
        "endpoint=192.0.2.1:65536",
        "endpoint=host:1",
        "endpoint=2001:db8::1:5",
        "endpoint=[fe80::1%nosuch]:5",
        "endpoint=[fe80::1%eth0]5",
        "persistent_keepalive_interval=off",
        "persistent_keepalive_interval=65536",
        "replace_allowed_ips=yes",
        "allowed_ip=",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=10.0.0.1",
        "allowed_ip=--10.0.0.0/8",
        "allowed_ip=+10.0.0.0/8",
        "allowed_ip=::/129",
        "protocol_version=2",
        "private_key=1",
        "listen_port=1",
        "last_handshake_time_sec=0",
    ];
    for line in of_peer {
        assert_eq!(errno(&format!("{peer}{line}\n")), -22, "{line}");
    }
    assert_eq!(errno(&format!("{}\n", hex(9).replace("0", "g"))), -71);
    assert_eq!(errno(&format!("public_key={}\n", "0g".repeat(32))), -22);
}

#[test]
fn a_refusal_shows_no_key() {
    for line in [format!("private_key={}0", hex(7)), format!("public_key={}\npreshared_key={}", hex(1), &hex(7)[1..])] {
        let Outcome::Refused(refusal) = set(&format!("{line}\n")) else { panic!("{line}") };
        assert!(!refusal.text.contains("0707"), "{refusal}");
    }
}

#[test]
fn after_a_refused_request_comes_the_next() {
    let found = outcomes(b"set=1\nfwmark=x\nlisten_port=y\n\nget=1\n\nget=1\nplease\n\nset=1\n\n");
    assert!(
        matches!(&found[..], [Outcome::Refused(_), Outcome::Get, Outcome::Refused(_), Outcome::Set(change)]
            if *change == Change::default()),
        "{found:?}"
    );
}

#[test]
fn what_is_no_request_ends_the_conversation() {
    let long = format!("set=1\nallowed_ip={}\n", "1".repeat(LINE_LIMIT));
    for text in ["\n", "get=2\n\n", "GET / HTTP/1.1\r\n\r\n", "get=1", "\u{0}\n", "errno=0\n\n", &long] {
        let expected = if text == "get=1" { 0 } else { 1 };
        let lost = outcomes(text.as_bytes()).iter().filter(|outcome| matches!(outcome, Outcome::Lost(_))).count();
        assert_eq!(lost, expected, "{text:?}");
    }
}

#[test]
fn a_request_without_end_is_given_up() {
    let mut parser = Parser::new(zone);
    let line = format!("public_key={}\n", hex(1));
    let lines = line.repeat(1_000);
    assert_eq!(parser.read(b"set=1\nfwmark=bad\n").1, None);
    let mut taken = 0;
    let lost = loop {
        if let (_, Some(outcome)) = parser.read(lines.as_bytes()) {
            break outcome;
        }
        taken += lines.len();
        assert!(taken <= REQUEST_LIMIT);
    };
    assert!(matches!(lost, Outcome::Lost(_)));
}

#[test]
fn a_reply_reads_as_wg_wants_it() {
    let peer = Peer {
        key: key(2),
        preshared_key: None,
        endpoint: Some("[fe80::1%7]:9".parse().unwrap()),
        last_handshake: Some(Duration::new(1_700_000_000, 5)),
        sent: 148,
        received: u64::MAX,
        keepalive: 25,
        allowed_ips: vec![net("10.0.0.0/8"), net("::/0")],
    };
    let bare = Peer {
        key: key(3),
        preshared_key: Some(PresharedKey([4; 32])),
        endpoint: None,
        last_handshake: None,
        keepalive: 0,
        allowed_ips: Vec::new(),
        ..peer.clone()
    };
    let device =
        Device { private_key: PrivateKey::new(&[0x48; 32]), listen_port: 51_820, fwmark: 7, peers: vec![peer, bare] };
    let mut text = Vec::new();
    print(&device, &mut text).unwrap();
    print_errno(None, &mut text).unwrap();
    let expected = format!(
        "private_key={}\nlisten_port=51820\nfwmark=7\n\
         public_key={}\npreshared_key={}\nprotocol_version=1\nendpoint=[fe80::1%7]:9\n\
         last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=148\nrx_bytes=18446744073709551615\n\
         persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\n\
         public_key={}\npreshared_key={}\nprotocol_version=1\n\
         last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=148\nrx_bytes=18446744073709551615\n\
         persistent_keepalive_interval=0\nerrno=0\n\n",
        hex(0x48),
        hex(2),
        hex(0),
        hex(3),
        hex(4),
    );
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    let mut refused = Vec::new();
    print_errno(Some(Errno::PortInUse), &mut refused).unwrap();
    assert_eq!(refused, b"errno=-98\n\n");
}

#[test]
fn an_allowed_ip_moves_to_the_peer_that_it_is_given_to() {
    let mut configuration = Configuration::default();
    configuration.apply(change(&format!("public_key={}\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\n", hex(1))));
    let steps = configuration.apply(change(&format!("public_key={}\nallowed_ip=10.0.0.0/8\n", hex(2))));
    let Some(Step::SetAllowedIps(allowed)) = steps.last() else { panic!("{steps:?}") };
    assert_ne!(allowed.lookup("10.1.1.1".parse().unwrap()), allowed.lookup("fd00::1".parse().unwrap()));
    assert_eq!(allowed_ips_of(&configuration), [(key(1), vec![net("fd00::/8")]), (key(2), vec![net("10.0.0.0/8")])]);
    // Another's is not taken away by a minus.
    let untouched = configuration.apply(change(&format!("public_key={}\nallowed_ip=-10.0.0.0/8\n", hex(1))));
    assert_eq!(untouched, []);
    let gone = configuration.apply(change(&format!("public_key={}\nallowed_ip=-10.0.0.0/8\n", hex(2))));
    let Some(Step::SetAllowedIps(allowed)) = gone.last() else { panic!("{gone:?}") };
    assert_eq!(allowed.lookup("10.1.1.1".parse().unwrap()), None);
}

fn allowed_ips_of(configuration: &Configuration) -> Vec<(PublicKey, Vec<IpNet>)> {
    let device = configuration.device(0, |_| Live::default());
    device.peers.into_iter().map(|peer| (peer.key, peer.allowed_ips)).collect()
}

#[test]
fn what_is_as_it_was_is_no_step() {
    let text = format!(
        "private_key={}\nlisten_port=5\nfwmark=1\npublic_key={}\npreshared_key={}\npersistent_keepalive_interval=5\n\
         replace_allowed_ips=true\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\n",
        hex(0x40),
        hex(1),
        hex(6)
    );
    let mut configuration = Configuration::default();
    let steps = configuration.apply(change(&text));
    assert!(matches!(&steps[..], [Step::SetSecret(Some(_)), Step::AddPeer(..), Step::SetAllowedIps(_)]), "{steps:?}");
    assert_eq!(configuration.apply(change(&text)), []);
}

#[test]
fn nobody_is_a_peer_of_itself() {
    let secret = [0x48; 32];
    let own = StaticSecret::from_bytes(secret).public_key();
    let own_hex: String = own.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let (add_self, set_key) =
        (format!("public_key={own_hex}\nallowed_ip=10.0.0.0/8\n"), format!("private_key={}\n", hex(0x48)));
    let mut key_first = Configuration::default();
    key_first.apply(change(&set_key));
    assert_eq!(key_first.apply(change(&add_self)), [], "it is ignored");
    let mut peer_first = Configuration::default();
    peer_first.apply(change(&add_self));
    let steps = peer_first.apply(change(&set_key));
    assert_eq!(steps[0], Step::RemovePeer(own));
    assert_eq!(steps[1], Step::SetAllowedIps(AllowedIps::default()));
    assert_eq!(allowed_ips_of(&peer_first), []);
}

#[test]
fn more_peers_than_there_are_numbers_are_refused_before_anything_happens() {
    let peers = |from: u32, count: u32| {
        let peer = |n: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            PeerChange::new(PublicKey(key))
        };
        Change { peers: (from..from + count).map(peer).collect(), ..Change::default() }
    };
    let mut configuration = Configuration::default();
    assert!(configuration.check(&peers(0, MAX_PEERS as u32 + 1)).is_err());
    let all = peers(0, MAX_PEERS as u32);
    assert_eq!(configuration.check(&all), Ok(()));
    let steps = configuration.apply(all.clone());
    let numbers: BTreeSet<ConnectionId> = steps.iter().filter_map(|step| added(step).map(|(_, c)| c)).collect();
    assert_eq!(numbers.len(), MAX_PEERS);
    assert!(!numbers.contains(&ConnectionId(u16::MAX)));
    assert_eq!(configuration.check(&all), Ok(()), "known ones are no more");
    assert!(configuration.check(&peers(MAX_PEERS as u32, 1)).is_err());
    let replaced = Change { replace_peers: true, ..peers(MAX_PEERS as u32, MAX_PEERS as u32) };
    assert_eq!(configuration.check(&replaced), Ok(()));
    assert_eq!(configuration.apply(replaced).len(), 1 + 2 * MAX_PEERS);
}

fn added(step: &Step) -> Option<(PublicKey, ConnectionId)> {
    match step {
        Step::AddPeer(key, session) => Some((*key, session.connection)),
        _ => None,
    }
}

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
