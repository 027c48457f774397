//! What a `set` asks for, and how a request is refused.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::PrivateKey;
use crate::plan::{PresharedKey, PublicKey};

/// A checked `set`. What is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// `Some(None)`: the key is taken away.
    pub private_key: Option<Option<PrivateKey>>,
    /// 0: any free port.
    pub listen_port: Option<u16>,
    /// 0: no mark.
    pub fwmark: Option<u32>,
    /// Peers that are not named hereafter go, and those that are begin anew.
    pub replace_peers: bool,
    /// In the order of the request; a peer may come more than once.
    pub peers: Vec<PeerChange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    pub key: PublicKey,
    pub existence: Existence,
    /// `Some(None)`: the key is taken away.
    pub preshared_key: Option<Option<PresharedKey>>,
    pub endpoint: Option<SocketAddr>,
    /// Seconds; 0: none.
    pub keepalive: Option<u16>,
    /// What is not among `allowed_ips` goes.
    pub replace_allowed_ips: bool,
    /// In the order of the request.
    pub allowed_ips: Vec<AllowedIpChange>,
}

/// Whether the peer is made where it is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existence {
    #[default]
    Ensure,
    /// An absent peer stays absent, and the change means nothing.
    UpdateOnly,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedIpChange {
    /// Takes it from the peer that had it.
    Add(IpNet),
    /// Only from this peer.
    Remove(IpNet),
}

/// What a refused request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// `EPERM`: somebody else owns this configuration.
    NotPermitted,
    /// `EIO`: the system failed.
    Io,
    /// `EINVAL`: an unknown key, or a value that it cannot have.
    Invalid,
    /// `EPROTO`: no line of this protocol.
    Protocol,
    /// `EADDRINUSE`: another process has the listen port.
    PortInUse,
}

/// Nothing of the request was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub errno: Errno,
    /// For the log. Never shows a key.
    pub text: String,
}

impl Errno {
    /// As it stands in a reply: negative, with Linux' numbers.
    pub fn number(self) -> i32 {
        match self {
            Errno::NotPermitted => -1,
            Errno::Io => -5,
            Errno::Invalid => -22,
            Errno::Protocol => -71,
            Errno::PortInUse => -98,
        }
    }
}

impl Refusal {
    pub fn new(errno: Errno, text: impl Into<String>) -> Refusal {
        Refusal { errno, text: text.into() }
    }
}

impl PeerChange {
    pub fn new(key: PublicKey) -> PeerChange {
        PeerChange {
            key,
            existence: Existence::default(),
            preshared_key: None,
            endpoint: None,
            keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}
