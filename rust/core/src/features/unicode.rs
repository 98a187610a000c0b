//! Which characters make words, as bitmaps over the code points.

use super::unicode_tables::{ALONE, WORD};

/// One bit for each code point below `LIMIT`; 32 KB, of which text touches a few cache lines.
type Bitmap = [u64; LIMIT as usize / 64];

/// Above this, the only word characters are the variation selectors, `SELECTORS`.
const LIMIT: u32 = 0x40000;
const SELECTORS: (u32, u32) = (0xE0100, 0xE01EF);

static WORD_BITS: Bitmap = bitmap(&WORD);
static ALONE_BITS: Bitmap = bitmap(&ALONE);

/// What a character does to the word that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Ends a word.
    Separator,
    /// Belongs to the word.
    Word,
    /// Is a word by itself: Han, Hiragana and Katakana are written without spaces.
    Alone,
}

/// The class of `character`.
#[inline]
pub(super) fn class(character: char) -> Class {
    let code = u32::from(character);
    if code >= LIMIT {
        if (SELECTORS.0..=SELECTORS.1).contains(&code) {
            Class::Word
        } else {
            Class::Separator
        }
    } else if !has(&WORD_BITS, code) {
        Class::Separator
    } else if has(&ALONE_BITS, code) {
        Class::Alone
    } else {
        Class::Word
    }
}

#[inline]
fn has(bitmap: &Bitmap, code: u32) -> bool {
    bitmap[code as usize / 64] >> (code % 64) & 1 == 1
}

/// The bitmap of inclusive ranges, filled by the compiler a word at a time.
#[expect(clippy::large_stack_arrays, reason = "it runs in the compiler")]
const fn bitmap(ranges: &[(u32, u32)]) -> Bitmap {
    let mut bits = [0; LIMIT as usize / 64];
    let mut i = 0;
    while i < ranges.len() {
        let (first, last) = ranges[i];
        if first < LIMIT {
            let (low, high) = (first as usize / 64, last as usize / 64);
            let mut word = low;
            while word <= high {
                let from = if word == low { first % 64 } else { 0 };
                let to = if word == high { last % 64 } else { 63 };
                bits[word] |= (u64::MAX >> (63 - to)) & (u64::MAX << from);
                word += 1;
            }
        } else {
            assert!(first == SELECTORS.0 && last == SELECTORS.1);
        }
        i += 1;
    }
    bits
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
    fn the_bitmaps_are_the_tables() {
        for character in '\0'..=char::MAX {
            let expected = if in_ranges(&ALONE, character) {
                Class::Alone
            } else if in_ranges(&WORD, character) {
                Class::Word
            } else {
                Class::Separator
            };
            assert_eq!(class(character), expected, "{character:?}");
        }
    }

    /// So a word does not fall apart by being lowercased.
    #[test]
    fn lowercasing_keeps_the_class_of_word_characters() {
        for character in ('\0'..=char::MAX).filter(|&c| class(c) != Class::Separator) {
            for lower in character.to_lowercase() {
                assert_eq!(class(lower), class(character), "{character:?}");
            }
        }
    }
}
