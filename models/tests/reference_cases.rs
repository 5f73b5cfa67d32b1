//! Our networks against what the public Python libraries computed (tests/reference/make_cases.py), and what happens
//! when a folder is damaged or a number is changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use forerun_models::nn::path::{self, Path::Stock};
use forerun_models::verify::{Report, verify_folder};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of a case that a test may damage.
fn copied(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&cases().join(name), dir.path());
    dir
}

/// Changes the tensors of one safetensors file.
fn edit(path: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, path).unwrap();
}

fn weights(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("diffusion_pytorch_model.safetensors")
}

#[test]
fn every_committed_case_passes() {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(cases()).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 10, "only {} cases found", folders.len());
    let reports: Vec<Report> = folders.iter().map(|folder| verify_folder(folder).unwrap()).collect();
    let failed: Vec<String> = reports.iter().filter(|r| !r.passed).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// What a graphics card runs: candle's own operations, with the same numbers at the same bars.
#[test]
fn every_committed_case_passes_on_stock_operations() {
    let folders = std::fs::read_dir(cases()).unwrap().map(|e| e.unwrap().path());
    let failed: Vec<String> = path::with(Stock, || {
        let reports = folders.map(|folder| verify_folder(&folder).unwrap());
        reports.filter(|r| !r.passed).map(|r| r.to_string()).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn the_report_has_the_promised_keys() {
    let report = verify_folder(&cases().join("dit_predict25")).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["case"], "dit_predict25");
    assert_eq!(json["passed"], true);
    for key in ["max_abs", "max_rel", "rms_rel"] {
        let value = json["outputs"]["sample"][key].as_f64().unwrap();
        assert!(value > 0.0 && value < 1e-4, "{key} = {value}");
    }
    assert_eq!(json["outputs"]["sample"]["passed"], true);
}

#[test]
fn a_weight_that_is_off_by_a_thousandth_fails() {
    let dir = copied("dit_predict25");
    edit(&weights(&dir), |tensors| {
        let name = "transformer_blocks.1.attn1.to_v.weight";
        let changed = (&tensors[name] * 1.001).unwrap();
        tensors.insert(name.to_owned(), changed);
    });
    let report = verify_folder(dir.path()).unwrap();
    assert!(!report.passed);
    assert!(!report.outputs["sample"].passed);
}

/// The bars must tell a wrong setting from rounding.
#[test]
fn a_wrong_setting_fails() {
    for (case, setting, wrong) in [
        ("dit_predict25", "rope_scale", "[1.0, 3.0, 3.1]"),
        ("dit_predict1", "extra_pos_embed_type", "null"),
        ("t5", "layer_norm_epsilon", "1e-5"),
        ("t5", "relative_attention_max_distance", "16"),
        ("qwen_text", "text_config/rms_norm_eps", "1e-5"),
    ] {
        let dir = copied(case);
        let path = dir.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        *config.pointer_mut(&format!("/{setting}")).expect(setting) = serde_json::from_str(wrong).unwrap();
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        // Either the numbers differ, or a tensor is left over: never a pass.
        assert!(!verify_folder(dir.path()).is_ok_and(|r| r.passed), "{case} passed with {setting} = {wrong}");
    }
}

#[test]
fn missing_extra_wrong_and_truncated_tensors_are_named_with_their_file() {
    let name = "transformer_blocks.0.attn2.to_k.weight";
    let message = |dir: &tempfile::TempDir| verify_folder(dir.path()).unwrap_err().to_string();

    let dir = copied("dit_predict25");
    edit(&weights(&dir), |tensors| {
        tensors.remove(name).unwrap();
    });
    let text = message(&dir);
    assert!(
        text.contains(name) && text.contains("missing") && text.contains("diffusion_pytorch_model"),
        "{text}"
    );

    let dir = copied("dit_predict25");
    edit(&weights(&dir), |tensors| {
        tensors.insert(
            "transformer_blocks.9.extra".to_owned(),
            Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap(),
        );
    });
    let text = message(&dir);
    assert!(
        text.contains("transformer_blocks.9.extra") && text.contains("diffusion_pytorch_model"),
        "{text}"
    );

    let dir = copied("dit_predict25");
    edit(&weights(&dir), |tensors| {
        let turned = tensors[name].t().unwrap().contiguous().unwrap();
        tensors.insert(name.to_owned(), turned);
    });
    let text = message(&dir);
    assert!(
        text.contains(name) && text.contains("shape") && text.contains("diffusion_pytorch_model"),
        "{text}"
    );

    let dir = copied("dit_predict25");
    let bytes = std::fs::read(weights(&dir)).unwrap();
    std::fs::write(weights(&dir), &bytes[..bytes.len() / 2]).unwrap();
    let text = message(&dir);
    assert!(text.contains("cut off") && text.contains("diffusion_pytorch_model"), "{text}");
}

#[test]
fn a_tensor_of_the_case_that_nobody_checks_is_an_error() {
    let dir = copied("t5");
    edit(&dir.path().join("case.safetensors"), |tensors| {
        tensors.insert(
            "another_output".to_owned(),
            Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap(),
        );
    });
    let text = verify_folder(dir.path()).unwrap_err().to_string();
    assert!(text.contains("another_output"), "{text}");
}

#[test]
fn folders_that_are_no_cases_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(verify_folder(dir.path()).unwrap_err().to_string().contains("case.json"));
    std::fs::write(dir.path().join("case.json"), "{").unwrap();
    std::fs::write(dir.path().join("case.safetensors"), "no tensors").unwrap();
    assert!(verify_folder(dir.path()).unwrap_err().to_string().contains("case.safetensors"));
}
