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
