//! Messages of a batch are what they would be one by one.

use std::ops::Range;

use mesh_common::wire::wireguard::DATA_OVERHEAD;

use super::*;
use crate::tunnel::{BATCH, DATA_HEADER};

/// Messages with a gap between them, sealed at once, and where they are.
fn sealed(now: Instant, a: &mut Node, packets: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<usize>>, usize) {
    let mut buffer = vec![0xee; 3];
    let mut messages = Vec::new();
    for packet in packets {
        let at = buffer.len();
        buffer.resize(at + DATA_HEADER, 0);
        buffer.extend_from_slice(packet);
        buffer.resize(at + packet.len() + DATA_OVERHEAD, 0);
        messages.push(at..buffer.len());
        buffer.extend_from_slice(&[0xee; 5]);
    }
    let slot = a.slot(2);
    let count = a.device.seal_batch(now, slot, &mut buffer, &messages);
    (buffer, messages, count)
}

fn open(
    now: Instant,
    b: &mut Node,
    from: &str,
    buffer: &mut [u8],
    messages: &[Range<usize>],
) -> (usize, [Opened; BATCH]) {
    let mut opened = [Opened::Refused(DropReason::NotWireguard); BATCH];
    let count = b.device.open_batch(now, from.parse().unwrap(), None, buffer, messages, &mut opened);
    (count, opened)
}

fn packets(lengths: &[usize]) -> Vec<Vec<u8>> {
    lengths.iter().enumerate().map(|(i, len)| packet(*len, i as u8)).collect()
}

#[test]
fn what_is_sealed_at_once_is_opened_at_once_or_one_by_one() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let packets = packets(&[1420, 1420, 60, 20, 1420, 300]);
    for at_once in [true, false] {
        assert!(a.device.can_seal(now, a.slot(2)));
        let (mut buffer, messages, count) = sealed(now, &mut a, &packets);
        assert_eq!(count, packets.len());
        if at_once {
            let (count, opened) = open(now, &mut b, A, &mut buffer, &messages);
            assert_eq!(count, packets.len());
            for ((opened, message), packet) in opened.iter().zip(&messages).zip(&packets) {
                assert_eq!(*opened, Opened::Packet { peer: b.slot(1), len: packet.len() });
                assert_eq!(buffer[message.start + DATA_HEADER..][..packet.len()], packet[..]);
            }
        } else {
            for message in messages {
                b.hear(now, &Datagram { from: a.address, to: b.address, bytes: buffer[message].to_vec() });
            }
            assert_eq!(b.received, packets);
        }
    }
}

#[test]
fn a_message_that_is_forged_or_repeated_is_refused_and_the_others_are_not() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let (mut buffer, mut messages, _) = sealed(now, &mut a, &packets(&[100; 8]));
    buffer[messages[3].start + 40] ^= 1;
    let again = buffer.len()..buffer.len() + messages[5].len();
    buffer.extend_from_within(messages[5].clone());
    messages.push(again);
    let (count, opened) = open(now, &mut b, A, &mut buffer, &messages);
    assert_eq!(count, 9);
    for (i, opened) in opened[..9].iter().enumerate() {
        let expected = match i {
            3 | 8 => Opened::Refused(DropReason::Unauthenticated),
            _ => Opened::Packet { peer: b.slot(1), len: 100 },
        };
        assert_eq!(*opened, expected, "message {i}");
    }
    assert!(buffer[messages[3].clone()][DATA_HEADER..DATA_HEADER + 100].iter().all(|byte| *byte == 0));
}

#[test]
fn a_batch_ends_where_the_session_or_the_type_is_another() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let (mut buffer, messages, _) = sealed(now, &mut a, &packets(&[100; 4]));
    buffer[messages[2].start + 4] ^= 1;
    assert_eq!(open(now, &mut b, A, &mut buffer, &messages).0, 2, "another session");
    let (count, opened) = open(now, &mut b, A, &mut buffer, &messages[2..]);
    assert_eq!((count, opened[0]), (1, Opened::Refused(DropReason::NoSession)));
    buffer[messages[3].start] = 1;
    assert_eq!(open(now, &mut b, A, &mut buffer, &messages[3..]).0, 0, "another type");
    let short = messages[0].start..messages[0].start + DATA_OVERHEAD - 1;
    assert_eq!(open(now, &mut b, A, &mut buffer, &[short, messages[0].clone()]).0, 0, "too short");
    assert_eq!(open(now, &mut b, A, &mut [], &[]).0, 0);
}

#[test]
fn a_session_that_has_no_more_messages_seals_no_more_of_a_batch() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    small_limits(&mut a, 5);
    let plain = packets(&[100; 30]);
    let (buffer, messages, count) = sealed(now, &mut a, &plain);
    // The handshake was confirmed with one of the 20.
    assert_eq!(count, 19);
    for (message, packet) in messages.iter().zip(&plain).skip(count) {
        assert_eq!(buffer[message.start + DATA_HEADER..][..100], packet[..], "it is left as it was");
    }
    assert!(!a.device.can_seal(now, a.slot(2)));
}

#[test]
fn the_newest_message_of_a_batch_moves_the_peer_and_a_forged_one_does_not() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let (mut buffer, messages, _) = sealed(now, &mut a, &packets(&[100; 4]));
    let mut forged = buffer.clone();
    messages.iter().for_each(|message| forged[message.end - 1] ^= 1);
    open(now, &mut b, "192.0.2.66:66", &mut forged, &messages);
    assert_ne!(b.path(1), "192.0.2.66:66".parse().ok());
    open(now, &mut b, "192.0.2.77:77", &mut buffer, &messages);
    assert_eq!(b.path(1), "192.0.2.77:77".parse().ok());
}
