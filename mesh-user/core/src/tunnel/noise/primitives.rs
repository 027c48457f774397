//! The functions that the handshake is made of, as the WireGuard paper (section 5.4) calls them.

use blake2::{
    Blake2s256, Blake2sMac,
    digest::{
        Digest, FixedOutput, KeyInit, Update,
        consts::{U16, U32},
    },
};
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, XChaCha20Poly1305};
use zeroize::Zeroizing;

/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;
/// Bytes that BLAKE2s takes in at once.
const BLOCK: usize = 64;

/// A secret of 32 bytes, erased when dropped.
pub(crate) type Key = Zeroizing<[u8; 32]>;

/// `Hash`: BLAKE2s with 32 bytes of output, over all parts.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// `Mac`: keyed BLAKE2s with 16 bytes of output. The key has at most 32 bytes.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut state = Blake2sMac::<U16>::new_from_slice(key).expect("keys of at most 32 bytes");
    for part in parts {
        state.update(part);
    }
    state.finalize_fixed().into()
}

/// Keyed BLAKE2s with 32 bytes of output.
pub(crate) fn keyed_hash(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2sMac::<U32>::new_from_slice(key).expect("keys of at most 32 bytes");
    for part in parts {
        state.update(part);
    }
    state.finalize_fixed().into()
}

/// `Hmac` (RFC 2104) over BLAKE2s.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Key {
    let mut pad = Zeroizing::new([0x36; BLOCK]);
    pad.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
    let mut inner = Blake2s256::new();
    Digest::update(&mut inner, *pad);
    for part in parts {
        Digest::update(&mut inner, part);
    }
    pad.iter_mut().for_each(|pad| *pad ^= 0x36 ^ 0x5c);
    let inner: Key = Zeroizing::new(inner.finalize().into());
    Zeroizing::new(hash(&[&*pad, &*inner]))
}

/// `Kdf1` to `Kdf3`: `N` keys out of a chaining key and an input (HKDF, RFC 5869).
pub(crate) fn kdf<const N: usize>(chain: &[u8; 32], input: &[u8]) -> [Key; N] {
    let secret = hmac(chain, &[input]);
    let mut last = Zeroizing::new([0; 32]);
    std::array::from_fn(|number| {
        let counter = [number as u8 + 1];
        last = if number == 0 { hmac(&secret, &[&counter]) } else { hmac(&secret, &[&*last, &counter]) };
        last.clone()
    })
}

/// `Aead` with the counter 0: encrypts `text` in place; `out` is as long and [`TAG`] more.
pub(super) fn seal(key: &Key, associated: &[u8], text: &[u8], out: &mut [u8]) {
    let (body, tag) = out.split_at_mut(text.len());
    body.copy_from_slice(text);
    let cipher = ChaCha20Poly1305::new((&**key).into());
    let made = cipher.encrypt_in_place_detached(&[0; 12].into(), associated, body).expect("a text of a few bytes");
    tag.copy_from_slice(&made);
}

/// Undoes [`seal`]; `text` is [`TAG`] bytes shorter than `sealed`. `None`: not authentic, and `text` means nothing.
#[must_use]
pub(super) fn open(key: &Key, associated: &[u8], sealed: &[u8], text: &mut [u8]) -> Option<()> {
    let (body, tag) = sealed.split_last_chunk::<TAG>()?;
    text.copy_from_slice(body);
    let cipher = ChaCha20Poly1305::new((&**key).into());
    cipher.decrypt_in_place_detached(&[0; 12].into(), associated, text, tag.into()).ok()
}

/// `Xaead`: encrypts a cookie.
pub(crate) fn seal_cookie(key: &[u8; 32], nonce: &[u8; 24], associated: &[u8], cookie: &[u8; 16]) -> [u8; 32] {
    let mut out = [0; 32];
    let (body, tag) = out.split_at_mut(cookie.len());
    body.copy_from_slice(cookie);
    let cipher = XChaCha20Poly1305::new(key.into());
    let made = cipher.encrypt_in_place_detached(nonce.into(), associated, body).expect("a text of 16 bytes");
    tag.copy_from_slice(&made);
    out
}

/// Undoes [`seal_cookie`].
pub(crate) fn open_cookie(key: &[u8; 32], nonce: &[u8; 24], associated: &[u8], sealed: &[u8; 32]) -> Option<[u8; 16]> {
    let (body, tag) = sealed.split_first_chunk::<16>()?;
    let mut cookie = *body;
    let tag: &[u8; TAG] = tag.first_chunk()?;
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt_in_place_detached(nonce.into(), associated, &mut cookie, tag.into()).ok()?;
    Some(cookie)
}

/// Equal, in a time that does not tell where they differ.
pub(crate) fn equal(a: &[u8; 16], b: &[u8; 16]) -> bool {
    std::hint::black_box(u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
    }

    #[test]
    fn the_hash_is_blake2s() {
        // RFC 7693, appendix B.
        let expected = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982";
        assert_eq!(hash(&[b"a", b"bc"]), bytes(expected));
    }

    #[test]
    fn keys_of_a_derivation_differ_and_the_first_do_not_depend_on_their_number() {
        let [one] = kdf::<1>(&[7; 32], b"input");
        let [first, second, third] = kdf::<3>(&[7; 32], b"input");
        assert_eq!(one, first);
        assert!(first != second && second != third && third != first);
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let key = Zeroizing::new([3; 32]);
        let mut sealed = [0; 5 + TAG];
        seal(&key, b"with", b"hello", &mut sealed);
        let mut text = [0; 5];
        assert_eq!((open(&key, b"with", &sealed, &mut text), &text), (Some(()), b"hello"));
        assert_eq!(open(&key, b"without", &sealed, &mut text), None);
        for at in 0..sealed.len() {
            let mut forged = sealed;
            forged[at] ^= 1;
            assert_eq!(open(&key, b"with", &forged, &mut text), None, "byte {at}");
        }
        let cookie = seal_cookie(&key, &[4; 24], b"with", &[5; 16]);
        assert_eq!(open_cookie(&key, &[4; 24], b"with", &cookie), Some([5; 16]));
        assert_eq!(open_cookie(&key, &[4; 24], b"", &cookie), None);
    }
}
