//! The daemon as a whole: real programs in network namespaces, real traffic between them. Needs root.

mod command_line;
mod direct;
mod gateway;
mod lanes;
mod plain_remote;
mod refusals;
mod tunnel;
mod uapi;

use anyhow::{Context, Result};
use mesh_lab::{
    demo::{Network, check::CHECKS},
    node::Programs,
};

fn programs() -> Result<Programs> {
    Programs::beside(env!("CARGO_BIN_EXE_meshd"))
}

/// Every promise of every connection, in both directions. The first that is broken is the error, with the logs.
fn keep_all_promises(network: &Network) -> Result<()> {
    let mut random = 42;
    for direction in network.directions()? {
        for check in CHECKS {
            (check.run)(&direction, &mut random)
                .with_context(|| format!("{}: {}\n{}", direction.name(), check.name, network.tails()))?;
        }
    }
    Ok(())
}
