//! The featurizer alone, on the CPU's best path and on the portable one.
//!
//! Real text, and enough of it: over a few dozen documents repeated, the branch predictor learns every word by heart
//! and the figures double.

use std::hint::black_box;
use std::path::Path;
use std::{env, fs};

use askance_core::features::{Config, Featurizer};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const DOCUMENTS: usize = 4096;
const BYTES: usize = 171;

/// Documents of about `BYTES` bytes cut from the texts in `ASKANCE_DATA` (default ../shared/data), or else from this
/// crate's own sources.
fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = env::var("ASKANCE_DATA").map_or(root.join("../../../shared/data"), Into::into);
    let files = fs::read_dir(data).or_else(|_| fs::read_dir(root.join("src/features")));
    let mut text = String::new();
    for file in files.into_iter().flatten().flatten() {
        for line in fs::read_to_string(file.path()).unwrap_or_default().lines() {
            let record = line.split("\"text\":\"").last().unwrap_or_default();
            text.extend(record.split('"').next());
            text.push(' ');
        }
    }
    let mut documents = Vec::new();
    let mut document = String::new();
    for word in text.split_inclusive(' ').cycle() {
        if document.len() + word.len() > BYTES {
            documents.push(std::mem::take(&mut document));
        }
        if documents.len() == DOCUMENTS {
            break;
        }
        document.push_str(word);
    }
    documents
}

fn transform(criterion: &mut Criterion) {
    let documents = documents();
    let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
    let Ok(best) = Featurizer::new(Config::default()) else {
        return;
    };
    let mut group = criterion.benchmark_group("transform");
    for count in [1, 256, DOCUMENTS] {
        group.throughput(Throughput::Elements(count as u64));
        for (path, featurizer) in [
            ("best", best.clone()),
            ("portable", best.clone().portable()),
        ] {
            group.bench_with_input(
                BenchmarkId::new(path, count),
                &texts[..count],
                |bencher, texts| {
                    bencher.iter(|| featurizer.transform(black_box(texts)));
                },
            );
        }
    }
}

criterion_group!(benches, transform);
criterion_main!(benches);
