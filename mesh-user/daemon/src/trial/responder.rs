//! What answers in a trial: datagrams of checks are echoed, streams are taken and their bytes counted.
//!
//! It answers with less than it got, and only to what has the mark of a check, so that it is of no use to anybody else.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

/// First bytes of a datagram of a check; eight more tell it from others.
pub(super) const MARK: &[u8; 8] = b"mshtrial";
/// Of a datagram, and of its answer.
pub(super) const HEAD: usize = 16;
/// How long an end is not noticed.
const PAUSE: Duration = Duration::from_millis(100);
/// A stream in which nothing comes.
const SILENCE: Duration = Duration::from_secs(5);
const MOST_STREAMS: usize = 8;
/// Longer than any datagram.
const BUFFER: usize = 1 << 16;

/// Answers on threads of its own until it is dropped.
#[derive(Debug)]
pub(super) struct Responder {
    shared: Arc<Shared>,
    port: u16,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    datagrams: AtomicU64,
    streams: AtomicU64,
    live_streams: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) datagrams: u64,
    pub(super) streams: u64,
}

impl Responder {
    /// In the network namespace of the calling thread, on a port of the kernel's choice.
    pub(super) fn start() -> Result<Responder> {
        let listener = TcpListener::bind(any(0, false))
            .or_else(|_| TcpListener::bind(any(0, true)))
            .context("cannot listen in the trial")?;
        let bound = listener.local_addr().context("a listener has an address")?;
        let datagrams = UdpSocket::bind(any(bound.port(), bound.is_ipv4())).context("cannot bind in the trial")?;
        datagrams.set_read_timeout(Some(PAUSE)).context("cannot set a timeout")?;
        listener.set_nonblocking(true).context("cannot make the listener non-blocking")?;
        let shared = Arc::new(Shared::default());
        let (of_datagrams, of_streams) = (Arc::clone(&shared), Arc::clone(&shared));
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        named("trial-udp").spawn(move || echo(&datagrams, &of_datagrams)).context("cannot start a thread")?;
        named("trial-tcp").spawn(move || accept(&listener, &of_streams)).context("cannot start a thread")?;
        Ok(Responder { shared, port: bound.port() })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn count(&self) -> Count {
        let [datagrams, streams] =
            [&self.shared.datagrams, &self.shared.streams].map(|count| count.load(Ordering::Relaxed));
        Count { datagrams, streams }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Of both families, or of IPv4 where there is no IPv6.
fn any(port: u16, is_v4: bool) -> SocketAddr {
    let address: IpAddr = if is_v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(address, port)
}

fn echo(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = vec![0; BUFFER];
    while !shared.has_ended() {
        match socket.recv_from(&mut buffer) {
            Ok((length, sender)) if length >= HEAD && buffer.starts_with(MARK) => {
                shared.datagrams.fetch_add(1, Ordering::Relaxed);
                // Who asked notices that nothing comes.
                let _ = socket.send_to(&buffer[..HEAD], sender);
            }
            Ok(_) => {}
            Err(error) if is_pause(&error) => {}
            // The reply to an earlier one was refused.
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.has_ended() {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(PAUSE / 10);
            continue;
        };
        shared.streams.fetch_add(1, Ordering::Relaxed);
        if shared.live_streams.fetch_add(1, Ordering::Relaxed) >= MOST_STREAMS {
            shared.live_streams.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let own = Arc::clone(shared);
        let taker = thread::Builder::new().name("trial-stream".to_owned()).spawn(move || {
            // A stream that breaks is noticed at its other end.
            let _ = take(stream, &own);
            own.live_streams.fetch_sub(1, Ordering::Relaxed);
        });
        if taker.is_err() {
            shared.live_streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Reads to the end, and says how much came.
fn take(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut buffer = vec![0; BUFFER];
    let mut came = 0_u64;
    while !shared.has_ended() {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(&came.to_be_bytes()),
            length => came += length as u64,
        }
    }
    Ok(())
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
