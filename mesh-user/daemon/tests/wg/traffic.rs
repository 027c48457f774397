//! Packets between two devices: ours, and wireguard-go's.

use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
};

use super::device::{Device, Key, fields, introduce, pair, ping, underlay, wait_until};

/// An iperf3 server for one client, ended when dropped.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(namespace: &Namespace, log: Stdio, arguments: &[&str]) -> Result<Server> {
        let mut command = namespace.command("iperf3");
        let child = command.args(["-s", "-1"]).args(arguments).stdout(log).spawn().context("start iperf3")?;
        for _ in 0..200 {
            if !namespace.run("ss", &["-Hltn", "sport", "=", ":5201"])?.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(Server(child))
    }

    /// Until it has served its client.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(status.success(), "the iperf3 server: {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// TCP for so many seconds each way; gives the slower one in bits per second.
pub(crate) fn tcp(client: &Device, server: &Device, to: &str, seconds: u32) -> Result<f64> {
    let seconds = seconds.to_string();
    let mut slowest = f64::MAX;
    for way in [&[][..], &["-R"]] {
        let _server = Server::start(&server.namespace, Stdio::null(), &[])?;
        let arguments = [&["-c", to, "-t", &seconds, "-C", "cubic", "-J"], way].concat();
        let output: serde_json::Value = serde_json::from_str(&client.namespace.run("iperf3", &arguments)?)?;
        let speed = output["end"]["sum_received"]["bits_per_second"].as_f64().context("no figure from iperf3")?;
        ensure!(speed > 2e7, "{to} {way:?}: {speed} bit/s");
        slowest = slowest.min(speed);
    }
    Ok(slowest)
}

fn carry(a: &Device, b: &Device) {
    for (from, to) in [(a, "10.9.0.2"), (b, "10.9.0.1"), (a, "fd09::2"), (b, "fd09::1")] {
        from.ping(to).unwrap();
        ping(&from.namespace, to, &["-s", "4000"]).unwrap();
    }
    tcp(a, b, "10.9.0.2", 1).unwrap();
    tcp(b, a, "fd09::1", 1).unwrap();
    let endpoint = fields(&b.show("endpoints"), &Key::new(1).public()).unwrap();
    assert_eq!(endpoint, [format!("192.0.2.1:{}", a.listen_port())]);
    for (device, peer) in [(a, Key::new(2)), (b, Key::new(1))] {
        let handshake: u64 = fields(&device.show("latest-handshakes"), &peer.public()).unwrap()[0].parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now - handshake < 60, "{handshake} at {now}");
        let transfer = fields(&device.show("transfer"), &peer.public()).unwrap();
        assert!(transfer.iter().all(|bytes| bytes.parse::<u64>().unwrap() > 1_000_000), "{transfer:?}");
    }
}

#[test]
fn two_of_ours() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    carry(&a, &b);
}

#[test]
fn one_that_may_not_load_programs() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab);
    let (a, b) = (Device::start_without_programs(&lab, &a), Device::start(&lab, &b));
    introduce(&lab, &a, &b);
    carry(&a, &b);
}

#[test]
fn ours_begins_with_wireguard_go() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab);
    let (a, b) = (Device::start(&lab, &a), Device::wireguard_go(&lab, &b));
    introduce(&lab, &a, &b);
    carry(&a, &b);
}

#[test]
fn wireguard_go_begins_with_ours() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab);
    let (a, b) = (Device::wireguard_go(&lab, &a), Device::start(&lab, &b));
    introduce(&lab, &a, &b);
    carry(&a, &b);
}

#[test]
fn a_preshared_key_counts_from_the_next_handshake() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab);
    let (a, b) = (Device::start(&lab, &a), Device::wireguard_go(&lab, &b));
    introduce(&lab, &a, &b);
    let psk = Key::new(9).file(&lab);
    let (key_a, key_b) = (Key::new(1).public(), Key::new(2).public());
    a.set(&["peer", &key_b, "preshared-key", &psk]);
    assert!(ping(&a.namespace, "10.9.0.2", &[]).is_err(), "one side alone has it");
    b.set(&["peer", &key_a, "preshared-key", &psk]);
    a.ping("10.9.0.2").unwrap();
    // A session that is there stays when the key goes on both sides.
    a.set(&["peer", &key_b, "preshared-key", "/dev/null"]);
    b.set(&["peer", &key_a, "preshared-key", "/dev/null"]);
    a.ping("10.9.0.2").unwrap();
    assert_eq!(fields(&a.show("preshared-keys"), &key_b).unwrap(), ["(none)"]);
}

#[test]
fn only_the_peer_that_owns_an_address_may_use_it() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    // `a` may use all of 10.0.0.0/8 by now, but for what is another's by a longer match.
    b.set(&["peer", &Key::new(1).public(), "allowed-ips", "10.0.0.0/8"]);
    b.set(&["peer", &Key::new(5).public(), "allowed-ips", "10.66.0.0/16"]);
    for address in ["10.65.0.1", "10.66.0.1"] {
        a.namespace.ip(&["address", "add", &format!("{address}/32"), "dev", &a.name]).unwrap();
        b.namespace.ip(&["route", "add", &format!("{address}/32"), "dev", &b.name]).unwrap();
    }
    ping(&a.namespace, "10.9.0.2", &["-I", "10.65.0.1"]).unwrap();
    assert!(ping(&a.namespace, "10.9.0.2", &["-I", "10.66.0.1"]).is_err());
    b.set(&["peer", &Key::new(5).public(), "remove"]);
    ping(&a.namespace, "10.9.0.2", &["-I", "10.66.0.1"]).unwrap();
    // And no packet leaves for what nobody owns.
    a.namespace.ip(&["route", "add", "10.77.0.1/32", "dev", &a.name]).unwrap();
    assert!(a.ping("10.77.0.1").is_err());
}

#[test]
fn the_listen_port_changes_under_a_session() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    a.set(&["listen-port", "51901"]);
    a.ping("10.9.0.2").unwrap();
    let seen = || fields(&b.show("endpoints"), &Key::new(1).public()).unwrap()[0].clone();
    wait_until("the new port", || seen() == "192.0.2.1:51901");
    // Where the other one is can be told at once, with the session going on.
    b.set(&["listen-port", "51902"]);
    a.set(&["peer", &Key::new(2).public(), "endpoint", "[2001:db8::2]:51902"]);
    assert_eq!(fields(&a.show("endpoints"), &Key::new(2).public()).unwrap(), ["[2001:db8::2]:51902"]);
    a.ping("10.9.0.2").unwrap();
    wait_until("the new address", || seen() == "[2001:db8::1]:51901");
    // The old port is free.
    let free = a.namespace.enter(|| Ok(std::net::UdpSocket::bind("0.0.0.0:51820")?));
    free.unwrap();
}

#[test]
fn the_private_key_changes_under_a_session() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    a.ping("10.9.0.2").unwrap();
    let new = Key::new(7);
    a.set(&["private-key", &new.file(&lab)]);
    assert!(a.ping("10.9.0.2").is_err(), "nobody knows this key");
    b.set(&["peer", &Key::new(1).public(), "remove"]);
    b.set(&["peer", &new.public(), "allowed-ips", "10.9.0.1/32,fd09::1/128"]);
    a.ping("10.9.0.2").unwrap();
    a.set(&["private-key", "/dev/null"]);
    assert!(a.ping("10.9.0.2").is_err(), "without a key there is no session");
    a.set(&["private-key", &new.file(&lab)]);
    a.ping("10.9.0.2").unwrap();
}

#[test]
fn what_leaves_carries_the_mark_of_the_moment() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    let rules = "add table inet t; add chain inet t out { type filter hook output priority 0; }; \
                 add rule inet t out meta mark 0x77 udp dport 51820 counter";
    a.namespace.run("nft", &[rules]).unwrap();
    let counted = || a.namespace.run("nft", &["list", "table", "inet", "t"]).unwrap();
    a.ping("10.9.0.2").unwrap();
    assert!(counted().contains("packets 0"), "{}", counted());
    a.set(&["fwmark", "0x77"]);
    a.ping("10.9.0.2").unwrap();
    assert!(!counted().contains("packets 0"), "{}", counted());
    // New sockets have it too.
    a.set(&["listen-port", "51903"]);
    a.namespace.run("nft", &["reset", "counters", "table", "inet", "t"]).unwrap();
    a.namespace.run("nft", &[&format!("flush chain inet t out; {}", rules.rsplit_once("; ").unwrap().1)]).unwrap();
    a.ping("10.9.0.2").unwrap();
    assert!(!counted().contains("packets 0"), "{}", counted());
    a.set(&["fwmark", "off"]);
    a.namespace.run("nft", &[&format!("flush chain inet t out; {}", rules.rsplit_once("; ").unwrap().1)]).unwrap();
    a.ping("10.9.0.2").unwrap();
    assert!(counted().contains("packets 0"), "{}", counted());
    drop(b);
}

#[test]
fn replies_leave_from_the_address_that_was_hit_and_move_on_when_it_is_gone() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab);
    // A second address of b, which the routing table would not choose.
    link::address(Port::new(&b.namespace, "eth0"), &["192.0.2.77/24"]).unwrap();
    a.set(&["peer", &Key::new(2).public(), "endpoint", "192.0.2.77:51820"]);
    let seen = || fields(&a.show("endpoints"), &Key::new(2).public()).unwrap()[0].clone();
    a.ping("10.9.0.2").unwrap();
    b.ping("10.9.0.1").unwrap();
    assert_eq!(seen(), "192.0.2.77:51820");
    // Now b has to send from another one, and a follows.
    b.namespace.ip(&["address", "del", "192.0.2.77/24", "dev", "eth0"]).unwrap();
    b.ping("10.9.0.1").unwrap();
    wait_until("the other address", || seen() == "192.0.2.2:51820");
    a.ping("10.9.0.2").unwrap();
}
