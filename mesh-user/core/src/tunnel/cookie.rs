//! Cookies (WireGuard paper, section 5.3): the two MACs of a handshake message, and the proof of an address.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use mesh_common::wire::wireguard::{COOKIE_REPLY, COOKIE_REPLY_LEN};

use super::{
    limits::COOKIE_LIFE,
    noise::primitives::{Key, equal, hash, mac, open_cookie, seal_cookie},
    random::Random,
};
use crate::plan::PublicKey;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";
const MAC: usize = 16;

/// The receiver of a cookie reply, its nonce, and the encrypted cookie.
const RECEIVER: usize = 4;
const NONCE: usize = 8;
const SEALED: usize = 32;

/// What a handshake message says of who it is for: keys that everybody can make of the public key of its receiver.
pub(super) struct Labels {
    mac1: [u8; 32],
    cookie: [u8; 32],
}

impl Labels {
    pub(super) fn of(receiver: &PublicKey) -> Labels {
        Labels { mac1: hash(&[LABEL_MAC1, &receiver.0]), cookie: hash(&[LABEL_COOKIE, &receiver.0]) }
    }

    /// Writes both MACs, the last 32 bytes of a message. Gives the first, by which a cookie reply is known.
    pub(super) fn sign(&self, message: &mut [u8], cookie: Option<&[u8; 16]>) -> [u8; 16] {
        let at = message.len() - 2 * MAC;
        let (body, macs) = message.split_at_mut(at);
        let mac1 = mac(&self.mac1, &[body]);
        let mac2 = cookie.map_or([0; 16], |cookie| mac(cookie, &[body, &mac1]));
        macs[..MAC].copy_from_slice(&mac1);
        macs[MAC..].copy_from_slice(&mac2);
        mac1
    }

    /// The message was made by somebody who knows the receiver's public key.
    pub(super) fn is_signed(&self, message: &[u8]) -> bool {
        macs(message).is_some_and(|(body, mac1, _)| equal(mac1, &mac(&self.mac1, &[body])))
    }

    /// The cookie of a reply to the message that had this MAC. `None`: it answers another message, or is forged.
    pub(super) fn read_reply(&self, reply: &[u8; COOKIE_REPLY_LEN], mac1: &[u8; 16]) -> Option<[u8; 16]> {
        let nonce = reply[NONCE..].first_chunk()?;
        open_cookie(&self.cookie, nonce, mac1, reply[SEALED..].first_chunk()?)
    }
}

/// Makes cookies and knows them again.
pub(super) struct Baker {
    secret: Key,
    made: Option<Instant>,
}

impl Baker {
    pub(super) fn new() -> Baker {
        Baker { secret: Key::default(), made: None }
    }

    /// Whether the message proves that its sender receives what is sent to `from`.
    pub(super) fn is_proved(&mut self, now: Instant, from: SocketAddr, message: &[u8], random: &mut Random) -> bool {
        let cookie = self.cookie(now, from, random);
        macs(message).is_some_and(|(body, mac1, mac2)| equal(mac2, &mac(&cookie, &[body, mac1])))
    }

    /// Writes a cookie reply to a handshake message whose first MAC was right. Gives its length.
    pub(super) fn reply(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        labels: &Labels,
        random: &mut Random,
        out: &mut [u8],
    ) -> Option<usize> {
        let (_, mac1, _) = macs(message)?;
        let sender = *message.get(RECEIVER..)?.first_chunk::<4>()?;
        let cookie = self.cookie(now, from, random);
        let random = random.bytes();
        let nonce = random.first_chunk()?;
        let sealed = seal_cookie(&labels.cookie, nonce, mac1, &cookie);
        let out: &mut [u8; COOKIE_REPLY_LEN] = out.first_chunk_mut()?;
        out[..RECEIVER].copy_from_slice(&[COOKIE_REPLY, 0, 0, 0]);
        out[RECEIVER..NONCE].copy_from_slice(&sender);
        out[NONCE..SEALED].copy_from_slice(nonce);
        out[SEALED..].copy_from_slice(&sealed);
        Some(COOKIE_REPLY_LEN)
    }

    /// Address *and* port: two senders behind one NAT have two cookies.
    fn cookie(&mut self, now: Instant, from: SocketAddr, random: &mut Random) -> [u8; 16] {
        if self.made.is_none_or(|made| now.saturating_duration_since(made) >= COOKIE_LIFE) {
            self.secret = random.bytes();
            self.made = Some(now);
        }
        let port = from.port().to_be_bytes();
        match from.ip() {
            IpAddr::V4(address) => mac(&*self.secret, &[&address.octets(), &port]),
            IpAddr::V6(address) => mac(&*self.secret, &[&address.octets(), &port]),
        }
    }
}

/// The message without its MACs, and both of them.
fn macs(message: &[u8]) -> Option<(&[u8], &[u8; MAC], &[u8; MAC])> {
    let (rest, mac2) = message.split_last_chunk()?;
    let (body, mac1) = rest.split_last_chunk()?;
    Some((body, mac1, mac2))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FROM: &str = "192.0.2.7:51820";

    /// A message with the MACs that a cookie reply from `baker` allows.
    fn proved(baker: &mut Baker, now: Instant, from: SocketAddr, random: &mut Random) -> [u8; 148] {
        let labels = Labels::of(&PublicKey([6; 32]));
        let mut message = [7; 148];
        let mac1 = labels.sign(&mut message, None);
        let mut reply = [0; COOKIE_REPLY_LEN];
        assert_eq!(baker.reply(now, from, &message, &labels, random, &mut reply), Some(COOKIE_REPLY_LEN));
        assert_eq!(labels.read_reply(&reply, &[0; 16]), None, "an answer to another message");
        let cookie = labels.read_reply(&reply, &mac1).unwrap();
        labels.sign(&mut message, Some(&cookie));
        assert!(labels.is_signed(&message));
        assert!(!Labels::of(&PublicKey([5; 32])).is_signed(&message));
        message
    }

    #[test]
    fn a_cookie_proves_one_address_and_port_for_two_minutes() {
        let now = Instant::now();
        let (mut baker, mut random) = (Baker::new(), Random::new([0; 32]));
        let from = FROM.parse().unwrap();
        let message = proved(&mut baker, now, from, &mut random);
        let mut proves = |from: &str, age| {
            baker.is_proved(now + Duration::from_secs(age), from.parse().unwrap(), &message, &mut random)
        };
        assert!(proves(FROM, 0) && proves(FROM, 119));
        assert!(!proves("192.0.2.7:51821", 0), "another port");
        assert!(!proves("192.0.2.8:51820", 0), "another address");
        assert!(!proves("[::ffff:192.0.2.7]:51820", 0), "another family");
        assert!(!proves(FROM, 120), "the secret was replaced");
        assert!(!proves(FROM, 121));
    }

    #[test]
    fn a_message_without_a_cookie_proves_nothing() {
        let (mut baker, mut random) = (Baker::new(), Random::new([0; 32]));
        let mut message = [7; 92];
        Labels::of(&PublicKey([6; 32])).sign(&mut message, None);
        assert!(!baker.is_proved(Instant::now(), FROM.parse().unwrap(), &message, &mut random));
        assert!(!baker.is_proved(Instant::now(), FROM.parse().unwrap(), &[0; 31], &mut random));
    }
}
