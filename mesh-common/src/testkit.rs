//! What tests of the data path share, here and in other crates: tables in memory, frames from a seed, and a checker that
//! sums every checksum from scratch. Nothing of it is built into the programs.

mod tables;

pub use tables::MemoryTables;
