//! Adapters in their published formats are merged while the weights are read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use forerun_models::published::{AdapterChoice, ClipSettings};
use forerun_models::testing::published::Tiny;

use crate::support::{TRANSFORMER, distance, edit, folder, frames, made, open, run, settings};

const LAYER: &str = "transformer_blocks.1.attn1.to_q";
const RANK: usize = 2;

fn wave(shape: (usize, usize), step: f32) -> Tensor {
    let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| ((i as f32 + 1.0) * step).sin() * 0.5).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn halves() -> (Tensor, Tensor) {
    (wave((RANK, 32), 0.7), wave((32, RANK), 1.3))
}

/// An adapter file with these names of the two halves.
fn write(path: &Path, narrow: &str, wide: &str) {
    let (a, b) = halves();
    let map = HashMap::from([(narrow.to_owned(), a), (wide.to_owned(), b)]);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    candle_core::safetensors::save(&map, path).unwrap();
}

fn adapted(path: PathBuf, strength: f64) -> ClipSettings {
    ClipSettings { adapters: vec![AdapterChoice { path, strength }], ..settings() }
}

/// The clip of a model whose weight was changed by hand.
fn by_hand(factor: f64) -> Vec<forerun_models::Frame> {
    let dir = folder(Tiny::Predict2);
    let (a, b) = halves();
    edit(&dir.path().join(TRANSFORMER), |tensors| {
        let name = format!("{LAYER}.weight");
        let merged = (&tensors[&name] + (b.matmul(&a).unwrap() * factor).unwrap()).unwrap();
        tensors.insert(name, merged);
    });
    made(dir.path(), &frames(1), 4, &settings())
}

#[test]
fn every_published_format_does_what_its_settings_say() {
    let dir = folder(Tiny::Predict2);
    let plain = made(dir.path(), &frames(1), 4, &settings());
    // diffusers: names with the part in front, no settings: alpha is the rank.
    let file = dir.path().join("a/pytorch_lora_weights.safetensors");
    write(
        &file,
        &format!("transformer.{LAYER}.lora_A.weight"),
        &format!("transformer.{LAYER}.lora_B.weight"),
    );
    let once = made(dir.path(), &frames(1), 4, &adapted(dir.path().join("a"), 1.0));
    assert!(distance(&once, &plain) > 0.0);
    assert!(distance(&once, &by_hand(1.0)) < 0.05);
    let half = made(dir.path(), &frames(1), 4, &adapted(file, 0.5));
    assert!(distance(&half, &by_hand(0.5)) < 0.05);
    // PEFT: its own prefix, settings beside it: alpha 8 of rank 2.
    let peft = dir.path().join("b/adapter_model.safetensors");
    let name = format!("base_model.model.{LAYER}");
    write(&peft, &format!("{name}.lora_A.weight"), &format!("{name}.lora_B.weight"));
    std::fs::write(dir.path().join("b/adapter_config.json"), r#"{"r": 2, "lora_alpha": 8}"#).unwrap();
    assert!(
        distance(&made(dir.path(), &frames(1), 4, &adapted(dir.path().join("b"), 1.0)), &by_hand(4.0)) < 0.05
    );
    // NVIDIA's names.
    let own = dir.path().join("c/lora.safetensors");
    let name = "net.blocks.1.self_attn.q_proj";
    write(&own, &format!("{name}.lora_A.default.weight"), &format!("{name}.lora_B.default.weight"));
    assert!(distance(&made(dir.path(), &frames(1), 4, &adapted(own, 1.0)), &by_hand(1.0)) < 0.05);
    // A model in memory is read anew when the adapter changes.
    let model = open(dir.path()).unwrap();
    let one = adapted(dir.path().join("a"), 1.0);
    assert!(run(&model, &frames(1), 4, 1, &one).unwrap().frames == once);
    assert!(run(&model, &frames(1), 4, 1, &settings()).unwrap().frames == plain);
}

#[test]
fn what_is_no_adapter_for_this_model_is_named() {
    let dir = folder(Tiny::Predict2);
    let model = open(dir.path()).unwrap();
    let fails = |path: PathBuf| {
        let answer = run(&model, &frames(1), 4, 1, &adapted(path, 1.0));
        answer.err().expect("it must be refused").to_string()
    };
    let file = dir.path().join("x/pytorch_lora_weights.safetensors");
    write(
        &file,
        "transformer.transformer_blocks.9.attn1.to_q.lora_A.weight",
        "transformer.transformer_blocks.9.attn1.to_q.lora_B.weight",
    );
    let text = fails(file.clone());
    assert!(text.contains("transformer_blocks.9") && text.contains("pytorch_lora_weights"), "{text}");
    write(&file, &format!("{LAYER}.lora_A.weight"), "something.else");
    assert!(fails(file.clone()).contains("other half"));
    write(&file, "a.weight", "b.weight");
    assert!(fails(file.clone()).contains("a.weight"));
    std::fs::write(dir.path().join("x/adapter_config.json"), r#"{"use_dora": true}"#).unwrap();
    assert!(fails(file).contains("DoRA"));
    let wrong = dir.path().join("y/pytorch_lora_weights.safetensors");
    write(
        &wrong,
        "transformer_blocks.0.ff.net.0.proj.lora_A.weight",
        "transformer_blocks.0.ff.net.0.proj.lora_B.weight",
    );
    assert!(fails(wrong).contains("shape"));
    assert!(fails(dir.path().join("nowhere")).contains("nowhere"));
}
