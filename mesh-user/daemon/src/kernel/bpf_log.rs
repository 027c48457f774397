//! How log lines of the BPF programs get into the daemon's log: at their own level, under the target `mesh`.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Reads the programs' ring buffer from now on, within the runtime that calls.
pub fn start(object: &mut Ebpf) -> Result<()> {
    let logger = EbpfLogger::init(object).context("cannot read the log of the BPF programs")?;
    // SAFETY: the logger owns its descriptor, which stays open and the same as long as the logger lives, in `lines`.
    let lines = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut lines = lines.context("cannot poll the log of the programs")?;
    tokio::spawn(async move {
        while let Ok(mut ready) = lines.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}
