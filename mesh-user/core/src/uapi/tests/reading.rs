//! Every key and every mistake of a request.

use super::{
    super::{AllowedIpChange, Change, Existence, LINE_LIMIT, Outcome, Parser, PeerChange, PrivateKey, REQUEST_LIMIT},
    *,
};
use crate::plan::PresharedKey;

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
