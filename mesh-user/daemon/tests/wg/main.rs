//! `mesh-wg` as a user meets it: driven by the real `wg` and `wg-quick`, with traffic, in namespaces.
#![expect(clippy::unwrap_used, reason = "what a test cannot do ends it")]

mod device;
mod life;
mod quick;
mod reconfigure;
mod refusals;
mod subcommands;
mod traffic;
