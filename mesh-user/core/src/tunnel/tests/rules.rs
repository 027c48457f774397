//! The rules of sessions over time, one test for each (WireGuard paper, section 6).

use super::*;

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const DATA: u8 = 4;

fn types(sent: &[(Instant, Datagram)]) -> Vec<u8> {
    sent.iter().map(|(_, datagram)| datagram.bytes[0]).collect()
}

/// Sends a packet each way, so that both ends have used the session.
fn talk(now: Instant, a: &mut Node, b: &mut Node) {
    let sent = a.send(now, 1, &packet(60, 1));
    settle(now, &mut [a, b], sent);
    let sent = b.send(now, 7, &packet(60, 2));
    settle(now, &mut [a, b], sent);
}

#[test]
fn the_responder_sends_only_after_the_first_message_of_the_initiator() {
    let now = Instant::now();
    let (mut a, mut b) = strangers(now);
    b.device.move_peer(now, &key(1), a.address).unwrap();
    let initiation = a.send(now, 1, &packet(60, 1)).remove(0);
    let response = b.hear(now, &initiation).remove(0);
    // The response is under way: nothing of b's goes out with the new keys.
    assert_eq!(b.send(now, 7, &packet(60, 2)).iter().filter(|sent| sent.bytes[0] == DATA).count(), 0);
    assert!(!b.is_live(1));
    let first = a.hear(now, &response).remove(0);
    assert_eq!(first.bytes[0], DATA);
    let waited = b.hear(now, &first);
    assert_eq!((b.is_live(1), waited.len(), waited[0].bytes[0]), (true, 1, DATA));
}

#[test]
fn an_initiator_without_packets_confirms_with_an_empty_message() {
    let now = Instant::now();
    let (a, b) = pair(now);
    assert!(a.is_live(2) && b.is_live(1));
    assert!(b.received.is_empty());
}

#[test]
fn the_initiator_renews_after_120_s_when_it_sends_and_the_responder_does_not() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    talk(now, &mut a, &mut b);
    let before = now + secs(119);
    talk(before, &mut a, &mut b);
    assert!(a.tick(before).is_empty() && b.tick(before).is_empty());
    let due = now + secs(120);
    b.send(due, 7, &packet(60, 3));
    assert!(b.tick(due).iter().all(|sent| sent.bytes[0] != INITIATION), "the responder leaves it to the initiator");
    assert_eq!(a.send(due, 1, &packet(60, 4))[0].bytes[0], DATA, "the old session still carries");
    let asked = a.tick(due);
    assert_eq!(asked.iter().map(|sent| sent.bytes[0]).collect::<Vec<_>>(), [INITIATION]);
    settle(due, &mut [&mut a, &mut b], asked);
    assert_eq!(a.device.last_handshake(a.slot(2)), Some(due));
}

#[test]
fn the_initiator_renews_after_165_s_when_it_receives() {
    let now = Instant::now();
    for (age, renews) in [(164, false), (165, true)] {
        let (mut a, mut b) = pair(now);
        let at = now + secs(age);
        let sent = b.send(at, 7, &packet(60, 1));
        settle(at, &mut [&mut a, &mut b], sent);
        let asked = a.tick(at).iter().any(|sent| sent.bytes[0] == INITIATION);
        assert_eq!(asked, renews, "at {age} s");
    }
}

#[test]
fn nothing_is_sent_or_taken_with_keys_of_180_s() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let late = a.send(now + secs(179), 1, &packet(60, 1)).remove(0);
    b.hear(now + secs(180), &late);
    assert_eq!((b.received.len(), b.refused.as_slice()), (0, &[DropReason::NoSession][..]));
    assert_eq!(a.send(now + secs(180), 1, &packet(60, 2))[0].bytes[0], INITIATION);
    a.sleep(now + secs(181));
    b.sleep(now + secs(181));
    assert!(!a.is_live(2) && !b.is_live(1));
}

#[test]
fn the_end_of_a_session_is_told() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    assert_eq!((a.device.poll_event(), a.device.poll_event()), (Some(key(2)), None));
    a.sleep(now + secs(179));
    assert_eq!(a.device.poll_event(), None);
    a.sleep(now + secs(181));
    assert_eq!((a.device.poll_event(), a.device.poll_event()), (Some(key(2)), None));
}

#[test]
fn initiations_are_repeated_each_5_s_with_jitter_for_90_s() {
    let now = Instant::now();
    let (mut a, _) = strangers(now);
    assert_eq!(a.send(now, 1, &packet(60, 1)).len(), 1);
    let sent = a.sleep(now + secs(1_000));
    assert!(types(&sent).iter().all(|kind| *kind == INITIATION));
    assert!((16..=17).contains(&sent.len()), "{} repetitions", sent.len());
    let mut last = now;
    let mut jitters = Vec::new();
    for (at, _) in &sent {
        let jitter = *at - last - secs(5);
        assert!(jitter <= JITTER + 2 * TICK, "{jitter:?}");
        jitters.push(jitter);
        last = *at;
    }
    assert!(last < now + secs(90) + TICK);
    jitters.sort();
    assert!(*jitters.last().unwrap() - jitters[0] > JITTER / 3, "{jitters:?}");
    assert_eq!(a.device.take_abandoned(), 1, "the packet waited in vain");
    let all: std::collections::BTreeSet<_> = sent.iter().map(|(_, sent)| sent.bytes[8..40].to_vec()).collect();
    assert_eq!(all.len(), sent.len(), "each has an ephemeral key of its own");
}

#[test]
fn a_packet_that_comes_meanwhile_keeps_the_attempts_alive() {
    let now = Instant::now();
    let (mut a, _) = strangers(now);
    a.send(now, 1, &packet(60, 1));
    a.sleep(now + secs(80));
    a.send(now + secs(80), 1, &packet(60, 2));
    let later = a.sleep(now + secs(1_000));
    assert!(later.last().unwrap().0 > now + secs(160), "90 s from the last packet on");
}

#[test]
fn received_data_is_acknowledged_after_10_s_of_silence() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let sent = a.send(now + secs(1), 1, &packet(60, 1));
    settle(now + secs(1), &mut [&mut a, &mut b], sent);
    assert!(b.sleep(now + secs(11) - TICK).is_empty());
    let acknowledged = b.sleep(now + secs(12));
    assert_eq!((acknowledged.len(), acknowledged[0].1.bytes.len()), (1, 32), "one empty message");
    assert!(b.sleep(now + secs(100)).is_empty(), "and no other");
}

#[test]
fn data_that_comes_while_an_acknowledgement_is_due_gets_another() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    for at in [0, 5] {
        let sent = a.send(now + secs(at), 1, &packet(60, 1));
        settle(now + secs(at), &mut [&mut a, &mut b], sent);
    }
    assert_eq!(types(&b.sleep(now + secs(100))), [DATA, DATA]);
}

#[test]
fn an_answer_is_acknowledgement_enough() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    talk(now, &mut a, &mut b);
    assert_eq!(live(&mut a, &mut b, now + secs(100)), BTreeMap::from([(DATA, 1)]), "only the answer itself is");
}

#[test]
fn empty_messages_are_not_acknowledged() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let sent = a.send(now + secs(1), 1, &packet(60, 1));
    settle(now + secs(1), &mut [&mut a, &mut b], sent);
    assert_eq!(live(&mut a, &mut b, now + secs(100)), BTreeMap::from([(DATA, 1)]));
}

#[test]
fn unanswered_data_begins_a_handshake_after_15_s() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    a.send(now + secs(20), 1, &packet(60, 1));
    assert!(a.sleep(now + secs(35) - TICK).is_empty());
    let asked = a.sleep(now + secs(35) + JITTER + 3 * TICK);
    assert_eq!(types(&asked), [INITIATION]);
}

#[test]
fn a_persistent_keepalive_breaks_silence_and_is_changed_live() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    assert!(a.sleep(now + secs(11)).is_empty());
    let persistent = Peer { keepalive_seconds: Some(10), ..peer(1, &[B]) };
    a.device.update_peer(now + secs(11), &key(2), &persistent).unwrap();
    let sent = a.tick(now + secs(11));
    assert_eq!(sent.iter().map(|datagram| datagram.bytes.len()).collect::<Vec<_>>(), [32]);
    settle(now + secs(11), &mut [&mut a, &mut b], sent);
    assert!(a.sleep(now + secs(20)).is_empty());
    assert_eq!(types(&a.sleep(now + secs(22))), [DATA]);
    a.device.update_peer(now + secs(22), &key(2), &peer(1, &[B])).unwrap();
    assert!(a.sleep(now + secs(170)).is_empty());
    assert_eq!((b.refused.len(), b.received.len()), (0, 0));
}

#[test]
fn a_persistent_keepalive_keeps_a_session_for_ever_and_tries_for_ever() {
    let now = Instant::now();
    let (mut a, mut b) = strangers(now);
    a.device.update_peer(now, &key(2), &Peer { keepalive_seconds: Some(25), ..peer(1, &[B]) }).unwrap();
    for _ in 0..60 {
        // Nobody is there: it is tried all the time.
        let tried = a.sleep(now + secs(600));
        assert!(tried.len() <= 600 / 5);
        assert!(types(&tried).iter().all(|kind| *kind == INITIATION));
    }
    let later = now + secs(3_600);
    live(&mut a, &mut b, later);
    assert!(a.is_live(2) && b.is_live(1));
    assert_eq!(a.device.last_handshake(a.slot(2)).map(|at| at + secs(180) > later), Some(true));
}

#[test]
fn all_keys_are_gone_after_540_s_and_nothing_is_left_to_do() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    talk(now, &mut a, &mut b);
    for (node, other) in [(&mut a, 2), (&mut b, 1)] {
        node.sleep(now + secs(539));
        assert!(node.device.has_keys(node.slot(other)), "at 539 s");
        node.sleep(now + secs(541) + TICK);
        assert!(!node.device.has_keys(node.slot(other)), "at 541 s");
        assert_eq!(node.device.poll_timeout(), None);
    }
}

#[test]
fn a_device_without_work_asks_for_no_time() {
    let now = Instant::now();
    let (a, b) = strangers(now);
    assert_eq!((a.device.poll_timeout(), b.device.poll_timeout()), (None, None));
}

#[test]
fn an_answer_arrives_in_time_for_the_whole_of_a_renewal() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    let mut sent_types = BTreeMap::<u8, usize>::new();
    for second in 0..1_000 {
        let at = now + secs(second);
        talk(at, &mut a, &mut b);
        for (kind, count) in live(&mut a, &mut b, at + secs(1) - TICK) {
            *sent_types.entry(kind).or_default() += count;
        }
    }
    assert_eq!((a.received.len(), b.received.len()), (1_000, 1_000));
    assert_eq!((sent_types[&INITIATION], sent_types[&RESPONSE]), (8, 8), "one each 120 s");
    assert_eq!((a.refused.len(), b.refused.len()), (0, 0));
}
