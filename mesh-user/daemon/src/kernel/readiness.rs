//! How is a descriptor waited for that is none of tokio's own kinds?

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, Result};
use tokio::io::{Interest, unix::AsyncFd};

/// Tells when there is something to read, within the runtime that calls. It is about the same open file as `fd`.
pub fn readable(fd: impl AsFd) -> Result<AsyncFd<OwnedFd>> {
    let own = fd.as_fd().try_clone_to_owned().context("duplicate a descriptor")?;
    // SAFETY: an `OwnedFd` stays open and the same as long as it lives, and it lives in what is returned.
    unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }.context("cannot poll a descriptor")
}
