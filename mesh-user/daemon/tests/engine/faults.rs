//! What a shard does when something under it goes away, and that it goes on.

use std::{
    fs,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use mesh_core::tunnel::Lane;
use mesh_lab::{
    Lab,
    link::{self, Port},
};
use meshd::shard::{Command, Event};

use super::{
    pair,
    site::{A, B, Site},
    traffic, underlay,
};

fn ping(site: &Site) {
    let to = site.side.remote_host[0];
    site.namespace.run("ping", &["-c", "2", "-i", "0.2", "-W", "3", to]).unwrap();
}

#[test]
fn a_tun_that_is_deleted_is_reported_and_replaced() {
    let lab = Lab::new().unwrap();
    let (a, _b) = pair(&lab).unwrap();
    a.namespace.ip(&["link", "delete", &A.device().0]).unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while !a.events.try_iter().any(|event| event == Event::TunLost(A.device())) {
        assert!(Instant::now() < end, "no event");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nothing is left to do, so nothing is done.
    let before = thread_time();
    std::thread::sleep(Duration::from_millis(600));
    assert!(thread_time() - before < 30, "the shard is busy without work");

    a.shards.apply(Command::RemoveTunnel(A.device())).unwrap();
    a.open(B.key(), vec![B.endpoint()]).unwrap();
    a.wait_connected().unwrap();
    ping(&a);
}

/// Ticks of 10 ms that all shards of this process used.
fn thread_time() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let shards = stats.filter(|stat| stat.contains("(shard-"));
    let fields = |stat: String| stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap();
    shards
        .map(fields)
        .map(|rest| rest.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum::<u64>())
        .sum()
}

#[test]
fn the_device_outlives_the_shard_and_is_taken_over() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    let namespace = a.namespace.clone();
    let busy = namespace.enter(|| Ok(meshd::kernel::tun::Tun::open(&A.device(), NonZeroUsize::MIN))).unwrap();
    assert!(format!("{:#}", busy.unwrap_err()).contains("in use"));
    drop(a);
    let route = namespace.ip(&["route", "get", A.remote_host[0]]).unwrap();
    assert!(route.contains(&A.device().0), "{route}");

    // The other end knows where it is, and calls.
    let again = Site::start(A, &namespace, B.key(), Vec::new()).unwrap();
    b.shards.apply(Command::SetEndpoints(B.device(), A.key(), Lane(0), vec![A.endpoint()])).unwrap();
    again.shards.apply(Command::SetEndpoints(A.device(), B.key(), Lane(0), vec![B.endpoint()])).unwrap();
    again.wait_connected().unwrap();
    ping(&again);
    ping(&b);
}

#[test]
fn an_underlay_too_narrow_for_a_batch_gets_single_datagrams() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    for site in [&a, &b] {
        link::mtu(Port::new(&site.namespace, "eth0"), 1_280).unwrap();
    }
    let speed = traffic::tcp(&b.namespace, &a.namespace, A.remote_host[0], &[]).unwrap();
    assert!(speed > 1e6, "{speed}");
    assert!(a.shards.statistics().sends.unsegmented > 0);
}

#[test]
fn the_second_endpoint_is_tried_and_replies_leave_from_the_address_that_was_hit() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab).unwrap();
    link::address(Port::new(&b, "eth0"), &["192.0.2.22/24"]).unwrap();
    let b = Site::start(B, &b, A.key(), Vec::new()).unwrap();
    let second = "192.0.2.22:51822".parse().unwrap();
    let a = Site::start(A, &a, B.key(), vec!["192.0.2.99:9".parse().unwrap(), second]).unwrap();
    let end = Instant::now() + Duration::from_secs(25);
    while a.peer().handshake_age.is_none() {
        assert!(Instant::now() < end, "{:?}", a.shards.statistics());
        std::thread::sleep(Duration::from_millis(50));
    }
    ping(&a);
    assert_eq!(a.peer().endpoint, Some(second));
    // The address goes away; what leaves from the other one is found by roaming.
    b.namespace.ip(&["address", "delete", "192.0.2.22/24", "dev", "eth0"]).unwrap();
    ping(&b);
    ping(&a);
    assert_eq!(a.peer().endpoint, Some(B.endpoint()));
}

#[test]
fn a_peer_that_was_removed_is_not_heard() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    ping(&a);
    b.shards.apply(Command::RemovePeer(B.device(), A.key())).unwrap();
    b.shards.apply(Command::Barrier).unwrap();
    let lost = a.namespace.run("ping", &["-c", "2", "-i", "0.2", "-W", "1", A.remote_host[0]]);
    assert!(lost.is_err());
    assert!(b.shards.statistics().drops.iter().any(|(reason, _)| reason.as_str() == "no-session"));
    assert!(b.shards.statistics().peers.is_empty());
}
