//! `cargo fuzz run manifest`: see the library's `manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::manifest(bytes));
