//! The kernel against the golden vectors, on every path this CPU has.

use std::path::Path as File;

use askance_core::draw::{Draws, GAMMA, fnv1a, mix, output};
use askance_core::gate::{
    Coins, Logits, Measure, Outputs, Path, Propensity, Scoring, decide, uncertainty,
};
use serde_json::Value;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn golden(name: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let file = File::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name);
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap_or(f64::NAN),
        other => other.as_f64().unwrap_or(f64::NAN),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the file holds f32 values")]
fn single(value: &Value) -> f32 {
    number(value) as f32
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn splitmix64_gives_its_published_outputs() -> Outcome {
    let file = golden("draws.json")?;
    let state: u64 = text(&file["splitmix64"]["state"]).parse()?;
    let outputs = list(&file["splitmix64"]["outputs"]);
    assert_eq!(outputs.len(), 5);
    for (offset, expected) in (0..).zip(outputs) {
        assert_eq!(output(state, offset), text(expected).parse::<u64>()?);
    }
    assert_eq!(output(state, 0), mix(state.wrapping_add(GAMMA)));
    assert_eq!(fnv1a(b"a"), text(&file["fnv1a"]["a"]).parse::<u64>()?);
    Ok(())
}

#[test]
fn draws_match_to_the_bit() -> Outcome {
    let file = golden("draws.json")?;
    let cases = list(&file["draws"]);
    assert!(cases.len() >= 100);
    for case in cases {
        let draws = Draws::new(text(&case["seed"]).parse()?, text(&case["topic"]));
        let partition = i32::try_from(case["partition"].as_i64().unwrap_or_default())?;
        let offset: i64 = text(&case["offset"]).parse()?;
        assert_eq!(
            draws.bits(partition, offset),
            text(&case["bits"]).parse::<u64>()?,
            "{case}"
        );
        assert_eq!(
            draws.uniform(partition, offset).to_bits(),
            number(&case["uniform"]).to_bits(),
            "{case}"
        );
    }
    Ok(())
}

#[test]
fn propensities_match() -> Outcome {
    let file = golden("decisions.json")?;
    for gate in list(&file["gates"]) {
        let propensity = Propensity::new(
            number(&gate["floor"]),
            number(&gate["exponent"]),
            number(&gate["scale"]),
        )?;
        for (u, expected) in list(&gate["uncertainties"])
            .iter()
            .zip(list(&gate["propensities"]))
        {
            let q = f64::from(propensity.of(single(u)));
            let expected = number(expected);
            assert!(
                (q - expected).abs() <= 1e-6 * expected.max(0.1),
                "{gate}: {q} for {expected} at {u}"
            );
        }
    }
    Ok(())
}

#[test]
fn decisions_match_on_every_path() -> Outcome {
    let file = golden("decisions.json")?;
    let cases = list(&file["cases"]);
    assert!(cases.len() >= 20);
    for case in cases {
        for path in Path::ALL.into_iter().filter(|path| path.is_available()) {
            check(case, path, number(&file["tolerance"]))
                .map_err(|error| format!("{}: {error}", path.name()))?;
        }
    }
    Ok(())
}

fn check(case: &Value, path: Path, tolerance: f64) -> Outcome {
    let rows = list(&case["logits"]);
    let values: Vec<f32> = rows
        .iter()
        .flat_map(|row| list(row).iter().map(single))
        .collect();
    let logits = Logits::new(&values, values.len() / rows.len())?;
    let scoring = Scoring::new(
        Measure::from_name(text(&case["measure"]))?,
        number(&case["temperature"]),
    )?;
    let partitions: Vec<i32> = (0..3).cycle().take(rows.len()).collect();
    let offsets: Vec<i64> = (1000..).take(rows.len()).collect();
    let n = rows.len();
    let (mut labels, mut confidences, mut uncertainties) = (vec![0; n], vec![0.0; n], vec![0.0; n]);
    let (mut propensities, mut accepted, mut finite) =
        (vec![0.0; n], vec![false; n], vec![false; n]);
    decide(
        path,
        logits,
        scoring,
        Coins {
            draws: Draws::new(7, "golden"),
            propensity: Propensity::M_RARU,
            partitions: &partitions,
            offsets: &offsets,
        },
        Outputs {
            labels: (&mut labels).into(),
            confidences: (&mut confidences).into(),
            uncertainties: (&mut uncertainties).into(),
            propensities: (&mut propensities).into(),
            accepted: (&mut accepted).into(),
            finite: (&mut finite).into(),
        },
    )?;
    let close = |got: f32, expected: &Value| (f64::from(got) - number(expected)).abs() <= tolerance;
    for row in 0..n {
        assert_eq!(
            Some(i64::from(labels[row])),
            case["labels"][row].as_i64(),
            "{case}"
        );
        assert_eq!(Some(finite[row]), case["finite"][row].as_bool(), "{case}");
        assert!(close(confidences[row], &case["confidences"][row]), "{case}");
        assert!(
            close(uncertainties[row], &case["uncertainties"][row]),
            "row {row} {} {case}",
            uncertainties[row]
        );
        assert_eq!(propensities[row].to_bits(), uncertainties[row].to_bits());
        assert_eq!(
            accepted[row],
            number(&case["draws"][row]) < f64::from(propensities[row]),
            "{case}"
        );
    }
    let mut alone = vec![0.0; n];
    uncertainty(path, logits, scoring, (&mut alone).into())?;
    assert_eq!(alone, uncertainties);
    Ok(())
}
