//! What `GET /v1/status` says: plan, counters and probes put together.

use std::{collections::BTreeMap, time::Duration};

use mesh_common::ids::ConnectionId;
use mesh_core::{
    api::{Connection, ConnectionState, Interface, Remap, Status},
    plan::{self, DeviceName, HookChoice, InterfaceRole, Peer, Plan, Transport},
};

use super::{Api, Snapshot};
use crate::{
    probe::Report,
    shard::{PeerStatistics, Statistics},
};

/// A session older than this is dead: WireGuard's REJECT_AFTER_TIME.
const SESSION_LIFE: Duration = Duration::from_secs(180);

pub(super) fn status(api: &Api) -> Status {
    let snapshot = api.snapshots.borrow().clone();
    let reports = api.reports.borrow().clone();
    let statistics = api.shards.statistics();
    let plan = &snapshot.plan;
    let connections =
        plan.connections.iter().map(|(id, known)| connection(*id, known, &snapshot, reports.get(id), &statistics));
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: api.cluster.clone(),
        public_key: format!("{:?}", api.public_key),
        interfaces: interfaces(plan, &statistics),
        connections: connections.collect(),
        remaps: remaps(plan, &statistics),
        drops: statistics.drops.iter().map(|(reason, packets)| (reason.as_str().to_owned(), *packets)).collect(),
        problems: snapshot.problems.clone(),
        notices: snapshot.notices.clone(),
    }
}

fn interfaces(plan: &Plan, statistics: &Statistics) -> Vec<Interface> {
    let attached = plan.interfaces.iter().map(|(name, attachment)| Interface {
        name: name.0.clone(),
        role: match attachment.role {
            InterfaceRole::Workload => "workload".to_owned(),
            InterfaceRole::Underlay => "underlay".to_owned(),
        },
        wanted: hook_word(attachment.hook).to_owned(),
        hook: "off".to_owned(),
        why: "tunnels need no program here: routes lead to the tunnel device".to_owned(),
        packets: 0,
        bytes: 0,
    });
    let tunnels = plan.tunnels.keys().map(|name| {
        let of_device = statistics.peers.iter().filter(|peer| peer.device == *name);
        let (packets, bytes) = of_device.fold((0, 0), |(packets, bytes), peer| {
            let traffic = [peer.received, peer.sent];
            (
                packets + traffic.iter().map(|t| t.packets).sum::<u64>(),
                bytes + traffic.iter().map(|t| t.bytes).sum::<u64>(),
            )
        });
        Interface {
            name: name.0.clone(),
            role: "tunnel".to_owned(),
            wanted: "shard".to_owned(),
            hook: "shard".to_owned(),
            why: "remapped and encrypted by the daemon".to_owned(),
            packets,
            bytes,
        }
    });
    attached.chain(tunnels).collect()
}

fn hook_word(hook: HookChoice) -> &'static str {
    match hook {
        HookChoice::Auto => "auto",
        HookChoice::Xdp => "xdp",
        HookChoice::XdpGeneric => "xdp-generic",
        HookChoice::Tcx => "tcx",
        HookChoice::Off => "off",
    }
}

fn connection(
    id: ConnectionId,
    known: &plan::Connection,
    snapshot: &Snapshot,
    report: Option<&Report>,
    statistics: &Statistics,
) -> Connection {
    let (kind, device) = match &known.transport {
        Transport::WireguardServer { device } => ("Server", Some(device)),
        Transport::WireguardClient { device } => ("Client", Some(device)),
        Transport::Direct { .. } => ("Direct", None),
    };
    let peer = device.and_then(|device| peer(id, device, &snapshot.plan, statistics));
    let state = state(known, report, peer.map(|(_, peer)| peer));
    let traffic = peer.map(|(_, peer)| (peer.received, peer.sent)).unwrap_or_default();
    Connection {
        name: known.name.clone(),
        remote: known.remote.clone(),
        kind: kind.to_owned(),
        state,
        latency_us: report.and_then(|report| report.latency).map(|latency| latency.as_micros() as u64),
        detail: detail(known, state, report, peer),
        device: device.map(|device| device.0.clone()),
        endpoint: match &known.transport {
            Transport::Direct { next_hops, .. } => {
                Some(next_hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            _ => peer.and_then(|(_, peer)| peer.endpoint).map(|endpoint| endpoint.to_string()),
        },
        listen_port: device.and_then(|device| snapshot.listen_ports.get(device).copied()),
        handshake_age_s: peer.and_then(|(_, peer)| peer.handshake_age).map(|age| age.as_secs()),
        rx_bytes: traffic.0.bytes,
        tx_bytes: traffic.1.bytes,
        rx_packets: traffic.0.packets,
        tx_packets: traffic.1.packets,
    }
}

fn peer<'a>(
    id: ConnectionId,
    device: &DeviceName,
    plan: &'a Plan,
    statistics: &'a Statistics,
) -> Option<(&'a Peer, &'a PeerStatistics)> {
    let (key, peer) = plan.tunnels.get(device)?.peers.iter().find(|(_, peer)| peer.connection == id)?;
    let counted = statistics.peers.iter().find(|counted| counted.device == *device && counted.peer == *key)?;
    Some((peer, counted))
}

/// A remote with a responder is judged by its probes, any other by the age of its session.
fn state(known: &plan::Connection, report: Option<&Report>, peer: Option<&PeerStatistics>) -> ConnectionState {
    if known.probe.is_some() {
        return report.map_or(ConnectionState::Connecting, |report| report.state);
    }
    match peer.and_then(|peer| peer.handshake_age) {
        Some(age) if age < SESSION_LIFE => ConnectionState::Connected,
        Some(_) => ConnectionState::Error,
        None => ConnectionState::Connecting,
    }
}

fn detail(
    known: &plan::Connection,
    state: ConnectionState,
    report: Option<&Report>,
    peer: Option<(&Peer, &PeerStatistics)>,
) -> String {
    if let Some(trouble) = report.and_then(|report| report.trouble.clone()) {
        return trouble;
    }
    let direct = matches!(known.transport, Transport::Direct { .. });
    match (state, peer) {
        (ConnectionState::Connected, _) if direct => {
            "authenticates nobody: trusts whatever comes from its prefixes on this interface".to_owned()
        }
        (ConnectionState::Connected, _) => String::new(),
        (_, Some((planned, counted))) if counted.handshake_age.is_none() => match counted.endpoint {
            Some(endpoint) => format!("no session: no handshake with {endpoint}"),
            None if planned.endpoints.is_empty() => "no session: waits for the client to call".to_owned(),
            None => "no session".to_owned(),
        },
        _ => match known.probe {
            Some(probe) => format!("no reply from {} UDP port {}", probe.to, plan::PROBE_PORT),
            None => String::new(),
        },
    }
}

fn remaps(plan: &Plan, statistics: &Statistics) -> Vec<Remap> {
    let counted: BTreeMap<_, _> = statistics.remaps.iter().copied().collect();
    let remap = |(id, remap): (&mesh_common::ids::RemapId, &plan::Remap)| {
        let traffic = counted.get(id).copied().unwrap_or_default();
        let connection = remap.connection.and_then(|id| plan.connections.get(&id));
        Remap {
            connection: connection.map(|connection| connection.name.clone()).unwrap_or_default(),
            real: remap.real.to_string(),
            presented: remap.presented.to_string(),
            packets: traffic.packets,
            bytes: traffic.bytes,
        }
    };
    plan.remaps.iter().map(remap).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_core::plan::{Probe, PublicKey, Tunnel};

    use super::*;
    use crate::shard::Traffic;

    const ID: ConnectionId = ConnectionId(4);
    const KEY: PublicKey = PublicKey([1; 32]);

    fn device() -> DeviceName {
        DeviceName("mesh-b".to_owned())
    }

    /// One tunnel to a client, with or without a responder there.
    fn snapshot(probe: Option<Probe>) -> Snapshot {
        let transport = Transport::WireguardServer { device: device() };
        let known = plan::Connection { name: "default/b".to_owned(), remote: "b".to_owned(), transport, probe };
        let peer = Peer { connection: ID, endpoints: Vec::new(), keepalive_seconds: None, announced: BTreeMap::new() };
        let peers = BTreeMap::from([(KEY, peer)]);
        let tunnel = Tunnel { mtu: 1_340, listen_port: 51_840, addresses: [].into(), peers };
        let plan = Plan { connections: [(ID, known)].into(), tunnels: [(device(), tunnel)].into(), ..Plan::default() };
        Snapshot { plan: Arc::new(plan), listen_ports: [(device(), 51_840)].into(), ..Snapshot::default() }
    }

    fn statistics(handshake_age: Option<Duration>) -> Statistics {
        let received = Traffic { packets: 2, bytes: 300 };
        let peer = PeerStatistics {
            device: device(),
            peer: KEY,
            endpoint: handshake_age.map(|_| "192.0.2.7:4000".parse().unwrap()),
            handshake_age,
            received,
            sent: Traffic::default(),
        };
        Statistics { peers: vec![peer], ..Statistics::default() }
    }

    fn shown(snapshot: &Snapshot, report: Option<&Report>, statistics: &Statistics) -> Connection {
        connection(ID, &snapshot.plan.connections[&ID], snapshot, report, statistics)
    }

    #[test]
    fn a_remote_without_responder_is_judged_by_its_session() {
        let plain = snapshot(None);
        let state = |age: Option<u64>| shown(&plain, None, &statistics(age.map(Duration::from_secs))).state;
        assert_eq!(state(None), ConnectionState::Connecting);
        assert_eq!(state(Some(179)), ConnectionState::Connected);
        assert_eq!(state(Some(180)), ConnectionState::Error);
    }

    #[test]
    fn a_remote_with_responder_is_judged_by_its_probes() {
        let probe = Probe { from: "10.70.0.2".parse().unwrap(), to: "10.68.0.2".parse().unwrap() };
        let probed = snapshot(Some(probe));
        let report = |state| Report { state, latency: None, unanswered: 0, trouble: None };

        let silent = shown(&probed, Some(&report(ConnectionState::Error)), &statistics(Some(Duration::from_secs(5))));
        assert_eq!(silent.state, ConnectionState::Error);
        assert_eq!(silent.detail, "no reply from 10.68.0.2 UDP port 12345");

        let waiting = shown(&probed, Some(&report(ConnectionState::Connecting)), &statistics(None));
        assert_eq!(waiting.detail, "no session: waits for the client to call");

        let latency = Some(Duration::from_micros(420));
        let good = Report { latency, ..report(ConnectionState::Connected) };
        let connected = shown(&probed, Some(&good), &statistics(Some(Duration::from_secs(5))));
        assert_eq!((connected.state, connected.latency_us), (ConnectionState::Connected, Some(420)));
        assert_eq!((connected.kind.as_str(), connected.listen_port), ("Server", Some(51_840)));
        assert_eq!((connected.rx_packets, connected.rx_bytes, connected.handshake_age_s), (2, 300, Some(5)));
        assert_eq!(connected.endpoint.as_deref(), Some("192.0.2.7:4000"));
        assert_eq!(connected.detail, "");
    }
}
