//! `meshctl status`: what a node does, as tables or JSON, and its health checks.

use clap::{Args, ValueEnum};
use mesh_core::api::{Connection, GroupTunnel, Status};

use crate::{
    daemon::Daemon,
    exit::Failure,
    output::{Output, OutputArguments},
    table::{bytes, cell, latency, render},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only whether the node is healthy: exit code 8 if it is not
    #[arg(long, value_enum)]
    check: Option<Check>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Check {
    /// The daemon works on its control loop
    Live,
    /// All that is wanted is in force
    Ready,
    /// The first plan is in force
    Startup,
}

pub(crate) fn run(daemon: &Daemon, arguments: &Arguments) -> Result<String, Failure> {
    let output = arguments.output.output;
    if let Some(check) = arguments.check {
        let check = match check {
            Check::Live => "live",
            Check::Ready => "ready",
            Check::Startup => "startup",
        };
        let answer: String = daemon.get(format!("/v1/health/{check}").as_str())?;
        return output.form().print(&answer, |answer| format!("{answer}\n"));
    }
    let status: Status = daemon.get("/v1/status")?;
    output.form().print(&status, |status| match output {
        Output::Name => status.connections.iter().map(|connection| format!("{}\n", connection.name)).collect(),
        Output::Table | Output::Wide | Output::Json | Output::Yaml => tables(status),
    })
}

fn tables(status: &Status) -> String {
    let node = format!("cluster {}, meshd {}, public key {}\n", status.cluster, status.version, status.public_key);
    let mut parts = vec![node, interfaces(status), connections(status), lanes(status), remaps(status), groups(status)];
    parts.push(drops(status));
    parts.push(list("PROBLEMS", &status.problems));
    parts.push(list("NOTICES", &status.notices));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn interfaces(status: &Status) -> String {
    let row = |interface: &mesh_core::api::Interface| {
        vec![
            interface.name.clone(),
            interface.role.clone(),
            interface.hook.clone(),
            interface.wanted.clone(),
            interface.packets.to_string(),
            bytes(interface.bytes),
            cell(&interface.why),
        ]
    };
    let rows: Vec<_> = status.interfaces.iter().map(row).collect();
    table(&["INTERFACE", "ROLE", "HOOK", "WANTED", "PACKETS", "BYTES", "WHY"], &rows)
}

/// Peers of network groups: those that this node runs.
fn groups(status: &Status) -> String {
    let header = [
        "GROUP",
        "MEMBER",
        "ADDRESS",
        "DEVICE",
        "NETNS",
        "HUB",
        "LIVE PEERS",
        "LATENCY",
        "STATE",
        "RECEIVED",
        "SENT",
        "DETAIL",
    ];
    let row = |tunnel: &GroupTunnel| {
        let state = match (tunnel.up, tunnel.hub_reachable) {
            (true, true) => "up",
            (true, false) => "up, hub unreachable",
            (false, _) => "down",
        };
        vec![
            tunnel.group.clone(),
            tunnel.member.clone(),
            cell(tunnel.address.as_deref().unwrap_or_default()),
            tunnel.device.clone(),
            cell(tunnel.netns.as_deref().unwrap_or_default()),
            cell(&tunnel.hub),
            format!("{} of {}", tunnel.sessions, tunnel.peers),
            tunnel.latency_us.map_or("-".to_owned(), |micros| format!("<= {}", latency(micros))),
            state.to_owned(),
            traffic(tunnel.rx_packets, tunnel.rx_bytes),
            traffic(tunnel.tx_packets, tunnel.tx_bytes),
            cell(&tunnel.detail),
        ]
    };
    let rows: Vec<_> = status.groups.iter().map(row).collect();
    table(&header, &rows)
}

fn connections(status: &Status) -> String {
    let header =
        ["CONNECTION", "REMOTE", "KIND", "STATE", "LATENCY", "RECEIVED", "SENT", "HANDSHAKE", "ENDPOINT", "DETAIL"];
    let row = |connection: &Connection| {
        vec![
            connection.name.clone(),
            connection.remote.clone(),
            connection.kind.clone(),
            format!("{:?}", connection.state),
            connection.latency_us.map_or("-".to_owned(), latency),
            traffic(connection.rx_packets, connection.rx_bytes),
            traffic(connection.tx_packets, connection.tx_bytes),
            connection.handshake_age_s.map_or("-".to_owned(), |age| format!("{age} s ago")),
            cell(connection.endpoint.as_deref().unwrap_or("")),
            cell(&connection.detail),
        ]
    };
    let rows: Vec<_> = status.connections.iter().map(row).collect();
    table(&header, &rows)
}

/// Only of connections that have more than one.
fn lanes(status: &Status) -> String {
    let several = status.connections.iter().filter(|connection| connection.lanes.len() > 1);
    let rows = several.flat_map(|connection| {
        connection.lanes.iter().map(|lane| {
            vec![
                connection.name.clone(),
                lane.gateway.chars().take(8).collect(),
                lane.port.to_string(),
                lane.shard.to_string(),
                format!("{:?}", lane.state),
                traffic(lane.rx_packets, lane.rx_bytes),
                traffic(lane.tx_packets, lane.tx_bytes),
                lane.handshake_age_s.map_or("-".to_owned(), |age| format!("{age} s ago")),
                cell(lane.endpoint.as_deref().unwrap_or("")),
            ]
        })
    });
    let rows: Vec<_> = rows.collect();
    table(&["LANE OF", "TO KEY", "PORT", "SHARD", "STATE", "RECEIVED", "SENT", "HANDSHAKE", "ENDPOINT"], &rows)
}

fn remaps(status: &Status) -> String {
    let row = |remap: &mesh_core::api::Remap| {
        vec![
            cell(&remap.connection),
            remap.real.clone(),
            remap.presented.clone(),
            remap.packets.to_string(),
            bytes(remap.bytes),
        ]
    };
    let rows: Vec<_> = status.remaps.iter().map(row).collect();
    table(&["REMAP OF", "REAL", "PRESENTED", "PACKETS", "BYTES"], &rows)
}

fn drops(status: &Status) -> String {
    let rows: Vec<_> = status.drops.iter().map(|(reason, packets)| vec![reason.clone(), packets.to_string()]).collect();
    table(&["DROPPED BECAUSE", "PACKETS"], &rows)
}

/// A table without rows is left out.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { render(header, rows) }
}

fn list(header: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
    format!("{header}\n{lines}")
}

fn traffic(packets: u64, count: u64) -> String {
    format!("{packets} / {}", bytes(count))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh_core::api::{ConnectionState, Interface, Lane, LaneState, Remap};

    use super::*;

    fn lane(port: u16, state: LaneState) -> Lane {
        Lane {
            gateway: "BwcHBwcHBwc=".to_owned(),
            port,
            shard: usize::from(port - 51_840),
            state,
            endpoint: Some(format!("172.19.0.8:{port}")),
            handshake_age_s: Some(7),
            rx_bytes: 500_000,
            tx_bytes: 5,
            rx_packets: 500,
            tx_packets: 1,
        }
    }

    fn tunnel() -> GroupTunnel {
        GroupTunnel {
            group: "one".to_owned(),
            group_id: "ng_00000000-0000-4000-8000-000000000001".to_owned(),
            org: "default".to_owned(),
            member: "app_web".to_owned(),
            peer: "00000000-0000-4000-9000-000000000001".to_owned(),
            device: "mesh-g012345678".to_owned(),
            netns: Some("/run/netns/web".to_owned()),
            address: Some("10.255.0.5".to_owned()),
            listen_port: 51_820,
            up: true,
            detail: String::new(),
            hub: "https://hub:7443".to_owned(),
            hub_reachable: true,
            peers: 3,
            sessions: 2,
            latency_us: Some(480),
            rx_bytes: 2_000,
            tx_bytes: 10,
            rx_packets: 20,
            tx_packets: 1,
        }
    }

    fn example() -> Status {
        Status {
            schema: 1,
            version: "0.1.0".to_owned(),
            cluster: "cl01".to_owned(),
            public_key: "q8Zz=".to_owned(),
            interfaces: vec![Interface {
                name: "pods0".to_owned(),
                role: "workload".to_owned(),
                wanted: "auto".to_owned(),
                hook: "tcx".to_owned(),
                why: "veth".to_owned(),
                packets: 12,
                bytes: 3_400,
            }],
            connections: vec![Connection {
                name: "default/client".to_owned(),
                remote: "cl02".to_owned(),
                kind: "Client".to_owned(),
                state: ConnectionState::Connected,
                latency_us: Some(1_250),
                detail: String::new(),
                device: Some("mesh-cl02".to_owned()),
                endpoint: Some("172.19.0.8:51840".to_owned()),
                listen_port: Some(51_840),
                handshake_age_s: Some(7),
                rx_bytes: 1_000_000,
                tx_bytes: 10,
                rx_packets: 1_000,
                tx_packets: 1,
                lanes: vec![lane(51_840, LaneState::Live), lane(51_841, LaneState::Dead)],
                conditions: Vec::new(),
                history: Vec::new(),
                mtu: None,
                path_mtu: None,
            }],
            remaps: vec![Remap {
                connection: "default/client".to_owned(),
                real: "10.243.0.0/16".to_owned(),
                presented: "10.71.0.0/16".to_owned(),
                packets: 5,
                bytes: 500,
            }],
            groups: vec![tunnel()],
            drops: BTreeMap::from([("spoofed-source".to_owned(), 3)]),
            problems: vec!["a.yaml:3: wrong".to_owned()],
            notices: vec!["7 datagrams were handed over".to_owned()],
        }
    }

    #[test]
    fn a_status_reads_like_this() {
        let expected = "\
cluster cl01, meshd 0.1.0, public key q8Zz=

INTERFACE  ROLE      HOOK  WANTED  PACKETS  BYTES   WHY
pods0      workload  tcx   auto    12       3.4 kB  veth

CONNECTION      REMOTE  KIND    STATE      LATENCY  RECEIVED       SENT      HANDSHAKE  ENDPOINT          DETAIL
default/client  cl02    Client  Connected  1.2 ms   1000 / 1.0 MB  1 / 10 B  7 s ago    172.19.0.8:51840  -

LANE OF         TO KEY    PORT   SHARD  STATE  RECEIVED      SENT     HANDSHAKE  ENDPOINT
default/client  BwcHBwcH  51840  0      Live   500 / 500 kB  1 / 5 B  7 s ago    172.19.0.8:51840
default/client  BwcHBwcH  51841  1      Dead   500 / 500 kB  1 / 5 B  7 s ago    172.19.0.8:51841

REMAP OF        REAL           PRESENTED     PACKETS  BYTES
default/client  10.243.0.0/16  10.71.0.0/16  5        500 B

GROUP  MEMBER   ADDRESS     DEVICE           NETNS           HUB               LIVE PEERS  LATENCY    STATE  RECEIVED     SENT      DETAIL
one    app_web  10.255.0.5  mesh-g012345678  /run/netns/web  https://hub:7443  2 of 3      <= 480 us  up     20 / 2.0 kB  1 / 10 B  -

DROPPED BECAUSE  PACKETS
spoofed-source   3

PROBLEMS
- a.yaml:3: wrong

NOTICES
- 7 datagrams were handed over
";
        assert_eq!(tables(&example()), expected);
    }

    #[test]
    fn json_is_what_the_daemon_said() {
        let text = Output::Json.form().print(&example(), tables).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), example());
    }
}
