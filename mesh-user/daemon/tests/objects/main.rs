//! Objects of the inter-cluster network in a daemon that runs: applied, shown, watched, deleted; all or nothing. Needs root.

mod apply;
mod follower;
mod kill;
mod ownership;
mod rollout;
mod site;
mod watch;
