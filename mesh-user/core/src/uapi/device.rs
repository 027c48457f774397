//! What a `get` tells: a device and its peers at one moment.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;

use super::PrivateKey;
use crate::plan::{PresharedKey, PublicKey};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub private_key: Option<PrivateKey>,
    /// The port in use.
    pub listen_port: u16,
    /// 0: none.
    pub fwmark: u32,
    pub peers: Vec<Peer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub key: PublicKey,
    pub preshared_key: Option<PresharedKey>,
    /// Where the peer was last heard, else where it is sought.
    pub endpoint: Option<SocketAddr>,
    /// Since the Unix epoch; stays when the session ends.
    pub last_handshake: Option<Duration>,
    /// Bytes of datagrams, without IP and UDP headers.
    pub sent: u64,
    pub received: u64,
    /// Seconds; 0: none.
    pub keepalive: u16,
    pub allowed_ips: Vec<IpNet>,
}
