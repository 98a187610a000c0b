//! `decide` by path and number of classes, without Python: `cargo bench -p askance-core --bench gate`.

use std::hint::black_box;

use askance_core::draw::Draws;
use askance_core::gate::{
    Coins, Logits, Measure, Misuse, Outputs, Path, Propensity, Scoring, decide,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// 512 KiB of logits: half of a usual L2.
const LOGITS: usize = 1 << 17;

fn logits(count: usize) -> Vec<f32> {
    // A sum of four draws is near enough to normal; the spread is that of a trained student.
    let draws = Draws::new(3, "bench");
    (0..count)
        .map(|index| {
            let sum: f64 = (0..4)
                .map(|part| draws.uniform(part, i64::try_from(index).unwrap_or(0)))
                .sum();
            #[expect(clippy::cast_possible_truncation, reason = "logits are f32")]
            let logit = ((sum - 2.0) * 5.0) as f32;
            logit
        })
        .collect()
}

fn bench(criterion: &mut Criterion) {
    for classes in [2, 4, 8, 20, 77, 150] {
        let rows = LOGITS / classes;
        let values = logits(rows * classes);
        let partitions = vec![0; rows];
        let offsets: Vec<i64> = (0..).take(rows).collect();
        let (mut labels, mut accepted, mut finite) =
            (vec![0; rows], vec![false; rows], vec![false; rows]);
        let (mut confidences, mut uncertainties, mut propensities) =
            (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows]);
        let mut group = criterion.benchmark_group(format!("decide, {classes} classes"));
        group.throughput(Throughput::Elements(u64::try_from(rows).unwrap_or(0)));
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            let mut run = || -> Result<(), Misuse> {
                decide(
                    path,
                    Logits::new(black_box(&values), classes)?,
                    Scoring::new(Measure::Entropy, 1.3)?,
                    Coins {
                        draws: Draws::new(1, "documents"),
                        propensity: Propensity::new(0.05, 1.0, 1.0)?,
                        partitions: &partitions,
                        offsets: &offsets,
                    },
                    Outputs {
                        labels: &mut labels,
                        confidences: &mut confidences,
                        uncertainties: &mut uncertainties,
                        propensities: &mut propensities,
                        accepted: &mut accepted,
                        finite: &mut finite,
                    },
                )
            };
            group.bench_function(BenchmarkId::from_parameter(path.name()), |bencher| {
                bencher.iter(&mut run);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
