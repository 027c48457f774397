//! `meshd`: the command line of the daemon.

fn main() {}
