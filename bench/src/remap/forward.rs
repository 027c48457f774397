//! A router in a namespace, and frames that a program in the kernel makes as fast as it can: UDP of 64 bytes, 16,384 flows.
//!
//! CPU time is that of the thread that sends, which does the whole way in one go: generator, remap, route, egress, and what
//! takes the frames at the far end (a program that drops them; for nftables, a stack that finds them addressed to others).
//! What making a frame costs is measured on its own.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aya::{Ebpf, programs::Xdp};
use mesh_common::{
    checksum,
    ids::IfIndex,
    wire::{ethernet, ipv4, protocol},
};
use mesh_lab::{
    Lab, Namespace,
    link::{self, Port},
};

use super::programs;
use crate::kernel::{self, word};

const COUNT: u32 = 500_000;
const BATCH: u32 = 64;
const FRAME: usize = 64;
/// Source port, and a word of the payload that is its complement, so that the checksum is the same for all flows.
const PORT_AT: i16 = 34;
const COMPLEMENT_AT: i16 = 62;
const FLOWS_MASK: i32 = 0x3fff;

const REMOTE: [u8; 4] = [10, 102, 0, 7];
const PRESENTED: [u8; 4] = [10, 101, 0, 9];

const RULES: &str = "table ip mesh {
    chain before { type nat hook prerouting priority dstnat; ip daddr 10.101.0.0/16 dnat ip prefix to ip daddr map { 10.101.0.0/16 : 10.243.0.0/16 }; }
}";

/// Between `in0` and `out0`.
#[derive(Debug)]
pub(super) struct Router {
    namespace: Namespace,
    far: Namespace,
    ours: Ebpf,
    jump: kernel::Jump,
    generator: OwnedFd,
    drop: OwnedFd,
    frame: [u8; FRAME],
    ingress: u32,
    far_end: u32,
}

impl Router {
    pub(super) fn lay_out(lab: &Lab, object: &[u8]) -> Result<Router> {
        let (namespace, far) = (lab.namespace("router")?, lab.namespace("far")?);
        for device in ["in", "out"] {
            let (near, distant) = (format!("{device}0"), format!("{device}1"));
            link::veth(Port::new(&namespace, &near), Port::new(&far, &distant))?;
        }
        link::address(Port::new(&namespace, "in0"), &["192.0.2.1/24"])?;
        link::address(Port::new(&namespace, "out0"), &["198.51.100.1/24"])?;
        for key in ["net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"] {
            namespace.sysctl(key, "1")?;
        }
        for key in ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/in0/rp_filter"] {
            namespace.sysctl(key, "0")?;
        }
        // To nobody: the far end's stack drops it as soon as it sees the address.
        let hop =
            ["neighbour", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:99", "dev", "out0", "nud", "permanent"];
        namespace.ip(&hop)?;
        namespace.ip(&["route", "add", "10.243.0.0/16", "via", "198.51.100.2"])?;
        let (ingress, egress) = (index(&namespace, "in0")?, index(&namespace, "out0")?);
        let mac = mac(&namespace, "in0")?;
        let frame = frame(mac)?;
        // The device map takes interfaces of the namespace that it is filled from.
        let ours = namespace.enter(|| {
            let mut ours = programs::open(object, &[egress], Some((IfIndex(ingress), mac)))?;
            let program: &mut Xdp = ours.program_mut("xdp_underlay").context("no program xdp_underlay")?.try_into()?;
            program.load()?;
            Ok(ours)
        })?;
        let jump = kernel::Jump::new()?;
        let generator = kernel::load_xdp(&generator(&frame, jump.descriptor()))?;
        let drop = kernel::load_xdp(&[word(0xb7, 0, 0, 0, 1), word(0x95, 0, 0, 0, 0)])?;
        let far_end = index(&far, "out1")?;
        Ok(Router { namespace, far, ours, jump, generator, drop, frame, ingress, far_end })
    }

    /// ns of CPU time per packet that is made and dropped at once: what making it costs.
    pub(super) fn made(&self) -> Result<f64> {
        self.jump.point_to(self.drop.as_fd())?;
        let time = self.namespace.enter(|| self.time());
        self.jump.clear()?;
        time
    }

    /// ns of CPU time per packet: XDP remap and redirect.
    pub(super) fn remapped_by_xdp(&self) -> Result<f64> {
        let program: &Xdp = self.ours.program("xdp_underlay").context("no program xdp_underlay")?.try_into()?;
        let _sink = self.far.enter(|| kernel::attach_xdp(&self.drop, self.far_end))?;
        self.jump.point_to(program.fd()?.as_fd())?;
        let time = self.send();
        self.jump.clear()?;
        time
    }

    /// ns of CPU time per packet: stack, connection tracking, nftables.
    pub(super) fn remapped_by_nftables(&self) -> Result<f64> {
        self.namespace.run("nft", &[RULES])?;
        let time = self.send();
        self.namespace.run("nft", &["delete", "table", "ip", "mesh"])?;
        time
    }

    fn send(&self) -> Result<f64> {
        let sent_before = self.sent()?;
        let time = self.namespace.enter(|| self.time())?;
        let sent = self.sent()? - sent_before;
        let all = u64::from(COUNT) + u64::from(COUNT) / 4;
        ensure!(sent >= all - all / 100, "only {sent} of {all} frames left the router");
        Ok(time)
    }

    /// ns per frame, on a thread in the namespace.
    fn time(&self) -> Result<f64> {
        // Caches, the connection table and the branch predictor get to know the flows first.
        kernel::send_live(&self.generator, &self.frame, self.ingress, COUNT / 4, BATCH)?;
        let before = thread_time()?;
        kernel::send_live(&self.generator, &self.frame, self.ingress, COUNT, BATCH)?;
        let time = thread_time()?.saturating_sub(before);
        Ok(time.as_nanos() as f64 / f64::from(COUNT))
    }

    /// Packets that left by `out0`.
    fn sent(&self) -> Result<u64> {
        let shown = self.namespace.ip(&["-j", "-s", "link", "show", "dev", "out0"])?;
        let shown: serde_json::Value = serde_json::from_str(&shown).context("what ip -j printed")?;
        shown[0]["stats64"]["tx"]["packets"].as_u64().context("ip did not say how many packets were sent")
    }
}

fn index(namespace: &Namespace, device: &str) -> Result<u32> {
    let shown = namespace.ip(&["-j", "link", "show", "dev", device])?;
    let shown: serde_json::Value = serde_json::from_str(&shown).context("what ip -j printed")?;
    let index = shown[0]["ifindex"].as_u64().context("ip did not say an index")?;
    Ok(u32::try_from(index)?)
}

fn thread_time() -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    ensure!(result == 0, "no clock of the thread's CPU time: {}", std::io::Error::last_os_error());
    Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
}

fn mac(namespace: &Namespace, device: &str) -> Result<[u8; 6]> {
    let shown = link::mac(Port::new(namespace, device))?;
    let mut mac = [0; 6];
    for (byte, text) in mac.iter_mut().zip(shown.split(':')) {
        *byte = u8::from_str_radix(text, 16).with_context(|| format!("no Ethernet address: {shown}"))?;
    }
    Ok(mac)
}

/// A datagram of the remote to one of ours, to the router's own Ethernet address.
fn frame(to: [u8; 6]) -> Result<[u8; FRAME]> {
    let udp_len = FRAME - ethernet::LEN - ipv4::LEN;
    let header = ipv4::Header::new(0, (ipv4::LEN + udp_len) as u16, 64, protocol::UDP, REMOTE, PRESENTED);
    let mut udp = vec![0; udp_len];
    udp[2..4].copy_from_slice(&9_u16.to_be_bytes());
    udp[4..6].copy_from_slice(&(udp_len as u16).to_be_bytes());
    udp[udp_len - 2..].fill(0xff);
    let sum = checksum::pseudo_header(REMOTE, PRESENTED, protocol::UDP, udp_len as u32) + checksum::sum(&udp);
    udp[6..8].copy_from_slice(&checksum::finish(sum));
    let ethernet = ethernet::Header::new(to, [2, 0, 0, 0, 0, 1], ethernet::IPV4);
    let bytes = [&ethernet.0[..], &header.to_bytes(), &udp].concat();
    bytes.try_into().map_err(|_| anyhow::anyhow!("a frame of another length"))
}

/// Writes the whole frame anew (pages are used again and again), picks a flow, and jumps to the program under test; without
/// one it passes the frame to the stack.
fn generator(frame: &[u8; FRAME], jump: i32) -> Vec<u64> {
    let mut body = Vec::new();
    for (at, part) in (0_i16..).step_by(8).zip(frame.as_chunks::<8>().0) {
        let value = u64::from_le_bytes(*part);
        body.extend([word(0x18, 1, 0, 0, value as u32 as i32), word(0, 0, 0, 0, (value >> 32) as i32)]);
        body.push(word(0x7b, 7, 1, at, 0)); // *(u64 *)(r7 + at) = r1
    }
    body.extend([
        word(0x85, 0, 0, 0, 7), // r0 = bpf_get_prandom_u32()
        word(0x57, 0, 0, 0, FLOWS_MASK),
        word(0x07, 0, 0, 0, 1_024),
        word(0x6b, 7, 0, PORT_AT, 0),
        word(0xa7, 0, 0, 0, -1), // r0 = ~r0
        word(0x6b, 7, 0, COMPLEMENT_AT, 0),
        word(0xbf, 1, 6, 0, 0),    // r1 = context
        word(0x18, 2, 1, 0, jump), // r2 = program array
        word(0, 0, 0, 0, 0),
        word(0xb7, 3, 0, 0, 0),
        word(0x85, 0, 0, 0, 12), // bpf_tail_call(r1, r2, r3)
    ]);
    let past = i16::try_from(body.len()).unwrap_or(i16::MAX);
    let mut code = vec![
        word(0xbf, 6, 1, 0, 0), // r6 = context
        word(0x61, 7, 6, 0, 0), // r7 = data
        word(0x61, 3, 6, 4, 0), // r3 = data_end
        word(0xbf, 4, 7, 0, 0),
        word(0x07, 4, 0, 0, FRAME as i32),
        word(0x2d, 4, 3, past, 0), // if r4 > r3: too short
    ];
    code.extend(body);
    code.extend([word(0xb7, 0, 0, 0, 2), word(0x95, 0, 0, 0, 0)]); // return XDP_PASS
    code
}
