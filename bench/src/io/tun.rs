//! Writing to a TUN device: a super-packet in one piece or in parts, beside as many packets alone.

use std::{
    io::IoSlice,
    net::Ipv4Addr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mesh_core::{
    plan::DeviceName,
    tunnel::vnet::{self, Gso, Header, Partial},
};
use mesh_lab::Lab;
use meshd::kernel::{
    tun::Tun,
    udp::{Family, UdpSockets},
};

use super::{DATAGRAMS, fastest};
use crate::report::{Report, Rival};

const DEVICE: &str = "mesh-bench";
const MTU: usize = 1_420;
const IP: usize = 20;
const HEADERS: usize = IP + 8;
const PAYLOAD: usize = MTU - HEADERS;
const PATIENCE: Duration = Duration::from_secs(1);
const FROM: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const TO: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

pub(super) fn run(runs: usize, lab: &Lab, report: &mut Report) -> Result<()> {
    let end = End::open(lab)?;
    let single = packet(end.receiver.port(), PAYLOAD);
    let whole = packet(end.receiver.port(), PAYLOAD * DATAGRAMS);
    // As they lie where they were received and opened.
    let (first, rest) = whole.split_at(vnet::LEN + MTU);
    let apart: Vec<_> = [first].into_iter().chain(rest.chunks(PAYLOAD)).map(<[u8]>::to_vec).collect();
    let parts: Vec<_> = apart.iter().map(|part| IoSlice::new(part)).collect();
    let mut joined = Vec::with_capacity(whole.len());
    let [whole, parts, joined, single] = fastest(
        runs,
        [
            Box::new(|| end.time(|| end.write(&[IoSlice::new(&whole)]))),
            Box::new(|| end.time(|| end.write(&parts))),
            Box::new(|| {
                end.time(|| {
                    joined.clear();
                    apart.iter().for_each(|part| joined.extend_from_slice(part));
                    end.write(&[IoSlice::new(&joined)])
                })
            }),
            Box::new(|| end.time(|| (0..DATAGRAMS).try_for_each(|_| end.write(&[IoSlice::new(&single)])))),
        ],
    )?;
    report.versus("tun write, super-packet", "ns", whole, vec![Rival::new("43 packets", single)]);
    let pieces = vec![Rival::new("copied into one piece", joined), Rival::new("one piece", whole)];
    report.versus("tun write, super-packet of 43 parts", "ns", parts, pieces);
    Ok(())
}

struct End {
    tun: Tun,
    receiver: UdpSockets,
}

impl End {
    fn open(lab: &Lab) -> Result<End> {
        let namespace = lab.namespace("tun")?;
        let name = DeviceName(DEVICE.to_owned());
        let mut queues = namespace.enter(|| Tun::create(&name, NonZeroUsize::MIN))?;
        let mtu = MTU.to_string();
        namespace.ip(&["link", "set", DEVICE, "mtu", &mtu, "up"])?;
        namespace.ip(&["address", "add", &format!("{TO}/24"), "dev", DEVICE])?;
        let receiver = namespace.enter(|| UdpSockets::bind(0))?;
        Ok(End { tun: queues.pop().context("one queue was asked for")?, receiver })
    }

    fn write(&self, parts: &[IoSlice<'_>]) -> Result<()> {
        self.tun.write(parts).context("write to the TUN device")?;
        Ok(())
    }

    /// How long it takes to write the packets in this way. Their bytes must come out of the socket behind.
    fn time(&self, write: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let start = Instant::now();
        write()?;
        let took = start.elapsed();
        let socket = self.receiver.of(Family::V4).context("every kernel has IPv4")?;
        let (mut room, mut bytes) = (vec![0; 1 << 16], 0);
        while bytes < PAYLOAD * DATAGRAMS {
            ensure!(start.elapsed() < PATIENCE, "{bytes} bytes came through the TUN device");
            bytes += socket.receive(&mut room).map_or(0, |received| received.len);
        }
        Ok(took)
    }
}

/// A UDP packet with its `virtio_net_hdr`, cut by the kernel where `payload` is more than one of the device's packets holds.
fn packet(port: u16, payload: usize) -> Vec<u8> {
    let is_super = payload > PAYLOAD;
    let header = Header {
        partial: Some(Partial { start: IP as u16, offset: 6 }),
        gso: is_super.then_some((Gso::Udp, PAYLOAD as u16)),
        header_len: HEADERS as u16,
    };
    let (total, datagram) = ((HEADERS + payload) as u16, (HEADERS - IP + payload) as u16);
    let mut ip = [0; IP];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[8..10].copy_from_slice(&[64, libc::IPPROTO_UDP as u8]);
    ip[12..16].copy_from_slice(&FROM.octets());
    ip[16..20].copy_from_slice(&TO.octets());
    let sum = !folded(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut udp = [0; HEADERS - IP];
    udp[..2].copy_from_slice(&9_u16.to_be_bytes());
    udp[2..4].copy_from_slice(&port.to_be_bytes());
    udp[4..6].copy_from_slice(&datagram.to_be_bytes());
    let pseudo = [&ip[12..20], &[0, libc::IPPROTO_UDP as u8], &udp[4..6]].concat();
    udp[6..8].copy_from_slice(&folded(&pseudo).to_be_bytes());
    [&header.bytes()[..], &ip, &udp, &vec![0x5a; payload]].concat()
}

/// The sum of RFC 1071, not inverted.
fn folded(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let once = (sum >> 16) + (sum & 0xffff);
    ((once >> 16) + (once & 0xffff)) as u16
}
