//! `cargo fuzz run datagram`: see the library's `datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::datagram(bytes));
