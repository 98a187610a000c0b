//! The hash of a word lowercased, in a bounded piece of memory.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::unicode::{Class, class};

/// A word that fits, lowercased, is hashed from here; a longer one goes through it piece by piece.
const PIECE: usize = 256;

/// No character becomes more than this many bytes.
const LONGEST: usize = 3 * 4;

/// The hash of `word` with each character lowercased without regard to its neighbours.
pub(super) fn hash_lowercased(word: &str) -> u64 {
    let mut piece = [0; PIECE];
    let mut filled = 0;
    let mut begun: Option<Box<Xxh3>> = None;
    for character in word.chars() {
        if filled + LONGEST > PIECE {
            begun.get_or_insert_default().update(&piece[..filled]);
            filled = 0;
        }
        let mut put = |character: char| filled += character.encode_utf8(&mut piece[filled..]).len();
        if class(character) == Class::Cased {
            character.to_lowercase().for_each(put);
        } else {
            put(character);
        }
    }
    match begun {
        Some(mut begun) => {
            begun.update(&piece[..filled]);
            begun.digest()
        }
        None => xxh3_64(&piece[..filled]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_any_length_hashes_as_a_whole() {
        for length in (0..2 * PIECE).chain([10 * PIECE]) {
            for (word, lowered) in [
                ("X", "x"),
                ("é", "é"),
                ("İ", "i\u{307}"),
                ("Ⱥ", "ⱥ"),
                ("𐐀", "𐐨"),
            ] {
                let expected = xxh3_64(lowered.repeat(length).as_bytes());
                assert_eq!(
                    hash_lowercased(&word.repeat(length)),
                    expected,
                    "{length} times {word}"
                );
            }
        }
    }
}
