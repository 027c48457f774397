//! What passes an interface: counts the packets that satisfy a predicate.
//!
//! An `AF_PACKET` socket, of the cooked kind unless link-layer headers are asked for: its predicate sees a packet from its
//! network header on, on Ethernet and on TUN alike. Packets that XDP takes are not seen at the interface where it runs: sniff at the far end of the cable.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{Namespace, interrupt, link::Port};

/// A full queue of small packets, on a slow processor.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts until it is dropped.
#[derive(Debug)]
pub struct Sniffer {
    socket: Arc<OwnedFd>,
    /// Packets that the kernel has put into the socket's queue, as far as it was asked.
    queued: Mutex<u64>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: AtomicU64,
    matched: AtomicU64,
    stop: AtomicBool,
}

impl Sniffer {
    /// Listens on one device; it hears from the moment this returns.
    pub fn on(port: Port, predicate: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Sniffer> {
        Sniffer::start(port.namespace, Some(port.device), libc::SOCK_DGRAM, predicate)
    }

    /// Listens on one device; the predicate sees frames from their link-layer header on.
    pub fn frames(port: Port, predicate: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Sniffer> {
        Sniffer::start(port.namespace, Some(port.device), libc::SOCK_RAW, predicate)
    }

    /// Listens on all devices of a namespace, also those that appear later.
    pub fn everywhere(namespace: &Namespace, predicate: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Sniffer> {
        Sniffer::start(namespace, None, libc::SOCK_DGRAM, predicate)
    }

    fn start(
        namespace: &Namespace,
        device: Option<&str>,
        kind: libc::c_int,
        predicate: impl Fn(&[u8]) -> bool + Send + 'static,
    ) -> Result<Sniffer> {
        let socket = Arc::new(namespace.enter(|| open(device, kind))?);
        let shared = Arc::new(Shared::default());
        let (ear, counts) = (Arc::clone(&socket), Arc::clone(&shared));
        let thread = std::thread::spawn(move || listen(&ear, &counts, predicate));
        Ok(Sniffer { socket, queued: Mutex::new(0), shared, thread: Some(thread) })
    }

    /// Packets that satisfied the predicate, of all that passed before the question.
    pub fn matched(&self) -> Result<u64> {
        self.catch_up()?;
        Ok(self.shared.matched.load(Ordering::Acquire))
    }

    /// All packets that passed before the question.
    pub fn seen(&self) -> Result<u64> {
        self.catch_up()?;
        Ok(self.shared.seen.load(Ordering::Acquire))
    }

    /// Waits until every packet that is in the queue now was counted: the thread that counts may not have had its turn.
    fn catch_up(&self) -> Result<()> {
        let target = {
            let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
            let (packets, drops) = take_statistics(&self.socket)?;
            ensure!(drops == 0, "{drops} packets were too fast to be counted");
            *queued += u64::from(packets);
            *queued
        };
        interrupt::wait_for("packets to be counted", PATIENCE, Duration::from_millis(1), || {
            Ok((self.shared.seen.load(Ordering::Acquire) >= target).then_some(()))
        })
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet's addresses, IPv4 or IPv6; `None` for anything else.
pub fn addresses(packet: &[u8]) -> Option<(std::net::IpAddr, std::net::IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let four = |at: usize| packet.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            Some((four(12)?.into(), four(16)?.into()))
        }
        6 => {
            let sixteen = |at: usize| packet.get(at..at + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            Some((sixteen(8)?.into(), sixteen(24)?.into()))
        }
        _ => None,
    }
}

/// Is this a fragment, first or later?
pub fn is_fragment(packet: &[u8]) -> bool {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => packet.len() >= 8 && (packet[6] & 0x3f, packet[7]) != (0, 0),
        // The fragment header (RFC 8200, section 4.5) comes first in what Linux fragments.
        Some(6) => packet.get(6) == Some(&44),
        _ => false,
    }
}

pub fn contains(packet: &[u8], needle: &[u8]) -> bool {
    // SAFETY: both slices are alive and as long as they say. In a debug build a search in Rust is too slow for a full link.
    let found = unsafe { libc::memmem(packet.as_ptr().cast(), packet.len(), needle.as_ptr().cast(), needle.len()) };
    !found.is_null()
}

fn open(device: Option<&str>, kind: libc::c_int) -> Result<OwnedFd> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: plain system call; the descriptor is owned from here on.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("cannot open a packet socket");
    }
    // SAFETY: `fd` was just opened and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let index = match device {
        Some(device) => index_of(device)?,
        None => 0,
    };
    // SAFETY: zero is a valid value of every field.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    address.sll_ifindex = index;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address outlives the call and the length is its own.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
        return Err(io::Error::last_os_error()).context("cannot bind a packet socket");
    }
    // A burst must not be lost.
    crate::traffic::option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 128 << 20)?;
    let patience = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
    crate::traffic::option(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, patience)?;
    Ok(socket)
}

/// Packets that were queued and packets that found no room in the queue, since the last call: packet(7).
fn take_statistics(socket: &OwnedFd) -> Result<(u32, u32)> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    let (fd, option) = (socket.as_raw_fd(), libc::PACKET_STATISTICS);
    // SAFETY: value and length outlive the call and the length is that of the value.
    let done = unsafe { libc::getsockopt(fd, libc::SOL_PACKET, option, (&raw mut statistics).cast(), &raw mut length) };
    if done != 0 {
        return Err(io::Error::last_os_error()).context("cannot read the statistics of a packet socket");
    }
    // The kernel's number of packets includes those that it dropped.
    Ok((statistics.tp_packets - statistics.tp_drops, statistics.tp_drops))
}

fn index_of(device: &str) -> Result<i32> {
    let name = std::ffi::CString::new(device)?;
    // SAFETY: the name is NUL-terminated and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("no interface {device}"));
    }
    i32::try_from(index).context("interface index")
}

fn listen(socket: &OwnedFd, shared: &Shared, predicate: impl Fn(&[u8]) -> bool) -> Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        // SAFETY: the buffer is writable for its whole length during the call.
        let length = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if let Ok(length) = usize::try_from(length) {
            if predicate(&buffer[..length]) {
                shared.matched.fetch_add(1, Ordering::Release);
            }
            // Last, since who waits for this reads the other.
            shared.seen.fetch_add(1, Ordering::Release);
        } else {
            let error = io::Error::last_os_error();
            // The device going down is told once and does not end the socket.
            let lasting = !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN));
            if lasting {
                return Err(error).context("packet socket");
            }
            // What came before the request to stop is counted.
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_and_addresses_are_read() {
        let mut packet = [0u8; 20];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&[10, 243, 1, 5]);
        packet[16..20].copy_from_slice(&[10, 71, 2, 7]);
        let (source, destination) = addresses(&packet).unwrap();
        assert_eq!((source.to_string(), destination.to_string()), ("10.243.1.5".into(), "10.71.2.7".into()));
        packet[6] = 0x40;
        assert!(!is_fragment(&packet), "DF alone is no fragment");
        packet[6] = 0x20;
        assert!(is_fragment(&packet));
        packet[6..8].copy_from_slice(&[0, 185]);
        assert!(is_fragment(&packet));
        assert!(contains(b"abcdef", b"cde") && !contains(b"abcdef", b"ce"));
        assert_eq!(addresses(&packet[..10]), None);
    }
}
