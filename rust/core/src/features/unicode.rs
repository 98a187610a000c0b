//! Which characters make words, two bits for each code point.

use super::unicode_tables::{ALONE, CASED, WORD};

/// What a character does to the word that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Ends a word.
    Separator,
    /// Belongs to the word, as it is.
    Word,
    /// Belongs to the word, lowercased.
    Cased,
    /// Is a word by itself: Han, Hiragana and Katakana are written without spaces.
    Alone,
}

/// Above this, the only word characters are the variation selectors, `SELECTORS`.
const LIMIT: u32 = 0x40000;
const SELECTORS: (u32, u32) = (0xE0100, 0xE01EF);

/// How many code points share an entry of the table.
const SHARED: u32 = u64::BITS / 2;

/// 64 KB, of which text touches a few cache lines.
static CLASSES: [u64; (LIMIT / SHARED) as usize] = classes();

/// The class of `character`.
#[inline]
pub(super) fn class(character: char) -> Class {
    let code = u32::from(character);
    if code >= LIMIT {
        let selects = (SELECTORS.0..=SELECTORS.1).contains(&code);
        return if selects {
            Class::Word
        } else {
            Class::Separator
        };
    }
    match CLASSES[(code / SHARED) as usize] >> (code % SHARED * 2) & 3 {
        0 => Class::Separator,
        1 => Class::Word,
        2 => Class::Cased,
        _ => Class::Alone,
    }
}

/// A separator is 0. Every other character is in `WORD`, and in at most one of the other two.
#[expect(clippy::large_stack_arrays, reason = "it runs in the compiler")]
const fn classes() -> [u64; (LIMIT / SHARED) as usize] {
    let mut table = [0; (LIMIT / SHARED) as usize];
    flip(&mut table, &WORD, 1);
    flip(&mut table, &CASED, 1 ^ 2);
    flip(&mut table, &ALONE, 1 ^ 3);
    table
}

/// Flips the bits of `change` for every code point of the inclusive ranges, an entry at a time.
const fn flip(table: &mut [u64], ranges: &[(u32, u32)], change: u64) {
    let everywhere = change * (u64::MAX / 3);
    let mut i = 0;
    while i < ranges.len() {
        let (first, last) = ranges[i];
        i += 1;
        if first >= LIMIT {
            assert!(first == SELECTORS.0 && last == SELECTORS.1);
            continue;
        }
        let mut entry = first / SHARED;
        while entry <= last / SHARED {
            let from = if entry == first / SHARED {
                first % SHARED
            } else {
                0
            };
            let to = if entry == last / SHARED {
                last % SHARED
            } else {
                SHARED - 1
            };
            let within = (u64::MAX << (2 * from)) & (u64::MAX >> (2 * (SHARED - 1 - to)));
            table[entry as usize] ^= everywhere & within;
            entry += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_ranges(ranges: &[(u32, u32)], character: char) -> bool {
        let code = u32::from(character);
        let next = ranges.partition_point(|&(first, _)| first <= code);
        next > 0 && code <= ranges[next - 1].1
    }

    #[test]
    fn the_bits_are_the_tables() {
        for character in '\0'..=char::MAX {
            let expected = if in_ranges(&ALONE, character) {
                Class::Alone
            } else if in_ranges(&CASED, character) {
                Class::Cased
            } else if in_ranges(&WORD, character) {
                Class::Word
            } else {
                Class::Separator
            };
            assert_eq!(class(character), expected, "{character:?}");
        }
    }

    /// A word does not fall apart by being lowercased, and the table knows what the standard library will change.
    #[test]
    fn lowercasing() {
        for character in ('\0'..=char::MAX).filter(|&c| class(c) != Class::Separator) {
            let changes = !character.to_lowercase().eq([character]);
            assert_eq!(changes, class(character) == Class::Cased, "{character:?}");
            if changes {
                let mut lower = character.to_lowercase();
                assert!(lower.all(|c| class(c) == Class::Word), "{character:?}");
            }
        }
    }
}
