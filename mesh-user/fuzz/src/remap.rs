//! A packet at any of the doors of the data path.

use mesh_common::{
    datapath::{Verdict, remap::remap as judge},
    frame::{Frame, SliceFrame},
    ids::IfIndex,
    testkit::World,
};

use crate::Bytes;

/// The first byte is the door. A packet that was accepted has kept its length, and everything but addresses and
/// checksums; one that passes is as it was.
pub fn remap(bytes: &[u8]) {
    let world = World::new(IfIndex(2));
    let doors = world.doors();
    let mut bytes = Bytes(bytes);
    let door = doors[usize::from(bytes.byte()) % doors.len()];
    let l3 = usize::from(bytes.byte() % 16);
    let mut packet = bytes.0.to_vec();
    let mut frame = SliceFrame::new(&mut packet);
    let verdict = judge(&mut frame, l3, door, &world.tables);
    assert_eq!(frame.len(), bytes.0.len(), "remapping never changes the length");
    if verdict == Verdict::Pass {
        assert_eq!(packet, bytes.0, "what passes is untouched");
    }
}
