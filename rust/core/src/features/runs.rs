//! Where the words of a chunk are, as far as ASCII tells.
//!
//! ASCII separators end a word in every context, so text falls apart at them into runs that do not depend on each other.
//! A run of ASCII alone is one word; any other has to be split character by character.

/// Text is taken this many bytes at a time, which bounds what is held beside the hashes and stays in the first cache.
pub(super) const CHUNK: usize = 4096;

/// One register more than a chunk needs, so that whole registers can be read and written at its end.
pub(super) const ROOM: usize = CHUNK + 64;

/// In `LOWERED`: not ASCII.
const HIGH: u8 = 0x80;

/// What each byte is: the lowercased byte of a word, 0 for an ASCII separator, `HIGH` if it is not ASCII.
static LOWERED: [u8; 256] = lowered();

const fn lowered() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match byte {
            HIGH.. => HIGH,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => byte.to_ascii_lowercase(),
            _ => 0,
        };
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// The runs of one chunk.
pub(super) struct Runs {
    /// The chunk, ASCII lowercased, and undefined elsewhere.
    pub(super) lowered: [u8; ROOM],
    /// Where runs start and end, in turn; every number is at most `CHUNK`, also past the last run.
    pub(super) edges: [u16; ROOM],
    /// How many runs there are.
    pub(super) count: usize,
    /// Whether each of them is a word.
    pub(super) ascii: bool,
}

impl Runs {
    pub(super) fn new() -> Self {
        Self {
            lowered: [0; ROOM],
            edges: [0; ROOM],
            count: 0,
            ascii: true,
        }
    }

    /// Finds the runs of at most `CHUNK` bytes, without a branch that depends on them.
    #[expect(clippy::cast_possible_truncation, reason = "places are at most CHUNK")]
    pub(super) fn find(&mut self, text: &[u8]) {
        let mut seen = 0;
        let mut edges = 0;
        let mut inside = false;
        for (place, (&byte, out)) in text.iter().zip(&mut self.lowered).enumerate() {
            *out = LOWERED[usize::from(byte)];
            seen |= *out;
            self.edges[edges] = place as u16;
            edges += usize::from((*out != 0) != inside);
            inside = *out != 0;
        }
        self.edges[edges] = text.len() as u16;
        self.count = edges.div_ceil(2);
        self.ascii = seen < HIGH;
    }

    /// The start and end of each run.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let edges = self.edges.chunks_exact(2).take(self.count);
        edges.map(|edges| (usize::from(edges[0]), usize::from(edges[1])))
    }
}

/// Cuts off at most `CHUNK` bytes after an ASCII separator; or all up to the first separator where it comes later.
pub(super) fn cut(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let Some(chunk) = bytes.get(..CHUNK) else {
        return (text, "");
    };
    let separates = |byte: &u8| LOWERED[usize::from(*byte)] == 0;
    let last = chunk.iter().rposition(separates);
    let separator = last.or_else(|| bytes.iter().position(separates));
    text.split_at(separator.map_or(bytes.len(), |at| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::unicode::{Class, class};

    #[test]
    fn the_byte_table_agrees_with_the_characters() {
        for byte in 0..HIGH {
            let lowered = LOWERED[usize::from(byte)];
            let character = char::from(byte);
            assert_eq!(lowered != 0, class(character) != Class::Separator);
            if lowered != 0 {
                assert!(character.to_lowercase().eq([char::from(lowered)]));
            }
        }
    }

    #[test]
    fn runs_of_a_chunk() {
        let mut runs = Runs::new();
        for (text, expected, ascii) in [
            ("", vec![], true),
            (" - ", vec![], true),
            ("a", vec![(0, 1)], true),
            ("a Bc ", vec![(0, 1), (2, 4)], true),
            (" a é", vec![(1, 2), (3, 5)], false),
        ] {
            runs.find(text.as_bytes());
            assert_eq!(runs.iter().collect::<Vec<_>>(), expected, "{text:?}");
            assert_eq!(runs.ascii, ascii, "{text:?}");
        }
    }

    #[test]
    fn text_is_cut_after_separators() {
        let long = "x".repeat(CHUNK);
        for (text, expected) in [
            ("a b".to_owned(), 3),
            (format!("{long} b"), CHUNK + 1),
            (format!("a {long}"), 2),
            (long.clone(), CHUNK),
            (long.clone() + &long, 2 * CHUNK),
        ] {
            assert_eq!(cut(&text).0.len(), expected);
        }
    }
}
