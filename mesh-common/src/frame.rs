//! Bounds-checked access to the bytes of one packet, wherever they live: XDP, tc or a slice.

/// Which transport checksum a field belongs to, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4Checksum {
    /// Offset of the two checksum bytes in the frame.
    pub at: usize,
    /// The changed field is covered through the pseudo-header (addresses), not as payload.
    pub pseudo_header: bool,
    /// UDP over IPv4: 0 means "none" and stays 0, and a computed 0 is written as 0xffff.
    pub zero_is_none: bool,
}

/// The bytes of one packet. Every access is checked; `None` means that the frame is too short.
pub trait Frame {
    /// Bytes in the frame, link header included where there is one.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()>;

    /// Tells the transport checksum that `old` became `new`; the bytes themselves are stored by the caller.
    ///
    /// The checksum is not exposed as bytes, since only the frame knows whether it is complete or partial
    /// (a partial one holds the *uninverted* pseudo-header sum).
    fn l4_replace<const N: usize>(&mut self, checksum: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()>;

    /// Length from `l3` of the longest packet that this frame becomes on the wire: the frame's own, or the headers
    /// and one `gso_size` where it is a super-packet.
    fn segment_len(&self, l3: usize) -> usize;

    /// Makes room for `grow` bytes in front of the frame (their content is undefined) and cuts the result to `len` bytes.
    fn reshape(&mut self, grow: usize, len: usize) -> Option<()>;
}
