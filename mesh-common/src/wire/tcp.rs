//! What the data path reads of TCP (RFC 9293).

pub const LEN: usize = 20;
pub const DATA_OFFSET_AT: usize = 12;
pub const FLAGS_AT: usize = 13;
pub const CHECKSUM_AT: usize = 16;

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

/// Kinds of options.
pub mod option {
    pub const END: u8 = 0;
    pub const NONE: u8 = 1;
    pub const MAX_SEGMENT: u8 = 2;

    pub const MAX_SEGMENT_LEN: usize = 4;
}

/// Bytes of the header with its options, by the byte at [`DATA_OFFSET_AT`].
#[inline(always)]
pub const fn header_len(data_offset: u8) -> usize {
    ((data_offset >> 4) as usize) << 2
}
