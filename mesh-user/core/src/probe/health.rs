//! What is known of one connection: when which probe is sent, what its reply says, and what holds in the end.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Chronicle, ConditionKind, Judgement, Latencies, Leg, MESSAGE_LENGTH, Message, Prober, SizeSearch, Surroundings,
    message::Faults,
};
use crate::{
    api::{Change, Condition, ConnectionState},
    plan::{Connection, PathProbe},
};

/// So many probes of one leg in a row are lost before that is told. Fewer than those of the connection, so that with the
/// usual interval a black hole is named within ten seconds.
const LEG_LOSS: u16 = 3;

/// All that is known of one connection.
#[derive(Clone, Debug)]
pub struct Health {
    pub(super) connection: Connection,
    /// Of the tunnel; 0: there is none.
    pub(super) mtu: u16,
    /// Absent where the remote cannot be probed, or shall not be.
    pub(super) gateways: Option<Prober>,
    pub(super) paths: Vec<Legs>,
    pub(super) sizes: Option<SizeSearch>,
    /// As the remote's last reply said.
    pub(super) far: Option<Far>,
    pub(super) chronicle: Chronicle,
    /// The remote's daemon is another run than before, which was not told yet.
    restarted: bool,
    latencies: Latencies,
}

/// The three ways that are forwarded, of one address family.
#[derive(Clone, Debug)]
pub(super) struct Legs {
    pub(super) path: PathProbe,
    pub(super) far_forwarding: Prober,
    pub(super) our_forwarding: Prober,
    pub(super) through: Prober,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Far {
    pub(super) mtu: u16,
    pub(super) faults: Faults,
    run: u32,
}

/// One request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub leg: Leg,
    pub from: IpAddr,
    pub to: IpAddr,
    pub sequence: u64,
    /// Of the UDP payload.
    pub length: usize,
}

impl Health {
    /// Nothing is known yet. `first_sequence` should not repeat soon.
    pub fn new(connection: Connection, mtu: u16, now: Instant, first_sequence: u64) -> Self {
        let thresholds = connection.thresholds;
        let probe = connection.probe.filter(|_| thresholds.enabled);
        let prober = || Prober::new(now, first_sequence, thresholds.interval, thresholds.loss);
        let legs = |path: &PathProbe| Legs::new(*path, thresholds.interval, thresholds.loss, now, first_sequence);
        let paths = connection.paths.iter().filter(|_| probe.is_some()).map(legs).collect();
        let sizes = probe.filter(|_| mtu > 0).map(|_| SizeSearch::new(mtu, now, first_sequence));
        Health {
            gateways: probe.map(|_| prober()),
            paths,
            sizes,
            far: None,
            chronicle: Chronicle::default(),
            restarted: false,
            latencies: Latencies::default(),
            connection,
            mtu,
        }
    }

    /// Another plan: what is known stays, as far as the same is probed.
    pub fn adapt(&mut self, connection: &Connection, mtu: u16, now: Instant, first_sequence: u64) {
        if self.connection == *connection && self.mtu == mtu {
            return;
        }
        let fresh = Health::new(connection.clone(), mtu, now, first_sequence);
        let same_ends =
            (self.connection.probe, self.connection.thresholds) == (connection.probe, connection.thresholds);
        let same_paths = same_ends && self.connection.paths == connection.paths;
        *self = Health {
            gateways: if same_ends { self.gateways.take() } else { fresh.gateways },
            paths: if same_paths { std::mem::take(&mut self.paths) } else { fresh.paths },
            // What it said of its MTU may be of before the same change there.
            far: self.far.filter(|_| same_ends).map(|far| Far { mtu: 0, ..far }),
            chronicle: std::mem::take(&mut self.chronicle),
            restarted: self.restarted,
            latencies: self.latencies,
            ..fresh
        };
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// When [`Health::poll_transmit`] wants to be called next; `None`: nothing is ever sent.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sizes = self.sizes.iter().filter(|_| self.answers_now()).map(SizeSearch::poll_timeout);
        let legs = self.paths.iter().map(|legs| legs.through.poll_timeout());
        self.gateways.iter().map(Prober::poll_timeout).chain(legs).chain(sizes).min()
    }

    /// What to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Vec<Outgoing> {
        let mut out = Vec::new();
        let Some(probe) = self.connection.probe else { return out };
        let bare = |leg, from, to, sequence| Outgoing { leg, from, to, sequence, length: MESSAGE_LENGTH };
        if let Some(sequence) = self.gateways.as_mut().and_then(|prober| prober.poll_transmit(now)) {
            out.push(bare(Leg::Gateways, probe.from, probe.to, sequence));
        }
        for legs in &mut self.paths {
            let PathProbe { gateway, responder, .. } = legs.path;
            let each = [
                (Leg::FarForwarding, &mut legs.far_forwarding, gateway.from, responder.to),
                (Leg::OurForwarding, &mut legs.our_forwarding, responder.from, gateway.to),
                (Leg::Through, &mut legs.through, responder.from, responder.to),
            ];
            for (leg, prober, from, to) in each {
                out.extend(prober.poll_transmit(now).map(|sequence| bare(leg, from, to, sequence)));
            }
        }
        let answers = self.answers_now();
        let sizes = self.sizes.as_mut().filter(|_| answers);
        if let Some((sequence, size)) = sizes.and_then(|sizes| sizes.poll_transmit(now)) {
            let headers = if probe.to.is_ipv4() { 20 + 8 } else { 40 + 8 };
            let length = usize::from(size).saturating_sub(headers).max(MESSAGE_LENGTH);
            out.push(Outgoing { leg: Leg::Size, from: probe.from, to: probe.to, sequence, length });
        }
        out
    }

    /// A reply to a probe of this connection came. It counts only if it comes from where that probe went.
    pub fn handle_reply(&mut self, from: IpAddr, message: &Message, now: Instant) {
        let gateway = self.connection.probe.is_some_and(|probe| probe.to == from);
        let by_gateway = |legs: &&mut Legs| legs.path.gateway.to == from;
        let by_responder = |legs: &&mut Legs| legs.path.responder.to == from;
        let sequence = message.sequence;
        match message.leg {
            Leg::Gateways if gateway => self.handle_gateway(message, now),
            Leg::Size if gateway => {
                if let Some(sizes) = &mut self.sizes {
                    sizes.handle_reply(sequence, now);
                }
            }
            Leg::FarForwarding => {
                let legs = self.paths.iter_mut().find(by_responder);
                legs.map(|legs| legs.far_forwarding.handle_reply(sequence, now));
            }
            Leg::OurForwarding => {
                let legs = self.paths.iter_mut().find(by_gateway);
                legs.map(|legs| legs.our_forwarding.handle_reply(sequence, now));
            }
            Leg::Through => {
                let legs = self.paths.iter_mut().find(by_responder);
                legs.map(|legs| legs.through.handle_reply(sequence, now));
            }
            Leg::Gateways | Leg::Size => {}
        }
    }

    fn handle_gateway(&mut self, message: &Message, now: Instant) {
        let Some(prober) = &mut self.gateways else { return };
        let before = prober.state();
        if !prober.handle_reply(message.sequence, now) {
            return;
        }
        self.latencies.count(prober.latency().unwrap_or_default());
        let is_other_run = self.far.is_some_and(|far| far.run != message.run);
        self.restarted |= is_other_run;
        self.far = Some(Far { mtu: message.mtu, faults: message.faults, run: message.run });
        if before == ConnectionState::Connected && !is_other_run {
            return;
        }
        // What was found of the path before may not hold any more.
        for legs in &mut self.paths {
            let thresholds = self.connection.thresholds;
            let first = legs.through.next_sequence();
            *legs = Legs::new(legs.path, thresholds.interval, thresholds.loss, now, first);
        }
        if let Some(sizes) = &mut self.sizes {
            sizes.restart(now);
        }
    }

    /// The gateways reach each other at this moment, so that what else is lost is lost elsewhere.
    pub(super) fn answers_now(&self) -> bool {
        // One is under way after each time that one was sent.
        let gateways = self.gateways.as_ref();
        gateways.is_some_and(|prober| prober.state() == ConnectionState::Connected && prober.unanswered() < 2)
    }

    /// What holds, now noted with its time.
    pub fn judge(&mut self, around: &Surroundings, now: SystemTime) -> Judgement {
        if std::mem::take(&mut self.restarted) {
            let message = format!(
                "another run of the daemon of {} answers: it started anew, or another of its gateway nodes took over",
                self.connection.remote
            );
            self.chronicle.mention(ConditionKind::TunnelProbe, "RemoteRestarted", message, now);
        }
        for (kind, statement) in self.statements(around) {
            self.chronicle.hold(kind, statement, now);
        }
        self.judgement(around)
    }

    pub fn conditions(&self) -> Vec<Condition> {
        self.chronicle.conditions()
    }

    pub fn history(&self) -> Arc<VecDeque<Change>> {
        self.chronicle.changes()
    }

    /// Of the last probe between the gateways.
    pub fn latency(&self) -> Option<Duration> {
        self.gateways.as_ref().and_then(Prober::latency)
    }

    /// Of all probes between the gateways that were answered.
    pub fn latencies(&self) -> Latencies {
        self.latencies
    }

    pub fn unanswered(&self) -> usize {
        self.gateways.as_ref().map_or(0, Prober::unanswered)
    }
}

impl Legs {
    fn new(path: PathProbe, interval: Duration, loss: u16, now: Instant, first: u64) -> Self {
        let prober = || Prober::new(now, first, interval, loss.min(LEG_LOSS));
        Legs { path, far_forwarding: prober(), our_forwarding: prober(), through: prober() }
    }
}
