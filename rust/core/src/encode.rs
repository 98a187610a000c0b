//! Predictions as lines of JSON, a whole batch at once.

use std::fmt::Write as _;

/// What is alike in many predictions, already as JSON.
pub struct Template<'a> {
    /// From behind `accepted` to the partition: `,"version":…,"seed":…,"topic":…,"partition":`.
    pub middle: &'a [u8],
    /// Each label as a JSON string.
    pub labels: &'a [Vec<u8>],
    /// Behind the offset, where there is no label: `,"reason":…`, or nothing.
    pub missing: &'a [u8],
    /// What a prediction may end with before its brace; a row names one.
    pub endings: &'a [Vec<u8>],
}

/// The columns of n predictions.
pub struct Columns<'a> {
    pub ids: &'a [&'a str],
    /// Whether there is an answer.
    pub finite: &'a [bool],
    pub labels: &'a [i32],
    pub confidences: &'a [f32],
    pub uncertainties: &'a [f32],
    pub propensities: &'a [f32],
    pub accepted: &'a [bool],
    pub partitions: &'a [i32],
    pub offsets: &'a [i64],
    pub endings: &'a [u8],
}

/// The lines end to end, and where each one ends. A label or ending that the template lacks is left out: what calls
/// this checks them.
#[must_use]
pub fn predictions(template: &Template, columns: &Columns) -> (Vec<u8>, Vec<usize>) {
    let rows = columns.ids.len();
    let mut out = Vec::with_capacity(rows * 256);
    let mut ends = Vec::with_capacity(rows);
    let mut integer = itoa::Buffer::new();
    for row in 0..rows {
        out.extend_from_slice(b"{\"id\":");
        string(&mut out, columns.ids[row]);
        if columns.finite[row] {
            out.extend_from_slice(b",\"label\":");
            let label = usize::try_from(columns.labels[row]).ok();
            if let Some(label) = label.and_then(|label| template.labels.get(label)) {
                out.extend_from_slice(label);
            }
            out.extend_from_slice(b",\"confidence\":");
            number(&mut out, columns.confidences[row]);
        } else {
            out.extend_from_slice(b",\"label\":null,\"confidence\":null");
        }
        out.extend_from_slice(b",\"uncertainty\":");
        number(&mut out, columns.uncertainties[row]);
        out.extend_from_slice(b",\"propensity\":");
        number(&mut out, columns.propensities[row]);
        let accepted: &[u8] = if columns.accepted[row] {
            b",\"accepted\":true"
        } else {
            b",\"accepted\":false"
        };
        out.extend_from_slice(accepted);
        out.extend_from_slice(template.middle);
        out.extend_from_slice(integer.format(columns.partitions[row]).as_bytes());
        out.extend_from_slice(b",\"offset\":");
        out.extend_from_slice(integer.format(columns.offsets[row]).as_bytes());
        if !columns.finite[row] {
            out.extend_from_slice(template.missing);
        }
        if let Some(ending) = template.endings.get(usize::from(columns.endings[row])) {
            out.extend_from_slice(ending);
        }
        out.push(b'}');
        ends.push(out.len());
    }
    (out, ends)
}

/// The float64 of the same value, so that JSON carries a float32 exactly; what JSON has no number for is null.
fn number(out: &mut Vec<u8>, value: f32) {
    let value = f64::from(value);
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// A JSON string; all but quotes, backslashes and control characters stand for themselves.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (place, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..place]);
        copied = place + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => 0,
        };
        if short == 0 {
            let mut escape = String::with_capacity(6);
            let _ = write!(escape, "\\u{byte:04x}");
            out.extend_from_slice(escape.as_bytes());
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}
