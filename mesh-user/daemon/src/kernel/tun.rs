//! The queues of a TUN device, which carry super-packets with a `virtio_net_hdr`.
//!
//! A device of the plan outlives the process, so that its routes stay and nothing for a tunnel ever takes another way; one
//! of `mesh-wg` does not. Addresses, MTU and link state are set by netlink and not here.

use std::{
    io::{self, IoSlice},
    num::NonZeroUsize,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use mesh_core::{plan::DeviceName, tunnel::vnet};
use rustix::fs::{Mode, OFlags};

/// What `gso_max_size` of the device should be: the TCP segments of one read then fill one UDP datagram batch, which
/// holds 65,507 bytes, with 60 bytes of headers, padding and tags for each of about 45 segments.
pub const GSO_MAX_SIZE: u32 = 61_000;

/// How often, and after which time, something in use is tried again.
const RETRIES: usize = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const PATH: &str = "/dev/net/tun";
/// What every queue is attached as.
const QUEUE: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;

/// One queue; the device loses it when this is dropped. A persistent device stays then, another one goes with its last
/// queue.
#[derive(Debug)]
pub struct Tun {
    queue: OwnedFd,
    udp_segments: bool,
    /// An abstract socket exists once per network namespace and vanishes with its process. It says that the device is
    /// taken, which a persistent multi-queue device itself does not.
    _claim: Option<Arc<UnixListener>>,
}

impl Tun {
    /// Makes the device in this thread's network namespace, or adopts the one that an earlier process left. The queues are
    /// numbered as they come, and it gets no others.
    ///
    /// # Errors
    /// The device is in use, is another kind of device, or the privileges are missing.
    pub fn open(name: &DeviceName, queues: NonZeroUsize) -> anyhow::Result<Vec<Tun>> {
        let claim = Arc::new(claim(name)?);
        let queue = |_| Tun::new(name, attach(name, QUEUE)?, Some(Arc::clone(&claim)));
        let opened: Vec<_> = (0..queues.get()).map(queue).collect::<anyhow::Result<_>>()?;
        let [any, ..] = opened.as_slice() else { return Ok(opened) };
        set(&any.queue, libc::TUNSETPERSIST, 1).with_context(|| format!("{}: make the device persistent", name.0))?;
        // An earlier process may have left its program; with one queue nothing is chosen.
        any.set_steering(None).with_context(|| format!("{}: detach the queue program", name.0))?;
        Ok(opened)
    }

    /// Makes a device that goes with its last queue, in this thread's network namespace.
    ///
    /// # Errors
    /// A device of that name exists, or the privileges are missing.
    pub fn create(name: &DeviceName, queues: NonZeroUsize) -> anyhow::Result<Vec<Tun>> {
        let first = Tun::new(name, attach(name, QUEUE | libc::IFF_TUN_EXCL)?, None)?;
        let others = (1..queues.get()).map(|_| Tun::new(name, attach(name, QUEUE)?, None));
        std::iter::once(Ok(first)).chain(others).collect()
    }

    fn new(name: &DeviceName, queue: OwnedFd, claim: Option<Arc<UnixListener>>) -> anyhow::Result<Tun> {
        set_vnet_header(&queue).with_context(|| format!("{}: set the packet header", name.0))?;
        let udp_segments = set_offloads(&queue).with_context(|| format!("{}: set TUN offloads", name.0))?;
        Ok(Tun { queue, udp_segments, _claim: claim })
    }

    /// The program (a socket filter) that chooses the queue of each packet of the device; `None`: the kernel does. The
    /// device keeps it when its queues are closed.
    pub fn set_steering(&self, program: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let program: libc::c_int = program.map_or(-1, |program| program.as_raw_fd());
        // SAFETY: TUNSETSTEERINGEBPF reads one `int`, which lives on this stack frame.
        match unsafe { libc::ioctl(self.queue.as_raw_fd(), libc::TUNSETSTEERINGEBPF, &raw const program) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The kernel takes and gives UDP super-packets (Linux 6.2).
    pub fn carries_udp_segments(&self) -> bool {
        self.udp_segments
    }

    /// Reads one packet or super-packet, the header of [`vnet`] first.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.queue, buffer)?)
    }

    /// Writes one packet or super-packet from its parts, the header of [`vnet`] first.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(rustix::io::writev(&self.queue, parts)?)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

fn claim(name: &DeviceName) -> anyhow::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(format!("mesh-tun/{}", name.0))
        .with_context(|| format!("{:?} is no device name: 1 to 15 bytes", name.0))?;
    match retry_in_use(|| UnixListener::bind_addr(&address)) {
        Ok(claim) => Ok(claim),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("{}: the device is in use by another meshd in this network namespace; stop that one first", name.0)
        }
        Err(error) => Err(error).with_context(|| format!("{}: claim the device", name.0)),
    }
}

/// What this process just closed may stay in use for some milliseconds: by a child that was forked before and is not yet a
/// program of its own.
pub(crate) fn retry_in_use<T>(mut take: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..RETRIES {
        match take() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(RETRY_PAUSE),
            taken => return taken,
        }
    }
    take()
}

pub(super) fn attach(name: &DeviceName, flags: libc::c_int) -> anyhow::Result<OwnedFd> {
    let queue = rustix::fs::open(PATH, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open {PATH}: is the module tun loaded, and are we root?"))?;
    let mut request = interface_request(name, flags as libc::c_short)?;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives on this stack frame.
    let result = unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 {
        return Ok(queue);
    }
    let error = io::Error::last_os_error();
    let next = match error.raw_os_error() {
        Some(libc::EBUSY) => "it exists already: stop the process that holds it, or delete it",
        Some(libc::EINVAL) => "a device of that name exists that is not ours: rename or delete it",
        Some(libc::EPERM) => "CAP_NET_ADMIN is needed: run as root",
        _ => "see the kernel log",
    };
    Err(error).with_context(|| format!("{}: open the TUN device ({next})", name.0))
}

pub(super) fn interface_request(name: &DeviceName, flags: libc::c_short) -> anyhow::Result<libc::ifreq> {
    let bytes = name.0.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        bail!("{:?} is no device name: 1 to 15 bytes", name.0);
    }
    let mut request =
        libc::ifreq { ifr_name: [0; libc::IFNAMSIZ], ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

/// The `ioctl`s of a TUN queue that take a number by value.
fn set(queue: &OwnedFd, what: libc::Ioctl, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: these requests take their argument by value and touch no memory of ours.
    match unsafe { libc::ioctl(queue.as_raw_fd(), what, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_vnet_header(queue: &OwnedFd) -> io::Result<()> {
    for (what, value) in [(libc::TUNSETVNETHDRSZ, vnet::LEN as libc::c_int), (libc::TUNSETVNETLE, 1)] {
        // SAFETY: both requests read one `int`, which lives on this stack frame.
        if unsafe { libc::ioctl(queue.as_raw_fd(), what, &raw const value) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn set_offloads(queue: &OwnedFd) -> io::Result<bool> {
    choose_offloads(|offloads| set(queue, libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)))
}

/// Asks for what this kernel has; says whether UDP segments are among it, which came with Linux 6.2.
fn choose_offloads(mut ask: impl FnMut(libc::c_uint) -> io::Result<()>) -> io::Result<bool> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    match ask(tcp | udp) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => ask(tcp).map(|()| false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_udp_segments_gets_tcp_alone() {
        let mut asked = Vec::new();
        let old = choose_offloads(|offloads| {
            asked.push(offloads);
            let knows = offloads & (libc::TUN_F_USO4 | libc::TUN_F_USO6) == 0;
            if knows { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
        });
        assert!(!old.unwrap() && asked.len() == 2 && asked[1] & libc::TUN_F_TSO4 != 0, "{asked:x?}");
        assert!(choose_offloads(|_| Ok(())).unwrap());
        let refused = choose_offloads(|_| Err(io::Error::from_raw_os_error(libc::EPERM)));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM), "that is no matter of the kernel's age");
    }

    #[test]
    fn what_is_free_soon_is_waited_for() {
        let mut attempts = 0;
        let taken = retry_in_use(|| {
            attempts += 1;
            if attempts < 3 { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(attempts) }
        });
        assert_eq!(taken.unwrap(), 3);
        let refused: io::Result<()> = retry_in_use(|| Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
