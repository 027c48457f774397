//! What the data path reads of UDP (RFC 768).

pub const LEN: usize = 8;
pub const LENGTH_AT: usize = 4;
pub const CHECKSUM_AT: usize = 6;
