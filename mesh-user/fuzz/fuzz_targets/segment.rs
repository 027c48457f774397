//! `cargo fuzz run segment`: see the library's `segment`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::segment(bytes));
