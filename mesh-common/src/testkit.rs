//! What tests of the data path share, here and in other crates: tables in memory, a small world to fill them, frames from a
//! seed, and a checker that sums every checksum from scratch. Nothing of it is built into the programs.

mod fib;
mod frames;
mod packet;
mod random;
mod sums;
mod tables;
mod world;

pub use fib::FixedFib;
pub use frames::{Generated, Generator, Kind};
pub use packet::Packet;
pub use random::Random;
pub use sums::{Sum, sums};
pub use tables::MemoryTables;
pub use world::{Ip, Place, World};
