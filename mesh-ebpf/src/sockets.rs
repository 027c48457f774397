//! Socket programs: which queue of a TUN takes a packet, which socket of a port a message. Each device has its own maps.

use aya_ebpf::{EbpfContext, bindings::sk_action, helpers::*, macros::*, maps::lpm_trie::Key, programs::*};
use mesh_common::spread::{Peek, destination, place, slot};

use crate::maps::{OWNERS, QUEUES, SOCKETS};

#[socket_filter]
fn tun_queue(ctx: SkBuffContext) -> i64 {
    let owner = OWNERS.get(Key::new(128, destination(&Packet(ctx.as_ptr()))));
    owner.or_else(|| QUEUES.get(slot(&Packet(ctx.as_ptr())))).copied().unwrap_or(0).into()
}

/// Where no such socket is, the kernel takes any, and its shard passes the message on.
#[sk_reuseport]
fn port_socket(ctx: SkReuseportContext) -> u32 {
    let _ = SOCKETS.select_reuseport(&ctx, place(&Packet(ctx.as_ptr()), ctx.eth_protocol() as u16));
    sk_action::SK_PASS
}

/// Bytes on the stack that the compiler moves by words.
pub(crate) type Words<const N: usize> = ([u64; 0], [u8; N]);

/// What is behind the context of a program.
pub(crate) struct Packet(pub(crate) *const core::ffi::c_void);

impl Peek for Packet {
    fn peek<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes: Words<N> = ([], [0; N]);
        // SAFETY: the context is the program's own; the helper writes exactly N bytes, or fails.
        let error = unsafe { bpf_skb_load_bytes(self.0, at as u32, bytes.1.as_mut_ptr().cast(), N as u32) };
        (error == 0).then_some(bytes.1)
    }
}
