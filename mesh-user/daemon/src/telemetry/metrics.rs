//! Which numbers does a node show to Prometheus? The names of Liqo for what Liqo shows, and ours. `docs/metrics.md` lists them.

use std::{collections::BTreeMap, sync::Arc};

use mesh_core::{
    api::{ConditionStatus, Connection, ConnectionState, LaneState, Status},
    probe::Latencies,
};

use super::exposition::Exposition;

/// What the status of a node does not say.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By remote cluster.
    pub latencies: BTreeMap<String, Latencies>,
    pub store: StoreSize,
}

/// How much is in the node's own store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreSize {
    pub revision: u64,
    pub groups: usize,
    pub members: usize,
    pub peers: usize,
    pub objects: usize,
}

/// Makes the text anew for each question.
pub type Source = Arc<dyn Fn() -> String + Send + Sync>;

pub fn render(status: &Status, measured: &Measured) -> String {
    let mut out = Exposition::default();
    liqo(&mut out, status, measured);
    connections(&mut out, status);
    lanes(&mut out, status);
    traffic(&mut out, status);
    groups(&mut out, status);
    node(&mut out, status, measured);
    out.into_text()
}

/// The names and labels that dashboards for Liqo ask for.
fn liqo(out: &mut Exposition, status: &Status, measured: &Measured) {
    let labels = |one: &Connection| [("driver", driver(one).to_owned()), ("cluster_id", one.remote.clone())];
    let mut received = out.counter("liqo_peer_receive_bytes_total", "Bytes received from the remote cluster.");
    for one in &status.connections {
        received.sample(&borrowed(&labels(one)), one.rx_bytes);
    }
    let mut sent = out.counter("liqo_peer_transmit_bytes_total", "Bytes sent to the remote cluster.");
    for one in &status.connections {
        sent.sample(&borrowed(&labels(one)), one.tx_bytes);
    }
    let mut latency =
        out.gauge("liqo_peer_latency_us", "Round trip of the last probe that was answered, in microseconds.");
    for one in &status.connections {
        if let Some(us) = one.latency_us {
            latency.sample(&borrowed(&labels(one)), us);
        }
    }
    let mut classes = out
        .histogram("liqo_peer_latency_histogram_us", "Round trips of the probes that were answered, in microseconds.");
    for one in &status.connections {
        if let Some(latencies) = measured.latencies.get(&one.remote) {
            let (count, sum) = (latencies.total(), latencies.sum_us());
            classes.classes(&borrowed(&labels(one)), latencies.cumulative(), count, sum);
        }
    }
    let mut connected = out.gauge("liqo_peer_is_connected", "1 if the connection is Connected, else 0.");
    for one in &status.connections {
        connected.sample(&borrowed(&labels(one)), u8::from(one.state == ConnectionState::Connected));
    }
}

fn connections(out: &mut Exposition, status: &Status) {
    let mut conditions =
        out.gauge("mesh_connection_condition", "1 for the status that a condition of a connection has, else 0.");
    for one in &status.connections {
        for condition in &one.conditions {
            for (word, is) in [
                ("true", condition.status == ConditionStatus::True),
                ("false", condition.status == ConditionStatus::False),
                ("unknown", condition.status == ConditionStatus::Unknown),
            ] {
                let labels = [("cluster_id", one.remote.as_str()), ("condition", &condition.kind), ("status", word)];
                conditions.sample(&labels, u8::from(is));
            }
        }
    }
    let mut ages = out.gauge("mesh_connection_handshake_age_seconds", "Age of the youngest session with the remote.");
    for one in &status.connections {
        if let Some(age) = one.handshake_age_s {
            ages.sample(&[("cluster_id", &one.remote)], age);
        }
    }
    let mut mtus = out.gauge("mesh_connection_mtu_bytes", "MTU of the tunnel.");
    for one in &status.connections {
        if let Some(mtu) = one.mtu {
            mtus.sample(&[("cluster_id", &one.remote)], mtu);
        }
    }
    let mut carried =
        out.gauge("mesh_connection_path_mtu_bytes", "The longest packet that arrives at the remote, up to the MTU.");
    for one in &status.connections {
        if let Some(mtu) = one.path_mtu {
            carried.sample(&[("cluster_id", &one.remote)], mtu);
        }
    }
}

fn lanes(out: &mut Exposition, status: &Status) {
    let all: Vec<_> = status.connections.iter().flat_map(|one| one.lanes.iter().map(move |lane| (one, lane))).collect();
    let mut live = out.gauge("mesh_lane_live", "1 if the lane has a session and what leaves by it arrives, else 0.");
    for (one, lane) in &all {
        let labels = [("cluster_id", one.remote.as_str()), ("port", &lane.port.to_string())];
        live.sample(&labels, u8::from(lane.state == LaneState::Live));
    }
    let mut received = out.counter("mesh_lane_receive_bytes_total", "Bytes received by one lane.");
    for (one, lane) in &all {
        received.sample(&[("cluster_id", one.remote.as_str()), ("port", &lane.port.to_string())], lane.rx_bytes);
    }
    let mut sent = out.counter("mesh_lane_transmit_bytes_total", "Bytes sent by one lane.");
    for (one, lane) in &all {
        sent.sample(&[("cluster_id", one.remote.as_str()), ("port", &lane.port.to_string())], lane.tx_bytes);
    }
}

fn traffic(out: &mut Exposition, status: &Status) {
    let mut dropped = out.counter("mesh_dropped_packets_total", "Packets dropped, by reason.");
    for (reason, packets) in &status.drops {
        dropped.sample(&[("reason", reason)], packets);
    }
    let mut packets = out.counter("mesh_remap_packets_total", "Packets that a remap carried, both ways.");
    for one in &status.remaps {
        let labels = [("connection", &*one.connection), ("real", &*one.real), ("presented", &*one.presented)];
        packets.sample(&labels, one.packets);
    }
    let mut bytes = out.counter("mesh_remap_bytes_total", "Bytes of the packets that a remap carried, both ways.");
    for one in &status.remaps {
        let labels = [("connection", &*one.connection), ("real", &*one.real), ("presented", &*one.presented)];
        bytes.sample(&labels, one.bytes);
    }
    let mut packets = out.counter("mesh_interface_packets_total", "Packets that the program of an interface saw.");
    for one in &status.interfaces {
        packets.sample(&[("interface", &one.name), ("role", &one.role), ("hook", &one.hook)], one.packets);
    }
    let mut bytes = out.counter("mesh_interface_bytes_total", "Bytes that the program of an interface saw.");
    for one in &status.interfaces {
        bytes.sample(&[("interface", &one.name), ("role", &one.role), ("hook", &one.hook)], one.bytes);
    }
}

fn groups(out: &mut Exposition, status: &Status) {
    let labels = |one: &mesh_core::api::GroupTunnel| {
        [("group", one.group.clone()), ("group_id", one.group_id.clone()), ("peer", one.peer.clone())]
    };
    let mut up = out.gauge("mesh_group_up", "1 if the tunnel of a peer here is there and registered, else 0.");
    for one in &status.groups {
        up.sample(&borrowed(&labels(one)), u8::from(one.up));
    }
    let mut peers = out.gauge("mesh_group_peers", "Other peers of the group.");
    for one in &status.groups {
        peers.sample(&borrowed(&labels(one)), one.peers);
    }
    let mut sessions = out.gauge("mesh_group_sessions", "Other peers of the group that there is a session with.");
    for one in &status.groups {
        sessions.sample(&borrowed(&labels(one)), one.sessions);
    }
    let mut received = out.counter("mesh_group_receive_bytes_total", "Bytes received from peers of the group.");
    for one in &status.groups {
        received.sample(&borrowed(&labels(one)), one.rx_bytes);
    }
    let mut sent = out.counter("mesh_group_transmit_bytes_total", "Bytes sent to peers of the group.");
    for one in &status.groups {
        sent.sample(&borrowed(&labels(one)), one.tx_bytes);
    }
}

fn node(out: &mut Exposition, status: &Status, measured: &Measured) {
    let labels = [("version", &*status.version), ("cluster_id", &*status.cluster)];
    out.gauge("mesh_info", "1; its labels say which meshd this is.").sample(&labels, 1);
    out.gauge("mesh_problems", "What is wrong with manifests or the node, number of lines.")
        .sample(&[], status.problems.len());
    let StoreSize { revision, groups, members, peers, objects } = measured.store;
    out.gauge("mesh_store_revision", "Last revision of the node's store.").sample(&[], revision);
    let mut entries = out.gauge("mesh_store_entries", "Things in the node's store, by kind.");
    for (kind, count) in [("group", groups), ("member", members), ("peer", peers), ("object", objects)] {
        entries.sample(&[("kind", kind)], count);
    }
}

fn driver(connection: &Connection) -> &'static str {
    if connection.kind == "Direct" { "direct" } else { "wireguard" }
}

fn borrowed<'a, const N: usize>(labels: &'a [(&'a str, String); N]) -> [(&'a str, &'a str); N] {
    labels.each_ref().map(|(name, text)| (*name, text.as_str()))
}

#[cfg(test)]
mod tests;
