//! Keys that change: after messages, at both ends at once, by a preshared key or a private one. Nothing is lost.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    plan::PresharedKey,
    tunnel::{DeviceError, index::SessionIndex},
};

const INITIATION: u8 = 1;

#[test]
fn messages_force_a_renewal_and_none_is_lost() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    small_limits(&mut a, 10);
    let mut sessions = std::collections::BTreeSet::new();
    for number in 0..200_u64 {
        // 100 packets a second; a renewal is asked for after the last initiation is 5 s old.
        let at = now + secs(6) * number as u32 / 8;
        let mut wire = a.send(at, 1, &packet(60, number as u8));
        wire.extend(a.tick(at));
        settle(at, &mut [&mut a, &mut b], wire);
        sessions.insert(a.device.last_handshake(a.slot(2)));
    }
    assert_eq!(b.received.len(), 200);
    assert!(sessions.len() > 10, "{} sessions", sessions.len());
    assert_eq!((a.refused.len(), b.refused.len()), (0, 0));
}

#[test]
fn the_responder_counts_messages_too() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    small_limits(&mut b, 10);
    let at = now + secs(6);
    for number in 0..10 {
        let sent = b.send(at, 7, &packet(60, number));
        settle(at, &mut [&mut a, &mut b], sent);
    }
    assert_eq!(b.tick(at)[0].bytes[0], INITIATION);
}

#[test]
fn no_message_is_sent_or_taken_beyond_the_last_counter() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    // The empty message that confirmed the session was the first.
    small_limits(&mut b, 1);
    let sent: Vec<_> = (0..4).flat_map(|number| a.send(now, 1, &packet(60, number))).collect();
    sent.iter().for_each(|datagram| _ = b.hear(now, datagram));
    assert_eq!((b.received.len(), b.refused.as_slice()), (3, &[DropReason::Unauthenticated][..]));
    small_limits(&mut a, 1);
    assert_eq!(a.send(now, 1, &packet(60, 9)), [], "it waits for a new session");
    let asked = a.sleep(now + secs(6));
    settle(now + secs(6), &mut [&mut a, &mut b], asked.into_iter().map(|(_, sent)| sent).collect());
    assert_eq!(b.received.last(), Some(&packet(60, 9)));
}

#[test]
fn both_ends_begin_at_once_and_need_nothing_else() {
    let now = Instant::now();
    let (mut a, mut b) = strangers(now);
    b.device.set_endpoints(now, &key(1), &[A.parse().unwrap()]).unwrap();
    let (from_a, from_b) = (a.send(now, 1, &packet(60, 1)), b.send(now, 7, &packet(60, 2)));
    assert_eq!((from_a[0].bytes[0], from_b[0].bytes[0]), (INITIATION, INITIATION));
    settle(now, &mut [&mut a, &mut b], from_a.into_iter().chain(from_b).collect());
    assert_eq!((a.received.as_slice(), b.received.as_slice()), (&[packet(60, 2)][..], &[packet(60, 1)][..]));
    assert!(live(&mut a, &mut b, now + secs(60)).keys().all(|kind| *kind != INITIATION));
}

#[test]
fn keepalives_at_both_ends_do_not_race_each_other_into_handshakes() {
    let now = Instant::now();
    let (mut a, mut b) = strangers(now);
    for (node, other, connection, endpoint) in [(&mut a, 2, 1, B), (&mut b, 1, 7, A)] {
        let config = Peer { keepalive_seconds: Some(25), ..peer(connection, &[endpoint]) };
        node.device.update_peer(now, &key(other), &config).unwrap();
    }
    let end = now + secs(3_600);
    let sent = live(&mut a, &mut b, end);
    assert!(a.is_live(2) && b.is_live(1));
    assert_eq!(a.refused.len() + b.refused.len(), 0);
    // One each 120 s, and one more where both began: keepalives are in step on a wire without delay.
    assert!((30..=64).contains(&sent[&INITIATION]), "{sent:?}");
    let last = a.device.last_handshake(a.slot(2)).unwrap();
    assert!(end - last < secs(150), "{:?}", end - last);
}

#[test]
fn messages_of_the_session_before_are_taken_while_the_next_is_in_use() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let late = a.send(now + secs(120), 1, &packet(60, 1));
    let asked = a.tick(now + secs(120));
    settle(now + secs(120), &mut [&mut a, &mut b], asked);
    let newer = a.send(now + secs(121), 1, &packet(60, 2));
    settle(now + secs(121), &mut [&mut a, &mut b], newer);
    settle(now + secs(122), &mut [&mut a, &mut b], late);
    assert_eq!(b.received, [packet(60, 2), packet(60, 1)]);
}

#[test]
fn a_preshared_key_changes_live_and_moves_nobody_else() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let mut c = Node::new(now, 3, "192.0.2.3:1003");
    c.device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
    b.device.add_peer(now, key(3), &peer(8, &[])).unwrap();
    let sent = c.send(now, 1, &packet(60, 3));
    settle(now, &mut [&mut b, &mut c], sent);

    let later = now + secs(5);
    let preshared = |config: Peer, key| Peer { preshared_key: Some(PresharedKey(key)), ..config };
    b.device.update_peer(later, &key(1), &preshared(peer(7, &[]), [9; 32])).unwrap();
    let wrong = b.tick(later);
    assert_eq!(wrong[0].bytes[0], INITIATION, "a new handshake at once");
    settle(later, &mut [&mut a, &mut b], wrong);
    assert_eq!(b.device.last_handshake(b.slot(1)), Some(now), "one end has the key: no handshake succeeds");
    assert_eq!(b.refused, [DropReason::Unauthenticated]);

    let later = now + secs(8);
    a.device.update_peer(later, &key(2), &preshared(peer(1, &[B]), [9; 32])).unwrap();
    let right = a.tick(later);
    settle(later, &mut [&mut a, &mut b], right);
    assert_eq!((a.device.last_handshake(a.slot(2)), b.device.last_handshake(b.slot(1))), (Some(later), Some(later)));
    assert_eq!((b.device.last_handshake(b.slot(3)), b.is_live(3)), (Some(now), true));
    a.device.update_peer(later, &key(2), &preshared(peer(1, &[B]), [9; 32])).unwrap();
    assert!(a.tick(later).is_empty(), "the same key is no change");
}

#[test]
fn a_new_private_key_ends_all_sessions_and_removes_the_peer_that_we_became() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    a.device.add_peer(now, key(5), &peer(2, &[])).unwrap();
    let late = b.send(now, 7, &packet(60, 1)).remove(0);
    assert_eq!(a.device.set_secret(now, Some(secret(5))), Some(key(5)));
    assert_eq!(a.device.slot(&key(5)), Err(DeviceError::NoSuchPeer));
    a.hear(now, &late);
    assert_eq!((a.received.len(), a.refused.as_slice()), (0, &[DropReason::NoSession][..]));
    b.device.add_peer(now, key(5), &peer(9, &[])).unwrap();
    let sent = a.send(now + secs(1), 1, &packet(60, 2));
    settle(now + secs(1), &mut [&mut a, &mut b], sent);
    assert_eq!((b.received.len(), b.is_live(5)), (1, true));
}

#[test]
fn a_device_without_a_private_key_is_silent() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let initiation = a.send(now + secs(180), 1, &packet(60, 1)).remove(0);
    let late = a.device.set_secret(now, None);
    assert_eq!((late, a.device.own()), (None, None));
    assert!(a.send(now, 1, &packet(60, 1)).is_empty());
    assert_eq!(b.device.set_secret(now, None), None);
    assert!(b.hear(now, &initiation).is_empty());
    assert_eq!(
        (a.refused.as_slice(), b.refused.as_slice()),
        (&[DropReason::NoSession][..], &[DropReason::NoSession][..])
    );
}

#[test]
fn session_indices_name_shard_and_place_and_never_repeat_soon() {
    let now = Instant::now();
    let birth = Birth { shard: 63, now, since_epoch: secs(1_700_000_000), seed: [1; 32] };
    let mut device = Device::new(Some(secret(1)), &birth);
    device.add_peer(now, key(9), &peer(9, &[])).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for generation in 1..=200_u32 {
        device.remove_peer(&key(2));
        let slot = device.add_peer(now, key(2), &peer(1, &[B])).unwrap();
        let mut out = [0; ROOM];
        assert_eq!(device.seal(now, slot, &packet(60, 1), &mut out), Ok(Sealed::Handshake(148)));
        let index = SessionIndex(u32::from_le_bytes(*out[4..].first_chunk().unwrap()));
        assert_eq!((index.shard(), index.slot()), (63, 1));
        assert!(seen.insert(index.0), "generation {generation}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// A renewal each few messages, on a wire that keeps the order of each direction but delays it: no packet is lost,
    /// none is delivered twice.
    #[test]
    fn renewals_under_load_lose_nothing(
        acts in vec(0..4_u8, 100..600),
        latencies in (0..400_u64, 0..400_u64),
    ) {
        let mut now = Instant::now();
        let (mut a, mut b) = pair(now);
        for node in [&mut a, &mut b] {
            let limits = Limits { rekey_after_messages: 6, rekey_timeout: secs(1), ..Limits::WIREGUARD };
            node.device.set_limits(limits);
        }
        let latencies = [latencies.0, latencies.1].map(Duration::from_millis);
        let mut wires = [VecDeque::new(), VecDeque::new()];
        let mut sent = [0, 0];
        let idle = std::iter::repeat_n(0, 500);
        for act in acts.into_iter().chain(idle) {
            now += Duration::from_millis(10);
            for (from, connection) in [(0, 1), (1, 7)] {
                let node = if from == 0 { &mut a } else { &mut b };
                let mut out = node.tick(now);
                if act & (1 << from) != 0 {
                    out.extend(node.send(now, connection, &packet(60, 1)));
                    sent[from] += 1;
                }
                while let Some((_, datagram)) = wires[1 - from].pop_front_if(|(at, _)| *at <= now) {
                    out.extend(node.hear(now, &datagram));
                }
                wires[from].extend(out.into_iter().map(|datagram| (now + latencies[from], datagram)));
            }
        }
        prop_assert_eq!([b.received.len(), a.received.len()], sent);
        prop_assert!(a.device.last_handshake(a.slot(2)) > Some(now - secs(60)));
    }
}
