//! A UDP socket that takes many small messages with one call and sends as many answers with another.
//!
//! An answer leaves from the address that the question was sent to, and nowhere else than to its sender.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::{
    socket_names::{decode, encode},
    udp::{ControlBytes, ControlWriter, Received, empty_message, pktinfo_v4, pktinfo_v6, read_control},
};

/// Messages of one call.
pub const BATCH: usize = 32;
/// A longer message is none.
const LONGEST: usize = 4_096;
/// What comes in 0.4 s at 50,000 messages a second, each of which takes 768 bytes of twice this size.
const SOCKET_BUFFER: usize = 8 << 20;

#[derive(Debug)]
pub struct DatagramSocket {
    socket: OwnedFd,
    /// Bound to all addresses: which one was hit comes with each message.
    wildcard: bool,
}

/// Who sent a message, and to which of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub address: SocketAddr,
    to: Option<IpAddr>,
}

impl Sender {
    /// Somebody who has sent nothing yet.
    pub fn at(address: SocketAddr) -> Sender {
        Sender { address, to: None }
    }
}

/// Room for the messages of one call.
pub struct Inbox {
    buffers: Box<[[u8; LONGEST]; BATCH]>,
    names: Box<[libc::sockaddr_storage; BATCH]>,
    controls: Box<[ControlBytes; BATCH]>,
    /// Length and sender of those that came.
    letters: Vec<(usize, Sender)>,
}

/// The answers to the messages of one call. What was written before is used again.
#[derive(Debug, Default)]
pub struct Outbox {
    letters: Vec<(Sender, Vec<u8>)>,
    count: usize,
}

impl DatagramSocket {
    /// Bound in this thread's network namespace, perhaps before the address is there.
    pub fn bind(address: SocketAddr) -> io::Result<DatagramSocket> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        // Without CAP_NET_ADMIN the sysctl limits the size.
        sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER))?;
        super::free_bind(&socket, address)?;
        let wildcard = address.ip().is_unspecified();
        if wildcard {
            report_addresses(&socket, address.is_ipv4())?;
        }
        rustix::net::bind(&socket, &address)?;
        Ok(DatagramSocket { socket, wildcard })
    }

    /// Takes what is there, at most [`BATCH`] messages; `WouldBlock` if nothing is.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        inbox.letters.clear();
        let room = |bytes: &mut [u8; LONGEST]| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: LONGEST };
        let mut parts: [libc::iovec; BATCH] = inbox.buffers.each_mut().map(room);
        let mut headers: [libc::mmsghdr; BATCH] =
            std::array::from_fn(|_| libc::mmsghdr { msg_hdr: empty_message(), msg_len: 0 });
        for (index, header) in headers.iter_mut().enumerate() {
            let message = &mut header.msg_hdr;
            message.msg_name = ptr::from_mut(&mut inbox.names[index]).cast();
            message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            message.msg_iov = &raw mut parts[index];
            message.msg_iovlen = 1;
            if self.wildcard {
                message.msg_control = ptr::from_mut(&mut inbox.controls[index]).cast();
                message.msg_controllen = size_of::<ControlBytes>();
            }
        }
        let (fd, count) = (self.socket.as_raw_fd(), BATCH as libc::c_uint);
        // SAFETY: each of the `count` headers points to live memory of the length beside it, and nothing else uses it.
        let came = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, ptr::null_mut()) };
        let came = usize::try_from(came).map_err(|_| io::Error::last_os_error())?;
        for (header, name) in headers[..came].iter().zip(inbox.names.iter()) {
            inbox.letters.push(letter(header, name));
        }
        Ok(())
    }

    /// Sends what the outbox holds and empties it; how many messages the kernel did not take.
    pub fn send(&self, outbox: &mut Outbox) -> usize {
        let count = mem::take(&mut outbox.count);
        let mut lost = 0;
        for letters in outbox.letters[..count].chunks(BATCH) {
            lost += self.send_batch(letters);
        }
        lost
    }

    /// One message by itself.
    pub fn send_to(&self, to: Sender, bytes: Vec<u8>) -> bool {
        self.send_batch(&[(to, bytes)]) == 0
    }

    fn send_batch(&self, letters: &[(Sender, Vec<u8>)]) -> usize {
        let mut names: [_; BATCH] = std::array::from_fn(|index| letters.get(index).map(|(to, _)| encode(&to.address)));
        let mut controls: [_; BATCH] = std::array::from_fn(|index| letters.get(index).map(|(to, _)| control(to)));
        let mut parts: [_; BATCH] = std::array::from_fn(|index| {
            let bytes = letters.get(index).map_or(&[][..], |(_, bytes)| bytes);
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
        });
        let mut headers: [libc::mmsghdr; BATCH] =
            std::array::from_fn(|_| libc::mmsghdr { msg_hdr: empty_message(), msg_len: 0 });
        for (index, header) in headers.iter_mut().enumerate().take(letters.len()) {
            let message = &mut header.msg_hdr;
            if let Some((name, len)) = &mut names[index] {
                (message.msg_name, message.msg_namelen) = (name.as_mut_ptr().cast(), *len);
            }
            message.msg_iov = &raw mut parts[index];
            message.msg_iovlen = 1;
            if let Some(control) = &mut controls[index]
                && control.len > 0
            {
                (message.msg_control, message.msg_controllen) = (control.bytes.0.as_mut_ptr().cast(), control.len);
            }
        }
        let (mut at, mut lost) = (0, 0);
        while at < letters.len() {
            let rest = &mut headers[at..letters.len()];
            // SAFETY: each of these headers points to live memory of the length beside it, and the kernel only reads.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            // An error is that of the first one: the others may have another way.
            match usize::try_from(sent) {
                Ok(sent) => at += sent,
                Err(_) => (at, lost) = (at + 1, lost + 1),
            }
        }
        lost
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn report_addresses(socket: &OwnedFd, v4: bool) -> io::Result<()> {
    let (level, name) = if v4 {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        sockopt::set_ipv6_v6only(socket, true)?;
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    };
    let (on, len) = (1 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the option value is one `int` on this stack frame.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A message that was cut, or of which nobody can say whose it is, has length 0.
fn letter(header: &libc::mmsghdr, name: &libc::sockaddr_storage) -> (usize, Sender) {
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    let from = decode(name).filter(|_| !cut);
    let mut received = Received { len: 0, segment: 0, from: from.unwrap_or(nobody), to: None, tos: 0 };
    read_control(&header.msg_hdr, &mut received);
    let len = if from.is_some() { header.msg_len as usize } else { 0 };
    (len, Sender { address: received.from, to: received.to })
}

fn control(to: &Sender) -> ControlWriter {
    let mut control = ControlWriter::new();
    match to.to {
        Some(IpAddr::V4(from)) => control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, pktinfo_v4(from)),
        Some(IpAddr::V6(from)) => control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, pktinfo_v6(from)),
        None => {}
    }
    control
}

impl Inbox {
    pub fn new() -> Inbox {
        // SAFETY: an all-zero `sockaddr_storage` is a valid one of no family.
        let empty: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Inbox {
            buffers: Box::new([[0; LONGEST]; BATCH]),
            names: Box::new([empty; BATCH]),
            controls: Box::new(std::array::from_fn(|_| ControlBytes::new())),
            letters: Vec::with_capacity(BATCH),
        }
    }

    /// The messages of the last call that can be answered.
    pub fn letters(&self) -> impl ExactSizeIterator<Item = (Sender, &[u8])> {
        self.letters.iter().zip(self.buffers.iter()).map(|((len, sender), bytes)| (*sender, &bytes[..*len]))
    }
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox::new()
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("letters", &self.letters).finish_non_exhaustive()
    }
}

impl Outbox {
    /// `write` fills the buffer of the next message and says whether it is to be sent.
    pub fn push(&mut self, to: Sender, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        if self.count == self.letters.len() {
            self.letters.push((to, Vec::with_capacity(LONGEST)));
        }
        let (place, bytes) = &mut self.letters[self.count];
        *place = to;
        if write(bytes) {
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;

    fn bound(address: &str) -> (DatagramSocket, SocketAddr) {
        let socket = DatagramSocket::bind(address.parse().unwrap()).unwrap();
        let name = rustix::net::getsockname(&socket).unwrap();
        (socket, name.try_into().unwrap())
    }

    fn wait(socket: &DatagramSocket, inbox: &mut Inbox) {
        let mut polled = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
        let second = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&second)), Ok(1));
        socket.receive(inbox).unwrap();
    }

    #[test]
    fn many_messages_come_with_one_call_and_go_back_to_their_senders() {
        let (socket, address) = bound("127.0.0.1:0");
        let clients: Vec<_> = (0..5).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        for (number, client) in clients.iter().enumerate() {
            client.send_to(&[number as u8; 3], address).unwrap();
        }
        let (mut inbox, mut outbox) = (Inbox::new(), Outbox::default());
        wait(&socket, &mut inbox);
        assert_eq!(inbox.letters().len(), 5);
        for (from, bytes) in inbox.letters() {
            outbox.push(from, |answer| {
                answer.clear();
                answer.extend([bytes, bytes].concat());
                bytes[0] != 2
            });
        }
        assert_eq!(socket.send(&mut outbox), 0);
        for (number, client) in clients.iter().enumerate() {
            let mut answer = [0; 16];
            client.set_read_timeout(Some(Duration::from_millis(if number == 2 { 50 } else { 1_000 }))).unwrap();
            match client.recv_from(&mut answer) {
                Ok((len, from)) => assert_eq!((&answer[..len], from), (&[number as u8; 6][..], address)),
                Err(_) => assert_eq!(number, 2),
            }
        }
        assert_eq!(socket.receive(&mut inbox).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        for (any, asked) in [("0.0.0.0:0", "127.0.0.77"), ("[::]:0", "::1")] {
            let (socket, address) = bound(any);
            let asked = SocketAddr::new(asked.parse().unwrap(), address.port());
            let client = UdpSocket::bind(any).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            client.connect(asked).unwrap();
            client.send(b"?").unwrap();
            let mut inbox = Inbox::new();
            wait(&socket, &mut inbox);
            let (from, _) = inbox.letters().next().unwrap();
            assert!(socket.send_to(from, b"!".to_vec()));
            assert_eq!(client.recv(&mut [0; 4]).unwrap(), 1);
        }
    }

    #[test]
    fn what_is_longer_than_a_message_can_be_is_empty() {
        let (socket, address) = bound("127.0.0.1:0");
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(&[1; LONGEST + 1], address).unwrap();
        let mut inbox = Inbox::new();
        wait(&socket, &mut inbox);
        assert_eq!(inbox.letters().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [0]);
    }
}
