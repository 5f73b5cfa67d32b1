//! A wrong, truncated, missing or extra tensor is named with its file, wherever in the folder it is.

use candle_core::{DType, Device, Tensor};
use forerun_models::published::ClipSettings;
use forerun_models::testing::published::Tiny;

use crate::support::{TRANSFORMER, edit, folder, frames, open, run, settings};

/// What is said about a damaged folder, when it is opened or at the latest when it runs.
fn said(path: &std::path::Path) -> String {
    let answer = open(path).and_then(|model| run(&model, &frames(1), 4, 1, &settings()));
    answer.err().map(|e| e.to_string()).expect("it must not run")
}

const FILES: [(Tiny, &str, &str); 6] = [
    (Tiny::Predict2, TRANSFORMER, "transformer_blocks.1.attn2.to_k.weight"),
    (Tiny::Predict2, "vae/diffusion_pytorch_model.safetensors", "decoder.conv_out.bias"),
    (Tiny::Predict2, "text_encoder/model.safetensors", "encoder.block.1.layer.0.SelfAttention.q.weight"),
    (Tiny::Predict25, "text_encoder/model.safetensors", "model.layers.0.mlp.up_proj.weight"),
    (Tiny::Cosmos3, TRANSFORMER, "layers.1.self_attn.add_q_proj.weight"),
    (Tiny::Cosmos3, TRANSFORMER, "layers.0.mlp.up_proj.weight"),
];

#[test]
fn a_missing_tensor_is_named_with_its_file() {
    for (kind, file, tensor) in FILES {
        let dir = folder(kind);
        edit(&dir.path().join(file), |tensors| {
            tensors.remove(tensor).expect("the test names a tensor that is there");
        });
        let text = said(dir.path());
        assert!(text.contains(tensor) && text.contains(file) && text.contains("missing"), "{text}");
    }
}

#[test]
fn an_extra_tensor_is_named_with_its_file() {
    for (kind, file, tensor) in FILES {
        let dir = folder(kind);
        let extra = format!("{tensor}.twin");
        edit(&dir.path().join(file), |tensors| {
            tensors.insert(extra.clone(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
        });
        let text = said(dir.path());
        assert!(text.contains(&extra) && text.contains(file), "{text}");
    }
}

#[test]
fn a_tensor_of_the_wrong_shape_is_named_with_its_file() {
    for (kind, file, tensor) in FILES {
        let dir = folder(kind);
        edit(&dir.path().join(file), |tensors| {
            tensors.insert(tensor.to_owned(), Tensor::zeros((5, 7), DType::F32, &Device::Cpu).unwrap());
        });
        let text = said(dir.path());
        assert!(text.contains(tensor) && text.contains(file) && text.contains("shape"), "{text}");
    }
}

#[test]
fn a_file_that_was_cut_off_is_named() {
    for (kind, file, _) in FILES {
        let dir = folder(kind);
        let path = dir.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 40, bytes.len() - 2] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let text = said(dir.path());
            assert!(text.contains(file) && text.contains("Download"), "{length}: {text}");
        }
    }
}

#[test]
fn a_missing_part_or_description_is_named() {
    for name in ["transformer", "vae", "tokenizer/tokenizer.json", "scheduler"] {
        let dir = folder(Tiny::Predict25);
        let path = dir.path().join(name);
        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.unwrap();
        let text = said(dir.path());
        let word = name.split('/').next().unwrap();
        assert!(text.contains(word), "{name}: {text}");
    }
}

#[test]
fn a_transformer_without_its_configuration_is_known_by_its_shapes() {
    let dir = folder(Tiny::Predict2);
    let config = dir.path().join("transformer/config.json");
    let before = run(&open(dir.path()).unwrap(), &frames(1), 4, 1, &settings()).unwrap().frames;
    std::fs::remove_file(config).unwrap();
    let model = open(dir.path()).unwrap();
    assert!(run(&model, &frames(1), 4, 1, &settings()).unwrap().frames == before);
    let chosen = model.folder().settings(&ClipSettings::default());
    assert_eq!(chosen.denoise, Some(35));
}
