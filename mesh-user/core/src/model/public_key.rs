//! The WireGuard public key of a remote cluster's gateway node, where that node is, and which bytes are no key.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    document::{Document, Place},
    problem::Problems,
    tree::Fields,
};
use crate::plan::PublicKey;

/// Label of a `PublicKey`: which of the remote's gateway nodes has it. Absent: the only one.
pub const GATEWAY_NODE_LABEL: &str = "mesh/gateway-node";
/// Annotation: where that node answers, `IP` or `IP:PORT`, separated by commas. Absent: at any address of the gateway client.
pub const GATEWAY_ADDRESSES: &str = "mesh/gateway-addresses";
/// Annotation: the number of that node among the gateway nodes of its cluster. Absent: 0.
pub const GATEWAY_INDEX: &str = "mesh/gateway-index";
/// Annotation: bytes of a packet inside the remote's tunnel, for comparison with our own gateway.
pub const MTU_ANNOTATION: &str = "mesh/mtu";
/// A cluster has at most so many gateway nodes.
pub const MAX_GATEWAYS: u8 = 8;

/// A `PublicKey` manifest: one gateway node of a remote cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteKey {
    pub place: Place,
    pub key: PublicKey,
    /// What its cluster calls the node; `None`: it is the only one.
    pub node: Option<String>,
    /// Less than [`MAX_GATEWAYS`]; says which reserved addresses are the node's own.
    pub index: u8,
    /// Where it answers, with the UDP port if it is not that of the gateway client.
    pub addresses: Vec<(IpAddr, Option<u16>)>,
    /// Of the remote's gateway, as far as it was told.
    pub mtu: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPublicKey {
    #[error("not base64 of 32 bytes")]
    Encoding,
    #[error("a key of low order: it would make every session readable")]
    LowOrder,
}

/// The points of low order on Curve25519, u-coordinates little-endian (RFC 7748, section 6.1; cr.yp.to/ecdh.html),
/// with the values above the prime that stand for the same points.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

impl RemoteKey {
    pub(crate) fn read(document: &Document, problems: &mut Problems) -> Option<RemoteKey> {
        document.spec(problems, |spec| {
            let hint = "take the output of 'meshctl generate publickey' on the remote cluster";
            let Some(text) = spec.text("publicKey") else {
                if spec.is_absent("publicKey") {
                    spec.report("publicKey", "missing", hint);
                }
                return None;
            };
            match text.parse() {
                Ok(key) => Some(RemoteKey::of(document, key, spec)),
                Err(error) => {
                    spec.report("publicKey", format!("{text:?} is {error}"), hint);
                    None
                }
            }
        })
    }

    fn of(document: &Document, key: PublicKey, fields: &Fields<'_>) -> RemoteKey {
        let annotation = |name: &str| document.annotations.get(name).map(String::as_str);
        let refuse = |name: &str, text: &str, hint: &str| {
            fields.report_at(&format!("metadata.annotations.{name}"), format!("{text:?}"), hint);
        };
        let node = document.labels.get(GATEWAY_NODE_LABEL).cloned();
        let mut remote =
            RemoteKey { place: document.place.clone(), key, node, index: 0, addresses: Vec::new(), mtu: None };
        if let Some(text) = annotation(GATEWAY_INDEX) {
            match text.parse().ok().filter(|index| *index < MAX_GATEWAYS) {
                Some(index) => remote.index = index,
                None => refuse(GATEWAY_INDEX, text, &format!("write a number from 0 to {}", MAX_GATEWAYS - 1)),
            }
        }
        if let Some(text) = annotation(MTU_ANNOTATION) {
            remote.mtu = text.parse().ok();
            if remote.mtu.is_none() {
                refuse(MTU_ANNOTATION, text, "write the bytes as a number, such as \"1340\"");
            }
        }
        for text in annotation(GATEWAY_ADDRESSES).unwrap_or_default().split(',').filter(|text| !text.trim().is_empty())
        {
            match place(text.trim()) {
                Some(place) => remote.addresses.push(place),
                None => refuse(GATEWAY_ADDRESSES, text, "write IP or IP:PORT, separated by commas"),
            }
        }
        remote
    }
}

/// `192.0.2.1`, `192.0.2.1:51840`, `2001:db8::1`, `[2001:db8::1]:51840`.
fn place(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let plain = text.parse().ok().map(|address: IpAddr| (address, None));
    plain.or_else(|| text.parse().ok().map(|socket: SocketAddr| (socket.ip(), Some(socket.port()))))
}

impl FromStr for PublicKey {
    type Err = NotAPublicKey;

    fn from_str(text: &str) -> Result<Self, NotAPublicKey> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| NotAPublicKey::Encoding)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| NotAPublicKey::Encoding)?;
        // The top bit is not part of the coordinate.
        let mut masked = key;
        masked[31] &= 0x7f;
        let hex: String = masked.iter().map(|byte| format!("{byte:02x}")).collect();
        if LOW_ORDER.contains(&hex.as_str()) { Err(NotAPublicKey::LowOrder) } else { Ok(PublicKey(key)) }
    }
}

/// In base64, as everywhere in WireGuard.
impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("{text:?} is {error}")))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_order_and_short_keys_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut zero_with_top_bit = [0; 32];
        zero_with_top_bit[31] = 0x80;
        for bytes in [[0; 32], one, zero_with_top_bit, [0xff; 32].map(|byte: u8| byte)] {
            let masked_is_p_or_more = bytes == [0xff; 32];
            let parsed = STANDARD.encode(bytes).parse::<PublicKey>();
            // 2^255 - 1 is 18 more than the prime: an ordinary point.
            assert_eq!(parsed.is_err(), !masked_is_p_or_more, "{bytes:?}");
        }
        assert_eq!(STANDARD.encode([7; 31]).parse::<PublicKey>(), Err(NotAPublicKey::Encoding));
        let text = STANDARD.encode([7; 32]);
        assert_eq!(text.parse::<PublicKey>().unwrap().to_string(), text);
    }
}
