//! The smallest wrappers over the operating system; all unsafe code of this crate lives here.
