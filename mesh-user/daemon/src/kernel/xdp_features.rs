//! Does a device take frames that XDP redirects to it? The kernel says so by generic netlink, family `netdev` (Linux 6.3).
//!
//! For a veth the answer depends on its peer (GRO on, or an XDP program there), which may be in another namespace.

use anyhow::{Context as _, Result, bail};
use mesh_common::ids::IfIndex;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// `NETDEV_XDP_ACT_NDO_XMIT`.
const TRANSMITS: u64 = 1 << 2;

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Bytes of `nlmsghdr` and of `genlmsghdr`.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// Whether XDP may redirect frames to the device; `false` where the kernel cannot tell.
pub fn takes_redirects(device: IfIndex) -> bool {
    ask(device).unwrap_or_else(|error| {
        tracing::debug!(index = device.0, "XDP features unknown: {error:#}");
        false
    })
}

fn ask(device: IfIndex) -> Result<bool> {
    let mut socket = Socket::new(NETLINK_GENERIC).context("cannot open generic netlink")?;
    socket.bind_auto().context("cannot bind generic netlink")?;
    socket.connect(&SocketAddr::new(0, 0)).context("cannot connect generic netlink")?;
    let family = exchange(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&family, CTRL_ATTR_FAMILY_ID).context("no family netdev")?;
    let family = u16::from_ne_bytes(family.try_into().context("a family number has two bytes")?);
    let features = exchange(&socket, family, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &device.0.to_ne_bytes())?;
    let features = attribute(&features, NETDEV_A_DEV_XDP_FEATURES).context("no XDP features in the answer")?;
    let features = u64::from_ne_bytes(features.try_into().context("XDP features have eight bytes")?);
    Ok(features & TRANSMITS != 0)
}

/// One request with one attribute; the attributes of the answer.
fn exchange(socket: &Socket, family: u16, command: u8, kind: u16, value: &[u8]) -> Result<Vec<u8>> {
    let attribute_length = 4 + value.len();
    let length = HEADER + GENERIC_HEADER + attribute_length.next_multiple_of(4);
    let mut request = Vec::with_capacity(length);
    request.extend((length as u32).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    request.extend([0; 8]); // sequence and port: one question at a time
    request.extend([command, 1, 0, 0]);
    request.extend((attribute_length as u16).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
    request.resize(length, 0);
    socket.send(&request, 0).context("cannot send to generic netlink")?;
    let (answer, _) = socket.recv_from_full().context("cannot read from generic netlink")?;
    let kind = answer.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    if kind == Some(NLMSG_ERROR) {
        bail!("generic netlink refuses command {command} of family {family}");
    }
    Ok(answer.get(HEADER + GENERIC_HEADER..).context("a short answer")?.to_vec())
}

/// The value of the first attribute of that kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while attributes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]) & 0x3fff;
        if length < 4 {
            return None;
        }
        if kind == wanted {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_nonsense_is_not() {
        let attributes = [6, 0, 1, 0, 7, 8, 0, 0, 8, 0, 3, 0, 1, 2, 3, 4];
        assert_eq!(attribute(&attributes, 1), Some([7, 8].as_slice()));
        assert_eq!(attribute(&attributes, 3), Some([1, 2, 3, 4].as_slice()));
        assert_eq!(attribute(&attributes, 2), None);
        assert_eq!(attribute(&[0, 0, 1, 0], 1), None);
        assert_eq!(attribute(&[9, 0, 1, 0, 0], 1), None);
        assert_eq!(attribute(&[1, 2], 1), None);
    }

    #[test]
    fn the_kernel_is_understood() {
        assert!(!ask(IfIndex(1)).unwrap(), "the loopback device has no XDP transmission");
    }
}
