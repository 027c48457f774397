//! Ping and bulk TCP between two shards, with and without checksum offload on the way.

use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use mesh_common::datapath::DropReason;
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
    sniff::{self, Sniffer},
};
use meshd::shard::{Event, SendStatistics};

use super::{
    pair,
    site::{A, B, Site},
};

/// An iperf3 server for one client, ended when dropped.
struct Server(Child);

impl Server {
    fn start(namespace: &Namespace) -> Result<Server> {
        let mut command = namespace.command("iperf3");
        let child = command.args(["-s", "-1"]).stdout(Stdio::null()).spawn().context("start iperf3")?;
        for _ in 0..100 {
            if !namespace.run("ss", &["-Hltn", "sport", "=", ":5201"])?.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(Server(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One TCP stream; gives bits per second.
pub(crate) fn tcp(server: &Namespace, client: &Namespace, to: &str, more: &[&str]) -> Result<f64> {
    let _server = Server::start(server)?;
    let output = client.run("iperf3", &[&["-c", to, "-C", "cubic", "-J", "-t", "1"], more].concat())?;
    let output: serde_json::Value = serde_json::from_str(&output)?;
    output["end"]["sum_received"]["bits_per_second"].as_f64().context("no figure from iperf3")
}

/// Both directions in both families.
fn all_tcp(a: &Site, b: &Site) -> Result<()> {
    for to in A.remote_host {
        for more in [&[][..], &["-R"], &["-P", "4"]] {
            let speed = tcp(&b.namespace, &a.namespace, to, more)?;
            anyhow::ensure!(speed > 2e7, "{to} {more:?}: {speed} bit/s");
        }
    }
    Ok(())
}

#[test]
fn ping_and_tcp_both_ways() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    for to in A.remote_host {
        a.namespace.run("ping", &["-c", "3", "-i", "0.1", "-W", "2", to]).unwrap();
    }
    for to in B.remote_host {
        b.namespace.run("ping", &["-c", "3", "-i", "0.1", "-W", "2", "-s", "1200", to]).unwrap();
    }
    all_tcp(&a, &b).unwrap();
    let statistics = a.shards.statistics();
    // The kernel asks every device for IPv6 routers; nothing else may be dropped.
    assert!(statistics.drops.iter().all(|(reason, _)| *reason == DropReason::NotOurDestination), "{statistics:?}");
    assert_eq!(statistics.sends, SendStatistics::default());
    assert!(a.peer().received.bytes > 0 && a.events.try_iter().any(|event| matches!(event, Event::SessionChanged(..))));
}

#[test]
fn tcp_where_checksums_are_complete_before_they_leave() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    for site in [&a, &b] {
        link::offload(Port::new(&site.namespace, "eth0"), &[("tx", false)]).unwrap();
    }
    all_tcp(&a, &b).unwrap();
    // The devices themselves too: the kernel then hands over packets whose checksums are finished.
    for site in [&a, &b] {
        link::offload(Port::new(&site.namespace, &site.side.device().0), &[("tx", false)]).unwrap();
    }
    all_tcp(&a, &b).unwrap();
}

#[test]
fn the_outer_header_has_the_ecn_bits_of_the_inner_one_and_nothing_is_plain() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    let marked = Sniffer::on(Port::new(&b.namespace, "eth0"), |packet| packet.first() == Some(&0x45) && packet[1] == 2);
    let plain = Sniffer::on(Port::new(&b.namespace, "eth0"), |packet| sniff::contains(packet, b"in the clear"));
    let (marked, plain) = (marked.unwrap(), plain.unwrap());
    let pattern: String = b"in the clear".iter().map(|byte| format!("{byte:02x}")).collect();
    let to = A.remote_host[0];
    a.namespace.run("ping", &["-c", "3", "-i", "0.1", "-W", "2", "-Q", "2", "-p", &pattern, to]).unwrap();
    assert!(marked.matched().unwrap() >= 3, "{} of {}", marked.matched().unwrap(), marked.seen().unwrap());
    assert_eq!(plain.matched().unwrap(), 0);
}
