//! Whether conversations that are allowed work, and others do not begin. NG-45

use std::{vec, vec::Vec};

use super::*;
use crate::{
    frame::SliceFrame,
    testkit::{self, Ip, Random},
    wire::{icmp, ipv6::extension},
};

const A: ClassId = ClassId(1);
const B: ClassId = ClassId(2);

struct List(Vec<(ClassId, ClassId, Allowance)>);

impl Rules for List {
    fn any(&self, from: ClassId, to: ClassId, is_such: impl Fn(&Allowance) -> bool) -> bool {
        self.0.iter().any(|(f, t, allowance)| *f == from && *t == to && is_such(allowance))
    }
}

fn allows(protocol: Allowed, ports: (u16, u16)) -> List {
    List(vec![(A, B, Allowance { protocol, ports })])
}

/// The addresses of A and of B.
fn addresses(is_v4: bool) -> (Ip, Ip) {
    if is_v4 {
        (Ip::V4([10, 101, 0, 5]), Ip::V4([10, 101, 0, 6]))
    } else {
        let at = |last| Ip::V6([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        (at(5), at(6))
    }
}

fn packet(is_v4: bool, from: ClassId, protocol: u8, transport: Vec<u8>) -> testkit::Packet {
    let (a, b) = addresses(is_v4);
    let (src, dst) = if from == A { (a, b) } else { (b, a) };
    testkit::Packet::new(src, dst, protocol, transport)
}

fn tcp(src: u16, dst: u16, flags: u8) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes[..2].copy_from_slice(&src.to_be_bytes());
    bytes[2..4].copy_from_slice(&dst.to_be_bytes());
    bytes[12] = 0x50;
    bytes[13] = flags;
    bytes
}

fn udp(src: u16, dst: u16, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload];
    bytes[..2].copy_from_slice(&src.to_be_bytes());
    bytes[2..4].copy_from_slice(&dst.to_be_bytes());
    bytes[4..6].copy_from_slice(&((8 + payload) as u16).to_be_bytes());
    bytes
}

fn echo(is_v4: bool, is_reply: bool) -> (u8, Vec<u8>) {
    let kind = match (is_v4, is_reply) {
        (true, false) => icmp::v4::ECHO,
        (true, true) => icmp::v4::ECHO_REPLY,
        (false, false) => icmp::v6::ECHO,
        (false, true) => icmp::v6::ECHO_REPLY,
    };
    (icmp_number(is_v4), vec![kind, 0, 0, 0, 0, 1, 0, 1])
}

fn icmp_number(is_v4: bool) -> u8 {
    if is_v4 { protocol::ICMP } else { protocol::ICMPV6 }
}

/// "Port unreachable" about the packet.
fn error(is_v4: bool, quote: &[u8]) -> (u8, Vec<u8>) {
    let (kind, code) = if is_v4 { (3, 3) } else { (1, 4) };
    (icmp_number(is_v4), [&[kind, code, 0, 0, 0, 0, 0, 0], quote].concat())
}

fn judged(rules: &List, from: ClassId, mut bytes: Vec<u8>) -> Result<(), DropReason> {
    let to = if from == A { B } else { A };
    judge(&SliceFrame::new(&mut bytes), 0, from, to, rules)
}

const DENIED: Result<(), DropReason> = Err(DropReason::NotAllowed);

#[test]
fn tcp_begins_on_the_allowed_port_and_is_answered_from_it() {
    for is_v4 in [true, false] {
        let rules = allows(Allowed::Tcp, (5432, 5433));
        let send = |from, src, dst, flags| {
            judged(&rules, from, packet(is_v4, from, protocol::TCP, tcp(src, dst, flags)).build())
        };
        assert_eq!(send(A, 40_000, 5433, tcp::SYN), Ok(()));
        assert_eq!(send(B, 5433, 40_000, tcp::SYN | tcp::ACK), Ok(()));
        assert_eq!(send(B, 5433, 40_000, tcp::ACK), Ok(()));
        assert_eq!(send(B, 5433, 40_000, 0x04), Ok(()), "a reset");
        assert_eq!(send(A, 40_000, 5434, tcp::SYN), DENIED);
        assert_eq!(send(B, 5433, 40_000, tcp::SYN), DENIED, "the other way round");
        assert_eq!(send(B, 40_000, 5433, tcp::SYN), DENIED);
        assert_eq!(send(B, 40_000, 5433, tcp::ACK), DENIED);
        let datagram = packet(is_v4, A, protocol::UDP, udp(1, 5432, 0)).build();
        assert_eq!(judged(&rules, A, datagram), DENIED);
    }
}

#[test]
fn udp_and_echo_are_answered() {
    for is_v4 in [true, false] {
        let rules = allows(Allowed::Udp, (53, 53));
        let send = |from, src, dst| judged(&rules, from, packet(is_v4, from, protocol::UDP, udp(src, dst, 9)).build());
        assert_eq!((send(A, 999, 53), send(B, 53, 999)), (Ok(()), Ok(())));
        assert_eq!((send(A, 999, 54), send(B, 999, 53)), (DENIED, DENIED));
        let rules = allows(Allowed::Icmp, Allowance::ALL_PORTS);
        let ping = |from, is_reply| {
            let (number, bytes) = echo(is_v4, is_reply);
            judged(&rules, from, packet(is_v4, from, number, bytes).build())
        };
        assert_eq!((ping(A, false), ping(B, true), ping(B, false)), (Ok(()), Ok(()), DENIED));
    }
}

#[test]
fn errors_are_about_conversations_that_may_be() {
    for is_v4 in [true, false] {
        let rules = allows(Allowed::Udp, (53, 53));
        let report = |from, quoted: &testkit::Packet, len: usize| {
            let quote = quoted.build();
            let (number, bytes) = error(is_v4, &quote[..len.min(quote.len())]);
            judged(&rules, from, packet(is_v4, from, number, bytes).build())
        };
        let asked = packet(is_v4, A, protocol::UDP, udp(999, 53, 40));
        let answered = packet(is_v4, B, protocol::UDP, udp(53, 999, 40));
        let enough = if is_v4 { 28 } else { 48 };
        for len in [enough, 1_000] {
            assert_eq!((report(B, &asked, len), report(A, &answered, len)), (Ok(()), Ok(())));
            assert_eq!(report(B, &packet(is_v4, A, protocol::UDP, udp(999, 54, 40)), len), DENIED);
        }
        assert_eq!(report(B, &asked, enough - 1), Err(DropReason::Truncated));
        assert_eq!(report(A, &asked, 1_000), Err(DropReason::ForeignQuote), "its own packet");
        let (a, b) = addresses(is_v4);
        let mut foreign = asked.clone();
        foreign.dst = if is_v4 { Ip::V4([10, 101, 0, 7]) } else { Ip::V6([1; 16]) };
        assert_eq!(report(B, &foreign, 1_000), Err(DropReason::ForeignQuote), "{a:?} {b:?}");
        let (number, bytes) = error(is_v4, &asked.build());
        assert_eq!(report(A, &packet(is_v4, B, number, bytes), 1_000), DENIED, "an error about an error");
    }
}

#[test]
fn later_fragments_need_a_rule_without_ports() {
    for is_v4 in [true, false] {
        let fragments = |rules: &List, from, number| {
            let transport =
                if number == protocol::TCP { [tcp(1, 2, tcp::ACK), vec![0; 60]].concat() } else { udp(1, 2, 72) };
            let whole = packet(is_v4, from, number, transport);
            (judged(rules, from, whole.fragment(0, 40)), judged(rules, from, whole.fragment(40, 80)))
        };
        let (ports, all) = ((1, 2), Allowance::ALL_PORTS);
        let lost = Err(DropReason::FragmentWithoutPorts);
        assert_eq!(fragments(&allows(Allowed::Udp, ports), A, protocol::UDP), (Ok(()), lost));
        assert_eq!(fragments(&allows(Allowed::Udp, all), A, protocol::UDP), (Ok(()), Ok(())));
        assert_eq!(fragments(&allows(Allowed::Udp, all), B, protocol::UDP), (Ok(()), Ok(())));
        assert_eq!(fragments(&allows(Allowed::Tcp, all), A, protocol::TCP), (Ok(()), Ok(())));
        assert_eq!(fragments(&allows(Allowed::Tcp, all), B, protocol::TCP), (Ok(()), lost));
        assert_eq!(fragments(&allows(Allowed::Any, all), A, protocol::TCP), (Ok(()), Ok(())));
        assert_eq!(fragments(&allows(Allowed::Any, all), B, protocol::TCP), (Ok(()), lost));
        assert_eq!(fragments(&allows(Allowed::Tcp, all), A, protocol::UDP), (DENIED, DENIED));
        assert_eq!(fragments(&allows(Allowed::Udp, ports), A, protocol::SCTP), (DENIED, DENIED));
    }
}

#[test]
fn what_is_not_whole_is_dropped() {
    for is_v4 in [true, false] {
        let rules = allows(Allowed::Tcp, (80, 80));
        let whole = packet(is_v4, A, protocol::TCP, [tcp(9, 80, tcp::SYN), vec![0; 12]].concat());
        let bytes = whole.build();
        for len in 0..bytes.len() {
            assert_eq!(judged(&rules, A, bytes[..len].to_vec()), Err(DropReason::Truncated), "{len} bytes");
        }
        // A first fragment that leaves the flags to the next one.
        assert_eq!(judged(&rules, A, whole.fragment(0, 8)), Err(DropReason::Truncated));
        assert_eq!(judged(&rules, A, vec![0x50; 60]), Err(DropReason::UnknownVersion));
    }
}

#[test]
fn extension_headers_are_looked_behind_and_bounded() {
    let rules = allows(Allowed::Tcp, (80, 80));
    let with = |count: usize, port| {
        let mut packet = packet(false, A, protocol::TCP, tcp(9, port, tcp::SYN));
        packet.options = vec![0; 8 * count];
        judged(&rules, A, packet.build())
    };
    assert_eq!((with(6, 80), with(6, 81)), (Ok(()), DENIED));
    assert_eq!(with(7, 80), Err(DropReason::Malformed));
    let mut routed = packet(false, A, protocol::TCP, tcp(9, 80, tcp::SYN)).build();
    routed[6] = extension::ROUTING;
    routed.splice(40..40, [protocol::TCP, 0, 0, 1, 0, 0, 0, 0]);
    routed[5] += 8;
    assert_eq!(judged(&rules, A, routed), Err(DropReason::SourceRouted));
}

#[test]
fn other_protocols_need_a_rule_that_allows_any() {
    for number in [protocol::SCTP, 47, 50, 51, 59, 253] {
        let sent = |rules: &List, from| judged(rules, from, packet(true, from, number, vec![0; 30]).build());
        let any = allows(Allowed::Any, Allowance::ALL_PORTS);
        assert_eq!((sent(&any, A), sent(&any, B)), (Ok(()), Ok(())));
        assert_eq!(sent(&allows(Allowed::Tcp, Allowance::ALL_PORTS), A), DENIED);
    }
    // ICMP of the other version is another protocol.
    let icmp = allows(Allowed::Icmp, Allowance::ALL_PORTS);
    assert_eq!(judged(&icmp, A, packet(false, A, protocol::ICMP, vec![8, 0, 0, 0, 0, 0, 0, 0]).build()), DENIED);
}

/// A packet of a conversation, what answers it, and whether it can only begin one.
fn conversation(random: &mut Random, is_v4: bool, from: ClassId) -> (testkit::Packet, Vec<testkit::Packet>, bool) {
    let port = |random: &mut Random| random.below(6) as u16 + 1;
    let (src, dst) = (port(random), port(random));
    let back = if from == A { B } else { A };
    let flags = random.byte();
    let (asks, answers, begins) = match random.below(4) {
        0 => {
            let answers =
                [tcp::SYN | tcp::ACK, tcp::ACK, 0x04, 0x11].map(|flags| (protocol::TCP, tcp(dst, src, flags)));
            let begins = flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
            ((protocol::TCP, tcp(src, dst, flags)), answers.to_vec(), begins)
        }
        1 => ((protocol::UDP, udp(src, dst, 8)), vec![(protocol::UDP, udp(dst, src, 30))], false),
        2 => (echo(is_v4, false), vec![echo(is_v4, true)], true),
        _ => ((protocol::SCTP, vec![0; 12]), vec![(protocol::SCTP, vec![0; 12])], false),
    };
    let make = |from, (number, bytes): (u8, Vec<u8>)| packet(is_v4, from, number, bytes);
    let asks = make(from, asks);
    let mut answers: Vec<_> = answers.into_iter().map(|answer| make(back, answer)).collect();
    answers.push(make(back, error(is_v4, &asks.build())));
    (asks, answers, begins)
}

fn random_rules(random: &mut Random) -> List {
    let rule = |random: &mut Random| {
        let (from, to) = random.pick(&[(A, B), (B, A)]);
        let first = random.below(6) as u16 + 1;
        let protocol =
            random.pick(&[Allowed::Any, Allowed::Icmp, Allowed::Tcp, Allowed::Udp, Allowed::Tcp, Allowed::Udp]);
        let has_ports = matches!(protocol, Allowed::Tcp | Allowed::Udp) && !random.one_in(4);
        let ports = if has_ports { (first, first + random.below(3) as u16) } else { Allowance::ALL_PORTS };
        (from, to, Allowance { protocol, ports })
    };
    List((0..random.below(4)).map(|_| rule(random)).collect())
}

/// What a rule says of a packet, read from how it was made.
fn is_named(rules: &List, from: ClassId, packet: &testkit::Packet) -> bool {
    let [_, _, c, d, ..] = packet.transport[..] else { return false };
    let port = u16::from_be_bytes([c, d]);
    rules.0.iter().any(|(f, _, rule)| {
        let is_protocol = match rule.protocol {
            Allowed::Any => return *f == from,
            Allowed::Icmp => matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6),
            Allowed::Tcp => packet.protocol == protocol::TCP && rule.ports.0 <= port && port <= rule.ports.1,
            Allowed::Udp => packet.protocol == protocol::UDP && rule.ports.0 <= port && port <= rule.ports.1,
        };
        *f == from && is_protocol
    })
}

#[test]
fn answers_of_what_is_allowed_pass_and_nothing_else_begins() {
    let mut random = Random::new(45);
    let (mut allowed, mut denied) = (0, 0);
    for round in 0..40_000 {
        let rules = random_rules(&mut random);
        let (is_v4, from) = (!random.one_in(2), random.pick(&[A, B]));
        let back = if from == A { B } else { A };
        let (asks, answers, begins) = conversation(&mut random, is_v4, from);
        let verdict = judged(&rules, from, asks.build());
        if is_named(&rules, from, &asks) {
            allowed += 1;
            assert_eq!(verdict, Ok(()), "round {round}: {:?} {asks:?}", rules.0);
            for answer in answers {
                assert_eq!(judged(&rules, back, answer.build()), Ok(()), "round {round}: {:?} {answer:?}", rules.0);
            }
        } else if begins {
            denied += 1;
            assert_eq!(verdict, DENIED, "round {round}: {:?} {asks:?}", rules.0);
        } else if verdict.is_ok() {
            // It answers something that the other side may begin: from the port, or by the protocol, of a rule.
            let mut turned = asks.clone();
            if matches!(asks.protocol, protocol::TCP | protocol::UDP) {
                turned.transport[..4].rotate_left(2);
            }
            assert!(is_named(&rules, back, &turned), "round {round}: {:?} {asks:?}", rules.0);
        }
    }
    assert!(allowed > 4_000 && denied > 4_000, "{allowed} allowed, {denied} denied");
}

#[test]
fn any_bytes_are_judged() {
    let mut random = Random::new(4);
    let rules = random_rules(&mut random);
    for _ in 0..100_000 {
        let mut bytes = vec![0; random.below(120)];
        random.fill(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            let low = (*first & 0x0f) * u8::from(random.one_in(4));
            *first = low | if random.one_in(2) { 0x45 } else { 0x60 };
        }
        let empty = judged(&List(vec![]), A, bytes.clone());
        assert!(empty.is_err(), "{bytes:?}");
        let _ = judged(&rules, A, bytes);
    }
}
