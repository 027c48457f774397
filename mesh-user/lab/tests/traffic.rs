//! Do the traffic functions see what a plain routed path does? Two hosts and a router with a narrow link between them.

use std::time::Duration;

use anyhow::Result;
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
    sniff::{self, Sniffer},
    traffic::{
        End, PATIENCE, answers_ping, echo, echo::Fragmentation, flow::Flow, http, path, ping, spoof, stream::Stream,
    },
};

const MTU: usize = 1340;

struct Scene {
    a: End,
    b: End,
    host_b: Namespace,
    router: Namespace,
    lab: Lab,
}

/// a -- router -- b, of which the right link is narrow.
fn scene() -> Result<Scene> {
    let lab = Lab::new()?;
    let (a, router, b) = (lab.namespace("a")?, lab.namespace("r")?, lab.namespace("b")?);
    router.sysctl("net/ipv4/ip_forward", "1")?;
    for (host, side, own, gateway) in
        [(&a, "left", "192.0.2.2", "192.0.2.1"), (&b, "right", "198.51.100.2", "198.51.100.1")]
    {
        let (end, far) = (Port::new(host, "eth0"), Port::new(&router, side));
        link::veth(end, far)?;
        link::as_on_a_wire(end)?;
        link::address(end, &[&format!("{own}/24")])?;
        link::address(far, &[&format!("{gateway}/24")])?;
        host.ip(&["route", "add", "default", "via", gateway])?;
    }
    for end in [Port::new(&router, "right"), Port::new(&b, "eth0")] {
        link::mtu(end, MTU as u16)?;
    }
    let ends = [End::new(&a, [192, 0, 2, 2]), End::new(&b, [198, 51, 100, 2])];
    let [a, b_end] = ends;
    Ok(Scene { a, b: b_end, host_b: b, router, lab })
}

#[test]
fn bytes_come_home() {
    let Scene { a, b, lab, .. } = &scene().unwrap();
    ping(a, b.address).unwrap();
    assert_eq!(echo::tcp(a, b, b.address, 300_000, 7).unwrap(), a.address);
    let lengths = [0, 1, 17, MTU - 28];
    assert_eq!(echo::udp(a, b, b.address, &lengths, Fragmentation::Forbidden, 7).unwrap(), a.address);
    let hash = http::fetch(a, b, b.address, 1_000_000, lab.directory(), 7).unwrap();
    assert_eq!(hash.len(), 64);
    assert!(!answers_ping(a, [203, 0, 113, 1].into(), 1).unwrap());
}

#[test]
fn the_path_speaks() {
    let Scene { a, b, host_b, router, .. } = &scene().unwrap();
    let expired = path::probe_ttl(a, b.address, 1).unwrap();
    assert_eq!((expired.icmp_type, expired.offender), (11, Some([192, 0, 2, 1].into())));
    let fragments = Sniffer::on(Port::new(host_b, "eth0"), sniff::is_fragment).unwrap();
    echo::udp(a, b, b.address, &[MTU - 28], Fragmentation::Forbidden, 1).unwrap();
    assert_eq!(fragments.matched().unwrap(), 0);
    let big = path::probe_mtu(a, b.address, MTU - 27).unwrap();
    assert_eq!((big.error.errno, big.error.local), (libc_emsgsize(), false));
    assert_eq!((big.error.mtu, big.path_mtu), (MTU as u32, MTU as u32));
    a.namespace.ip(&["route", "flush", "cache"]).unwrap();
    echo::udp(a, b, b.address, &[MTU - 27, 4_000], Fragmentation::Allowed, 1).unwrap();
    let at_router = Sniffer::on(Port::new(router, "left"), |packet| sniff::contains(packet, b"spoofed")).unwrap();
    let (source, to) = ("203.0.113.9:9".parse().unwrap(), "198.51.100.2:9".parse().unwrap());
    spoof::udp(&a.namespace, source, to, b"spoofed", 5).unwrap();
    mesh_lab::interrupt::wait_for("packets to be seen", PATIENCE, Duration::from_millis(5), || {
        Ok((at_router.matched()? == 5 && fragments.matched()? >= 2).then_some(()))
    })
    .unwrap();
}

#[test]
fn what_runs_on_notices_a_pause() {
    let Scene { a, b, router, .. } = &scene().unwrap();
    let flow = Flow::start(a, b, b.address, Duration::from_secs(10)).unwrap();
    let stream = Stream::start(a, b, b.address, 1_000).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    router.sysctl("net/ipv4/ip_forward", "0").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    router.sysctl("net/ipv4/ip_forward", "1").unwrap();
    let before = flow.received();
    std::thread::sleep(Duration::from_secs(1));
    assert!(flow.received() > before, "the flow continues");
    assert!(flow.stop().unwrap() > before);
    let tally = stream.stop().unwrap();
    assert!(tally.sent > 1_000 && tally.lost > 100 && tally.lost < tally.sent / 2, "{tally:?}");
    assert!(tally.longest_gap > Duration::from_millis(200) && tally.duplicates == 0, "{tally:?}");
}

/// `EMSGSIZE` of Linux on every architecture but MIPS and its kin.
const fn libc_emsgsize() -> i32 {
    90
}
