//! Curve25519: the private key of a node, and the one place where Diffie-Hellman is computed and counted.
//!
//! On x86-64 `graviola` computes, which takes less than half of the time of `x25519-dalek` (ADR 5), where the CPU has what
//! it needs; else `x25519-dalek`.

use zeroize::Zeroizing;

use super::primitives::Key;
use crate::plan::PublicKey;

/// The private key of a node. Erased when dropped.
#[derive(Clone)]
pub struct StaticSecret(Key);

impl StaticSecret {
    /// Any 32 bytes are a key: they are clamped as Curve25519 wants them (RFC 7748 section 5) when they are used.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        StaticSecret(Zeroizing::new(bytes))
    }

    pub fn public_key(&self) -> PublicKey {
        #[cfg(target_arch = "x86_64")]
        if fast::is_available() {
            return fast::publish(&self.0);
        }
        portable::publish(&self.0)
    }

    /// The bytes, for who shows the key to its owner.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
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
        #[cfg(target_arch = "x86_64")]
        if fast::is_available() {
            return fast::agree(&secret.0, public);
        }
        portable::agree(&secret.0, public)
    }

    /// The public key of a new ephemeral secret.
    pub(crate) fn publish(&mut self, secret: &StaticSecret) -> PublicKey {
        self.0 += 1;
        secret.public_key()
    }
}

mod portable {
    use x25519_dalek::StaticSecret;
    use zeroize::Zeroizing;

    use super::{Key, PublicKey};

    pub(super) fn publish(secret: &Key) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&StaticSecret::from(**secret)).to_bytes())
    }

    pub(super) fn agree(secret: &Key, public: &PublicKey) -> Option<Key> {
        let shared = StaticSecret::from(**secret).diffie_hellman(&x25519_dalek::PublicKey::from(public.0));
        shared.was_contributory().then(|| Zeroizing::new(*shared.as_bytes()))
    }
}

#[cfg(target_arch = "x86_64")]
mod fast {
    use graviola::key_agreement::x25519::{self, StaticPrivateKey};
    use zeroize::Zeroizing;

    use super::{Key, PublicKey};

    /// The library stops the process on a CPU that lacks one of these. The answer is kept by the standard library.
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("adx")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("avx")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("ssse3")
    }

    pub(super) fn publish(secret: &Key) -> PublicKey {
        PublicKey(StaticPrivateKey::from_array(secret).public_key().as_bytes())
    }

    pub(super) fn agree(secret: &Key, public: &PublicKey) -> Option<Key> {
        let public = x25519::PublicKey::from_array(&public.0);
        let shared = StaticPrivateKey::from_array(secret).diffie_hellman(&public).ok()?;
        Some(Zeroizing::new(shared.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 0, 1 and p - 1 = 2^255 - 20, also with the bit that does not count, and their multiples of p that fit.
    fn low_orders() -> Vec<[u8; 32]> {
        let number = |low: u8, rest: u8, high: u8| {
            let mut bytes = [rest; 32];
            (bytes[0], bytes[31]) = (low, high);
            bytes
        };
        vec![
            number(0, 0, 0),
            number(1, 0, 0),
            number(0xec, 0xff, 0x7f),
            number(0xed, 0xff, 0x7f),
            number(0xee, 0xff, 0x7f),
            number(0, 0, 0x80),
            number(0xec, 0xff, 0xff),
        ]
    }

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
        for public in low_orders() {
            assert_eq!(Exchanges::default().agree(&StaticSecret::from_bytes([9; 32]), &PublicKey(public)), None);
            assert_eq!(portable::agree(&Zeroizing::new([9; 32]), &PublicKey(public)), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        /// Any bytes on either side, public keys beyond p and with the bit that does not count among them.
        #[test]
        fn both_libraries_agree(secret: [u8; 32], public: [u8; 32], high in prop_oneof![Just(None), Just(Some(0xff))]) {
            let mut public = PublicKey(public);
            if let Some(high) = high {
                public.0[1..].fill(high);
            }
            let secret = StaticSecret::from_bytes(secret);
            prop_assert_eq!(Exchanges::default().agree(&secret, &public), portable::agree(&secret.0, &public));
            prop_assert_eq!(secret.public_key(), portable::publish(&secret.0));
        }
    }
}
