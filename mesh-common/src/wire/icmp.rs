//! ICMP (RFC 792) and ICMPv6 (RFC 4443): types, codes, and which messages are errors that quote a packet.

/// Type, code, checksum and four bytes by type. In an error the quoted packet follows.
pub const LEN: usize = 8;
pub const CHECKSUM_AT: usize = 2;

pub mod v4 {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const SOURCE_QUENCH: u8 = 4;
    pub const REDIRECT: u8 = 5;
    pub const ECHO: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    pub const TIMESTAMP_REPLY: u8 = 14;

    /// Codes of [`UNREACHABLE`].
    pub const HOST_UNREACHABLE: u8 = 1;
    pub const PORT_UNREACHABLE: u8 = 3;
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    pub const PROHIBITED: u8 = 13;

    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
    }
}

pub mod v6 {
    pub const UNREACHABLE: u8 = 1;
    pub const TOO_BIG: u8 = 2;
    pub const TIME_EXCEEDED: u8 = 3;
    pub const ECHO: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;

    /// Codes of [`UNREACHABLE`].
    pub const PROHIBITED: u8 = 1;
    pub const ADDRESS_UNREACHABLE: u8 = 3;
    pub const PORT_UNREACHABLE: u8 = 4;

    /// RFC 4443 section 2.1: the high bit is clear in errors.
    #[inline(always)]
    pub const fn is_error(kind: u8) -> bool {
        kind < 128
    }
}
