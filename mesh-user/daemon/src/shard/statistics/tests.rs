//! What is counted, and what of it is told.

use super::*;

#[test]
fn remaps_are_counted_across_pages() {
    let counters = ShardCounters::new();
    for id in [0, 255, 256, u16::MAX] {
        counters.remap(RemapId(id), 2, 100);
    }
    let mut statistics = Statistics::default();
    counters.add_to(&mut statistics);
    let ids: Vec<_> = statistics.remaps.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [0, 255, 256, u16::MAX]);
    assert!(statistics.remaps.iter().all(|(_, traffic)| *traffic == Traffic { packets: 2, bytes: 100 }));
}

#[test]
fn what_two_shards_counted_is_added() {
    let shards = [ShardCounters::new(), ShardCounters::new()];
    shards[0].remap(RemapId(9), 1, 10);
    shards[1].remap(RemapId(3), 1, 5);
    shards[1].remap(RemapId(9), 2, 20);
    shards.iter().for_each(|shard| shard.send_failed.add(2));
    let mut statistics = Statistics::default();
    shards.iter().for_each(|shard| shard.add_to(&mut statistics));
    let traffic = |packets, bytes| Traffic { packets, bytes };
    assert_eq!(statistics.remaps, [(RemapId(3), traffic(1, 5)), (RemapId(9), traffic(3, 30))]);
    assert_eq!(statistics.sends.failed, 4);
}

#[test]
fn only_reasons_that_happened_are_reported() {
    let counters = ShardCounters::new();
    counters.count_drop(DropReason::Transit, 3);
    let mut statistics = Statistics::default();
    counters.add_to(&mut statistics);
    assert_eq!(statistics.drops, [(DropReason::Transit, 3)]);
}

#[test]
fn a_handshake_has_an_age_until_the_session_ends() {
    let epoch = Instant::now();
    let counters = PeerCounters::new(epoch);
    let at = |counters: &PeerCounters| counters.load(Lane(0), 0, 1, Condition::Live, epoch + Duration::from_secs(9));
    assert_eq!(at(&counters).handshake_age, None);
    let round_trip = Some(Duration::from_micros(480));
    counters.set_handshake(Some(epoch + Duration::from_secs(2)), round_trip);
    assert_eq!(at(&counters).round_trip, round_trip);
    assert_eq!(at(&counters).handshake_age, Some(Duration::from_secs(7)));
    assert_eq!(at(&counters).last_handshake, Some(epoch + Duration::from_secs(2)));
    counters.set_handshake(None, None);
    assert_eq!((at(&counters).handshake_age, at(&counters).round_trip), (None, None));
    assert_eq!(at(&counters).last_handshake, Some(epoch + Duration::from_secs(2)), "that was, and stays so");
}

#[test]
fn what_shards_do_besides_is_told_with_its_count() {
    let mut statistics = Statistics { handed_over: 7, ..Statistics::default() };
    statistics.sends.tails = 5;
    let notices: Vec<_> = statistics.notices().collect();
    assert!(notices[0].starts_with("5 batches of datagrams were sent with one"), "{notices:?}");
    assert!(notices[1].starts_with("7 datagrams came to another shard"), "{notices:?}");
    assert_eq!(notices.len(), 2);
    statistics.sends.unsegmented = 3;
    assert!(statistics.notices().next().unwrap().starts_with("3 batches of datagrams had to be sent"));
}
