//! Curve25519: the private key of a node, and the one place where Diffie-Hellman is computed and counted.

use zeroize::Zeroizing;

use super::primitives::Key;
use crate::plan::PublicKey;

/// The private key of a node. Erased when dropped.
#[derive(Clone)]
pub struct StaticSecret(x25519_dalek::StaticSecret);

impl StaticSecret {
    /// Clamps the bytes as Curve25519 wants them (RFC 7748 section 5).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        StaticSecret(x25519_dalek::StaticSecret::from(bytes))
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The bytes, for who shows the key to its owner.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl std::fmt::Debug for StaticSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticSecret of {:?}", self.public_key())
    }
}

/// Multiplications on the curve that a device has made: what a handshake costs, and what a flood must not make us pay.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(u64);

impl Exchanges {
    pub(crate) fn count(&self) -> u64 {
        self.0
    }

    /// What both ends of an exchange know. `None`: the public key has a low order, and everybody knows.
    pub(crate) fn agree(&mut self, secret: &StaticSecret, public: &PublicKey) -> Option<Key> {
        self.0 += 1;
        let shared = secret.0.diffie_hellman(&x25519_dalek::PublicKey::from(public.0));
        shared.was_contributory().then(|| Zeroizing::new(*shared.as_bytes()))
    }

    /// The public key of a new ephemeral secret.
    pub(crate) fn publish(&mut self, secret: &StaticSecret) -> PublicKey {
        self.0 += 1;
        secret.public_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_agree_and_each_exchange_counts() {
        let (a, b) = (StaticSecret::from_bytes([1; 32]), StaticSecret::from_bytes([2; 32]));
        let mut exchanges = Exchanges::default();
        let of_a = exchanges.agree(&a, &b.public_key());
        assert!(of_a.is_some());
        assert_eq!(of_a, exchanges.agree(&b, &a.public_key()));
        assert_eq!(exchanges.publish(&a), a.public_key());
        assert_eq!(exchanges.count(), 3);
    }

    #[test]
    fn a_public_key_of_low_order_is_refused() {
        // 0, 1 and p - 1 = 2^255 - 20.
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        let mut one = [0; 32];
        one[0] = 1;
        for public in [[0; 32], one, minus_one] {
            assert_eq!(Exchanges::default().agree(&StaticSecret::from_bytes([9; 32]), &PublicKey(public)), None);
        }
    }
}
