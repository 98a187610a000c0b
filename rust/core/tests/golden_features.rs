//! The featurizer says what `tests/reference_features.py` said when it wrote the golden file.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use askance_core::features::{Config, Featurizer, Weighting};
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
    config: GoldenConfig,
    /// Buckets and values of each text.
    rows: Vec<(Vec<i32>, Vec<f64>)>,
}

/// Where a field is missing the default holds, here as in Python.
#[derive(Deserialize)]
struct GoldenConfig {
    bits: Option<i64>,
    ngram_min: Option<i64>,
    ngram_max: Option<i64>,
    weighting: Option<String>,
    max_words: Option<i64>,
}

impl GoldenConfig {
    fn config(&self) -> Config {
        let default = Config::default();
        Config {
            bits: self.bits.unwrap_or(default.bits),
            ngram_min: self.ngram_min.unwrap_or(default.ngram_min),
            ngram_max: self.ngram_max.unwrap_or(default.ngram_max),
            weighting: match self.weighting.as_deref() {
                Some("count") => Weighting::Count,
                Some("binary") => Weighting::Binary,
                _ => default.weighting,
            },
            max_words: self.max_words.unwrap_or(default.max_words),
        }
    }
}

#[test]
fn golden_features() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/features.json"
    );
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for case in &golden.cases {
        let featurizer = Featurizer::new(case.config.config()).unwrap();
        let texts: Vec<&str> = golden.texts.iter().map(|text| text.text.as_str()).collect();
        let csr = featurizer.transform(&texts);
        assert_eq!(csr, featurizer.portable().transform(&texts));
        assert_eq!(csr.indptr.len(), case.rows.len() + 1);
        for (i, (buckets, values)) in case.rows.iter().enumerate() {
            let start = usize::try_from(csr.indptr[i]).unwrap();
            let end = usize::try_from(csr.indptr[i + 1]).unwrap();
            let text = &golden.texts[i].text;
            assert_eq!(&csr.indices[start..end], buckets, "{text:?}");
            for (got, expected) in csr.values[start..end].iter().zip(values) {
                assert!((f64::from(*got) - expected).abs() < 1e-7, "{text:?}");
            }
        }
    }
}

#[test]
fn limits() {
    for (config, message) in [
        (
            Config {
                bits: 25,
                ..Config::default()
            },
            "bits must be in [1, 24], got 25",
        ),
        (
            Config {
                ngram_min: 3,
                ..Config::default()
            },
            "ngram_min must be in [1, 2], got 3",
        ),
        (
            Config {
                max_words: -1,
                ..Config::default()
            },
            "max_words must be in [1, 1000000], got -1",
        ),
    ] {
        assert_eq!(
            Featurizer::new(config).unwrap_err().to_string(),
            message,
            "{config:?}"
        );
    }
}
