//! The packets that are made up to be judged, without payload or checksum.

use std::net::IpAddr;

use mesh_common::wire::{icmp, ipv4, ipv6, protocol, tcp, udp};

use crate::model::group::{NotAllowed, Protocol, Traffic};

/// What begins a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// An echo request.
    Ping,
    /// A SYN to a port.
    Tcp(u16),
    /// A datagram to a port.
    Udp(u16),
}

/// Source port of what is made up.
const SOURCE_PORT: u16 = 12_345;

/// `icmp`, `tcp/PORT` or `udp/PORT`.
impl std::str::FromStr for Sample {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Sample, NotAllowed> {
        let refused = || NotAllowed::new("packet", text, "icmp, tcp/PORT or udp/PORT");
        let Traffic { protocol, ports } = text.parse().map_err(|_| refused())?;
        let port = ports.filter(|(first, last)| first == last).map(|(port, _)| port);
        match (protocol, port) {
            (Protocol::Icmp, _) => Ok(Sample::Ping),
            (Protocol::Tcp, Some(port)) => Ok(Sample::Tcp(port)),
            (Protocol::Udp, Some(port)) => Ok(Sample::Udp(port)),
            (Protocol::Any | Protocol::Tcp | Protocol::Udp, _) => Err(refused()),
        }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sample::Ping => f.write_str("icmp"),
            Sample::Tcp(port) => write!(f, "tcp/{port}"),
            Sample::Udp(port) => write!(f, "udp/{port}"),
        }
    }
}

/// A datagram; both addresses are of one family.
pub(crate) fn datagram(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    sample(source, destination, Sample::Udp(SOURCE_PORT))
}

/// A packet of one family: that of the source.
pub(crate) fn sample(source: IpAddr, destination: IpAddr, what: Sample) -> Vec<u8> {
    let mut transport = match what {
        Sample::Ping => vec![0; icmp::LEN],
        Sample::Tcp(_) => vec![0; tcp::LEN],
        Sample::Udp(_) => vec![0; udp::LEN],
    };
    let (is_v4, len) = (source.is_ipv4(), transport.len() as u16);
    let number = match what {
        Sample::Ping => {
            transport[0] = if is_v4 { icmp::v4::ECHO } else { icmp::v6::ECHO };
            if is_v4 { protocol::ICMP } else { protocol::ICMPV6 }
        }
        Sample::Tcp(port) => {
            set_ports(&mut transport, port);
            transport[tcp::DATA_OFFSET_AT] = 0x50;
            transport[tcp::FLAGS_AT] = tcp::SYN;
            protocol::TCP
        }
        Sample::Udp(port) => {
            set_ports(&mut transport, port);
            transport[udp::LENGTH_AT..][..2].copy_from_slice(&len.to_be_bytes());
            protocol::UDP
        }
    };
    let header = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total_len = ipv4::LEN as u16 + len;
            ipv4::Header::new(0, total_len, 64, number, source.octets(), destination.octets()).to_bytes().to_vec()
        }
        (source, destination) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            ipv6::Header::new(0, len, number, 64, octets(source), octets(destination)).to_bytes().to_vec()
        }
    };
    [header, transport].concat()
}

fn set_ports(transport: &mut [u8], port: u16) {
    transport[..2].copy_from_slice(&SOURCE_PORT.to_be_bytes());
    transport[2..4].copy_from_slice(&port.to_be_bytes());
}

/// Source and destination of a packet made here.
pub(crate) fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    if packet[0] >> 4 == 4 {
        let read = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes").into();
        (read(ipv4::SRC_AT), read(ipv4::DST_AT))
    } else {
        let read = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes").into();
        (read(ipv6::SRC_AT), read(ipv6::DST_AT))
    }
}
