//! What every store must do, and what the one in a file does with its file.

#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

mod conformance;
mod redb_file;
