//! Laws of the featurizer: every path gives the same answer to the bit, and chunks do not show.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use askance_core::features::{Config, Csr, Featurizer, Weighting};
use proptest::prelude::*;

/// The chunk in which text is taken, of which a document may have several.
const CHUNK: usize = 4096;

fn featurizer(config: Config) -> Featurizer {
    Featurizer::new(config).unwrap()
}

fn configs() -> impl Strategy<Value = Config> {
    let weightings = [Weighting::Count, Weighting::Binary, Weighting::Sublinear];
    (
        1..=24_i64,
        1..=8_i64,
        1..=8_i64,
        prop::sample::select(weightings.to_vec()),
        1..=2000_i64,
    )
        .prop_map(|(bits, a, b, weighting, max_words)| Config {
            bits,
            ngram_min: a.min(b),
            ngram_max: a.max(b),
            weighting,
            max_words,
        })
}

/// Text of ASCII, of anything, and of few words often repeated, up to several chunks long.
fn texts() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "the",
        "The",
        "a",
        "ab",
        "of_",
        "cat",
        "eight888",
        "nine99999",
        "sixteen161616161",
        "seventeen17171717",
        "naïve",
        "世界",
        "ЁЖ",
        "İ",
        "\u{301}",
        " ",
        "-",
        ",",
        "\n",
        "",
        "\0",
        "“",
        "\u{2003}",
        "e\u{301}",
    ]);
    let pieces = prop::collection::vec(words, 0..1500);
    prop_oneof![
        "[ -~\t\n]{0,300}",
        "\\PC{0,200}",
        any::<String>(),
        (pieces.clone(), prop::sample::select(vec!["", " ", ". "])).prop_map(|(p, s)| p.join(s)),
        (CHUNK - 70..CHUNK + 70, pieces).prop_map(|(n, p)| "x".repeat(n) + &p.join(" ")),
    ]
}

/// The words found one document at a time: what `transform` says of each part alone.
fn counts(text: &str) -> Csr {
    let config = Config {
        bits: 24,
        ngram_max: 1,
        weighting: Weighting::Count,
        max_words: 1_000_000,
        ..Config::default()
    };
    featurizer(config).transform(&[text])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_path_gives_the_same_answer(config in configs(), texts in prop::collection::vec(texts(), 0..4)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let fast = featurizer(config);
        prop_assert_eq!(fast.transform(&texts), fast.portable().transform(&texts));
    }

    /// A fullwidth comma separates as a space does, but it is not ASCII: no chunk ends at it and its run goes the slow way.
    #[test]
    fn chunks_do_not_show(text in texts()) {
        let together = text.replace(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_', "，");
        prop_assert_eq!(counts(&text), counts(&together));
    }

    #[test]
    fn rows_ascend_and_have_length_one(config in configs(), text in texts()) {
        let csr = featurizer(config).transform(&[&text]);
        prop_assert!(csr.indices.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(csr.indices.len(), csr.values.len());
        let squares: f64 = csr.values.iter().map(|&value| f64::from(value).powi(2)).sum();
        prop_assert!(csr.values.is_empty() || (squares - 1.0).abs() < 1e-5);
    }
}

#[test]
fn a_word_of_any_length_is_one_word() {
    for length in (0..300).chain([CHUNK - 1, CHUNK, CHUNK + 1, 10 * CHUNK]) {
        for text in [
            "x".repeat(length),
            "é".repeat(length),
            "É".repeat(length) + " ",
        ] {
            assert_eq!(counts(&text).indices.len(), usize::from(length > 0));
        }
        assert_eq!(
            counts(&("ab ".repeat(length))).values,
            vec![1.0; usize::from(length > 0)]
        );
    }
}
