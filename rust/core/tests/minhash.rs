//! Signatures: the golden file of `tests/reference_minhash.py`, and their laws.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::HashSet;

use askance_core::features::MinHasher;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<Text>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize)]
struct Case {
    config: Config,
    rows: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Config {
    permutations: i64,
    shingle: Option<i64>,
    max_words: Option<i64>,
}

#[test]
fn golden_signatures() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/minhash.json"
    );
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let texts: Vec<&str> = golden.texts.iter().map(|text| text.text.as_str()).collect();
    for Case { config, rows } in golden.cases {
        let hasher = MinHasher::new(
            config.permutations,
            config.shingle.unwrap_or(3),
            config.max_words.unwrap_or(4096),
        )
        .unwrap();
        assert_eq!(hasher.signatures(&texts), rows.concat());
        assert_eq!(hasher.portable().signatures(&texts), rows.concat());
    }
}

#[test]
fn limits() {
    for (permutations, shingle, max_words, message) in [
        (0, 3, 1, "permutations must be in [1, 1024], got 0"),
        (1, 9, 1, "shingle must be in [1, 8], got 9"),
        (1, 3, -1, "max_words must be in [1, 1000000], got -1"),
    ] {
        let error = MinHasher::new(permutations, shingle, max_words).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

/// Documents of a small vocabulary, so that they have shingles in common.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..40_u8, 0..120)
}

fn text(words: &[u8]) -> String {
    words
        .iter()
        .map(|word| format!("w{word}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn equal(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn every_path_gives_the_same_answer(text in any::<String>(), shingle in 1..=8_i64, max_words in 1..200_i64) {
        let hasher = MinHasher::new(17, shingle, max_words).unwrap();
        prop_assert_eq!(hasher.signatures(&[&text]), hasher.clone().portable().signatures(&[&text]));
    }

    /// Of single words a union of documents has the least of each component.
    #[test]
    fn a_union_has_the_least(a in documents(), b in documents()) {
        let hasher = MinHasher::new(64, 1, 4096).unwrap();
        let of = |words: &[u8]| hasher.signatures(&[&text(words)]);
        let least: Vec<u32> = of(&a).iter().zip(of(&b)).map(|(&a, b)| a.min(b)).collect();
        prop_assert_eq!(of(&[a, b].concat()), least);
    }

    /// The share of equal components lies within six standard deviations of the Jaccard likeness.
    #[test]
    fn equal_components_estimate_the_likeness(a in documents(), b in documents()) {
        prop_assume!(!a.is_empty() && !b.is_empty());
        let hasher = MinHasher::new(1024, 1, 4096).unwrap();
        let sets: Vec<HashSet<u8>> = [&a, &b].iter().map(|words| words.iter().copied().collect()).collect();
        let [both, either] = [sets[0].intersection(&sets[1]).count(), sets[0].union(&sets[1]).count()]
            .map(|count| f64::from(u32::try_from(count).unwrap()));
        let likeness = both / either;
        let signatures = hasher.signatures(&[&text(&a), &text(&b)]);
        let (first, second) = signatures.split_at(1024);
        let estimate = f64::from(u32::try_from(equal(first, second)).unwrap()) / 1024.0;
        let deviation = (likeness * (1.0 - likeness) / 1024.0).sqrt();
        prop_assert!((estimate - likeness).abs() <= 6.0 * deviation + 1e-9, "{estimate} for {likeness}");
    }
}
