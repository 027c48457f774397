//! A frame in memory: what the daemon carries, and what tests judge.

use super::{Frame, L4Checksum, super_segment_len};
use crate::checksum;

/// What the transport checksum of a frame in memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The finished checksum.
    Complete,
    /// The two bytes at `at` hold the uninverted sum of the pseudo-header, and somebody later finishes them
    /// (virtio_net: `csum_start + csum_offset`). Any other checksum in the frame is complete.
    Partial { at: usize },
}

/// One packet, or one super-packet of equal segments, in a buffer that may have room in front of it.
#[derive(Debug)]
pub struct SliceFrame<'a> {
    buffer: &'a mut [u8],
    start: usize,
    /// Bytes of the packet; the buffer holds them all.
    len: usize,
    checksum: Checksum,
    gso_size: Option<u16>,
}

impl<'a> SliceFrame<'a> {
    /// A whole packet with complete checksums and no room in front.
    pub fn new(packet: &'a mut [u8]) -> SliceFrame<'a> {
        let len = packet.len();
        SliceFrame { buffer: packet, start: 0, len, checksum: Checksum::Complete, gso_size: None }
    }

    /// The packet starts at `headroom`; [`Frame::reshape`] may use the room before it. A `headroom` beyond the buffer
    /// gives an empty frame.
    pub fn with_headroom(buffer: &'a mut [u8], headroom: usize) -> SliceFrame<'a> {
        let start = headroom.min(buffer.len());
        let len = buffer.len() - start;
        SliceFrame { buffer, start, len, checksum: Checksum::Complete, gso_size: None }
    }

    pub fn checksum(self, checksum: Checksum) -> SliceFrame<'a> {
        SliceFrame { checksum, ..self }
    }

    /// A super-packet: `gso_size` bytes of payload per segment, headers not counted.
    pub fn super_packet(self, gso_size: u16) -> SliceFrame<'a> {
        SliceFrame { gso_size: Some(gso_size), ..self }
    }

    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.start + self.len).unwrap_or_default()
    }

    fn is_partial(&self, at: usize) -> bool {
        matches!(self.checksum, Checksum::Partial { at: partial } if partial == at)
    }
}

impl Frame for SliceFrame<'_> {
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes().get(at..)?.first_chunk().copied()
    }

    #[inline]
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        *self.buffer.get_mut(self.start..self.start + self.len)?.get_mut(at..)?.first_chunk_mut()? = bytes;
        Some(())
    }

    #[inline]
    fn l4_replace<const N: usize>(&mut self, checksum: L4Checksum, old: [u8; N], new: [u8; N]) -> Option<()> {
        let before = self.load::<2>(checksum.at)?;
        let after = if self.is_partial(checksum.at) {
            if !checksum.pseudo_header {
                return Some(());
            }
            checksum::replace_partial(before, old, new)
        } else if checksum.zero_is_none {
            checksum::replace_optional(before, old, new)
        } else {
            checksum::replace(before, old, new)
        };
        self.store(checksum.at, after)
    }

    fn segment_len(&self, l3: usize) -> usize {
        match self.gso_size {
            Some(gso_size) => super_segment_len(self, l3, gso_size),
            None => self.len.saturating_sub(l3),
        }
    }

    fn reshape(&mut self, grow: usize, len: usize) -> Option<()> {
        let start = self.start.checked_sub(grow)?;
        if self.buffer.len() - start < len {
            return None;
        }
        *self = SliceFrame {
            buffer: core::mem::take(&mut self.buffer),
            start,
            len,
            checksum: Checksum::Complete,
            gso_size: None,
        };
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: L4Checksum = L4Checksum { at: 2, pseudo_header: true, zero_is_none: true };

    #[test]
    fn access_ends_with_the_frame() {
        let mut bytes = [1, 2, 3, 4];
        let mut frame = SliceFrame::new(&mut bytes);
        assert_eq!(frame.load::<2>(2), Some([3, 4]));
        assert_eq!(frame.load::<2>(3), None);
        assert_eq!(frame.load::<1>(usize::MAX), None);
        assert_eq!(frame.store(3, [9, 9]), None);
        assert_eq!(frame.store(2, [7, 8]), Some(()));
        assert_eq!(bytes, [1, 2, 7, 8]);
    }

    #[test]
    fn reshape_uses_the_headroom_and_cuts() {
        let mut bytes = [0, 0, 0, 0, 5, 6, 7, 8];
        let mut frame = SliceFrame::with_headroom(&mut bytes, 4).super_packet(1).checksum(Checksum::Partial { at: 0 });
        assert_eq!(frame.reshape(5, 6), None);
        assert_eq!(frame.reshape(2, 7), None);
        assert_eq!(frame.load(0), Some([5, 6]));
        assert_eq!(frame.reshape(2, 5), Some(()));
        assert_eq!(frame.bytes(), [0, 0, 5, 6, 7]);
        assert_eq!((frame.len(), frame.segment_len(0)), (5, 5));
    }

    #[test]
    fn a_super_packet_is_as_long_as_its_segments() {
        let mut bytes = [0_u8; 60_000];
        bytes[0] = 0x45;
        bytes[9] = 6;
        bytes[32] = 0x50;
        let frame = SliceFrame::new(&mut bytes).super_packet(1_300);
        assert_eq!((frame.len(), frame.segment_len(0)), (60_000, 1_340));
    }

    #[test]
    fn super_packets_of_both_families_and_protocols() {
        let len = |first: u8, protocol_at: usize, protocol: u8, offset_at: usize| {
            let mut bytes = [0_u8; 9_000];
            bytes[0] = first;
            bytes[protocol_at] = protocol;
            bytes[offset_at] = 0x80;
            SliceFrame::new(&mut bytes).super_packet(1_000).segment_len(0)
        };
        assert_eq!(len(0x46, 9, 6, 24 + 12), 24 + 32 + 1_000);
        assert_eq!(len(0x45, 9, 17, 99), 20 + 8 + 1_000);
        assert_eq!(len(0x60, 6, 6, 40 + 12), 40 + 32 + 1_000);
        assert_eq!(len(0x60, 6, 17, 99), 40 + 8 + 1_000);
    }

    #[test]
    fn complete_checksums_follow_every_change() {
        let mut bytes = [0, 0, 0xdd, 0x2f];
        SliceFrame::new(&mut bytes).l4_replace(UDP, [0x55, 0x55], [0x32, 0x84]).unwrap();
        assert_eq!(bytes, [0, 0, 0, 1]);
    }

    #[test]
    fn udp_zero_stays_and_a_computed_zero_becomes_ffff() {
        let mut bytes = [0, 0, 0, 0];
        SliceFrame::new(&mut bytes).l4_replace(UDP, [1, 2], [3, 4]).unwrap();
        assert_eq!(bytes, [0; 4]);
        let mut bytes = [0, 0, 0xdd, 0x2f];
        SliceFrame::new(&mut bytes).l4_replace(UDP, [0x55, 0x55], [0x32, 0x85]).unwrap();
        assert_eq!(bytes, [0, 0, 0xff, 0xff]);
        let mut bytes = [0, 0, 0xdd, 0x2f];
        let tcp = L4Checksum { zero_is_none: false, ..UDP };
        SliceFrame::new(&mut bytes).l4_replace(tcp, [0x55, 0x55], [0x32, 0x85]).unwrap();
        assert_eq!(bytes, [0; 4]);
    }

    #[test]
    fn partial_checksums_follow_the_pseudo_header_only() {
        let mut bytes = [0, 0, 0x10, 0x00, 0, 0, 0x20, 0x00];
        let mut frame = SliceFrame::new(&mut bytes).checksum(Checksum::Partial { at: 2 });
        frame.l4_replace(L4Checksum { pseudo_header: false, ..UDP }, [0, 1], [0, 9]).unwrap();
        assert_eq!(frame.load(2), Some([0x10, 0x00]));
        frame.l4_replace(UDP, [0, 1], [0, 9]).unwrap();
        assert_eq!(frame.load(2), Some([0x10, 0x08]));
        frame.l4_replace(L4Checksum { at: 6, ..UDP }, [0, 1], [0, 9]).unwrap();
        assert_eq!(frame.load(6), Some([0x1f, 0xf8]), "the checksum of another header is complete");
    }
}
