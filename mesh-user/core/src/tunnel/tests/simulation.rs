//! A day of three nodes on a network that loses, delays, reorders, duplicates and forges, with roaming, restarts and clocks
//! that jump. The same seed gives the same day.
//!
//! Node 1 is a client: it roams, knows where the others are, and keeps its paths open. Nodes 2 and 3 stay where they are.

use std::collections::BTreeSet;

use super::*;

const STRANGER: &str = "203.0.113.66:666";
/// Where the client roams to and from, at any port.
const PLACES: [&str; 4] = ["192.0.2.1", "198.51.100.7", "2001:db8::7", "2001:db8:0:1::7"];
/// Real time that a day may take, with the devices of three nodes and a debug build.
const REAL_BOUND: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// After so long without loss, restart or roaming, all packets arrive where both ends have sent some since.
const BOUND: Duration = Duration::from_secs(60);
/// The same where one end has nothing to send: that it speaks to nobody it finds out when the keys end.
const QUIET_BOUND: Duration = Duration::from_secs(200);
/// How long a packet may take where nothing is lost, with a handshake before it.
const PATIENCE: Duration = Duration::from_secs(1);

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

#[derive(Debug)]
enum Event {
    Arrive(Datagram),
    /// Somebody sends what he saw before, or something like it.
    Forge,
    /// An application at one node sends to another.
    Offer(u8, u8),
    /// The packet of this number should have arrived.
    Expect(u64, Instant),
    Weather,
    Roam,
    Restart(u8),
}

struct World {
    now: Instant,
    start: Instant,
    dice: Dice,
    queue: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    nodes: [Node; 3],
    loss: u64,
    latency: u64,
    /// Since when nothing was lost, restarted or moved.
    calm: Option<Instant>,
    /// The first packet each way since then.
    first: BTreeMap<(u8, u8), Instant>,
    offered: u64,
    /// Not yet delivered: from whom, to whom.
    on_the_way: BTreeMap<u64, (u8, u8)>,
    delivered: u64,
    expected: u64,
    /// Datagrams that arrived, for replays.
    seen: Vec<Datagram>,
    restarts: u64,
    addresses: BTreeSet<SocketAddr>,
}

fn numbered(from: u8, to: u8, number: u64) -> Vec<u8> {
    let mut packet = packet(60, from);
    packet[20..28].copy_from_slice(&number.to_be_bytes());
    packet[28] = to;
    packet
}

fn make(now: Instant, number: u8, address: &str, seed: u64, clock: u64) -> Node {
    let mut bytes = [number; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut node = Node::born(now, number, address, bytes, clock);
    for other in (1..=3).filter(|other| *other != number) {
        let home = format!("192.0.2.{other}:1000");
        let endpoints: &[&str] = if other == 1 { &[] } else { &[&home] };
        let keepalive_seconds = (number == 1).then_some(25);
        let config = Peer { keepalive_seconds, ..peer(other.into(), endpoints) };
        node.device.add_peer(now, key(other), &config).unwrap();
    }
    node
}

impl World {
    fn new(seed: u64) -> World {
        let now = Instant::now();
        let nodes = [1, 2, 3].map(|number| make(now, number, &format!("192.0.2.{number}:1000"), seed, 1_700_000_000));
        let addresses = nodes.iter().map(|node| node.address).collect();
        let mut world = World {
            now,
            start: now,
            dice: Dice(seed),
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes,
            loss: 0,
            latency: 50,
            calm: Some(now),
            first: BTreeMap::new(),
            offered: 0,
            on_the_way: BTreeMap::new(),
            delivered: 0,
            expected: 0,
            seen: Vec::new(),
            restarts: 0,
            addresses,
        };
        for (from, to) in [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)] {
            world.after(Duration::ZERO, Event::Offer(from, to));
        }
        for event in [Event::Weather, Event::Roam, Event::Forge, Event::Restart(2)] {
            world.after(secs(300), event);
        }
        world
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + wait, self.scheduled), event);
    }

    fn after_millis(&mut self, from: u64, to: u64, event: Event) {
        let wait = from + self.dice.below(to - from);
        self.after(Duration::from_millis(wait), event);
    }

    fn run(&mut self, until: Instant) {
        loop {
            let timer = self.nodes.iter().filter_map(|node| node.device.poll_timeout()).min();
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = [timer, event].into_iter().flatten().min().filter(|at| *at <= until);
            let Some(next) = next else { return };
            self.now = self.now.max(next);
            if timer == Some(next) {
                for at in 0..3 {
                    let sent = self.nodes[at].tick(self.now);
                    self.transmit(sent);
                }
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.happen(event);
            }
        }
    }

    fn transmit(&mut self, sent: Vec<Datagram>) {
        for datagram in sent {
            let copies = 1 + u64::from(self.dice.chance(30));
            for _ in 0..copies {
                if !self.dice.chance(self.loss) {
                    let latency = self.latency;
                    self.after_millis(1, 2 + latency, Event::Arrive(datagram.clone()));
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(datagram) => self.arrive(datagram),
            Event::Forge => self.forge(),
            Event::Offer(from, to) => self.offer(from, to),
            Event::Expect(number, calm) => {
                if self.calm == Some(calm) {
                    let late = self.on_the_way.get(&number);
                    assert_eq!(late, None, "packet {number} after {:?}", self.now - self.start);
                    self.expected += 1;
                }
            }
            Event::Weather => self.change_weather(),
            Event::Roam => {
                let place = PLACES[self.dice.below(PLACES.len() as u64) as usize];
                let port = 1_000 + self.dice.below(60_000) as u16;
                self.nodes[0].address = SocketAddr::new(place.parse().unwrap(), port);
                self.addresses.insert(self.nodes[0].address);
                self.unsettle();
                self.after_millis(60_000, 7_200_000, Event::Roam);
            }
            Event::Restart(number) => self.restart(number),
        }
    }

    /// From now on things have to find together again.
    fn unsettle(&mut self) {
        self.calm = (self.loss == 0).then_some(self.now);
        self.first.clear();
    }

    fn change_weather(&mut self) {
        let (loss, latency) = match self.dice.below(8) {
            0 => (1_000, 50),
            1 => (500, 400),
            2 | 3 => (100, 800),
            _ => (0, 300),
        };
        (self.loss, self.latency) = (loss, latency);
        self.unsettle();
        self.after_millis(30_000, 1_200_000, Event::Weather);
    }

    fn restart(&mut self, number: u8) {
        let at = usize::from(number) - 1;
        let address = self.nodes[at].address.to_string();
        // The clock may be wrong by some seconds, either way, after a restart.
        let clock = 1_700_000_000 + (self.now - self.start).as_secs() + self.dice.below(40) - 20;
        self.restarts += 1;
        self.nodes[at] = make(self.now, number, &address, self.dice.below(u64::MAX), clock);
        self.unsettle();
        let next = 1 + self.dice.below(3) as u8;
        self.after_millis(600_000, 7_200_000, Event::Restart(next));
    }

    fn offer(&mut self, from: u8, to: u8) {
        self.offered += 1;
        let number = self.offered;
        self.on_the_way.insert(number, (from, to));
        let sent = self.nodes[usize::from(from) - 1].send(self.now, to.into(), &numbered(from, to, number));
        self.transmit(sent);
        if let Some(calm) = self.calm {
            let here = *self.first.entry((from, to)).or_insert(self.now);
            let there = self.first.get(&(to, from));
            let both = there.is_some_and(|there| self.now - here.max(*there) >= BOUND);
            if both || self.now - here >= QUIET_BOUND {
                self.after(PATIENCE, Event::Expect(number, calm));
            }
        }
        // Mostly a conversation, now and then a long silence.
        match self.dice.below(400) {
            0 => self.after_millis(60_000, 4_000_000, Event::Offer(from, to)),
            _ => self.after_millis(10, 6_000, Event::Offer(from, to)),
        }
    }

    fn arrive(&mut self, datagram: Datagram) {
        for at in 0..3 {
            if self.nodes[at].address != datagram.to {
                continue;
            }
            let answers = self.nodes[at].hear(self.now, &datagram);
            self.transmit(answers);
            self.take_delivered(at);
            if self.seen.len() < 1_000 {
                self.seen.push(datagram.clone());
            } else {
                let place = self.dice.below(1_000) as usize;
                self.seen[place] = datagram.clone();
            }
        }
    }

    /// What was delivered was sent, by this peer to this node, and is delivered once.
    fn take_delivered(&mut self, at: usize) {
        for packet in std::mem::take(&mut self.nodes[at].received) {
            let number = u64::from_be_bytes(*packet[20..].first_chunk().unwrap());
            let way = self.on_the_way.remove(&number);
            let (from, to) = way.unwrap_or_else(|| panic!("packet {number} was delivered twice or never sent"));
            assert_eq!((packet, usize::from(to) - 1), (numbered(from, to, number), at));
            self.delivered += 1;
        }
    }

    /// A replay, a damaged message or noise, from an address of nobody.
    fn forge(&mut self) {
        for _ in 0..20 {
            let count = self.seen.len() as u64;
            if count > 0 {
                let mut datagram = self.seen[self.dice.below(count) as usize].clone();
                datagram.from = STRANGER.parse().unwrap();
                let len = datagram.bytes.len() as u64;
                match self.dice.below(3) {
                    0 => {}
                    1 => datagram.bytes[self.dice.below(len) as usize] ^= 1 + self.dice.below(255) as u8,
                    _ => datagram.bytes.truncate(self.dice.below(len) as usize),
                }
                let at = self.nodes.iter().position(|node| node.address == datagram.to);
                if let Some(at) = at {
                    self.nodes[at].hear(self.now, &datagram);
                    self.take_delivered(at);
                }
            }
        }
        for node in &self.nodes {
            for (_, slot) in node.device.peers() {
                let path = node.device.path(slot).map(|path| path.to);
                assert!(path.is_none_or(|to| self.addresses.contains(&to)), "{path:?}");
            }
        }
        self.after_millis(1_000, 60_000, Event::Forge);
    }
}

fn a_day(seed: u64) {
    let mut world = World::new(seed);
    world.run(world.start + DAY);
    assert!(world.offered > 50_000, "{} packets", world.offered);
    assert!(world.delivered * 10 > world.offered * 6, "{} of {} arrived", world.delivered, world.offered);
    assert!(world.expected > 10_000, "{} were sure to arrive", world.expected);
    assert!(world.restarts > 10 && world.addresses.len() > 10);
    let places: BTreeSet<_> = world.addresses.iter().map(SocketAddr::ip).collect();
    assert!(PLACES.iter().all(|place| places.contains(&place.parse().unwrap())), "{places:?}");
    let took = world.start.elapsed();
    assert!(took < REAL_BOUND, "{took:?}");
}

#[test]
fn a_day_with_seed_1() {
    a_day(1);
}

#[test]
fn a_day_with_seed_2() {
    a_day(2);
}

#[test]
fn an_idle_hour_costs_no_wake_up() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    for second in 0..600 {
        let at = now + secs(second);
        let sent = a.send(at, 1, &packet(60, 1));
        settle(at, &mut [&mut a, &mut b], sent);
        live(&mut a, &mut b, at);
    }
    // Ten minutes are for the last acknowledgement, the end of the session and of its keys.
    live(&mut a, &mut b, now + secs(1_200));
    assert_eq!((a.device.poll_timeout(), b.device.poll_timeout()), (None, None));
    assert_eq!(live(&mut a, &mut b, now + secs(1_200 + 3_600)), BTreeMap::new());
    let sent = a.send(now + secs(4_800), 1, &packet(60, 2));
    settle(now + secs(4_800), &mut [&mut a, &mut b], sent);
    assert_eq!(b.received.last(), Some(&packet(60, 2)));
}
