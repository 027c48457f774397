//! What is said of a connection whose packets are lost somewhere: a world in memory that answers probes, or not.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::*;
use crate::{
    api::{Condition, ConditionStatus, ConnectionState},
    plan::{Connection, DeviceName, PathProbe, Probe, Transport},
};

const MTU: u16 = 1_340;

/// What of the world is broken, seen from this side.
#[derive(Clone, Copy, Default)]
struct World {
    tunnel_cut: bool,
    far_forwarding_cut: bool,
    our_forwarding_cut: bool,
    firewall_between_responders: bool,
    /// The longest packet that the path carries; 0: any.
    narrow: u16,
    far_mtu: u16,
    faults: Faults,
    run: u32,
}

struct Site {
    health: Health,
    around: Surroundings,
    world: World,
    now: Instant,
    clock: SystemTime,
}

fn connection(thresholds: Thresholds) -> Connection {
    let ends = |from: &str, to: &str| Probe { from: from.parse().unwrap(), to: to.parse().unwrap() };
    let path = |net: &str, far: &str| PathProbe {
        gateway: ends(&format!("{net}2"), &format!("{far}2")),
        responder: ends(&format!("{net}3"), &format!("{far}3")),
        answers_at: format!("{net}3").parse().unwrap(),
        answers_also_at: format!("{net}3").parse().unwrap(),
    };
    Connection {
        name: "default/b".to_owned(),
        remote: "b".to_owned(),
        transport: Transport::WireguardClient { device: DeviceName("mesh-b".to_owned()) },
        probe: Some(ends("10.70.0.2", "10.68.0.2")),
        paths: vec![path("10.70.0.", "10.68.0."), path("fd70::", "fd68::")],
        thresholds,
    }
}

impl Site {
    fn new(thresholds: Thresholds) -> Site {
        let now = Instant::now();
        let world = World { far_mtu: MTU, run: 1, ..World::default() };
        let around = Surroundings {
            session: Session::Live,
            endpoint: Some("192.0.2.7:51840".parse().unwrap()),
            ..Surroundings::default()
        };
        let health = Health::new(connection(thresholds), MTU, now, 40);
        Site { health, around, world, now, clock: UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
    }

    /// Lives on for so many seconds.
    fn pass(&mut self, seconds: u64) -> Judgement {
        let end = self.now + Duration::from_secs(seconds);
        let mut judgement = self.health.judge(&self.around, self.clock);
        while let Some(next) = self.health.poll_timeout().filter(|next| *next <= end) {
            self.clock += next.saturating_duration_since(self.now);
            self.now = self.now.max(next);
            for out in self.health.poll_transmit(self.now) {
                if self.world.carries(&out) {
                    let World { far_mtu: mtu, run, faults, .. } = self.world;
                    let reply = Message {
                        kind: Kind::Reply,
                        leg: out.leg,
                        mtu,
                        connection: 1,
                        sequence: out.sequence,
                        run,
                        faults,
                    };
                    self.health.handle_reply(out.to, &reply, self.now + Duration::from_micros(420));
                    // As the daemon does, that hears one after the other.
                    self.health.judge(&self.around, self.clock);
                }
            }
            judgement = self.health.judge(&self.around, self.clock);
        }
        self.clock += end.saturating_duration_since(self.now);
        self.now = end;
        judgement
    }

    fn condition(&self, kind: &str) -> Condition {
        self.health.conditions().into_iter().find(|condition| condition.kind == kind).unwrap()
    }

    /// Status and reason of each condition.
    fn shown(&self) -> Vec<String> {
        let line = |one: &Condition| format!("{} {:?} {}", one.kind, one.status, one.reason);
        self.health.conditions().iter().map(line).collect()
    }
}

impl World {
    fn carries(&self, out: &Outgoing) -> bool {
        let headers = if out.to.is_ipv4() { 28 } else { 48 };
        let lost = self.tunnel_cut
            || self.far_forwarding_cut && matches!(out.leg, Leg::FarForwarding | Leg::Through)
            || self.our_forwarding_cut && matches!(out.leg, Leg::OurForwarding | Leg::Through)
            || self.firewall_between_responders && out.leg == Leg::Through
            || self.narrow > 0 && out.length + headers > usize::from(self.narrow);
        !lost
    }
}

/// LQ-72: the values and latency of the seed, over conditions that are all true.
#[test]
fn a_good_connection_is_connected_and_all_its_conditions_are_true() {
    let mut site = Site::new(Thresholds::default());
    assert_eq!(site.health.judge(&site.around, site.clock).state, ConnectionState::Connecting);
    let judgement = site.pass(5);
    assert_eq!(judgement.state, ConnectionState::Connected);
    assert_eq!(judgement.latency, Some(Duration::from_micros(420)));
    assert_eq!((judgement.path_mtu, judgement.detail.as_str()), (Some(MTU), ""));
    let expected = [
        "Handshake True SessionLive",
        "TunnelProbe True Answered",
        "DataPath True Forwarded",
        "MTU True PathCarriesMtu",
    ];
    assert_eq!(site.shown(), expected);
}

/// A black hole behind a tunnel that is healthy: told within ten seconds, by its hop.
#[test]
fn each_broken_hop_is_named_within_ten_seconds() {
    let whole = World { far_mtu: MTU, run: 1, ..World::default() };
    let cases = [
        (World { far_forwarding_cut: true, ..whole }, "NotForwardedThere", "10.68.0.3 behind it"),
        (World { our_forwarding_cut: true, ..whole }, "NotForwardedHere", "forwarding is cut here"),
        (World { far_forwarding_cut: true, our_forwarding_cut: true, ..whole }, "NotForwarded", "neither forwards"),
        (World { firewall_between_responders: true, ..whole }, "NotForwarded", "judges by addresses"),
        (World { faults: Faults::FORWARDING_V4_OFF, ..whole }, "NotForwardedThere", "net.ipv4.ip_forward=1"),
        (World { faults: Faults::FORWARDING_V6_OFF, ..whole }, "NotForwardedThere", "net.ipv6.conf.all.forwarding=1"),
        (World { faults: Faults::WORKLOAD_DOWN, ..whole }, "NotForwardedThere", "towards the pods of b is down"),
    ];
    for (world, reason, words) in cases {
        let mut site = Site::new(Thresholds::default());
        site.pass(20);
        site.world = world;
        let judgement = site.pass(10);
        let condition = site.condition("DataPath");
        assert_eq!((condition.status, condition.reason.as_str()), (ConditionStatus::False, reason));
        assert!(condition.message.contains(words), "{}", condition.message);
        assert_eq!((judgement.state, judgement.detail), (ConnectionState::Error, condition.message));
        assert_eq!(site.condition("TunnelProbe").status, ConditionStatus::True);
        site.world = whole;
        assert_eq!(site.pass(4).state, ConnectionState::Connected, "{reason} ends");
        let history = site.health.history();
        let told: Vec<_> = history.iter().filter(|change| change.to == ConditionStatus::False).collect();
        assert!(told.len() == 1, "one hole is told once: {told:?}");
    }
}

#[test]
fn what_is_wrong_here_is_told_at_once() {
    let mut site = Site::new(Thresholds::default());
    site.pass(5);
    site.around.own_faults = vec!["pods0 is down: `ip link set pods0 up`".to_owned()];
    assert_eq!(site.pass(0).state, ConnectionState::Error);
    assert!(site.condition("DataPath").message.contains("pods0 is down"));
}

/// A cut tunnel is no matter of forwarding, nor of packets that are too long, neither while it is found out nor later.
#[test]
fn a_cut_tunnel_says_nothing_of_what_is_behind_it() {
    let mut site = Site::new(Thresholds::default());
    site.pass(20);
    site.world.tunnel_cut = true;
    for _ in 0..60 {
        site.pass(1);
        assert_ne!(site.condition("DataPath").status, ConditionStatus::False, "{:?}", site.shown());
        assert_ne!(site.condition("MTU").status, ConditionStatus::False, "{:?}", site.shown());
    }
    assert_eq!(site.condition("TunnelProbe").reason, "NoReply");
    assert_eq!(site.condition("DataPath").reason, "TunnelDown");
    let judgement = site.pass(0);
    assert_eq!(judgement.state, ConnectionState::Error);
    assert!(
        judgement.detail.starts_with("no reply from 10.68.0.2 UDP port 12345: the session is live"),
        "{judgement:?}"
    );
    site.world.tunnel_cut = false;
    for _ in 0..50 {
        site.now += Duration::from_millis(100);
        site.pass(0);
        assert_ne!(site.condition("DataPath").status, ConditionStatus::False, "{:?}", site.shown());
    }
    assert_eq!(site.pass(2).state, ConnectionState::Connected);
    let history: Vec<_> = site
        .health
        .history()
        .iter()
        .map(|change| format!("{} {:?} {}", change.condition, change.to, change.reason))
        .collect();
    let told = [
        "TunnelProbe False NoReply",
        "DataPath Unknown TunnelDown",
        "TunnelProbe True Answered",
        "DataPath True Forwarded",
    ];
    let mut rest = history.iter();
    assert!(told.iter().all(|line| rest.any(|change| change == line)), "{history:?}");
}

/// LQ-44: what the path really carries, and what would fit.
#[test]
fn a_narrow_path_says_what_would_fit() {
    let mut site = Site::new(Thresholds::default());
    site.world.narrow = 1_212;
    let judgement = site.pass(40);
    assert_eq!((judgement.state, judgement.path_mtu), (ConnectionState::Error, Some(1_212)));
    assert!(judgement.detail.contains("spec.mtu: 1212"), "{}", judgement.detail);
    assert_eq!(site.condition("DataPath").status, ConditionStatus::True);
}

#[test]
fn two_mtus_are_an_error_that_names_both() {
    let mut site = Site::new(Thresholds::default());
    site.world.far_mtu = 1_420;
    let judgement = site.pass(3);
    assert_eq!(judgement.state, ConnectionState::Error);
    assert!(judgement.detail.contains("1340 here and 1420 at b"), "{}", judgement.detail);
    assert_eq!(site.condition("MTU").reason, "MtuMismatch");
}

/// LQ-72: as Liqo's `pingdisabled`.
#[test]
fn without_probes_a_connection_is_connected_and_nothing_is_known() {
    let mut site = Site::new(Thresholds { enabled: false, ..Thresholds::default() });
    site.world.tunnel_cut = true;
    site.around.session = Session::Never;
    let judgement = site.pass(60);
    assert_eq!((judgement.state, judgement.latency), (ConnectionState::Connected, None));
    assert_eq!(site.health.poll_timeout(), None);
    assert_eq!(site.condition("TunnelProbe").reason, "ProbesOff");
}

/// LQ-72: interval and loss are the gateway's.
#[test]
fn thresholds_say_when_a_connection_is_lost() {
    let thresholds = Thresholds { enabled: true, interval: Duration::from_millis(500), loss: 2 };
    let mut site = Site::new(thresholds);
    assert_eq!(site.pass(2).state, ConnectionState::Connected);
    site.world.tunnel_cut = true;
    assert_eq!(site.pass(1).state, ConnectionState::Connected);
    assert_eq!(site.pass(1).state, ConnectionState::Error);
}

#[test]
fn a_remote_without_responder_is_judged_by_its_session() {
    let mut site = Site::new(Thresholds::default());
    let plain = Connection { probe: None, paths: Vec::new(), ..connection(Thresholds::default()) };
    site.health.adapt(&plain, MTU, site.now, 0);
    for (session, state) in [
        (Session::Never, ConnectionState::Connecting),
        (Session::Live, ConnectionState::Connected),
        (Session::Expired, ConnectionState::Error),
    ] {
        site.around.session = session;
        assert_eq!(site.pass(1).state, state);
        assert_eq!(site.condition("DataPath").status, ConditionStatus::Unknown);
    }
}

#[test]
fn a_remote_that_started_anew_is_remembered() {
    let mut site = Site::new(Thresholds::default());
    site.pass(5);
    site.world.run = 2;
    site.pass(3);
    let told = site.health.history();
    assert!(
        told.iter().any(|change| change.reason == "RemoteRestarted" && change.to == ConditionStatus::True),
        "{told:?}"
    );
    assert_eq!(site.condition("TunnelProbe").status, ConditionStatus::True);
}

#[test]
fn replies_from_elsewhere_do_not_count() {
    let mut site = Site::new(Thresholds::default());
    for out in site.health.poll_transmit(site.now) {
        let reply = Message {
            kind: Kind::Reply,
            leg: out.leg,
            mtu: 0,
            connection: 1,
            sequence: out.sequence,
            run: 0,
            faults: Faults(0),
        };
        site.health.handle_reply("10.68.0.9".parse().unwrap(), &reply, site.now);
    }
    assert_eq!(site.health.judge(&site.around, site.clock).state, ConnectionState::Connecting);
}

/// Another plan for the same ends keeps what is known; another MTU is measured anew.
#[test]
fn a_change_elsewhere_changes_nothing_here() {
    let mut site = Site::new(Thresholds::default());
    site.pass(5);
    let (before, history) = (site.shown(), site.health.history());
    site.health.adapt(&connection(Thresholds::default()), MTU, site.now, 0);
    assert_eq!(site.shown(), before);
    site.health.adapt(&connection(Thresholds::default()), 1_300, site.now, 0);
    site.world.far_mtu = 1_300;
    assert_eq!(site.health.judge(&site.around, site.clock).state, ConnectionState::Connected);
    assert!(site.health.history().len() >= history.len());
}
