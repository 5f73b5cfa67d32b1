//! What a verification found.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// One output tensor against the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OutputReport {
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Largest absolute difference over the reference's largest magnitude.
    pub max_rel: f64,
    /// Root mean square of the difference over that of the reference.
    pub rms_rel: f64,
    /// Whether it is within the bars of its stage.
    pub passed: bool,
}

/// All outputs of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The case's name.
    pub case: String,
    /// Each output by its name in `case.safetensors`.
    pub outputs: BTreeMap<String, OutputReport>,
    /// Whether all outputs passed.
    pub passed: bool,
}

impl Report {
    /// The output with the largest relative root-mean-square error, with its name.
    pub fn worst(&self) -> Option<(&str, &OutputReport)> {
        self.outputs.iter().map(|(name, output)| (name.as_str(), output)).max_by(|a, b| {
            // NaN is the worst of all.
            let key = |o: &OutputReport| if o.rms_rel.is_nan() { f64::INFINITY } else { o.rms_rel };
            key(a.1).total_cmp(&key(b.1))
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:40} {:>9} {:>9} {:>9}", self.case, "max abs", "max rel", "rms rel")?;
        for (name, output) in &self.outputs {
            let verdict = if output.passed { "pass" } else { "FAIL" };
            writeln!(
                f,
                "{name:40} {:9.1e} {:9.1e} {:9.1e} {verdict}",
                output.max_abs, output.max_rel, output.rms_rel
            )?;
        }
        write!(f, "{}", if self.passed { "passed" } else { "FAILED" })
    }
}
