//! XDP and tc programs: adapters around `mesh_common::datapath`, which judges every packet.
//!
//! Nothing is marked `inline`: bpf-linker inlines whatever is not told otherwise.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bytes;
mod counters;
mod fib;
mod tables;
mod tc;
mod xdp;

use mesh_common::{
    datapath::{
        Ingress,
        address::Address,
        forward::{self, Door, KernelVerdict, Kind, Packed},
    },
    frame::Frame,
    ids::IfIndex,
    wire::ethernet,
};

use crate::{
    counters::{count_drop, count_received, count_remap},
    fib::{Asker, KernelRoutes},
    tables::Maps,
};

/// A packet at a hook, and the actions that the hook knows.
trait Packet: Frame + Asker {
    const PASS: i32;
    const DROP: i32;

    fn ifindex(&self) -> u32;

    /// A VLAN tag that the driver put beside the packet.
    fn has_tag_aside(&self) -> bool;

    fn routes(&self) -> KernelRoutes<Self>;

    fn redirect(&self, to: IfIndex) -> i32;

    /// Sends the frame back out of the interface by which it came.
    fn reply(&self) -> i32;
}

/// On interfaces towards our workloads. The doors are types, so that a program holds the rules of its own only.
#[derive(Clone, Copy)]
struct Workload;

/// On interfaces that `direct` remotes share.
#[derive(Clone, Copy)]
struct Underlay(IfIndex);

impl Door for Workload {
    fn ingress(self) -> Ingress {
        Ingress::Workload
    }
}

impl Door for Underlay {
    fn ingress(self) -> Ingress {
        Ingress::Underlay(self.0)
    }
}

/// Judges the packet and acts on it. Gives the action, and the index of the reason for which it was dropped.
fn run<P: Packet, D: Door>(mut packet: P, door: D) -> (i32, Option<u8>) {
    let (ifindex, len) = (packet.ifindex(), packet.len());
    let is_tagged = packet.has_tag_aside()
        || matches!(packet.load(ethernet::ETHERTYPE_AT), Some(ethernet::VLAN | ethernet::SERVICE_VLAN));
    count_received(ifindex, len, is_tagged);
    let verdict = match forward::version(&packet, ethernet::LEN) {
        Some(4) if !is_tagged => judge::<4, P, D>(&mut packet, door),
        Some(6) if !is_tagged => judge::<16, P, D>(&mut packet, door),
        Some(_) | None => KernelVerdict::Pass.pack(),
    };
    let action = match verdict.kind() {
        Kind::Pass => P::PASS,
        Kind::PassRewritten => {
            count_remap(verdict.remap(), len);
            P::PASS
        }
        Kind::Redirect => {
            count_remap(verdict.remap(), len);
            packet.redirect(verdict.interface())
        }
        Kind::Reply => {
            count_drop(verdict.reason());
            packet.reply()
        }
        Kind::Drop => {
            count_drop(verdict.reason());
            return (P::DROP, Some(verdict.reason()));
        }
    };
    (action, None)
}

/// A function of its own for each version: together they need more than the 512 bytes of stack that there are.
#[inline(never)]
fn judge<const N: usize, P: Packet, D: Door>(packet: &mut P, door: D) -> Packed
where
    [u8; N]: Address<N>,
{
    let routes = packet.routes();
    forward::packet::<N, _, _, _, _>(packet, ethernet::LEN, door, &Maps, &routes)
}

/// The verifier proves that nothing panics: what could is compiled away or refused at load.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_fib_lookup`, `bpf_redirect_neigh` and others are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
