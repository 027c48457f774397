//! Who sends the probes of each connection and answers those of the remotes: UDP on the gateway addresses.
//!
//! A probe takes the way of every packet of its connection, through the remap and the tunnel. When a connection counts as
//! lost is decided in `mesh_core::probe`.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mesh_common::ids::ConnectionId;
use mesh_core::{
    api::ConnectionState,
    plan::{PROBE_PORT, Plan, Probe},
    probe::{Faults, Kind, Leg, MESSAGE_LENGTH, Message, Prober, Thresholds},
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, sleep_until, timeout},
};

/// While there is nothing to probe.
const IDLE: Duration = Duration::from_secs(2);
/// Replies that wait for the prober; more are lost, as on any network.
const REPLIES: usize = 256;
/// How long a probe waits for room in its socket.
const SEND_PATIENCE: Duration = Duration::from_millis(10);
/// Pause after a failed receive, which may fail again at once.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// What the probes say of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub state: ConnectionState,
    pub latency: Option<Duration>,
    /// Probes since the last reply.
    pub unanswered: usize,
    /// Why no probe is sent at all.
    pub trouble: Option<String>,
}

pub type Reports = BTreeMap<ConnectionId, Report>;

/// Probes the connections of whatever plan is current, until the sender of plans is gone.
pub fn start(plans: watch::Receiver<Arc<Plan>>) -> watch::Receiver<Reports> {
    let (publish, reports) = watch::channel(Reports::new());
    let (reply, replies) = mpsc::channel(REPLIES);
    let probes = Probes { probers: BTreeMap::new(), sockets: BTreeMap::new(), troubles: BTreeMap::new(), reply };
    tokio::spawn(probes.run(plans, replies, publish));
    reports
}

struct Probes {
    probers: BTreeMap<ConnectionId, (Probe, Prober)>,
    sockets: BTreeMap<IpAddr, Socket>,
    troubles: BTreeMap<IpAddr, String>,
    reply: mpsc::Sender<Reply>,
}

struct Socket {
    socket: Arc<UdpSocket>,
    responder: JoinHandle<()>,
}

struct Reply {
    from: IpAddr,
    connection: u32,
    sequence: u64,
    at: Instant,
}

impl Probes {
    async fn run(
        mut self,
        mut plans: watch::Receiver<Arc<Plan>>,
        mut replies: mpsc::Receiver<Reply>,
        publish: watch::Sender<Reports>,
    ) {
        self.follow(&plans.borrow_and_update().clone());
        loop {
            let now = Instant::now();
            self.transmit(now).await;
            publish.send_if_modified(|reports| {
                let new = self.reports();
                let changed = *reports != new;
                *reports = new;
                changed
            });
            let next = self.probers.values().map(|(_, prober)| prober.poll_timeout()).min();
            tokio::select! {
                changed = plans.changed() => match changed {
                    Ok(()) => self.follow(&plans.borrow_and_update().clone()),
                    Err(_) => return,
                },
                Some(reply) = replies.recv() => self.handle(&reply),
                () = sleep_until(next.unwrap_or(now + IDLE).into()) => {}
            }
        }
    }

    /// A connection that stays keeps what is known of it.
    fn follow(&mut self, plan: &Plan) {
        let mut probers = BTreeMap::new();
        for (id, connection) in &plan.connections {
            let Some(wanted) = connection.probe else { continue };
            let prober = match self.probers.remove(id) {
                Some((probe, prober)) if probe == wanted => prober,
                _ => {
                    let Thresholds { interval, loss, .. } = connection.thresholds;
                    Prober::new(Instant::now(), first_sequence(), interval, loss)
                }
            };
            probers.insert(*id, (wanted, prober));
        }
        self.probers = probers;
        let used = |address: &IpAddr| self.probers.values().any(|(probe, _)| probe.from == *address);
        self.sockets.retain(|address, _| used(address));
        self.troubles.retain(|address, _| used(address));
    }

    async fn transmit(&mut self, now: Instant) {
        let due: Vec<_> = self
            .probers
            .iter_mut()
            .filter_map(|(id, (probe, prober))| Some((*id, *probe, prober.poll_transmit(now)?)))
            .collect();
        for (id, probe, sequence) in due {
            let message = request(u32::from(id.0), sequence);
            if let Some(socket) = self.socket(probe.from).await {
                // A probe that cannot be sent is a lost one. A new socket is not known to be writable before one waits for
                // it; one that stays full must not hold up the others.
                let target = SocketAddr::new(probe.to, PROBE_PORT);
                let _ = timeout(SEND_PATIENCE, socket.send_to(&message.encode(), target)).await;
            }
        }
    }

    /// The socket of a gateway address; the address may come later than its connection.
    async fn socket(&mut self, from: IpAddr) -> Option<Arc<UdpSocket>> {
        if let Some(known) = self.sockets.get(&from) {
            return Some(Arc::clone(&known.socket));
        }
        match UdpSocket::bind((from, PROBE_PORT)).await {
            Ok(socket) => {
                let socket = Arc::new(socket);
                let responder = tokio::spawn(respond(Arc::clone(&socket), self.reply.clone()));
                self.sockets.insert(from, Socket { socket: Arc::clone(&socket), responder });
                self.troubles.remove(&from);
                Some(socket)
            }
            Err(error) => {
                let trouble = trouble(from, &error);
                if self.troubles.get(&from) != Some(&trouble) {
                    tracing::warn!("{trouble}");
                }
                self.troubles.insert(from, trouble);
                None
            }
        }
    }

    /// A reply counts only if it comes from where its connection's probes go.
    fn handle(&mut self, reply: &Reply) {
        let id = u16::try_from(reply.connection).ok().map(ConnectionId);
        if let Some((probe, prober)) = id.and_then(|id| self.probers.get_mut(&id))
            && probe.to == reply.from
        {
            prober.handle_reply(reply.sequence, reply.at);
        }
    }

    fn reports(&self) -> Reports {
        let report = |(probe, prober): &(Probe, Prober)| Report {
            state: prober.state(),
            latency: prober.latency(),
            unanswered: prober.unanswered(),
            trouble: self.troubles.get(&probe.from).cloned(),
        };
        self.probers.iter().map(|(id, known)| (*id, report(known))).collect()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.responder.abort();
    }
}

/// Answers requests with as many bytes as they had, and passes replies on. Anything else gets no answer.
async fn respond(socket: Arc<UdpSocket>, replies: mpsc::Sender<Reply>) {
    // One byte more than a message: a longer datagram is seen to be one.
    let mut buffer = [0; MESSAGE_LENGTH + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("probe socket: {error}");
                sleep(RECEIVE_PAUSE).await;
                continue;
            }
        };
        let at = Instant::now();
        match Message::decode(&buffer[..length]) {
            Some(message @ Message { kind: Kind::Request, .. }) => {
                let _ = socket.try_send_to(&Message { kind: Kind::Reply, ..message }.encode(), from);
            }
            Some(Message { kind: Kind::Reply, connection, sequence, .. }) => {
                let _ = replies.try_send(Reply { from: from.ip(), connection, sequence, at });
            }
            None => {}
        }
    }
}

fn request(connection: u32, sequence: u64) -> Message {
    Message {
        kind: Kind::Request,
        leg: Leg::Gateways,
        mtu: 0,
        connection,
        sequence,
        run: 0,
        faults: Faults::NO_RESPONDER,
    }
}

fn trouble(from: IpAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("no probes from {from}: UDP port {PROBE_PORT} there is in use, `ss -ulpn` shows by whom")
        }
        io::ErrorKind::AddrNotAvailable => format!("no probes from {from}: the address is not on this node yet"),
        _ => format!("no probes from {from}: {error}"),
    }
}

/// Replies to an earlier run of the daemon must not be taken for replies to this one.
fn first_sequence() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use mesh_core::plan::{Connection, DeviceName, Transport};

    const SOON: Duration = Duration::from_secs(10);
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 2));

    fn plan(ends: &[(u16, IpAddr, IpAddr)]) -> Arc<Plan> {
        let connection = |from, to| Connection {
            name: "default/x".to_owned(),
            remote: "x".to_owned(),
            transport: Transport::WireguardServer { device: DeviceName("mesh-x".to_owned()) },
            probe: Some(Probe { from, to }),
            paths: Vec::new(),
            thresholds: Thresholds::default(),
        };
        let connections = ends.iter().map(|(id, from, to)| (ConnectionId(*id), connection(*from, *to))).collect();
        Arc::new(Plan { connections, ..Plan::default() })
    }

    async fn until(reports: &mut watch::Receiver<Reports>, id: u16, state: ConnectionState) -> Report {
        let wanted = |reports: &Reports| reports.get(&ConnectionId(id)).is_some_and(|report| report.state == state);
        let reached = timeout(SOON, reports.wait_for(wanted)).await.unwrap().unwrap();
        reached[&ConnectionId(id)].clone()
    }

    #[tokio::test]
    async fn two_ends_connect_and_strangers_get_no_answer() {
        let (plans, receiver) = watch::channel(plan(&[(1, HERE, THERE), (2, THERE, HERE)]));
        let mut reports = start(receiver);
        let begin = Instant::now();
        // The other one probes first, before this end is there.
        until(&mut reports, 2, ConnectionState::Connected).await;
        assert!(begin.elapsed() < IDLE / 2, "the first probe is lost");
        let report = until(&mut reports, 1, ConnectionState::Connected).await;
        assert!(report.latency.is_some_and(|latency| latency < Duration::from_secs(1)));

        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let request = super::request(7, 9).encode();
        let reply = Message { kind: Kind::Reply, ..super::request(7, 9) }.encode();
        let target = (HERE, PROBE_PORT);
        for ignored in [b"hello".as_slice(), &reply, &[request.as_slice(), b"x"].concat()] {
            stranger.send_to(ignored, target).await.unwrap();
        }
        stranger.send_to(&request, target).await.unwrap();
        let mut buffer = [0; 100];
        let (length, _) = timeout(SOON, stranger.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(buffer[..length], reply, "the first answer is to the one good request, and as long as it");

        plans.send(plan(&[])).unwrap();
        timeout(SOON, reports.wait_for(Reports::is_empty)).await.unwrap().unwrap();
        drop(plans);
    }

    #[tokio::test]
    async fn an_address_that_is_not_here_is_reported() {
        let absent = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let (_plans, receiver) = watch::channel(plan(&[(1, absent, THERE)]));
        let report = until(&mut start(receiver), 1, ConnectionState::Connecting).await;
        assert!(report.trouble.unwrap().contains("not on this node"));
    }
}
