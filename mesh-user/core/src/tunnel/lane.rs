//! The lanes of a tunnel: each a UDP port at both ends with a session of its own.

/// A connection has at most so many lanes: as many as shards, and as Liqo's list of ports may hold.
pub const MAX_LANES: usize = 64;

/// Number of a lane of a device, from 0: its place in the list of ports and its TUN queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u8);

impl Lane {
    /// The place of this lane in lists that have one entry for each.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
