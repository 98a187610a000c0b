//! Any bytes as a configuration and documents: no panic, rows as promised, every path the same, memory bounded.
//!
//! Bounded memory is libFuzzer's `-malloc_limit_mb` and `-rss_limit_mb`, and AddressSanitizer watches the unsafe code:
//!
//!     cargo +nightly fuzz run --fuzz-dir rust/fuzz features -- \
//!         -max_total_time=20 -max_len=4096 -rss_limit_mb=2048 -malloc_limit_mb=512

#![no_main]

use askance_core::features::{Config, Csr, Featurizer, Weighting, documents};
use libfuzzer_sys::fuzz_target;

/// Long inputs are where chunks and long words are.
const REPETITIONS: [usize; 4] = [1, 2, 100, 3000];

fn config(byte: u8, other: u8) -> Config {
    let weightings = [Weighting::Count, Weighting::Binary, Weighting::Sublinear];
    let (a, b) = (i64::from(byte & 7) + 1, i64::from(byte >> 3 & 7) + 1);
    Config {
        bits: i64::from(other % 24) + 1,
        ngram_min: a.min(b),
        ngram_max: a.max(b),
        weighting: weightings[usize::from(byte >> 6) % 3],
        max_words: [4096, 1, 3, 1_000_000][usize::from(other >> 6)],
    }
}

fn check(csr: &Csr, documents: usize, buckets: u32) {
    assert_eq!(csr.indptr.len(), documents + 1);
    assert_eq!(csr.indices.len(), csr.values.len());
    for row in csr.indptr.windows(2) {
        let (start, end) = (row[0] as usize, row[1] as usize);
        assert!(csr.indices[start..end].is_sorted_by(|a, b| a < b));
        assert!(
            csr.indices[start..end]
                .iter()
                .all(|&index| (index as u32) < buckets)
        );
        let squares: f64 = csr.values[start..end]
            .iter()
            .map(|&value| f64::from(value).powi(2))
            .sum();
        assert!(start == end || (squares - 1.0).abs() < 1e-5);
    }
}

/// The words of ASCII text with all separators the same: a space, or one that is not ASCII and so goes the general way.
fn separated_by(text: &str, separator: &str) -> String {
    let parts = text.split(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_');
    parts.collect::<Vec<_>>().join(separator)
}

fuzz_target!(|data: &[u8]| {
    let [byte, other, repeat, bytes @ ..] = data else {
        return;
    };
    let Ok(featurizer) = Featurizer::new(config(*byte, *other)) else {
        unreachable!("the limits hold")
    };

    // The rest as text, however broken, and as documents at offsets that it names itself.
    let text = String::from_utf8_lossy(bytes).repeat(REPETITIONS[usize::from(repeat % 4)]);
    let offsets: Vec<i64> = bytes.iter().map(|&byte| i64::from(byte as i8)).collect();
    let _ = documents(bytes, &offsets);

    let half = text.floor_char_boundary(text.len() / 2);
    let texts = [text.as_str(), &text[half..], ""];
    let csr = featurizer.transform(&texts);
    check(&csr, texts.len(), featurizer.buckets());
    assert_eq!(csr, featurizer.clone().portable().transform(&texts));
    assert_eq!(
        csr.padded()
            .iter()
            .map(|padded| padded.rows.len())
            .sum::<usize>(),
        texts.len()
    );

    let fast = featurizer.transform(&[&separated_by(&text, " ")]);
    assert_eq!(fast, featurizer.transform(&[&separated_by(&text, "，")]));
});
