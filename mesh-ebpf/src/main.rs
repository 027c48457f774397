//! XDP, tc and socket programs: adapters around `mesh_common::datapath` and `spread`, which judge every packet.
//! Nothing is marked `inline`: bpf-linker inlines whatever is not told otherwise.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bytes;
mod fib;
mod maps;
mod sockets;
mod tc;
mod xdp;

/// The verifier proves that nothing panics: what could is compiled away or refused at load.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// `bpf_fib_lookup`, `bpf_redirect_neigh` and others are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
