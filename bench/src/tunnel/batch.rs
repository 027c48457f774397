//! Many datagrams in one system call, both ways: `sendmmsg`, `recvmmsg`, `UDP_SEGMENT` and `UDP_GRO`.

use std::{io, mem, net::UdpSocket, os::fd::AsRawFd, ptr, time::Duration};

use anyhow::{Context, Result};

/// A receiver that hears nothing looks whether it shall end.
const TIMEOUT: Duration = Duration::from_millis(50);
/// Room for what `UDP_GRO` puts together.
const COALESCED: usize = 65_536;
const RECEIVED_AT_ONCE: usize = 32;

/// Sends the same datagrams again and again over a connected socket.
pub(super) struct Sender {
    socket: UdpSocket,
    batch: Batch,
    /// Datagrams in one batch.
    count: u64,
}

impl Sender {
    pub(super) fn new(socket: UdpSocket, payload: usize, segmented: bool, count: usize) -> Result<Sender> {
        let batch = if segmented {
            set(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, payload as libc::c_int)?;
            Batch::new(1, payload * count)
        } else {
            Batch::new(count, payload)
        };
        Ok(Sender { socket, batch, count: count as u64 })
    }

    /// Returns how many were taken.
    pub(super) fn send(&mut self) -> Result<u64> {
        let headers = &mut self.batch.headers;
        // SAFETY: the headers point into buffers that live as long as they do.
        let sent =
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as libc::c_uint, 0) };
        match u64::try_from(sent) {
            Ok(sent) => Ok(sent * self.count / headers.len() as u64),
            Err(_) => match io::Error::last_os_error() {
                // A queue on the way is full.
                error if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(0),
                error => Err(error).context("sendmmsg"),
            },
        }
    }
}

/// Counts datagrams of one length.
pub(super) struct Receiver {
    socket: UdpSocket,
    batch: Batch,
    payload: usize,
}

impl Receiver {
    pub(super) fn new(socket: UdpSocket, payload: usize, coalesce: bool) -> Result<Receiver> {
        socket.set_read_timeout(Some(TIMEOUT))?;
        set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20)?;
        set(&socket, libc::SOL_UDP, libc::UDP_GRO, libc::c_int::from(coalesce))?;
        let room = if coalesce { COALESCED } else { payload };
        Ok(Receiver { socket, batch: Batch::new(RECEIVED_AT_ONCE, room), payload })
    }

    /// How many came; none when there was nothing for a while.
    pub(super) fn receive(&mut self) -> Result<u64> {
        let headers = &mut self.batch.headers;
        // SAFETY: the headers point into buffers that live as long as they do; the timeout may be null.
        let came = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        match usize::try_from(came) {
            Ok(came) => Ok(headers[..came].iter().map(|header| header.msg_len as u64 / self.payload as u64).sum()),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error).context("recvmmsg"),
            },
        }
    }
}

/// Buffers of one length, and the headers that point to them. Nothing in it moves when it is moved: all is on the heap.
struct Batch {
    headers: Vec<libc::mmsghdr>,
    _vectors: Vec<libc::iovec>,
    _buffer: Vec<u8>,
}

// SAFETY: the pointers in the headers lead to what the batch itself owns.
unsafe impl Send for Batch {}

impl Batch {
    fn new(count: usize, length: usize) -> Batch {
        let mut buffer = vec![0x5a_u8; count * length];
        let pieces = buffer.chunks_exact_mut(length);
        let mut vectors: Vec<_> =
            pieces.map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: length }).collect();
        let header = |vector: &mut libc::iovec| {
            // SAFETY: a header of zeros is one without address, buffers and control messages.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let headers = vectors.iter_mut().map(header).collect();
        Batch { headers, _vectors: vectors, _buffer: buffer }
    }
}

fn set(socket: &UdpSocket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value outlives the call, and each of these options takes an int.
    if unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("socket option {name} of level {level}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_either_way_is_counted() {
        for segmented in [false, true] {
            let (client, server) =
                (UdpSocket::bind(("127.0.0.1", 0)).unwrap(), UdpSocket::bind(("127.0.0.1", 0)).unwrap());
            client.connect(server.local_addr().unwrap()).unwrap();
            let mut receiver = Receiver::new(server, 100, segmented).unwrap();
            let mut sender = Sender::new(client, 100, segmented, 8).unwrap();
            let sent = sender.send().unwrap() + sender.send().unwrap();
            let mut came = 0;
            while came < sent {
                let more = receiver.receive().unwrap();
                assert!(more > 0, "{came} of {sent}");
                came += more;
            }
            assert_eq!((sent, came), (16, 16));
        }
    }
}
