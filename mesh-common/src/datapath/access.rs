//! May this packet go from one member of a network group to another?
//!
//! Rules say what members may *begin* with each other. Nothing is remembered of a conversation: what answers one is known by
//! itself. Of what `to` may begin with `from`, these answers pass from `from` to `to`:
//!
//! - TCP from the allowed port, unless it is a bare SYN (SYN without ACK), which begins a connection;
//! - UDP from the allowed port. UDP does not tell who began: who may be called on a port may also send from it;
//! - ICMP echo and timestamp replies;
//! - packets of any other protocol, where a rule allows any.
//!
//! An ICMP error passes if the packet that it quotes, or an answer to it, would; its addresses must be those of the quote.
//!
//! **Fragments.** Only the first has ports, and is judged by them. A later one passes only where a rule allows its protocol
//! without naming ports; of TCP only in the direction that the rule names, since a fragment that overlaps the first could
//! make a SYN of it. Otherwise it is dropped as [`DropReason::FragmentWithoutPorts`]: a rule about ports is none for
//! datagrams that do not fit into one packet.
//!
//! A transport header that is not whole is dropped, and so are more than [`super::transport::MAX_EXTENSIONS`] extension
//! headers. Other protocols than TCP, UDP and ICMP are only for rules that allow any.

use super::{
    DropReason,
    transport::{Payload, payload_ipv4, payload_ipv6},
};
use crate::{
    frame::Frame,
    ids::ClassId,
    wire::{icmp, ipv4, ipv6, protocol, tcp, udp, version},
};

/// What one class of members may begin with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Allowance {
    pub protocol: Allowed,
    /// First and last destination port, of TCP and UDP.
    pub ports: (u16, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Allowed {
    Any,
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp,
    Tcp,
    Udp,
}

/// The rules of a group.
pub trait Rules {
    /// Whether one of the allowances from a class to another is such.
    fn any(&self, from: ClassId, to: ClassId, is_such: impl Fn(&Allowance) -> bool) -> bool;
}

impl Allowance {
    pub const ALL_PORTS: (u16, u16) = (0, u16::MAX);
    pub const ANYTHING: Allowance = Allowance { protocol: Allowed::Any, ports: Allowance::ALL_PORTS };

    fn covers(&self, protocol: Allowed, port: u16) -> bool {
        let (first, last) = self.ports;
        self.protocol == Allowed::Any || self.protocol == protocol && (first..=last).contains(&port)
    }

    fn covers_all(&self, protocol: Allowed) -> bool {
        self.protocol == Allowed::Any || self.protocol == protocol && self.ports == Allowance::ALL_PORTS
    }
}

/// Judges the IP packet at `l3` that a member of one class sends to one of another; the caller knows both by its addresses.
pub fn judge<F: Frame, R: Rules>(
    frame: &F,
    l3: usize,
    from: ClassId,
    to: ClassId,
    rules: &R,
) -> Result<(), DropReason> {
    let packet = Packet::read(frame, l3, Extent::Whole)?;
    let begins = |what: &dyn Fn(&Allowance) -> bool| rules.any(from, to, what);
    let answers = |what: &dyn Fn(&Allowance) -> bool| rules.any(to, from, what);
    let verdict = |passes: bool| if passes { Ok(()) } else { Err(DropReason::NotAllowed) };
    match packet.body {
        Body::Ports { protocol, src, dst, is_first } => verdict(
            begins(&|rule| rule.covers(protocol, dst)) || !is_first && answers(&|rule| rule.covers(protocol, src)),
        ),
        Body::Icmp { is_reply } => verdict(
            begins(&|rule| rule.covers_all(Allowed::Icmp))
                || is_reply && answers(&|rule| rule.covers_all(Allowed::Icmp)),
        ),
        Body::IcmpError { quote } => {
            if begins(&|rule| rule.covers_all(Allowed::Icmp)) {
                return Ok(());
            }
            judge_quote(frame, quote, &packet, begins, answers)
        }
        Body::Other => verdict(begins(&is_anything) || answers(&is_anything)),
        Body::LaterFragment(protocol) => judge_fragment(protocol, begins, answers),
    }
}

/// Something that a rule was asked about.
type Such<'a> = &'a dyn Fn(&Allowance) -> bool;

fn is_anything(rule: &Allowance) -> bool {
    rule.protocol == Allowed::Any
}

/// The quoted packet went the other way: `answers` holds what its sender may begin.
fn judge_quote<F: Frame>(
    frame: &F,
    at: usize,
    error: &Packet,
    begins: impl Fn(Such<'_>) -> bool,
    answers: impl Fn(Such<'_>) -> bool,
) -> Result<(), DropReason> {
    let quote = Packet::read(frame, at, Extent::Quote)?;
    if quote.src != error.dst || quote.dst != error.src {
        return Err(DropReason::ForeignQuote);
    }
    let passes = match quote.body {
        Body::Ports { protocol, src, dst, .. } => {
            answers(&|rule| rule.covers(protocol, dst)) || begins(&|rule| rule.covers(protocol, src))
        }
        Body::Icmp { is_reply: false } => answers(&|rule| rule.covers_all(Allowed::Icmp)),
        // Of a reply `begins` was asked already; no error is about another error.
        Body::Icmp { is_reply: true } | Body::IcmpError { .. } => false,
        Body::Other => answers(&is_anything) || begins(&is_anything),
        Body::LaterFragment(protocol) => return judge_fragment(protocol, answers, begins),
    };
    if passes { Ok(()) } else { Err(DropReason::NotAllowed) }
}

fn judge_fragment(
    protocol: Option<Allowed>,
    begins: impl Fn(Such<'_>) -> bool,
    answers: impl Fn(Such<'_>) -> bool,
) -> Result<(), DropReason> {
    let Some(protocol) = protocol else {
        let passes = begins(&is_anything) || answers(&is_anything);
        return if passes { Ok(()) } else { Err(DropReason::NotAllowed) };
    };
    let covered: Such<'_> = &|rule| rule.covers_all(protocol);
    if begins(covered) || protocol != Allowed::Tcp && answers(covered) {
        return Ok(());
    }
    let named: Such<'_> = &|rule| is_anything(rule) || rule.protocol == protocol;
    Err(if begins(named) || answers(named) { DropReason::FragmentWithoutPorts } else { DropReason::NotAllowed })
}

/// As much of a packet as the rules ask for.
struct Packet {
    /// IPv4 addresses stand in the first four bytes.
    src: [u8; 16],
    dst: [u8; 16],
    body: Body,
}

enum Body {
    /// TCP or UDP. `is_first`: nothing can have come before it.
    Ports {
        protocol: Allowed,
        src: u16,
        dst: u16,
        is_first: bool,
    },
    Icmp {
        is_reply: bool,
    },
    /// The quoted packet begins at `quote`.
    IcmpError {
        quote: usize,
    },
    /// Another protocol.
    Other,
    /// `None`: of another protocol.
    LaterFragment(Option<Allowed>),
}

/// How much of a packet is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    /// At least 8 bytes of the transport (RFC 792).
    Quote,
}

impl Packet {
    fn read<F: Frame>(frame: &F, l3: usize, extent: Extent) -> Result<Packet, DropReason> {
        let [first] = frame.load::<1>(l3).ok_or(DropReason::Truncated)?;
        let of_quote = extent == Extent::Quote;
        match version(first) {
            4 => {
                let header = frame.load::<{ ipv4::LEN }>(l3).map(ipv4::Header::from).ok_or(DropReason::Truncated)?;
                let payload = payload_ipv4(frame, l3, &header, of_quote)?;
                let body = Body::read(frame, payload, extent, &V4)?;
                Ok(Packet { src: wide(header.src()), dst: wide(header.dst()), body })
            }
            6 => {
                let header = frame.load::<{ ipv6::LEN }>(l3).map(ipv6::Header::from).ok_or(DropReason::Truncated)?;
                let payload = payload_ipv6(frame, l3, &header, of_quote)?;
                let body = Body::read(frame, payload, extent, &V6)?;
                Ok(Packet { src: header.src(), dst: header.dst(), body })
            }
            _ => Err(DropReason::UnknownVersion),
        }
    }
}

fn wide([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// What ICMP is in a version of IP.
struct Dialect {
    protocol: u8,
    is_error: fn(u8) -> bool,
    is_reply: fn(u8) -> bool,
}

const V4: Dialect = Dialect {
    protocol: protocol::ICMP,
    is_error: icmp::v4::is_error,
    is_reply: |kind| matches!(kind, icmp::v4::ECHO_REPLY | icmp::v4::TIMESTAMP_REPLY),
};

const V6: Dialect =
    Dialect { protocol: protocol::ICMPV6, is_error: icmp::v6::is_error, is_reply: |kind| kind == icmp::v6::ECHO_REPLY };

impl Body {
    fn read<F: Frame>(frame: &F, payload: Payload, extent: Extent, icmp: &Dialect) -> Result<Body, DropReason> {
        let allowed = |protocol| match protocol {
            protocol::TCP => Some(Allowed::Tcp),
            protocol::UDP => Some(Allowed::Udp),
            _ if protocol == icmp.protocol => Some(Allowed::Icmp),
            _ => None,
        };
        let (protocol, at, end) = match payload {
            Payload::LaterFragment { protocol } => return Ok(Body::LaterFragment(allowed(protocol))),
            Payload::Transport { protocol, at, end } => (protocol, at, end),
        };
        let header_len = match (allowed(protocol), extent) {
            (None, _) => return Ok(Body::Other),
            (Some(Allowed::Tcp), Extent::Whole) => tcp::LEN,
            (Some(_), _) => udp::LEN,
        };
        if at + header_len > end {
            return Err(DropReason::Truncated);
        }
        let [a, b, c, d, ..] = frame.load::<{ udp::LEN }>(at).ok_or(DropReason::Truncated)?;
        let ports = |protocol, is_first| Body::Ports {
            protocol,
            src: u16::from_be_bytes([a, b]),
            dst: u16::from_be_bytes([c, d]),
            is_first,
        };
        match (protocol, extent) {
            (protocol::UDP, _) => Ok(ports(Allowed::Udp, false)),
            (protocol::TCP, Extent::Quote) => Ok(ports(Allowed::Tcp, false)),
            (protocol::TCP, Extent::Whole) => {
                let [flags] = frame.load::<1>(at + tcp::FLAGS_AT).ok_or(DropReason::Truncated)?;
                Ok(ports(Allowed::Tcp, flags & (tcp::SYN | tcp::ACK) == tcp::SYN))
            }
            _ if (icmp.is_error)(a) => Ok(Body::IcmpError { quote: at + icmp::LEN }),
            _ => Ok(Body::Icmp { is_reply: (icmp.is_reply)(a) }),
        }
    }
}

#[cfg(test)]
mod tests;
