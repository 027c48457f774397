//! What a TUN device is called now, and where it is: others may rename it and move it to another network namespace.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use mesh_core::plan::DeviceName;

use super::tun::{Tun, interface_request};

/// Another handle of a queue, for questions about its device. The device lives as long as this.
#[derive(Debug)]
pub struct TunDevice(OwnedFd);

/// A handle; the namespace lives as long as this.
#[derive(Debug)]
pub struct NetworkNamespace(OwnedFd);

impl TunDevice {
    pub fn of(tun: &Tun) -> Result<TunDevice> {
        tun.as_fd().try_clone_to_owned().map(TunDevice).context("duplicate the descriptor of a TUN queue")
    }

    /// `None`: the device was deleted.
    pub fn name(&self) -> Result<Option<DeviceName>> {
        let mut request = interface_request(&DeviceName("?".to_owned()), 0)?;
        // SAFETY: TUNGETIFF writes one `ifreq`, which lives on this stack frame.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNGETIFF, &raw mut request) } != 0 {
            return gone(io::Error::last_os_error()).context("ask the name of a TUN device");
        }
        let bytes: Vec<u8> = request.ifr_name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
        Ok(Some(DeviceName(String::from_utf8_lossy(&bytes).into_owned())))
    }

    /// `None`: the device was deleted.
    pub fn namespace(&self) -> Result<Option<NetworkNamespace>> {
        // SAFETY: TUNGETDEVNETNS takes no argument.
        let fd = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TUNGETDEVNETNS, 0) };
        if fd < 0 {
            return gone(io::Error::last_os_error()).context("ask the network namespace of a TUN device");
        }
        // SAFETY: the kernel just made this descriptor, and nothing else owns it.
        Ok(Some(NetworkNamespace(unsafe { OwnedFd::from_raw_fd(fd) })))
    }
}

/// A queue without device answers `EBADFD`.
fn gone<T>(error: io::Error) -> io::Result<Option<T>> {
    if error.raw_os_error() == Some(libc::EBADFD) { Ok(None) } else { Err(error) }
}

impl NetworkNamespace {
    /// That of the calling thread.
    pub fn current() -> Result<NetworkNamespace> {
        let file = std::fs::File::open("/proc/thread-self/ns/net").context("open this thread's network namespace")?;
        Ok(NetworkNamespace(file.into()))
    }

    pub fn is(&self, other: &NetworkNamespace) -> Result<bool> {
        let identity = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        Ok(identity(&self.0)? == identity(&other.0)?)
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
