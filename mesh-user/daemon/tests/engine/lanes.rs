//! Several lanes of one tunnel: flows are shared among them, and a lane that fails is left and taken again.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mesh_core::tunnel::lane::Condition;
use mesh_lab::Lab;
use meshd::shard::LaneStatistics;

use super::{
    site::{A, B, HOST, Site},
    traffic, underlay,
};

/// Two ends with so many lanes, all of them with a session.
fn pair(lab: &Lab, lanes: u8) -> Result<(Site, Site)> {
    let (a, b) = underlay(lab)?;
    let site_b = Site::start_lanes(B, &b, A, Vec::new(), lanes)?;
    let site_a = Site::start_lanes(A, &a, B, vec![B.endpoint()], lanes)?;
    for site in [&site_a, &site_b] {
        await_conditions(site, &vec![Condition::Live; lanes.into()], Duration::from_secs(8))?;
    }
    Ok((site_a, site_b))
}

fn lanes(site: &Site) -> Vec<LaneStatistics> {
    site.peer().lanes
}

fn await_conditions(site: &Site, expected: &[Condition], patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    while lanes(site).iter().map(|lane| lane.condition).ne(expected.iter().copied()) {
        ensure!(start.elapsed() < patience, "{}: {:?} is not {expected:?}", site.side.name, lanes(site));
        thread::sleep(Duration::from_millis(5));
    }
    Ok(start.elapsed())
}

/// Numbered datagrams of several flows, one of each flow every few milliseconds; it is noted when each came.
pub(super) struct Flows {
    senders: Vec<UdpSocket>,
    /// Of one address and port, in several namespaces.
    receivers: Vec<UdpSocket>,
    to: SocketAddr,
    pub(super) sent: u32,
    /// When the last one came, by flow; and the numbers that came.
    last: Vec<Instant>,
    pub(super) came: Vec<Vec<u32>>,
}

impl Flows {
    const PERIOD: Duration = Duration::from_millis(5);

    pub(super) fn new(from: &Site, to: &[&Site], count: usize) -> Result<Flows> {
        let (mut receivers, mut port) = (Vec::new(), 0);
        for site in to {
            let bind = || Ok(UdpSocket::bind(SocketAddr::new(HOST[0].parse()?, port))?);
            let receiver = site.namespace.enter(bind)?;
            receiver.set_nonblocking(true)?;
            port = receiver.local_addr()?.port();
            receivers.push(receiver);
        }
        let target = SocketAddr::new(from.side.remote_host[0].parse()?, port);
        let senders = from.namespace.enter(|| (0..count).map(|_| Ok(UdpSocket::bind("0.0.0.0:0")?)).collect())?;
        let (last, came) = (vec![Instant::now(); count], vec![Vec::new(); count]);
        Ok(Flows { senders, receivers, to: target, sent: 0, last, came })
    }

    /// Sends for that long, and gives the longest silence of each flow.
    pub(super) fn run(&mut self, time: Duration) -> Result<Vec<Duration>> {
        let start = Instant::now();
        self.last.fill(start);
        let mut silence = vec![Duration::ZERO; self.senders.len()];
        while start.elapsed() < time {
            for (flow, sender) in self.senders.iter().enumerate() {
                let mut content = [0; 100];
                content[..4].copy_from_slice(&(flow as u32).to_be_bytes());
                content[4..8].copy_from_slice(&self.sent.to_be_bytes());
                sender.send_to(&content, self.to)?;
            }
            self.sent += 1;
            thread::sleep(Flows::PERIOD);
            self.receive(&mut silence);
        }
        thread::sleep(Duration::from_millis(50));
        self.receive(&mut silence);
        // One that ended in silence has been silent until now.
        silence.iter_mut().zip(&self.last).for_each(|(silence, last)| *silence = last.elapsed().max(*silence));
        Ok(silence)
    }

    fn receive(&mut self, silence: &mut [Duration]) {
        let mut content = [0; 100];
        while self.receivers.iter().any(|receiver| receiver.recv_from(&mut content).is_ok()) {
            let word = |at: usize| u32::from_be_bytes(content[at..at + 4].try_into().expect("four bytes"));
            let (flow, number) = (word(0) as usize, word(4));
            silence[flow] = silence[flow].max(self.last[flow].elapsed());
            self.last[flow] = Instant::now();
            self.came[flow].push(number);
        }
    }
}

/// Drops what arrives at a UDP port of the namespace.
pub(super) fn cut(site: &Site, port: u16) -> Result<()> {
    let nft = |arguments: &str| site.namespace.run("nft", &arguments.split(' ').collect::<Vec<_>>());
    nft("add table inet cut")?;
    nft("add chain inet cut input { type filter hook input priority 0 ; }")?;
    nft(&format!("add rule inet cut input udp dport {port} drop")).map(drop)
}

pub(super) fn mend(site: &Site) -> Result<()> {
    site.namespace.run("nft", &["delete", "table", "inet", "cut"]).map(drop)
}

#[test]
fn flows_are_shared_by_lanes_and_shards() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab, 2).unwrap();
    for to in A.remote_host {
        let before = lanes(&a);
        let speed = traffic::tcp(&b.namespace, &a.namespace, to, &["-P", "16"]).unwrap();
        assert!(speed > 2e7, "{speed} bit/s");
        let carried: Vec<u64> =
            lanes(&a).iter().zip(before).map(|(now, then)| now.sent.bytes - then.sent.bytes).collect();
        let all: u64 = carried.iter().sum();
        assert!(carried.iter().all(|bytes| bytes * 10 > all * 2), "{to}: {carried:?}");
    }
    let shards: Vec<_> = lanes(&a).iter().map(|lane| lane.shard).collect();
    assert_eq!(shards, [0, 1]);
    let ports: BTreeMap<_, _> = lanes(&b).iter().map(|lane| (lane.port, lane.endpoint)).collect();
    let expected =
        B.ports(2).into_iter().zip(A.ports(2).into_iter().map(|port| Some((A.endpoint().ip(), port).into())));
    assert_eq!(ports, expected.collect());
}

/// As many as there may be, on far fewer shards.
#[test]
fn sixty_four_lanes_carry_both_ways() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab, 64).unwrap();
    for (from, to) in [(&a, &b), (&b, &a)] {
        let mut flows = Flows::new(from, &[to], 128).unwrap();
        flows.run(Duration::from_millis(300)).unwrap();
        assert!(flows.came.iter().all(|came| !came.is_empty()), "{:?}", flows.came);
        let used = lanes(from).iter().filter(|lane| lane.sent.packets > 5).count();
        assert!(used > 32, "only {used} lanes: {:?}", lanes(from));
    }
}

#[test]
fn a_flow_stays_in_order() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab, 3).unwrap();
    let mut flows = Flows::new(&a, &[&b], 12).unwrap();
    flows.run(Duration::from_secs(1)).unwrap();
    for came in &flows.came {
        assert!(came.is_sorted() && came.len() == flows.sent as usize, "{} of {}: {came:?}", came.len(), flows.sent);
    }
}

#[test]
fn a_lane_that_fails_is_left_within_a_second_and_taken_again() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab, 2).unwrap();
    let mut flows = Flows::new(&a, &[&b], 8).unwrap();
    flows.run(Duration::from_millis(500)).unwrap();

    cut(&b, B.ports(2)[1]).unwrap();
    let silence = flows.run(Duration::from_millis(2_500)).unwrap();
    assert!(
        silence.iter().any(|silence| *silence > Duration::from_millis(300)),
        "the lane carried nothing: {silence:?}"
    );
    assert!(silence.iter().all(|silence| *silence < Duration::from_secs(1)), "{silence:?}");
    await_conditions(&a, &[Condition::Live, Condition::Dead], Duration::ZERO).unwrap();
    let speed = traffic::tcp(&b.namespace, &a.namespace, A.remote_host[0], &["-P", "4"]).unwrap();
    assert!(speed > 2e7, "{speed} bit/s over what is left");

    mend(&b).unwrap();
    await_conditions(&a, &[Condition::Live; 2], Duration::from_secs(2)).unwrap();
    let before = lanes(&a)[1].sent.packets;
    flows.run(Duration::from_millis(300)).unwrap();
    assert!(lanes(&a)[1].sent.packets > before + 20, "{:?}", lanes(&a));
}

#[test]
fn tcp_goes_on_over_the_lane_that_is_left() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab, 2).unwrap();
    thread::scope(|scope| {
        let (client, server) = (&a.namespace, &b.namespace);
        let stream = scope.spawn(move || traffic::tcp(server, client, A.remote_host[0], &["-P", "4", "-t", "4"]));
        thread::sleep(Duration::from_millis(1_200));
        cut(&a, A.ports(2)[0]).unwrap();
        cut(&b, B.ports(2)[0]).unwrap();
        let speed = stream.join().unwrap().unwrap();
        assert!(speed > 2e7, "{speed} bit/s");
    });
    for site in [&a, &b] {
        await_conditions(site, &[Condition::Dead, Condition::Live], Duration::from_secs(1)).unwrap();
        mend(site).unwrap();
    }
    for site in [&a, &b] {
        await_conditions(site, &[Condition::Live; 2], Duration::from_secs(2)).unwrap();
    }
}

#[test]
fn a_refusal_of_the_kernel_moves_flows_at_once() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab, 2).unwrap();
    let nft = |arguments: &str| a.namespace.run("nft", &arguments.split(' ').collect::<Vec<_>>()).unwrap();
    nft("add table inet cut");
    nft("add chain inet cut output { type filter hook output priority 0 ; }");
    nft(&format!("add rule inet cut output udp dport {} drop", B.ports(2)[1]));
    let mut flows = Flows::new(&a, &[&b], 8).unwrap();
    let silence = flows.run(Duration::from_secs(1)).unwrap();
    assert!(silence.iter().all(|silence| *silence < Duration::from_millis(300)), "{silence:?}");
    await_conditions(&a, &[Condition::Live, Condition::Dead], Duration::ZERO).unwrap();
}

/// As after `kill -9`: the device has the program of another process, for another number of queues.
#[test]
fn another_number_of_lanes_takes_over_the_device() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab, 3).unwrap();
    let (namespace_a, namespace_b) = (a.namespace.clone(), b.namespace.clone());
    drop((a, b));
    for lanes in [1, 2] {
        let b = Site::start_lanes(B, &namespace_b, A, Vec::new(), lanes).unwrap();
        let a = Site::start_lanes(A, &namespace_a, B, vec![B.endpoint()], lanes).unwrap();
        for site in [&a, &b] {
            await_conditions(site, &vec![Condition::Live; lanes.into()], Duration::from_secs(8)).unwrap();
        }
        let mut flows = Flows::new(&a, &[&b], 8).unwrap();
        flows.run(Duration::from_millis(300)).unwrap();
        assert!(flows.came.iter().all(|came| came.len() == flows.sent as usize), "{lanes} lanes lost something");
    }
}
