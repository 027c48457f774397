//! One Noise session with one peer: keys, handshakes, timers. The only file that names boringtun.

use boringtun::x25519;

use crate::plan::PublicKey;

/// The private key of this cluster. Erased when dropped.
#[derive(Clone)]
pub struct StaticSecret(x25519::StaticSecret);

impl StaticSecret {
    /// Clamps the bytes as Curve25519 wants them (RFC 7748 section 5).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        StaticSecret(x25519::StaticSecret::from(bytes))
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519::PublicKey::from(&self.0).to_bytes())
    }
}

impl std::fmt::Debug for StaticSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticSecret of {:?}", self.public_key())
    }
}
