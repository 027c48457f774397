//! Numbers that cross a boundary, each with a type of its own.

/// Index of a remap: one real prefix and the prefix that it is presented as. Counters are kept per remap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct RemapId(pub u16);

/// Index of a connection, unique among the live connections of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ConnectionId(pub u16);

/// Kernel index of an interface; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct IfIndex(pub u32);

/// Members of a network group that its access rules treat alike, numbered in their group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ClassId(pub u16);
