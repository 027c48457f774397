//! Who probes each connection and answers the remotes: sockets on the gateway addresses, and a responder behind the gateway.
//!
//! What is sent when, and what replies mean, is decided in `mesh_core::probe`; here is what it needs of the world.

mod answers;
mod around;
mod responder;
mod sockets;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mesh_common::ids::ConnectionId;
use mesh_core::{
    api::{Change, Condition, ConnectionState},
    plan::{Connection, Plan, Transport},
    probe::{Faults, Health, Judgement, Kind, Latencies, Leg, Message, Outgoing, Session, Surroundings},
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep_until},
};

use self::{
    answers::{Answers, Asker, Desk, Reply},
    around::OwnFaults,
    responder::Responder,
    sockets::Sockets,
};
use crate::{
    agent::local::SESSION_LIFE,
    kernel::netlink::{Links, Netlink},
    shard::PeerStatistics,
};

/// Replies that wait for the loop.
const REPLIES: usize = 1_024;
/// Sessions, settings and interfaces are looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// While there is nothing to probe.
const IDLE: Duration = Duration::from_secs(60);

/// What is known of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub state: ConnectionState,
    pub latency: Option<Duration>,
    /// Of all probes that were answered.
    pub latencies: Latencies,
    /// Probes since the last reply.
    pub unanswered: usize,
    /// Why it is not connected, or what it trusts.
    pub detail: String,
    pub conditions: Vec<Condition>,
    /// The last changes, oldest first.
    pub history: Arc<VecDeque<Change>>,
    /// The longest packet that arrives at the remote, up to the MTU.
    pub path_mtu: Option<u16>,
}

pub type Reports = BTreeMap<ConnectionId, Report>;

/// The session of each connection that has or had one, and where its other end is.
pub type Sessions = BTreeMap<ConnectionId, (Session, Option<SocketAddr>)>;

/// Probes the connections of whatever plan is current, until the sender of plans is gone. `sessions` is asked every second.
/// Without netlink there is no responder.
pub fn start(
    plans: watch::Receiver<Arc<Plan>>,
    netlink: Option<Netlink>,
    sessions: impl Fn(&Plan) -> Sessions + Send + Sync + 'static,
) -> watch::Receiver<Reports> {
    let (publish, reports) = watch::channel(Reports::new());
    let (reply, replies) = mpsc::channel(REPLIES);
    let (answers, answers_reader) = watch::channel(Arc::default());
    let desk = Desk { answers: answers_reader, replies: reply };
    let probes = Probes {
        run: first_sequence() as u32,
        plan: Arc::default(),
        known: BTreeMap::new(),
        around: BTreeMap::new(),
        faults: OwnFaults::default(),
        sockets: Sockets::new(desk.clone()),
        responder: Responder::new(netlink.clone(), desk),
        netlink,
        answers,
        publish,
    };
    tokio::spawn(probes.run(plans, replies, sessions));
    reports
}

struct Probes {
    run: u32,
    plan: Arc<Plan>,
    known: BTreeMap<ConnectionId, Health>,
    around: BTreeMap<ConnectionId, Surroundings>,
    faults: OwnFaults,
    sockets: Sockets,
    responder: Responder,
    netlink: Option<Netlink>,
    answers: watch::Sender<Arc<Answers>>,
    publish: watch::Sender<Reports>,
}

impl Probes {
    async fn run(
        mut self,
        mut plans: watch::Receiver<Arc<Plan>>,
        mut replies: mpsc::Receiver<Reply>,
        sessions: impl Fn(&Plan) -> Sessions + Send + Sync,
    ) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow(&plans.borrow_and_update().clone());
        loop {
            self.transmit().await;
            let next = self.known.values().filter_map(Health::poll_timeout).min();
            tokio::select! {
                biased;
                changed = plans.changed() => match changed {
                    Ok(()) => {
                        self.follow(&plans.borrow_and_update().clone());
                        self.look(&sessions).await;
                    }
                    Err(_) => return,
                },
                Some(reply) = replies.recv() => self.handle(&reply),
                _ = look.tick() => self.look(&sessions).await,
                () = sleep_until(next.unwrap_or(Instant::now() + IDLE).into()) => {}
            }
        }
    }

    /// A connection that stays keeps what is known of it.
    fn follow(&mut self, plan: &Arc<Plan>) {
        let mut known = BTreeMap::new();
        for (id, connection) in &plan.connections {
            let (mtu, now) = (mtu(plan, connection), Instant::now());
            let health = match self.known.remove(id) {
                Some(mut health) if health.connection().remote == connection.remote => {
                    health.adapt(connection, mtu, now, first_sequence());
                    health
                }
                _ => Health::new(connection.clone(), mtu, now, first_sequence()),
            };
            known.insert(*id, health);
        }
        self.known = known;
        self.around.retain(|id, _| plan.connections.contains_key(id));
        self.plan = Arc::clone(plan);
        self.publish.send_if_modified(|reports| {
            let before = reports.len();
            reports.retain(|id, _| plan.connections.contains_key(id));
            reports.len() != before
        });
    }

    /// Sees that sockets and responder are there, and what around the connections is new.
    async fn look(&mut self, sessions: &impl Fn(&Plan) -> Sessions) {
        let plan = Arc::clone(&self.plan);
        self.sockets.follow(&gateway_addresses(&plan)).await;
        self.responder.follow(&responder_addresses(&plan)).await;
        let links = match &self.netlink {
            Some(netlink) if !plan.connections.is_empty() => netlink.links().await.ok(),
            _ => None,
        };
        self.look_around(&plan, links.as_ref());
        let seen = sessions(&plan);
        for (id, connection) in &plan.connections {
            let (session, endpoint) = seen.get(id).copied().unwrap_or_default();
            let trouble = connection.probe.and_then(|probe| self.sockets.trouble(probe.from).cloned());
            let around = Surroundings {
                session,
                endpoint,
                trouble,
                responder_trouble: self.responder.trouble().cloned(),
                own_faults: self.faults.words.clone(),
            };
            self.around.insert(*id, around);
            self.judge(*id);
        }
    }

    fn look_around(&mut self, plan: &Plan, links: Option<&Links>) {
        self.faults = around::look(plan, links);
        let responder = if self.responder.is_live() { Faults::default() } else { Faults::NO_RESPONDER };
        let mut askers = BTreeMap::new();
        for connection in plan.connections.values() {
            let mtu = mtu(plan, connection);
            for path in &connection.paths {
                let asker = Asker { mtu, responder: (path.responder.from, path.answers_at) };
                askers.extend([path.gateway.to, path.responder.to].map(|address| (address, asker)));
            }
        }
        let answers = Answers { run: self.run, faults: self.faults.bits.with(responder), askers };
        self.answers.send_replace(Arc::new(answers));
    }

    async fn transmit(&mut self) {
        let now = Instant::now();
        let due: Vec<(ConnectionId, u16, Outgoing)> = self
            .known
            .iter_mut()
            .flat_map(|(id, health)| {
                let mtu = health.mtu();
                health.poll_transmit(now).into_iter().map(move |out| (*id, mtu, out))
            })
            .collect();
        for (id, mtu, out) in due {
            let Outgoing { leg, from, to, sequence, length } = out;
            let connection = u32::from(id.0);
            let faults = self.faults.bits;
            let message = Message { kind: Kind::Request, leg, mtu, connection, sequence, run: self.run, faults };
            let mut payload = message.encode().to_vec();
            payload.resize(length, 0);
            match leg {
                Leg::OurForwarding | Leg::Through => self.responder.send(from, to, &payload),
                Leg::Gateways | Leg::FarForwarding | Leg::Size => self.sockets.send(from, to, &payload).await,
            }
            if leg == Leg::Gateways {
                self.judge(id);
            }
        }
    }

    fn handle(&mut self, reply: &Reply) {
        let Some(id) = u16::try_from(reply.message.connection).ok().map(ConnectionId) else { return };
        if let Some(health) = self.known.get_mut(&id) {
            health.handle_reply(reply.from, &reply.message, reply.at);
            self.judge(id);
        }
    }

    fn judge(&mut self, id: ConnectionId) {
        let Some(health) = self.known.get_mut(&id) else { return };
        let unknown = Surroundings::default();
        let around = self.around.get(&id).unwrap_or(&unknown);
        let Judgement { state, latency, detail, path_mtu } = health.judge(around, SystemTime::now());
        let report = Report {
            state,
            latency,
            latencies: health.latencies(),
            unanswered: health.unanswered(),
            detail,
            conditions: health.conditions(),
            history: health.history(),
            path_mtu,
        };
        self.publish.send_if_modified(|reports| {
            let changed = reports.get(&id) != Some(&report);
            if changed {
                reports.insert(id, report);
            }
            changed
        });
    }
}

/// The sessions of the plan's connections as the shards counted them; of several peers the one that lives.
pub fn sessions(plan: &Plan, counted: &[PeerStatistics]) -> Sessions {
    let mut sessions = Sessions::new();
    for one in counted {
        let Some(tunnel) = plan.tunnels.get(&one.device) else { continue };
        let Some(peer) = tunnel.peers.get(&one.peer) else { continue };
        let session = match one.handshake_age {
            None if tunnel.exec.is_some() => Session::Unseen,
            Some(age) if age < SESSION_LIFE => Session::Live,
            Some(_) => Session::Expired,
            None if one.last_handshake.is_some() => Session::Expired,
            None => Session::Never,
        };
        let known = sessions.entry(peer.connection).or_insert((session, one.endpoint));
        if known.0 != Session::Live {
            *known = (session, one.endpoint);
        }
    }
    sessions
}

/// Where probes leave and are answered.
fn gateway_addresses(plan: &Plan) -> BTreeSet<IpAddr> {
    let probed = plan.connections.values().filter(|connection| connection.thresholds.enabled);
    let ends = probed.flat_map(|connection| {
        connection.probe.iter().map(|probe| probe.from).chain(connection.paths.iter().map(|path| path.gateway.from))
    });
    plan.tunnels.values().flat_map(|tunnel| tunnel.addresses.iter().map(|net| net.addr())).chain(ends).collect()
}

fn responder_addresses(plan: &Plan) -> BTreeSet<IpAddr> {
    let paths = plan.connections.values().flat_map(|connection| &connection.paths);
    paths.flat_map(|path| [path.answers_at, path.answers_also_at]).collect()
}

fn mtu(plan: &Plan, connection: &Connection) -> u16 {
    match &connection.transport {
        Transport::WireguardServer { device } | Transport::WireguardClient { device } => {
            plan.tunnels.get(device).map_or(0, |tunnel| tunnel.mtu)
        }
        Transport::Direct { .. } => 0,
    }
}

/// Replies to an earlier run of the daemon must not be taken for replies to this one.
fn first_sequence() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}
