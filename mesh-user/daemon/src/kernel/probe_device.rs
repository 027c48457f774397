//! The device behind which the responder to probes is: a TUN with one queue, for plain packets, that goes with this process.

use std::{io, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use mesh_core::plan::DeviceName;
use tokio::io::{Interest, unix::AsyncFd};

use super::tun;

#[derive(Debug)]
pub struct ProbeDevice(AsyncFd<OwnedFd>);

impl ProbeDevice {
    /// Makes the device in this thread's network namespace; it is down.
    ///
    /// # Errors
    /// A device of that name exists, or the privileges are missing.
    pub fn create(name: &DeviceName) -> Result<Self> {
        let queue = tun::attach(name, libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL)?;
        // SAFETY: the descriptor is owned, it stays open and the same until this is dropped.
        let queue = unsafe { AsyncFd::register(queue) };
        Ok(ProbeDevice(queue.with_context(|| format!("{name}: wait for packets"))?))
    }

    /// One packet that was routed to the device. `EBADFD`: the device was deleted.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.async_io(Interest::READABLE, |queue| Ok(rustix::io::read(queue, &mut *buffer)?)).await
    }

    /// One packet that the kernel takes as if it came in by the device.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        rustix::io::write(self.0.get_ref(), packet)?;
        Ok(())
    }
}
