//! UDP of every size that matters, byte for byte.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mesh_lab::Lab;

use super::{
    pair,
    site::{A, HOST, MTU, Site},
};

const PORT: u16 = 7_777;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + len) as u8).collect()
}

/// Sends datagrams of each size in a burst of `burst` and compares what the other end got.
fn compare(a: &Site, b: &Site, family: usize, sizes: &[usize], burst: usize) -> Result<()> {
    // A port of its own: a process that another test is just starting may hold a closed socket a little longer.
    let receiver = b.namespace.enter(|| Ok(UdpSocket::bind(SocketAddr::new(HOST[family].parse()?, 0))?))?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let port = receiver.local_addr()?.port();
    let any = if family == 0 { "0.0.0.0:0" } else { "[::]:0" };
    let sender = a.namespace.enter(|| Ok(UdpSocket::bind(any)?))?;
    let to = SocketAddr::new(A.remote_host[family].parse()?, port);
    let mut buffer = vec![0; 65_536];
    for size in sizes {
        let sent = content(*size);
        for _ in 0..burst {
            sender.send_to(&sent, to)?;
        }
        for at in 0..burst {
            let (len, from) = receiver.recv_from(&mut buffer).with_context(|| format!("{size} bytes, number {at}"))?;
            ensure!(buffer[..len] == sent, "{size} bytes, number {at} came as {len} other bytes");
            let called = super::site::B.remote_host[family];
            ensure!(from.ip().to_string() == called, "came from {from} instead of {called}");
        }
    }
    Ok(())
}

#[test]
fn every_size_arrives_whole() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    for family in [0, 1] {
        let headers = if family == 0 { 28 } else { 48 };
        let most = usize::from(MTU) - headers;
        let mut sizes: Vec<usize> = (0..=40).chain([512, 1_000]).chain(most - 17..=most).collect();
        // These leave in fragments.
        sizes.extend([most + 1, 2 * most, 9_000, 60_000]);
        compare(&a, &b, family, &sizes, 1).unwrap();
        compare(&a, &b, family, &[1, 64, 700, most], 40).unwrap();
    }
}

/// Super-packets of UDP: the sender lets the kernel cut them, so that the shard gets them whole.
#[test]
fn segmented_datagrams_arrive_as_they_were_cut() {
    let lab = Lab::new().unwrap();
    let (a, b) = pair(&lab).unwrap();
    for family in [0, 1] {
        let receiver =
            b.namespace.enter(|| Ok(UdpSocket::bind(SocketAddr::new(HOST[family].parse()?, PORT))?)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let sockets = a.namespace.enter(|| meshd::kernel::udp::UdpSockets::bind(0)).unwrap();
        let to = SocketAddr::new(A.remote_host[family].parse().unwrap(), PORT);
        let payload = Arc::new(content(20 * 900 + 123));
        let transmit =
            meshd::kernel::udp::Transmit { to, from: None, tos: 0, segment: Some(900), payload: payload.as_slice() };
        sockets.towards(&to).unwrap().send(&transmit).unwrap();
        let mut buffer = vec![0; 65_536];
        for expected in payload.chunks(900) {
            let (len, _) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..len], *expected);
        }
    }
}
