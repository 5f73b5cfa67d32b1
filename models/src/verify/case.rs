//! A reference case: its stored tensors, which of them were used, and the comparisons made so far.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::VerifyError;
use super::bars::{Bar, Max};
use super::report::{OutputReport, Report};
use crate::checkpoint::{CheckpointError, read_json};
use crate::cosmos::pipeline::PipelineError;
use crate::cosmos::pipeline::prompt::PromptError;

/// How much wider the bars are off the CPU.
const GPU_FACTOR: f64 = 10.0;

/// Share of a level below which two pixels are the same.
const SAME_LEVEL: f64 = 0.01;

#[derive(Deserialize)]
struct CaseFile {
    case: String,
    #[serde(default)]
    arguments: serde_json::Value,
}

/// An open case.
pub(super) struct Case {
    folder: PathBuf,
    file: CaseFile,
    tensors: BTreeMap<String, Tensor>,
    touched: RefCell<BTreeSet<String>>,
    outputs: BTreeMap<String, OutputReport>,
    device: Device,
}

impl Case {
    pub fn open(folder: &Path, device: &Device) -> Result<Self, VerifyError> {
        let path = folder.join("case.safetensors");
        for file in [folder.join("case.json"), path.clone()] {
            if !file.is_file() {
                return Err(VerifyError::NoCase {
                    folder: folder.display().to_string(),
                    reason: format!("there is no {}", file.display()),
                });
            }
        }
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu)
            .map_err(|e| CheckpointError::Damaged { path: path.clone(), reason: e.to_string() })?;
        Ok(Self {
            file: read_json(&folder.join("case.json"))?,
            folder: folder.to_path_buf(),
            tensors: tensors.into_iter().collect(),
            touched: RefCell::default(),
            outputs: BTreeMap::new(),
            device: device.clone(),
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The configuration of a part, from `PART/config.json` (`part` may be empty).
    pub fn config<T: DeserializeOwned>(&self, part: &str, file: &str) -> Result<T, VerifyError> {
        Ok(read_json(&self.folder.join(part).join(file))?)
    }

    /// One of the arguments in `case.json`, if it is there and not null.
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, VerifyError> {
        match self.file.arguments.get(name) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|e| {
                self.no_case(format!("argument `{name}` of case.json cannot be understood ({e})"))
            }),
        }
    }

    /// The argument, which must be there.
    pub fn required<T: DeserializeOwned>(&self, name: &str) -> Result<T, VerifyError> {
        self.argument(name)?.ok_or_else(|| self.no_case(format!("case.json has no argument `{name}`")))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all stored tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A stored input on the device; floating-point ones as f32.
    pub fn input(&self, name: &str) -> Result<Tensor, VerifyError> {
        let tensor = self
            .tensors
            .get(name)
            .ok_or_else(|| self.no_case(format!("case.safetensors has no `{name}`")))?;
        self.touched.borrow_mut().insert(name.to_owned());
        let tensor = tensor.to_device(&self.device).map_err(|e| self.run_error(e))?;
        match tensor.dtype() {
            DType::I64 | DType::U8 | DType::U32 => Ok(tensor),
            _ => tensor.to_dtype(DType::F32).map_err(|e| self.run_error(e)),
        }
    }

    /// A stored input that may be absent.
    pub fn optional(&self, name: &str) -> Result<Option<Tensor>, VerifyError> {
        if self.has(name) { self.input(name).map(Some) } else { Ok(None) }
    }

    /// Compares what we computed with the stored output `name`.
    pub fn compare(&mut self, name: &str, ours: &Tensor, bar: Bar) -> Result<(), VerifyError> {
        let theirs = self
            .tensors
            .get(name)
            .ok_or_else(|| self.no_case(format!("case.safetensors has no `{name}`")))?;
        if theirs.dims() != ours.dims() {
            let shapes =
                format!("`{name}` is {:?} in the reference, ours is {:?}", theirs.dims(), ours.dims());
            return Err(self.run_error(candle_core::Error::Msg(shapes)));
        }
        let numbers = |tensor: &Tensor| -> candle_core::Result<Vec<f64>> {
            tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()
        };
        let (theirs, ours) =
            (numbers(theirs).map_err(|e| self.run_error(e))?, numbers(ours).map_err(|e| self.run_error(e))?);
        let factor = if self.device.is_cpu() { 1.0 } else { GPU_FACTOR };
        self.touched.borrow_mut().insert(name.to_owned());
        self.outputs.insert(name.to_owned(), judge(&theirs, &ours, bar, factor));
        Ok(())
    }

    /// Records a condition that must hold.
    pub fn expect(&mut self, name: &str, holds: bool) {
        let error = if holds { 0.0 } else { 1.0 };
        self.outputs.insert(
            name.to_owned(),
            OutputReport { max_abs: error, max_rel: error, rms_rel: error, passed: holds },
        );
    }

    /// Compares numbers that are not tensors here.
    pub fn compare_numbers(&mut self, name: &str, ours: &[f64], bar: Bar) -> Result<(), VerifyError> {
        let ours = Tensor::from_slice(ours, ours.len(), &Device::Cpu).map_err(|e| self.run_error(e))?;
        self.compare(name, &ours, bar)
    }

    /// The report, if every stored tensor was used or compared.
    pub fn finish(self) -> Result<Report, VerifyError> {
        let touched = self.touched.borrow();
        let rest: Vec<&str> = self.names().filter(|name| !touched.contains(*name)).collect();
        if !rest.is_empty() {
            let names = rest.iter().take(6).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(VerifyError::Unchecked { folder: self.folder.display().to_string(), names });
        }
        let passed = !self.outputs.is_empty() && self.outputs.values().all(|output| output.passed);
        drop(touched);
        Ok(Report { case: self.file.case, outputs: self.outputs, passed })
    }

    pub fn no_case(&self, reason: String) -> VerifyError {
        VerifyError::NoCase { folder: self.folder.display().to_string(), reason }
    }

    pub fn run_error(&self, source: candle_core::Error) -> VerifyError {
        VerifyError::Run { folder: self.folder.display().to_string(), source }
    }

    pub fn pipeline_error(&self, source: PipelineError) -> VerifyError {
        VerifyError::Pipeline { folder: self.folder.display().to_string(), source }
    }

    pub fn prompt_error(&self, source: PromptError) -> VerifyError {
        VerifyError::Prompt { folder: self.folder.display().to_string(), source }
    }

    pub fn unsupported(&self, what: &str) -> VerifyError {
        VerifyError::Unsupported { folder: self.folder.display().to_string(), what: what.to_owned() }
    }
}

/// All measures of one output, in f64.
fn judge(theirs: &[f64], ours: &[f64], bar: Bar, factor: f64) -> OutputReport {
    let (mut max_abs, mut top, mut error, mut power, mut each, mut differing) =
        (0f64, 0f64, 0f64, 0f64, 0f64, 0usize);
    let mut sound = true;
    let step = if let Max::Levels(step, _) = bar.max { step } else { 0.0 };
    for (a, b) in theirs.iter().zip(ours) {
        // Equal values are equal also where they are infinite.
        let d = if a == b { 0.0 } else { (a - b).abs() };
        sound &= d.is_finite();
        max_abs = max_abs.max(d);
        top = top.max(a.abs());
        error += d * d;
        power += a * a;
        each = each.max(if d == 0.0 { 0.0 } else { d / a.abs() });
        differing += usize::from(d > SAME_LEVEL * step);
    }
    let over = |value: f64, by: f64| if value == 0.0 { 0.0 } else { value / by };
    let (max_rel, rms_rel) = (over(max_abs, top), over(error, power).sqrt());
    let within = match bar.max {
        Max::Relative(limit) => max_rel <= limit * factor && rms_rel <= bar.rms_rel * factor,
        Max::Absolute(limit) => max_abs <= limit * factor && rms_rel <= bar.rms_rel * factor,
        Max::EachRelative(limit) => each <= limit && rms_rel <= bar.rms_rel,
        Max::Levels(levels, share) => {
            max_abs <= levels && differing as f64 <= share * factor * theirs.len() as f64
        }
        Max::Exact => max_abs == 0.0,
    };
    if sound {
        OutputReport { max_abs, max_rel, rms_rel, passed: within }
    } else {
        OutputReport { max_abs: f64::NAN, max_rel: f64::NAN, rms_rel: f64::NAN, passed: false }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bars::{EXACT, NETWORK, SIGMA};
    use super::judge;

    #[test]
    fn measures_are_those_of_the_definition() {
        let report = judge(&[3.0, -4.0], &[3.0, -4.1], NETWORK, 1.0);
        assert!((report.max_abs - 0.1).abs() < 1e-12);
        assert!((report.max_rel - 0.025).abs() < 1e-12);
        assert!((report.rms_rel - 0.02).abs() < 1e-12);
        assert!(!report.passed);
        assert!(judge(&[3.0, -4.0], &[3.0, -4.000_001], NETWORK, 1.0).passed);
    }

    #[test]
    fn nothing_that_is_not_a_number_passes() {
        for wrong in [f64::NAN, f64::INFINITY] {
            assert!(!judge(&[1.0], &[wrong], NETWORK, 1.0).passed);
            assert!(!judge(&[wrong], &[1.0], NETWORK, 1.0).passed);
        }
        assert!(!judge(&[0.0], &[1e-12], NETWORK, 1.0).passed);
        assert!(!judge(&[1000.0, 1e-3], &[1000.0, 1.1e-3], SIGMA, 1.0).passed);
        assert!(!judge(&[7.0], &[8.0], EXACT, 1.0).passed);
        assert!(judge(&[7.0], &[7.0], EXACT, 1.0).passed);
    }
}
