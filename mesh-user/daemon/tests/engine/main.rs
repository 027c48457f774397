//! Two shards with real TUN devices in two namespaces carry real traffic, among themselves and with wireguard-go.
#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

mod site;

use anyhow::{Context, Result};
use mesh_common::datapath::DropReason;
use mesh_lab::{Lab, Namespace, link};
use meshd::shard::{Event, SendStatistics};
use site::{A, B, Site};

/// Two namespaces and the wire between them.
fn underlay(lab: &Lab) -> Result<(Namespace, Namespace)> {
    let (a, b) = (lab.namespace("a")?, lab.namespace("b")?);
    link::veth(link::Port::new(&a, "eth0"), link::Port::new(&b, "eth0"))?;
    link::address(link::Port::new(&a, "eth0"), &["192.0.2.1/24", "2001:db8::1/64"])?;
    link::address(link::Port::new(&b, "eth0"), &["192.0.2.2/24", "2001:db8::2/64"])?;
    Ok((a, b))
}

fn pair(lab: &Lab) -> Result<(Site, Site)> {
    let (a, b) = underlay(lab)?;
    let site_b = Site::start(B, &b, A.key(), Vec::new())?;
    let site_a = Site::start(A, &a, B.key(), vec![B.endpoint()])?;
    site_a.wait_connected()?;
    Ok((site_a, site_b))
}

/// TCP with iperf3, both directions one after the other; gives bits per second.
fn tcp(server: &Namespace, client: &Namespace, to: &str, seconds: &str) -> Result<[f64; 2]> {
    let mut serving =
        server.command("iperf3").args(["-s", "-1", "-p", "5201"]).stdout(std::process::Stdio::null()).spawn()?;
    let mut speeds = [0.0; 2];
    for (speed, direction) in speeds.iter_mut().zip([None, Some("-R")]) {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let mut arguments = vec!["-c", to, "-p", "5201", "-t", seconds, "-C", "cubic", "-J"];
        arguments.extend(direction);
        let output: serde_json::Value = serde_json::from_str(&client.run("iperf3", &arguments)?)?;
        *speed = output["end"]["sum_received"]["bits_per_second"].as_f64().context("no figure from iperf3")?;
        serving.wait()?;
        serving =
            server.command("iperf3").args(["-s", "-1", "-p", "5201"]).stdout(std::process::Stdio::null()).spawn()?;
    }
    serving.kill()?;
    serving.wait()?;
    Ok(speeds)
}

#[test]
fn two_shards_carry_ping_and_tcp_both_ways() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    for to in A.remote_host {
        a.namespace.run("ping", &["-c", "3", "-i", "0.1", "-W", "2", to]).unwrap();
    }
    for to in B.remote_host {
        b.namespace.run("ping", &["-c", "3", "-i", "0.1", "-W", "2", "-s", "1200", to]).unwrap();
    }
    for to in A.remote_host {
        let speeds = tcp(&b.namespace, &a.namespace, to, "1").unwrap();
        assert!(speeds.iter().all(|speed| *speed > 5e7), "{speeds:?}");
    }
    let statistics = a.shards.statistics();
    // The kernel asks every device for IPv6 routers; nothing else may be dropped.
    assert!(statistics.drops.iter().all(|(reason, _)| *reason == DropReason::NotOurDestination), "{statistics:?}");
    assert_eq!(statistics.sends, SendStatistics::default());
    assert!(a.peer().received.bytes > 0 && a.events.try_iter().any(|event| matches!(event, Event::SessionChanged(..))));
}
