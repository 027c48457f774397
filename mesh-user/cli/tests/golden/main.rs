//! What does each verb ask of the daemon, print and end with? The real program before a daemon that says what it is told;
//! the golden files stand in `snapshots/`.
#![allow(clippy::unwrap_used, reason = "a test that fails shall panic")]

mod contexts;
mod files;
mod groups;
mod node;
mod replies;
mod scripted;
