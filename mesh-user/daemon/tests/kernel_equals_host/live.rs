//! What `BPF_PROG_TEST_RUN` cannot show: buffers of local sockets, whose checksums are partial and whose TCP segments are yet
//! to be cut, through the tc programs; and the same where the way out has to finish the checksums itself, so that a wrong one
//! is seen.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mesh_common::{datapath::route::Onward, ids::IfIndex, testkit::World};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
};

use super::programs::Programs;

/// The world's prefixes: a pod of ours, what it is presented as, and a `direct` remote.
const POD: [&str; 2] = ["10.243.1.2", "fd00:0:f3:1::2"];
const PRESENTED: [&str; 2] = ["10.60.1.2", "fd00:0:3c:1::2"];
const REMOTE: [&str; 2] = ["10.61.0.2", "fd00:0:3d::2"];
/// More than one super-packet.
const BYTES: usize = 300_000;
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn partial_checksums_survive_the_rewrite() -> Result<()> {
    let lab = Lab::new()?;
    let (pod, node, remote) = (lab.namespace("pod")?, lab.namespace("node")?, lab.namespace("remote")?);
    lay_out(&pod, &node, &remote)?;
    let underlay = index(&node, "wan0")?;
    let _attached = node.enter(|| {
        let mut programs = Programs::load(&World::new(underlay).tables, Onward::Redirect, None)?;
        programs.attach("tc_workload", "pods0")?;
        programs.attach("tc_underlay", "wan0")?;
        Ok(programs)
    })?;
    let ends = [(&pod, "eth0"), (&remote, "eth0")];
    let egress = [(&node, "pods0"), (&node, "wan0")];
    for (what, off) in [("as veth is", &[][..]), ("the node finishes them", &egress), ("the ends finish them", &ends)] {
        for (namespace, device) in ends.iter().chain(&egress) {
            let on = !off.iter().any(|(other, name)| other.name() == namespace.name() && name == device);
            link::offload(Port::new(namespace, device), &[("tx", on), ("tso", on), ("gso", on)])?;
        }
        for family in 0..2 {
            let (to, seen) = (REMOTE[family].parse()?, PRESENTED[family].parse()?);
            tcp(&pod, &remote, to, seen).with_context(|| format!("TCP to {to}, {what}"))?;
            udp(&pod, &remote, to, seen).with_context(|| format!("UDP to {to}, {what}"))?;
        }
    }
    Ok(())
}

fn lay_out(pod: &Namespace, node: &Namespace, remote: &Namespace) -> Result<()> {
    link::veth(Port::new(pod, "eth0"), Port::new(node, "pods0"))?;
    link::veth(Port::new(remote, "eth0"), Port::new(node, "wan0"))?;
    link::address(Port::new(pod, "eth0"), &[&format!("{}/24", POD[0]), &format!("{}/64", POD[1])])?;
    link::address(Port::new(node, "pods0"), &["10.243.1.1/24", "fd00:0:f3:1::1/64"])?;
    // The cable between the clusters has addresses of its own: what comes from a remote's prefix to anything but our
    // presented one is dropped, its neighbour solicitations as well.
    link::address(Port::new(node, "wan0"), &["192.0.2.1/24", "fd77::1/64"])?;
    link::address(Port::new(remote, "eth0"), &["192.0.2.2/24", "fd77::2/64"])?;
    link::address(Port::new(remote, "lo"), &[&format!("{}/32", REMOTE[0]), &format!("{}/128", REMOTE[1])])?;
    remote.ip(&["link", "set", "lo", "up"])?;
    node.ip(&["route", "add", "10.61.0.0/16", "via", "192.0.2.2"])?;
    node.ip(&["-6", "route", "add", "fd00:0:3d::/64", "via", "fd77::2"])?;
    pod.ip(&["route", "add", "default", "via", "10.243.1.1"])?;
    pod.ip(&["-6", "route", "add", "default", "via", "fd00:0:f3:1::1"])?;
    remote.ip(&["route", "add", "10.60.0.0/16", "via", "192.0.2.1"])?;
    remote.ip(&["-6", "route", "add", "fd00:0:3c::/48", "via", "fd77::1"])?;
    node.sysctl("net/ipv4/conf/all/forwarding", "1")?;
    node.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    for device in ["all", "pods0", "wan0"] {
        node.sysctl(&format!("net/ipv4/conf/{device}/rp_filter"), "0")?;
    }
    Ok(())
}

fn index(namespace: &Namespace, device: &str) -> Result<IfIndex> {
    let line = namespace.ip(&["-o", "link", "show", "dev", device])?;
    let index = line.split(':').next().and_then(|index| index.trim().parse().ok());
    Ok(IfIndex(index.with_context(|| format!("no index in {line:?}"))?))
}

/// Any free port: a process that another test is just starting may hold a closed socket a little longer.
fn any(like: IpAddr) -> SocketAddr {
    let address = if like.is_ipv4() { IpAddr::from([0; 4]) } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(address, 0)
}

/// The remote sees the presented address, and gets and sends back every byte.
fn tcp(pod: &Namespace, remote: &Namespace, to: IpAddr, seen: IpAddr) -> Result<()> {
    let listener = remote.enter(|| Ok(TcpListener::bind(any(to))?))?;
    let port = listener.local_addr()?.port();
    let echo = remote.thread(move || {
        let (mut stream, from) = listener.accept()?;
        ensure!(from.ip() == seen, "the remote sees {from}");
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = vec![0; BYTES];
        stream.read_exact(&mut bytes)?;
        Ok(stream.write_all(&bytes)?)
    });
    let sent: Vec<u8> = (0..BYTES).map(|i| (i * 7 % 251) as u8).collect();
    let got = pod.enter(|| {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&sent)?;
        let mut got = vec![0; BYTES];
        stream.read_exact(&mut got)?;
        Ok(got)
    })?;
    echo.join().expect("the echo does not panic")?;
    ensure!(got == sent, "other bytes came back");
    Ok(())
}

fn udp(pod: &Namespace, remote: &Namespace, to: IpAddr, seen: IpAddr) -> Result<()> {
    let server = remote.enter(|| Ok(UdpSocket::bind(SocketAddr::new(to, 0))?))?;
    let port = server.local_addr()?.port();
    let client = pod.enter(|| {
        let client = UdpSocket::bind(any(to))?;
        client.connect(SocketAddr::new(to, port))?;
        Ok(client)
    })?;
    let mut buffer = [0; 2_000];
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    for len in [1, 2, 999, 1_400] {
        let sent = vec![len as u8; len];
        client.send(&sent)?;
        let (arrived, from) = server.recv_from(&mut buffer).context("at the remote")?;
        ensure!(from.ip() == seen && buffer[..arrived] == sent, "{arrived} bytes from {from}");
        server.send_to(&sent, from)?;
        let arrived = client.recv(&mut buffer).context("back at the pod")?;
        ensure!(buffer[..arrived] == sent, "{arrived} bytes came back");
    }
    Ok(())
}
