//! The command line of a mesh node.

fn main() {}
