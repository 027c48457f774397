//! Does a connection tell the truth about itself? Real daemons in network namespaces, holes made on purpose. Needs root.

mod holes;
mod metrics;
mod seen;
mod underlay;

use anyhow::Result;
use mesh_lab::node::Programs;

fn programs() -> Result<Programs> {
    Programs::beside(env!("CARGO_BIN_EXE_meshd"))
}
