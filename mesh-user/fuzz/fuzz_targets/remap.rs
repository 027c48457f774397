//! `cargo fuzz run remap`: see the library's `remap`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_fuzz::remap(bytes));
