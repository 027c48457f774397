//! Sends through io_uring(7): as many as there are messages, submitted and waited for with one enter.

use std::{io, os::fd::RawFd};

use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, types};

use super::messages::Messages;

const ENTRIES: u32 = 64;

pub(super) struct Ring(IoUring);

impl Ring {
    /// # Errors
    /// The kernel does not permit it (`kernel.io_uring_disabled`, seccomp), or is older than Linux 6.1.
    pub(super) fn new() -> io::Result<Ring> {
        // What spares a ring with one thread its interrupts.
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(ENTRIES).map(Ring)
    }

    /// The socket does not block.
    pub(super) fn send(&mut self, socket: RawFd, messages: &Messages<'_>) -> Result<()> {
        let mut count = 0;
        for message in messages.each() {
            let entry = opcode::SendMsg::new(types::Fd(socket), message).build();
            // SAFETY: what the message points to outlives this call, and on a socket that does not block the kernel is done
            // with it when it was submitted.
            unsafe { self.0.submission().push(&entry) }.context("the ring has room for a train")?;
            count += 1;
        }
        self.0.submit_and_wait(count).context("enter the ring")?;
        let mut done = 0;
        for completion in self.0.completion() {
            if completion.result() < 0 {
                return Err(io::Error::from_raw_os_error(-completion.result())).context("send through the ring");
            }
            done += 1;
        }
        ensure!(done == count, "{done} of {count} sends are complete");
        Ok(())
    }
}
