//! How are WireGuard's data messages sealed and opened? ChaCha20-Poly1305 (RFC 8439) in place, many messages at once.
//!
//! The nonce is four zero bytes and a counter of 64 bits, little-endian; there is no associated data (WireGuard paper,
//! section 5.4.6). Who counts and who checks for replays is not decided here.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod ring;

use std::{fmt, ops::Range};

use zeroize::ZeroizeOnDrop;
#[cfg(target_arch = "x86_64")]
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Bytes of a tag, which follows its message.
pub const TAG_LEN: usize = 16;

/// A message inside a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Of the nonce. A key seals at most one message with each.
    pub counter: u64,
    /// Where in the buffer the message begins.
    pub at: usize,
    /// Bytes without the tag, which stands behind them.
    pub len: usize,
}

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `ring`, one message after the other.
    Ring,
    /// Sixteen blocks of one or many messages at once, on x86-64 CPUs that have AVX-512 with IFMA; `ring` where that is
    /// slower.
    Avx512,
}

impl Engine {
    /// The fastest that this CPU has.
    pub fn best() -> Self {
        if Self::Avx512.is_available() { Self::Avx512 } else { Self::Ring }
    }

    /// Whether this CPU has what it takes.
    pub fn is_available(self) -> bool {
        match self {
            Self::Ring => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 => false,
        }
    }
}

/// A key for one direction of one session. Its memory is overwritten when it is dropped.
pub struct Key {
    ring: ring::Key,
    /// For the engine that takes the bare key, where it is available and wanted.
    #[cfg(target_arch = "x86_64")]
    avx512: Option<Box<Zeroizing<[u8; KEY_LEN]>>>,
}

impl Key {
    /// For the fastest engine of this CPU.
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        Self::with_engine(key, Engine::best())
    }

    /// For this engine; for `ring` where the CPU lacks what it takes.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "there is only `ring`"))]
    pub fn with_engine(key: &[u8; KEY_LEN], engine: Engine) -> Self {
        Self {
            ring: ring::Key::new(key),
            #[cfg(target_arch = "x86_64")]
            avx512: (engine == Engine::Avx512 && engine.is_available()).then(|| Box::new(Zeroizing::new(*key))),
        }
    }

    /// Encrypts each piece where it is and writes its tag behind it.
    ///
    /// Pieces that share bytes come out as garbage.
    ///
    /// # Panics
    /// When a piece with its tag is not inside the buffer, or is longer than the cipher's limit of 2^38 - 64 bytes.
    pub fn seal(&self, buffer: &mut [u8], pieces: &[Piece]) {
        for piece in pieces {
            piece.check(buffer.len());
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(key) = &self.avx512 {
            for pieces in pieces.chunks(avx512::PIECES) {
                if avx512::pays(pieces) {
                    avx512::seal(key, buffer, pieces);
                } else {
                    self.ring.seal(buffer, pieces);
                }
            }
            return;
        }
        self.ring.seal(buffer, pieces);
    }

    /// Checks the tag behind each piece and decrypts the piece where it is. `verdicts` says for each whether it is
    /// authentic; one that is not is left as zeroes.
    ///
    /// Pieces that share bytes are not authentic, save by a chance of 2^-100.
    ///
    /// # Panics
    /// When there are not as many verdicts as pieces, and as [`Self::seal`].
    pub fn open(&self, buffer: &mut [u8], pieces: &[Piece], verdicts: &mut [bool]) {
        assert_eq!(pieces.len(), verdicts.len(), "one verdict for each piece");
        for piece in pieces {
            piece.check(buffer.len());
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(key) = &self.avx512 {
            for (pieces, verdicts) in pieces.chunks(avx512::PIECES).zip(verdicts.chunks_mut(avx512::PIECES)) {
                if avx512::pays(pieces) {
                    avx512::open(key, buffer, pieces, verdicts);
                } else {
                    self.ring.open(buffer, pieces, verdicts);
                }
            }
            return;
        }
        self.ring.open(buffer, pieces, verdicts);
    }
}

/// Each of its parts is erased, which the compiler checks below.
impl ZeroizeOnDrop for Key {}

/// Names every part, so that one that is added has to be named too.
const _: fn(&Key) = |key| {
    fn is_erased<T: ZeroizeOnDrop>(_: &T) {}
    #[cfg(target_arch = "x86_64")]
    fn is_erased_in_its_box<T: ZeroizeOnDrop>(_: &Option<Box<T>>) {}
    let Key {
        ring,
        #[cfg(target_arch = "x86_64")]
        avx512,
    } = key;
    is_erased(ring);
    #[cfg(target_arch = "x86_64")]
    is_erased_in_its_box(avx512);
};

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Piece {
    /// Without its tag.
    fn text(&self) -> Range<usize> {
        self.at..self.at + self.len
    }

    fn tag(&self) -> Range<usize> {
        self.at + self.len..self.at + self.len + TAG_LEN
    }

    fn check(&self, buffer: usize) {
        let end = self.at.checked_add(self.len).and_then(|end| end.checked_add(TAG_LEN));
        assert!(end.is_some_and(|end| end <= buffer), "a piece with its tag lies inside the buffer");
        // The block counter has 32 bits, and block 0 makes the key of the tag (RFC 8439, section 2.8).
        assert!(self.len.div_ceil(64) < u32::MAX as usize, "a piece is shorter than 2^38 bytes");
    }
}
