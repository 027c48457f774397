//! What sendmsg(2), sendmmsg(2), recvmsg(2) and recvmmsg(2) are called with, laid out once and used again.

use std::{io, marker::PhantomData, mem, net::SocketAddrV4, os::fd::RawFd, ptr};

use super::DATAGRAM;

/// Messages over bytes that are borrowed.
pub(super) struct Messages<'a> {
    headers: Box<[libc::mmsghdr]>,
    /// The headers point into these.
    _parts: Box<[libc::iovec]>,
    _names: Box<[libc::sockaddr_in]>,
    _control: Box<Control>,
    _bytes: PhantomData<&'a [u8]>,
}

/// Room for one `cmsghdr` with the size of a segment.
#[repr(C, align(8))]
struct Control {
    header: libc::cmsghdr,
    segment: u16,
    _padding: [u8; 6],
}

impl<'a> Messages<'a> {
    /// Each datagram is a message.
    pub(super) fn of_each(bytes: &'a [u8], to: SocketAddrV4) -> Messages<'a> {
        Self::lay_out(bytes.as_ptr().cast_mut(), bytes.len(), 1, Some(to), None)
    }

    /// All datagrams are one message that the kernel cuts; each is a part of its own.
    pub(super) fn of_parts(bytes: &'a [u8], to: SocketAddrV4) -> Messages<'a> {
        let parts = bytes.len().div_ceil(DATAGRAM);
        Self::lay_out(bytes.as_ptr().cast_mut(), bytes.len(), parts, Some(to), Some(DATAGRAM as u16))
    }

    /// Room for a message of each datagram, and for the address that it came from.
    pub(super) fn to_receive(bytes: &'a mut [u8]) -> Messages<'a> {
        Self::lay_out(bytes.as_mut_ptr(), bytes.len(), 1, None, None)
    }

    fn lay_out(
        bytes: *mut u8,
        len: usize,
        parts_of_each: usize,
        to: Option<SocketAddrV4>,
        segment: Option<u16>,
    ) -> Messages<'a> {
        let part = |at: usize| libc::iovec { iov_base: bytes.wrapping_add(at).cast(), iov_len: DATAGRAM.min(len - at) };
        let mut parts: Box<[_]> = (0..len).step_by(DATAGRAM).map(part).collect();
        let mut names: Box<[_]> = parts.chunks(parts_of_each).map(|_| name(to)).collect();
        // SAFETY: pure arithmetic.
        let control_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as libc::c_uint) } as usize;
        let header = libc::cmsghdr { cmsg_len: control_len, cmsg_level: libc::SOL_UDP, cmsg_type: libc::UDP_SEGMENT };
        let mut control = Box::new(Control { header, segment: segment.unwrap_or(0), _padding: [0; 6] });
        let message = |(parts, name): (&mut [libc::iovec], &mut libc::sockaddr_in)| {
            // SAFETY: all-zero is the empty `mmsghdr`.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = ptr::from_mut(name).cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
            message.msg_hdr.msg_iovlen = parts.len();
            if segment.is_some() {
                message.msg_hdr.msg_control = (&raw mut *control).cast();
                message.msg_hdr.msg_controllen = size_of::<Control>();
            }
            message
        };
        let headers = parts.chunks_mut(parts_of_each).zip(&mut names).map(message).collect();
        Messages { headers, _parts: parts, _names: names, _control: control, _bytes: PhantomData }
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &libc::msghdr> {
        self.headers.iter().map(|message| &message.msg_hdr)
    }

    /// One call for each message.
    pub(super) fn send_each(&self, socket: RawFd) -> io::Result<()> {
        for message in self.each() {
            // SAFETY: what the message points to lives as long as `self`, and the kernel only reads.
            if unsafe { libc::sendmsg(socket, message, 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// One call for all messages; gives how many left.
    pub(super) fn send_all(&mut self, socket: RawFd) -> io::Result<usize> {
        let count = self.headers.len() as libc::c_uint;
        // SAFETY: there are `count` messages, and what they point to lives as long as `self`; the kernel reads it.
        let sent = unsafe { libc::sendmmsg(socket, self.headers.as_mut_ptr(), count, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// One call for each message; gives how many came.
    pub(super) fn receive_each(&mut self, socket: RawFd) -> io::Result<usize> {
        for (count, message) in self.headers.iter_mut().enumerate() {
            // SAFETY: what the message points to lives as long as `self`, which was made for writing.
            if unsafe { libc::recvmsg(socket, &raw mut message.msg_hdr, libc::MSG_DONTWAIT) } < 0 {
                let error = io::Error::last_os_error();
                return if error.kind() == io::ErrorKind::WouldBlock { Ok(count) } else { Err(error) };
            }
        }
        Ok(self.headers.len())
    }

    /// One call for as many messages as are there; gives how many came.
    pub(super) fn receive_all(&mut self, socket: RawFd) -> io::Result<usize> {
        let count = self.headers.len() as libc::c_uint;
        // SAFETY: there are `count` messages, and what they point to lives as long as `self`, which was made for writing.
        let came =
            unsafe { libc::recvmmsg(socket, self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, ptr::null_mut()) };
        usize::try_from(came).map_err(|_| io::Error::last_os_error())
    }
}

fn name(to: Option<SocketAddrV4>) -> libc::sockaddr_in {
    let (address, port) = to.map_or(([0; 4], 0), |to| (to.ip().octets(), to.port()));
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address) },
        sin_zero: [0; 8],
    }
}
