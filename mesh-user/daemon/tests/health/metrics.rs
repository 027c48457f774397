//! LQ-76: the numbers that a running daemon shows, on TCP and on its socket.

use std::time::Duration;

use anyhow::{Result, ensure};
use mesh_lab::{Lab, demo, interrupt};

use crate::programs;

#[test]
fn numbers_of_a_connection_are_shown_on_tcp_and_on_the_socket() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = demo::wireguard_pair(&lab, &programs()?)?;
    let settings = network.clusters[0].site.settings();
    network.clusters[0].node.configure(&format!("{settings}\n[metrics]\nlisten = \"127.0.0.1:9101\"\n"))?;
    network.start()?;
    let node = &network.clusters[0].node;
    let get = |arguments: &[&str]| node.namespace().run("curl", &[&["-sf", "--max-time", "5"], arguments].concat());
    let socket = node.socket().display().to_string();
    let lines = [
        "liqo_peer_is_connected{driver=\"wireguard\",cluster_id=\"cl02\"} 1",
        "mesh_connection_condition{cluster_id=\"cl02\",condition=\"DataPath\",status=\"true\"} 1",
        "mesh_connection_path_mtu_bytes{cluster_id=\"cl02\"} 1340",
    ];
    interrupt::wait_for(
        "the numbers of a good connection",
        Duration::from_secs(15),
        Duration::from_millis(200),
        || {
            let shown = get(&["http://127.0.0.1:9101/metrics"])?;
            Ok(lines.iter().all(|line| shown.lines().any(|other| other == *line)).then_some(()))
        },
    )?;
    let shown = get(&["--unix-socket", &socket, "http://localhost/metrics"])?;
    ensure!(lines.iter().all(|line| shown.contains(line)), "{shown}");
    let samples = |name: &str| shown.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
    ensure!(samples("liqo_peer_latency_us") == 1 && samples("liqo_peer_latency_histogram_us_count") == 1, "{shown}");
    ensure!(samples("mesh_remap_packets_total") == 4, "two families of pods and external addresses: {shown}");
    ensure!(get(&["http://127.0.0.1:9101/v1/status"]).is_err(), "nothing else is shown there");
    Ok(())
}
