//! What `GET /v1/status` says: plan, counters and probes put together.

use std::{collections::BTreeMap, time::Duration};

use mesh_common::ids::{ConnectionId, RemapId};
use mesh_core::{
    api::{Connection, ConnectionState, Interface, Lane, LaneState, Remap, Status, group::SCHEMA},
    plan::{self, DeviceName, HookChoice, InterfaceRole, Peer, Plan, Transport},
    tunnel::lane::Condition,
};

use super::{Api, Snapshot};
use crate::{
    agent::local,
    kernel::{bpf_counters::Counters, bpf_links::Hook},
    probe::{Report, Reports},
    shard::{LaneStatistics, PeerStatistics, Statistics, Traffic},
};

pub(super) fn status(api: &Api) -> Status {
    let snapshot = api.snapshots.borrow().clone();
    let counted = Counted { shards: api.shards.statistics(), programs: api.counters.as_deref() };
    let plan = &snapshot.plan;
    let names = api.names.as_ref().map(|notices| notices.borrow().clone()).unwrap_or_default();
    Status {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: api.cluster.clone(),
        public_key: api.public_key.to_string(),
        interfaces: interfaces(&snapshot, &counted),
        connections: connections_of(&snapshot, &api.reports.borrow(), &counted),
        remaps: remaps(plan, &counted),
        groups: local::states(&api.agency.locals().borrow(), &snapshot, &counted.shards.peers),
        drops: counted.drops(),
        problems: snapshot.problems.clone(),
        notices: snapshot.notices.iter().cloned().chain(counted.shards.notices()).chain(names).collect(),
    }
}

/// The connections of the plan as they are now.
pub(super) fn connections(api: &Api, snapshot: &Snapshot) -> Vec<Connection> {
    let counted = Counted { shards: api.shards.statistics(), programs: api.counters.as_deref() };
    connections_of(snapshot, &api.reports.borrow(), &counted)
}

fn connections_of(snapshot: &Snapshot, reports: &Reports, counted: &Counted<'_>) -> Vec<Connection> {
    let planned = snapshot.plan.connections.iter();
    planned.map(|(id, known)| connection(*id, known, snapshot, reports.get(id), counted)).collect()
}

/// What was counted, by those who carry packets.
struct Counted<'a> {
    shards: Statistics,
    programs: Option<&'a Counters>,
}

impl Counted<'_> {
    fn drops(&self) -> BTreeMap<String, u64> {
        let programs = self.programs.map(Counters::drops).unwrap_or_default();
        let mut drops = BTreeMap::new();
        for (reason, packets) in self.shards.drops.iter().chain(&programs) {
            *drops.entry(reason.as_str().to_owned()).or_insert(0) += packets;
        }
        drops
    }

    fn remap(&self, id: RemapId) -> Traffic {
        let shards = self.shards.remaps.iter().find(|(known, _)| *known == id).map(|(_, traffic)| *traffic);
        let shards = shards.unwrap_or_default();
        let programs = self.programs.map(|programs| programs.remap(id)).unwrap_or_default();
        shards + Traffic { packets: programs.packets, bytes: programs.bytes }
    }

    /// What a connection without tunnel carried, both ways.
    fn direct(&self, plan: &Plan, id: ConnectionId) -> Traffic {
        let remaps = plan.remaps.iter().filter(|(_, remap)| remap.connection == Some(id));
        remaps.map(|(id, _)| self.remap(*id)).sum()
    }

    fn tunnel(&self, device: &DeviceName) -> Traffic {
        let peers = self.shards.peers.iter().filter(|peer| peer.device == *device);
        peers.flat_map(|peer| [peer.received, peer.sent]).sum()
    }
}

fn interfaces(snapshot: &Snapshot, counted: &Counted<'_>) -> Vec<Interface> {
    let attached = snapshot.plan.interfaces.iter().map(|(name, attachment)| {
        let report = snapshot.hooks.get(name);
        let seen = report.zip(counted.programs).map(|(report, programs)| programs.interface(report.index));
        let seen = seen.unwrap_or_default();
        Interface {
            name: name.to_string(),
            role: match attachment.role {
                InterfaceRole::Workload => "workload".to_owned(),
                InterfaceRole::Underlay => "underlay".to_owned(),
            },
            wanted: hook_word(attachment.hook).to_owned(),
            hook: report.and_then(|report| report.hook).map_or("off", Hook::word).to_owned(),
            why: report.map_or("there is no such interface now", |report| &report.why).to_owned(),
            packets: seen.packets,
            bytes: seen.bytes,
        }
    });
    let tunnels = snapshot.plan.tunnels.keys().map(|name| {
        let traffic = counted.tunnel(name);
        Interface {
            name: name.to_string(),
            role: "tunnel".to_owned(),
            wanted: "shard".to_owned(),
            hook: "shard".to_owned(),
            why: "remapped and encrypted by the daemon".to_owned(),
            packets: traffic.packets,
            bytes: traffic.bytes,
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
    counted: &Counted<'_>,
) -> Connection {
    let (kind, device) = match &known.transport {
        Transport::WireguardServer { device } => ("Server", Some(device)),
        Transport::WireguardClient { device } => ("Client", Some(device)),
        Transport::Direct { .. } => ("Direct", None),
    };
    let peers = device.map(|device| peers(id, device, &snapshot.plan, &counted.shards)).unwrap_or_default();
    // Of several gateway nodes the one that was heard last tells of all.
    let peer = peers.iter().copied().min_by_key(|(_, peer)| peer.handshake_age.unwrap_or(Duration::MAX));
    let traffic = match device {
        Some(_) => {
            let counted = || peers.iter().map(|(_, peer)| peer);
            (counted().map(|peer| peer.received).sum(), counted().map(|peer| peer.sent).sum())
        }
        None => (counted.direct(&snapshot.plan, id), Traffic::default()),
    };
    Connection {
        name: known.name.clone(),
        remote: known.remote.clone(),
        kind: kind.to_owned(),
        state: report.map_or(ConnectionState::Connecting, |report| report.state),
        latency_us: report.and_then(|report| report.latency).map(|latency| latency.as_micros() as u64),
        detail: report.map(|report| report.detail.clone()).unwrap_or_default(),
        device: device.map(|device| device.0.clone()),
        endpoint: match &known.transport {
            Transport::Direct { next_hops, .. } => {
                Some(next_hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            _ => peer.and_then(|(_, peer)| peer.endpoint).map(|endpoint| endpoint.to_string()),
        },
        listen_port: device.and_then(|device| snapshot.listen_ports.get(device)?.first().copied()),
        handshake_age_s: peer.and_then(|(_, peer)| peer.handshake_age).map(|age| age.as_secs()),
        rx_bytes: traffic.0.bytes,
        tx_bytes: traffic.1.bytes,
        rx_packets: traffic.0.packets,
        tx_packets: traffic.1.packets,
        lanes: peers.iter().flat_map(|(_, peer)| peer.lanes.iter().map(|one| lane(peer, one))).collect(),
        conditions: report.map(|report| report.conditions.clone()).unwrap_or_default(),
        history: report.map(|report| report.history.iter().cloned().collect()).unwrap_or_default(),
        mtu: device.and_then(|device| Some(snapshot.plan.tunnels.get(device)?.mtu)),
        path_mtu: report.and_then(|report| report.path_mtu),
    }
}

fn lane(peer: &PeerStatistics, lane: &LaneStatistics) -> Lane {
    Lane {
        gateway: peer.peer.to_string(),
        port: lane.port,
        shard: lane.shard,
        state: match lane.condition {
            Condition::Idle => LaneState::Idle,
            Condition::Live => LaneState::Live,
            Condition::Dead => LaneState::Dead,
        },
        endpoint: lane.endpoint.map(|endpoint| endpoint.to_string()),
        handshake_age_s: lane.handshake_age.map(|age| age.as_secs()),
        rx_bytes: lane.received.bytes,
        tx_bytes: lane.sent.bytes,
        rx_packets: lane.received.packets,
        tx_packets: lane.sent.packets,
    }
}

/// The gateway nodes of the remote.
fn peers<'a>(
    id: ConnectionId,
    device: &DeviceName,
    plan: &'a Plan,
    statistics: &'a Statistics,
) -> Vec<(&'a Peer, &'a PeerStatistics)> {
    let planned = plan.tunnels.get(device).into_iter().flat_map(|tunnel| &tunnel.peers);
    let of_connection = planned.filter(|(_, peer)| peer.connection == id);
    let counted = of_connection.filter_map(|(key, peer)| {
        let counted = statistics.peers.iter().find(|counted| counted.device == *device && counted.peer == *key)?;
        Some((peer, counted))
    });
    counted.collect()
}

fn remaps(plan: &Plan, counted: &Counted<'_>) -> Vec<Remap> {
    let remap = |(id, remap): (&RemapId, &plan::Remap)| {
        let traffic = counted.remap(*id);
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
