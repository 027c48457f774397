//! Replies as `wg` reads them.

use std::io::{self, Write};

use super::{Device, Errno, Peer};

/// The reply to a `get`, without the line of [`print_errno`]. Nothing is kept: 10,000 peers make a reply of megabytes.
pub fn print(device: &Device, out: &mut impl Write) -> io::Result<()> {
    if let Some(key) = &device.private_key {
        print_key("private_key", key.bytes(), out)?;
    }
    if device.listen_port != 0 {
        writeln!(out, "listen_port={}", device.listen_port)?;
    }
    if device.fwmark != 0 {
        writeln!(out, "fwmark={}", device.fwmark)?;
    }
    device.peers.iter().try_for_each(|peer| print_peer(peer, out))
}

/// Ends every reply. `None`: all is well.
pub fn print_errno(errno: Option<Errno>, out: &mut impl Write) -> io::Result<()> {
    write!(out, "errno={}\n\n", errno.map_or(0, Errno::number))
}

fn print_peer(peer: &Peer, out: &mut impl Write) -> io::Result<()> {
    print_key("public_key", &peer.key.0, out)?;
    print_key("preshared_key", peer.preshared_key.as_ref().map_or(&[0; 32], |key| &key.0), out)?;
    writeln!(out, "protocol_version=1")?;
    if let Some(endpoint) = peer.endpoint {
        writeln!(out, "endpoint={endpoint}")?;
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    writeln!(out, "last_handshake_time_sec={}", handshake.as_secs())?;
    writeln!(out, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
    writeln!(out, "tx_bytes={}\nrx_bytes={}", peer.sent, peer.received)?;
    writeln!(out, "persistent_keepalive_interval={}", peer.keepalive)?;
    peer.allowed_ips.iter().try_for_each(|prefix| writeln!(out, "allowed_ip={prefix}"))
}

fn print_key(name: &str, key: &[u8; 32], out: &mut impl Write) -> io::Result<()> {
    write!(out, "{name}=")?;
    key.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    writeln!(out)
}
