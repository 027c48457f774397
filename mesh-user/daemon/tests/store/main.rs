//! What every store must do, and what the one in a file does with its file.

mod conformance;
mod redb_file;
