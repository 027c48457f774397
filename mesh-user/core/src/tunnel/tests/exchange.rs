//! Two devices and the wire between them: sessions, roaming, strangers, and bytes that mean nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use mesh_common::{datapath::DropReason, ids::ConnectionId};
use proptest::{collection::vec, prelude::*};

use super::{A, B, Datagram, Node, key, packet, pair, peer, settle};
use crate::{plan::Peer, tunnel::DeviceError};

#[test]
fn packets_pass_both_ways_and_the_session_is_told() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    assert_eq!((a.device.poll_event(), b.device.poll_event()), (Some(key(2)), Some(key(1))));
    assert_eq!((a.device.poll_event(), b.device.poll_event()), (None, None));
    let sent = a.send(now, 1, &packet(100, 5));
    assert_eq!(sent[0].bytes.len(), 132);
    settle(now, &mut [&mut a, &mut b], sent);
    let sent = b.send(now, 7, &packet(1_340, 6));
    settle(now, &mut [&mut a, &mut b], sent);
    assert_eq!((b.received, a.received), (vec![packet(100, 5)], vec![packet(1_340, 6)]));
    assert_eq!((a.refused, b.refused), (vec![], vec![]));
    assert_eq!(a.device.last_handshake(a.device.slot(&key(2)).unwrap()), Some(now));
}

/// Three messages, each 20 ms under way: both ends measure 40 ms. One that is late says nothing of the way.
#[test]
fn both_ends_measure_the_round_trip_of_a_handshake() {
    let way = Duration::from_millis(20);
    let measured = |confirmed_after: Duration| {
        let now = Instant::now();
        let (mut a, mut b) = (Node::new(now, 1, A), Node::new(now, 2, B));
        a.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
        b.device.add_peer(now, key(1), &peer(7, &[])).unwrap();
        assert_eq!(a.device.round_trip(a.slot(2)), None);
        let initiation = a.send(now, 1, &packet(60, 1)).remove(0);
        let response = b.hear(now + way, &initiation).remove(0);
        assert_eq!(b.device.round_trip(b.slot(1)), None, "not yet");
        let packets = a.hear(now + 2 * way, &response);
        b.hear(now + way + confirmed_after, &packets[0]);
        (a.device.round_trip(a.slot(2)), b.device.round_trip(b.slot(1)))
    };
    assert_eq!(measured(2 * way), (Some(2 * way), Some(2 * way)));
    assert_eq!(measured(Duration::from_secs(9)), (Some(2 * way), None));
}

#[test]
fn packets_that_come_before_the_session_wait_for_it_in_order() {
    let now = Instant::now();
    let (mut a, mut b) = (Node::new(now, 1, A), Node::new(now, 2, B));
    a.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
    b.device.add_peer(now, key(1), &peer(7, &[])).unwrap();
    let mut wire = Vec::new();
    for content in 0..5 {
        wire.extend(a.send(now, 1, &packet(60, content)));
    }
    assert_eq!(wire.len(), 1, "one initiation for all");
    settle(now, &mut [&mut a, &mut b], wire);
    assert_eq!(b.received, (0..5).map(|content| packet(60, content)).collect::<Vec<_>>());
}

#[test]
fn nobody_knows_where_a_silent_client_is() {
    let now = Instant::now();
    let mut b = Node::new(now, 2, B);
    b.device.add_peer(now, key(1), &peer(7, &[])).unwrap();
    assert!(b.send(now, 7, &packet(60, 1)).is_empty());
    assert_eq!(b.refused, [DropReason::NoSession]);
    assert!(b.tick(now).is_empty());
}

#[test]
fn an_endpoint_roams_with_authentic_datagrams_only() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let slot = b.device.slot(&key(1)).unwrap();
    let mut moved = a.send(now, 1, &packet(60, 1)).remove(0);
    moved.from = "198.51.100.9:4".parse().unwrap();
    let mut forged = Datagram { bytes: moved.bytes.clone(), ..moved };
    forged.bytes[40] ^= 1;
    b.hear(now, &forged);
    assert_eq!(b.device.path(slot).unwrap().to, a.address);
    b.hear(now, &moved);
    assert_eq!(b.device.path(slot).unwrap().to, moved.from);
    // The same once more is a replay, wherever it comes from.
    moved.from = a.address;
    b.hear(now, &moved);
    assert_eq!(b.device.path(slot).unwrap().to.port(), 4);
    assert_eq!(b.refused, [DropReason::Unauthenticated; 2]);
    assert_eq!(b.received.len(), 1);
}

#[test]
fn a_peer_in_the_place_of_another_does_not_get_its_messages() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let late = a.send(now, 1, &packet(60, 1)).remove(0);
    b.device.remove_peer(&key(1));
    let slot = b.device.add_peer(now, key(3), &peer(8, &[])).unwrap();
    assert_eq!(slot.index(), 0, "the place is used again");
    b.hear(now, &late);
    assert_eq!((b.refused.as_slice(), b.received.len()), (&[DropReason::NoSession][..], 0));
    assert_eq!(b.device.peer_of(ConnectionId(7)), None);
}

#[test]
fn initiations_find_their_peer_among_several_and_strangers_find_none() {
    let now = Instant::now();
    let mut b = Node::new(now, 2, B);
    for number in 10..20 {
        b.device.add_peer(now, key(number), &peer(number.into(), &[])).unwrap();
    }
    let mut known = Node::new(now, 15, "192.0.2.15:15");
    known.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
    let wire = known.send(now, 1, &packet(60, 15));
    settle(now, &mut [&mut known, &mut b], wire);
    assert_eq!(b.received, [packet(60, 15)]);
    assert_eq!(b.device.path(b.device.slot(&key(15)).unwrap()).unwrap().to, known.address);

    let mut stranger = Node::new(now, 99, "192.0.2.99:99");
    stranger.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
    let wire = stranger.send(now, 1, &packet(60, 99));
    settle(now, &mut [&mut stranger, &mut b], wire);
    assert_eq!((b.received.len(), b.refused.as_slice()), (1, &[DropReason::Unauthenticated][..]));
}

#[test]
fn a_flood_of_initiations_gets_cookies() {
    let now = Instant::now();
    let mut b = Node::new(now, 2, B);
    b.device.add_peer(now, key(10), &peer(10, &[])).unwrap();
    b.device.add_peer(now, key(11), &peer(11, &[])).unwrap();
    let mut stranger = Node::new(now, 99, "192.0.2.99:99");
    stranger.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
    let initiation = stranger.send(now, 1, &packet(60, 99)).remove(0);
    let answers: Vec<_> = (0..2_000).flat_map(|_| b.hear(now, &initiation)).collect();
    assert!(answers.len() > 500, "{}", answers.len());
    assert!(answers.iter().all(|answer| answer.bytes.len() == 64 && answer.bytes[0] == 3));
}

#[test]
fn peers_are_told_apart_by_key_and_our_own_is_refused() {
    let now = Instant::now();
    let mut a = Node::new(now, 1, A);
    assert_eq!(a.device.add_peer(now, key(1), &peer(1, &[])), Err(DeviceError::OwnKey));
    let slot = a.device.add_peer(now, key(2), &peer(1, &[])).unwrap();
    assert_eq!(a.device.add_peer(now, key(2), &peer(5, &[B])), Ok(slot));
    assert_eq!((a.device.peer_of(ConnectionId(1)), a.device.peer_of(ConnectionId(5))), (None, Some(slot)));
    assert_eq!(a.device.set_endpoints(now, &key(3), &[]), Err(DeviceError::NoSuchPeer));
    a.device.remove_peer(&key(2));
    a.device.remove_peer(&key(2));
    assert_eq!(a.device.slot(&key(2)), Err(DeviceError::NoSuchPeer));
}

#[test]
fn a_device_without_work_asks_for_no_time() {
    let now = Instant::now();
    let mut a = Node::new(now, 1, A);
    assert_eq!(a.device.poll_timeout(), None);
    a.device.add_peer(now, key(2), &peer(1, &[])).unwrap();
    assert!(a.tick(now).is_empty());
    assert_eq!(a.device.poll_timeout(), None);
}

#[test]
fn keepalive_is_sent_in_silence_and_can_be_changed() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let silent = now + Duration::from_secs(11);
    assert!(a.tick(silent).is_empty());
    let persistent = Peer { keepalive_seconds: Some(10), ..peer(1, &[B]) };
    a.device.update_peer(silent, &key(2), &persistent).unwrap();
    let sent = a.tick(silent);
    assert_eq!(sent.iter().map(|datagram| datagram.bytes.len()).collect::<Vec<_>>(), [32]);
    settle(silent, &mut [&mut a, &mut b], sent);
    assert!(a.tick(silent + Duration::from_secs(9)).is_empty());
    assert_eq!((b.refused.len(), b.received.len()), (0, 0));
}

/// Packets that waited for a session may be overtaken.
fn sorted(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    packets.sort();
    packets
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn bytes_from_anywhere_are_never_delivered(
        kind in 0..6_u8,
        len in prop_oneof![Just(148_usize), Just(92), Just(64), Just(32), 0..300_usize],
        content in vec(any::<u8>(), 300),
        index in prop_oneof![Just(0x0001_0000_u32 << 8 | 1), any::<u32>()],
    ) {
        let now = Instant::now();
        let (_, mut b) = pair(now);
        let mut bytes = content[..len].to_vec();
        for (to, from) in bytes.iter_mut().zip([kind, 0, 0, 0]) {
            *to = from;
        }
        let at = if kind == 2 { 8 } else { 4 };
        if bytes.len() >= at + 4 {
            bytes[at..at + 4].copy_from_slice(&index.to_le_bytes());
        }
        let stranger = "203.0.113.5:5".parse().unwrap();
        let answers = b.hear(now, &Datagram { from: stranger, to: b.address, bytes });
        prop_assert!(b.received.is_empty() && answers.is_empty());
        prop_assert_eq!(b.refused.len(), 1);
        prop_assert_eq!(b.device.path(b.device.slot(&key(1)).unwrap()).unwrap().to, A.parse().unwrap());
    }

    /// Both ends know each other's address, and anything may happen while handshakes cross: no packet is lost, and none
    /// waits for a handshake to be tried again.
    #[test]
    fn handshakes_that_cross_lose_nothing(acts in vec((any::<bool>(), 0..4_u8), 0..40)) {
        let mut now = Instant::now();
        let (mut a, mut b) = (Node::new(now, 1, A), Node::new(now, 2, B));
        a.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
        b.device.add_peer(now, key(1), &peer(7, &[A])).unwrap();
        let (mut to_a, mut to_b) = (VecDeque::new(), VecDeque::new());
        let (mut sent_by_a, mut sent_by_b) = (Vec::new(), Vec::new());
        let ticks = [(true, 3), (false, 3), (true, 0), (false, 0)];
        for (number, (of_a, act)) in acts.into_iter().chain(ticks).enumerate() {
            let (node, inbox, outbox, sent, connection) = match of_a {
                true => (&mut a, &mut to_a, &mut to_b, &mut sent_by_a, 1),
                false => (&mut b, &mut to_b, &mut to_a, &mut sent_by_b, 7),
            };
            match act {
                0 => {
                    let packet = packet(60, number as u8);
                    outbox.extend(node.send(now, connection, &packet));
                    sent.push(packet);
                }
                1 | 2 => {
                    if let Some(datagram) = inbox.pop_front() {
                        outbox.extend(node.hear(now, &datagram));
                    }
                }
                _ => {
                    now += Duration::from_millis(250);
                    outbox.extend(node.tick(now));
                }
            }
        }
        settle(now, &mut [&mut a, &mut b], to_a.into_iter().chain(to_b).collect());
        prop_assert_eq!(sorted(b.received), sent_by_a);
        prop_assert_eq!(sorted(a.received), sent_by_b);
    }

    #[test]
    fn every_packet_comes_out_as_it_went_in(packets in vec((20..1_500_usize, any::<u8>()), 1..20)) {
        let now = Instant::now();
        let (mut a, mut b) = pair(now);
        let packets: Vec<_> = packets.into_iter().map(|(len, content)| packet(len, content)).collect();
        for packet in &packets {
            let sent = a.send(now, 1, packet);
            settle(now, &mut [&mut a, &mut b], sent);
        }
        prop_assert_eq!(b.received, packets);
    }
}
