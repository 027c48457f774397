//! Which UDP ports are bound in this thread's network namespace?

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};

/// Of both families. A kernel without IPv6 has no list of it.
pub fn bound() -> Result<BTreeSet<u16>> {
    let v4 = fs::read_to_string("/proc/thread-self/net/udp").context("cannot read which UDP ports are bound")?;
    let v6 = fs::read_to_string("/proc/thread-self/net/udp6").unwrap_or_default();
    Ok(v4.lines().chain(v6.lines()).filter_map(port).collect())
}

/// `  sl  local_address ...`: the address is `0100007F:C350`, in hexadecimal.
fn port(line: &str) -> Option<u16> {
    let local = line.split_whitespace().nth(1)?;
    u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_bound_port_is_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            assert!(bound().unwrap().contains(&port), "{address}");
        }
    }
}
