//! Do both engines give what other implementations give, for every shape of a batch, and refuse what is not authentic?

use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};
use mesh_aead::{Engine, KEY_LEN, Key, Piece, TAG_LEN};
use proptest::prelude::*;

/// Bytes between the pieces, which nobody may touch.
const GAP: usize = 7;
const FILLER: u8 = 0xa5;

/// The engines of this CPU, loudly without what it lacks.
fn engines() -> Vec<Engine> {
    let (have, lack): (Vec<_>, Vec<_>) =
        [Engine::Ring, Engine::Avx512].into_iter().partition(|engine| engine.is_available());
    for engine in lack {
        eprintln!("SKIPPED: this CPU lacks what {engine:?} takes");
    }
    have
}

/// What one implementation that shares no code with ours makes of the same pieces.
fn oracle(key: &[u8; KEY_LEN], buffer: &mut [u8], pieces: &[Piece]) {
    let cipher = ChaCha20Poly1305::new(key.into());
    for piece in pieces {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&piece.counter.to_le_bytes());
        let (text, rest) = buffer[piece.at..].split_at_mut(piece.len);
        let tag =
            cipher.encrypt_in_place_detached(&nonce.into(), &[], text).expect("a piece is shorter than the limit");
        rest[..TAG_LEN].copy_from_slice(&tag);
    }
}

/// Pieces of these lengths one after the other, with gaps, and a buffer with text in it.
fn laid_out(lengths: &[usize], first: u64) -> (Vec<u8>, Vec<Piece>) {
    let mut pieces = Vec::new();
    let mut at = GAP;
    for (i, len) in lengths.iter().copied().enumerate() {
        pieces.push(Piece { counter: first.wrapping_add(i as u64), at, len });
        at += len + TAG_LEN + GAP;
    }
    let mut buffer = vec![FILLER; at];
    for piece in &pieces {
        for (i, byte) in buffer[piece.at..piece.at + piece.len].iter_mut().enumerate() {
            *byte = (i * 31 + piece.at * 7) as u8;
        }
    }
    (buffer, pieces)
}

fn agrees(engine: Engine, key: &[u8; KEY_LEN], lengths: &[usize], first: u64) {
    let (plain, pieces) = laid_out(lengths, first);
    let (mut expected, mut buffer) = (plain.clone(), plain.clone());
    oracle(key, &mut expected, &pieces);
    let ours = Key::with_engine(key, engine);
    ours.seal(&mut buffer, &pieces);
    assert!(buffer == expected, "{engine:?} seals {lengths:?} from {first} as another implementation does");

    let mut verdicts = vec![false; pieces.len()];
    ours.open(&mut buffer, &pieces, &mut verdicts);
    assert!(verdicts.iter().all(|verdict| *verdict), "{engine:?} opens {lengths:?} from {first}");
    for piece in &pieces {
        let text = piece.at..piece.at + piece.len;
        assert!(buffer[text.clone()] == plain[text], "{engine:?} finds the text again, {lengths:?} from {first}");
    }
}

#[test]
fn every_length_up_to_2100_alone_and_beside_others() {
    for engine in engines() {
        for len in 0..=2100 {
            agrees(engine, &[9; KEY_LEN], &[len], 1);
            agrees(engine, &[9; KEY_LEN], &[len, 2100 - len], 77);
        }
    }
}

#[test]
fn every_size_of_a_batch() {
    for engine in engines() {
        for count in 1..=64 {
            for len in [0, 16, 64, 80, 1424] {
                agrees(engine, &[3; KEY_LEN], &vec![len; count], 5);
            }
        }
    }
}

#[test]
fn the_longest_datagrams() {
    for engine in engines() {
        for len in [8944, 65_487, 65_519, 65_520, 65_535] {
            agrees(engine, &[200; KEY_LEN], &[len; 3], 0);
        }
    }
}

#[test]
fn counters_around_the_ends_of_their_words() {
    for engine in engines() {
        for end in [u64::from(u32::MAX), u64::MAX] {
            agrees(engine, &[1; KEY_LEN], &[64; 40], end - 20);
            agrees(engine, &[1; KEY_LEN], &[1424, 700, 0, 1424], end - 2);
        }
    }
}

#[test]
fn nothing_to_do_is_done() {
    for engine in engines() {
        let key = Key::with_engine(&[1; KEY_LEN], engine);
        let mut buffer = [FILLER; 4];
        key.seal(&mut buffer, &[]);
        key.open(&mut buffer, &[], &mut []);
        assert_eq!(buffer, [FILLER; 4]);
    }
}

#[test]
fn a_flipped_bit_is_refused_and_its_neighbours_are_not() {
    let lengths = [1424, 64, 0, 1424, 333, 1424, 128, 16, 1000, 1424, 48, 15, 17, 2000, 960, 1424, 1424, 80];
    for engine in engines() {
        let key = Key::with_engine(&[66; KEY_LEN], engine);
        let (plain, pieces) = laid_out(&lengths, 900);
        let mut sealed = plain.clone();
        key.seal(&mut sealed, &pieces);
        for (flipped, piece) in pieces.iter().enumerate() {
            let message = piece.at..piece.at + piece.len + TAG_LEN;
            for byte in message.clone().step_by(5).chain([message.end - TAG_LEN, message.end - 1]) {
                let mut buffer = sealed.clone();
                buffer[byte] ^= 1 << (byte % 8);
                let mut verdicts = vec![false; pieces.len()];
                key.open(&mut buffer, &pieces, &mut verdicts);
                for (i, (piece, verdict)) in pieces.iter().zip(&verdicts).enumerate() {
                    let text = piece.at..piece.at + piece.len;
                    assert_eq!(*verdict, i != flipped, "{engine:?}, piece {i}, byte {byte}");
                    if i == flipped {
                        assert!(buffer[text].iter().all(|byte| *byte == 0), "{engine:?}: no plaintext is left");
                    } else {
                        assert!(buffer[text.clone()] == plain[text], "{engine:?}, piece {i}, byte {byte}");
                    }
                }
            }
        }
    }
}

#[test]
fn another_counter_or_key_or_length_is_refused() {
    for engine in engines() {
        let key = Key::with_engine(&[4; KEY_LEN], engine);
        let (mut sealed, pieces) = laid_out(&[1424; 8], 10);
        key.seal(&mut sealed, &pieces);
        let refused = |key: &Key, change: fn(&mut Piece)| {
            let mut pieces = pieces.clone();
            pieces.iter_mut().for_each(change);
            let mut verdicts = [true; 8];
            key.open(&mut sealed.clone(), &pieces, &mut verdicts);
            verdicts == [false; 8]
        };
        assert!(refused(&key, |piece| piece.counter += 1 << 32));
        assert!(refused(&key, |piece| piece.counter += 8));
        assert!(refused(&key, |piece| piece.len -= 16));
        assert!(refused(&key, |piece| piece.at += 1));
        assert!(refused(&Key::with_engine(&[5; KEY_LEN], engine), |_| {}));
    }
}

#[test]
#[should_panic(expected = "a piece with its tag lies inside the buffer")]
fn a_piece_outside_the_buffer_is_the_callers_fault() {
    Key::new(&[0; KEY_LEN]).seal(&mut [0; 79], &[Piece { counter: 0, at: 0, len: 64 }]);
}

#[test]
#[should_panic(expected = "a piece with its tag lies inside the buffer")]
fn a_piece_beyond_the_last_address_is_the_callers_fault() {
    Key::new(&[0; KEY_LEN]).seal(&mut [0; 80], &[Piece { counter: 0, at: usize::MAX - 8, len: 64 }]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_batch(
        key: [u8; KEY_LEN],
        first: u64,
        lengths in prop::collection::vec(prop_oneof![0_usize..100, 0_usize..2100, Just(1424_usize), Just(64_usize)], 1..=64),
    ) {
        for engine in engines() {
            agrees(engine, &key, &lengths, first);
        }
    }

    #[test]
    fn any_long_message(key: [u8; KEY_LEN], first: u64, lengths in prop::collection::vec(0_usize..=65_535, 1..=4)) {
        for engine in engines() {
            agrees(engine, &key, &lengths, first);
        }
    }
}
