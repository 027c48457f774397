//! XDP and tc entry points: adapters around `mesh_common::datapath`, which judges every packet.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod bytes;
mod counters;
mod doors;
mod fib;
mod tables;
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
static LICENSE: [u8; 4] = *b"GPL\0";
