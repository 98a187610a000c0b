//! Laws that hold on every path this CPU has: within 1e-6 of float64, and bit-identical to each other.

use askance_core::draw::Draws;
use askance_core::gate::{
    Coins, Logits, Measure, Outputs, Path, Propensity, Scoring, decide, uncertainty,
};
use proptest::prelude::*;

#[derive(Clone, Debug, Default, PartialEq)]
struct Decided {
    labels: Vec<i32>,
    confidences: Vec<f32>,
    uncertainties: Vec<f32>,
    propensities: Vec<f32>,
    accepted: Vec<bool>,
    finite: Vec<bool>,
}

fn run(
    path: Path,
    logits: Logits<'_>,
    scoring: Scoring,
    propensity: Propensity,
    partitions: &[i32],
) -> Decided {
    let n = logits.rows();
    let offsets: Vec<i64> = (-3..).take(n).collect();
    let mut decided = Decided {
        labels: vec![0; n],
        confidences: vec![0.0; n],
        uncertainties: vec![0.0; n],
        propensities: vec![0.0; n],
        accepted: vec![false; n],
        finite: vec![false; n],
    };
    let coins = Coins {
        draws: Draws::new(42, "paths"),
        propensity,
        partitions,
        offsets: &offsets,
    };
    let outputs = Outputs {
        labels: &mut decided.labels,
        confidences: &mut decided.confidences,
        uncertainties: &mut decided.uncertainties,
        propensities: &mut decided.propensities,
        accepted: &mut decided.accepted,
        finite: &mut decided.finite,
    };
    assert_eq!(decide(path, logits, scoring, coins, outputs), Ok(()));
    let mut alone = vec![0.0; n];
    assert_eq!(uncertainty(path, logits, scoring, &mut alone), Ok(()));
    assert_eq!(bits(&alone), bits(&decided.uncertainties));
    for row in 0..n {
        let draw = Draws::new(42, "paths").uniform(partitions[row], offsets[row]);
        assert_eq!(
            decided.accepted[row],
            draw < f64::from(decided.propensities[row])
        );
        assert_eq!(
            decided.propensities[row].to_bits(),
            propensity.of(decided.uncertainties[row]).to_bits()
        );
    }
    decided
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// (label, confidence, uncertainty) in float64, or nothing where the row is not finite.
#[expect(clippy::cast_precision_loss, reason = "K is small")]
fn reference(row: &[f32], measure: Measure, temperature: f64) -> Option<(usize, f64, f64)> {
    if !row.iter().all(|x| x.is_finite()) {
        return None;
    }
    let mut label = 0;
    for (class, x) in row.iter().enumerate() {
        if *x > row[label] {
            label = class;
        }
    }
    let e: Vec<f64> = row
        .iter()
        .map(|x| ((f64::from(*x) - f64::from(row[label])) / temperature).exp())
        .collect();
    let sum: f64 = e.iter().sum();
    let mut p: Vec<f64> = e.iter().map(|e| e / sum).collect();
    p.sort_by(|a, b| b.total_cmp(a));
    let k = row.len() as f64;
    let u = match measure {
        Measure::Entropy => {
            -p.iter()
                .filter(|p| **p > 0.0)
                .map(|p| p * p.ln())
                .sum::<f64>()
                / k.ln()
        }
        Measure::Margin => 1.0 - (p[0] - p[1]),
        Measure::LeastConfidence => (1.0 - p[0]) * k / (k - 1.0),
    };
    Some((label, p[0], u.clamp(0.0, 1.0)))
}

/// Check one batch on every path; gives back the largest error.
fn check(
    values: &[f32],
    classes: usize,
    measure: Measure,
    temperature: f64,
    propensity: Propensity,
    spread: i32,
) -> f64 {
    let (Ok(logits), Ok(scoring)) = (
        Logits::new(values, classes),
        Scoring::new(measure, temperature),
    ) else {
        unreachable!("the strategies make valid arguments")
    };
    let partitions: Vec<i32> = (0..logits.rows())
        .map(|row| i32::try_from(row).unwrap_or(0) % spread)
        .collect();
    let portable = run(Path::Portable, logits, scoring, propensity, &partitions);
    for path in [Path::Avx2, Path::Avx512]
        .into_iter()
        .filter(|path| path.is_available())
    {
        let other = run(path, logits, scoring, propensity, &partitions);
        assert_eq!(other.labels, portable.labels, "{}", path.name());
        assert_eq!(
            bits(&other.confidences),
            bits(&portable.confidences),
            "{}",
            path.name()
        );
        assert_eq!(
            bits(&other.uncertainties),
            bits(&portable.uncertainties),
            "{}",
            path.name()
        );
        assert_eq!(
            bits(&other.propensities),
            bits(&portable.propensities),
            "{}",
            path.name()
        );
        assert_eq!(other.accepted, portable.accepted, "{}", path.name());
        assert_eq!(other.finite, portable.finite, "{}", path.name());
    }
    let mut worst = 0.0_f64;
    for (row, x) in values.chunks(classes).enumerate() {
        match reference(x, measure, temperature) {
            None => {
                assert_eq!((portable.labels[row], portable.finite[row]), (-1, false));
                assert_eq!(
                    bits(&[portable.confidences[row], portable.uncertainties[row]]),
                    bits(&[0.0, 1.0])
                );
            }
            Some((label, confidence, u)) => {
                assert!(portable.finite[row], "{x:?}");
                assert_eq!(usize::try_from(portable.labels[row]), Ok(label), "{x:?}");
                let error = (f64::from(portable.confidences[row]) - confidence)
                    .abs()
                    .max((f64::from(portable.uncertainties[row]) - u).abs());
                assert!(
                    error <= 1e-6,
                    "row {row} of {classes} classes off by {error:e}: {x:?}"
                );
                worst = worst.max(error);
            }
        }
    }
    worst
}

fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -12.0_f32..12.0,
        2 => (-3_i8..3).prop_map(f32::from),
        1 => prop::sample::select(vec![1e30, -1e30, f32::MAX, f32::MIN, 1e-45, -1e-45, 1e-39, 0.0, -0.0, 88.0, -104.0]),
    ]
}

fn any_logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        20 => logit(),
        1 => prop::sample::select(vec![f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        // NaN with a payload.
        1 => (0x7F80_0001_u32..0x8000_0000, any::<bool>()).prop_map(|(bits, negative)| f32::from_bits(bits | u32::from(negative) << 31)),
        1 => any::<f32>(),
    ]
}

fn batch(
    classes: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
) -> impl Strategy<Value = (Vec<f32>, usize)> {
    (classes, rows, any::<bool>()).prop_flat_map(|(k, n, wild)| {
        let element = if wild {
            any_logit().boxed()
        } else {
            logit().boxed()
        };
        (prop::collection::vec(element, k * n), Just(k))
    })
}

fn measure() -> impl Strategy<Value = Measure> {
    prop::sample::select(Measure::ALL.to_vec())
}

fn temperature() -> impl Strategy<Value = f64> {
    prop_oneof![3 => Just(1.0), 3 => 0.05_f64..20.0, 1 => prop::sample::select(vec![1e-6, 1e-3, 1e3, 1e6])]
}

fn propensity() -> impl Strategy<Value = Propensity> {
    (
        0.0..=1.0_f64,
        prop_oneof![Just(0.0), Just(1.0), 0.0..8.0_f64],
        0.0..4.0_f64,
    )
        .prop_filter_map("valid", |(floor, exponent, scale)| {
            Propensity::new(floor, exponent, scale).ok()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 2048 }))]

    #[test]
    fn few_classes((values, k) in batch(2..40, 0..150), m in measure(), t in temperature(), q in propensity(), p in 1..9) {
        check(&values, k, m, t, q, p);
    }

    #[test]
    fn many_classes((values, k) in batch(33..1000, 0..40), m in measure(), t in temperature(), q in propensity(), p in 1..9) {
        check(&values, k, m, t, q, p);
    }
}

/// A single value that is not finite flags its row and no other, wherever it stands.
#[test]
fn what_is_not_finite_is_flagged_wherever_it_stands() {
    let bits = [
        0x7FC0_0000,
        0x7FC0_0001,
        0x7F80_0001,
        0xFFC0_0000,
        0xFFFF_FFFF,
        0x7F80_0000,
        0xFF80_0000,
    ];
    for k in [2, 3, 4, 5, 8, 33, 161] {
        for (row, bits) in (0..67).zip(bits.into_iter().cycle()) {
            let mut values = vec![1.0; k * 67];
            values[row * k + row % k] = f32::from_bits(bits);
            for measure in Measure::ALL {
                check(&values, k, measure, 1.0, Propensity::M_RARU, 1);
            }
        }
    }
}

/// One large logit and K - 1 equal ones: every rounding error of the sum has the same sign.
#[test]
#[expect(clippy::cast_precision_loss, reason = "steps and classes are small")]
fn a_sum_of_equal_parts_does_not_drift() {
    let mut worst = 0.0_f64;
    for k in [2, 3, 8, 20, 77, 150, 160, 161, 320, 1000] {
        for step in 0..200 {
            let mut row = vec![-(step as f32) * 0.061_7; k * 9];
            for (index, x) in row.iter_mut().enumerate() {
                if index % k == (index / k) * (k - 1) / 8 {
                    *x = 0.0;
                }
            }
            for measure in Measure::ALL {
                worst = worst.max(check(&row, k, measure, 1.0, Propensity::M_RARU, 1));
            }
        }
    }
    assert!(worst <= 6e-7, "{worst:e}");
}

#[test]
fn lengths_that_disagree_are_named() {
    let values = [0.0; 6];
    let scoring = Scoring::new(Measure::Entropy, 1.0);
    let logits = Logits::new(&values, 3);
    assert!(
        Logits::new(&values, 4).is_err_and(|error| error.to_string().contains("whole rows of 4"))
    );
    assert!(Logits::new(&values, 1).is_err_and(|error| error.to_string().contains("at least 2")));
    if let (Ok(scoring), Ok(logits)) = (scoring, logits) {
        let error = uncertainty(Path::Portable, logits, scoring, &mut [0.0; 3]);
        assert!(error.is_err_and(|error| {
            error
                .to_string()
                .contains("uncertainties has 3 elements for 2 rows")
        }));
    }
}
