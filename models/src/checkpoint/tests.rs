#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use std::collections::HashMap;

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
}

fn write(path: &Path, tensors: &[(&str, Tensor)]) {
    let map: HashMap<String, Tensor> = tensors.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect();
    candle_core::safetensors::save(&map, path).unwrap();
}

fn folder_with_two_shards() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("model-00001.safetensors"), &[("a.weight", tensor(&[1., 2., 3., 4.], &[2, 2]))]);
    write(&dir.path().join("model-00002.safetensors"), &[("b.bias", tensor(&[5., 6.], &[2]))]);
    std::fs::write(
        dir.path().join("model.safetensors.index.json"),
        r#"{"weight_map": {"a.weight": "model-00001.safetensors", "b.bias": "model-00002.safetensors"}}"#,
    )
    .unwrap();
    dir
}

#[test]
fn shards_are_found_through_the_index() {
    let dir = folder_with_two_shards();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let vb = checkpoint.builder(DType::F32, &Device::Cpu);
    assert_eq!(vb.pp("a").get((2, 2), "weight").unwrap().to_vec2::<f32>().unwrap(), [[1., 2.], [3., 4.]]);
    assert_eq!(vb.pp("b").get(2, "bias").unwrap().to_vec1::<f32>().unwrap(), [5., 6.]);
    checkpoint.finish(&[]).unwrap();
}

#[test]
fn a_missing_tensor_is_named() {
    let dir = folder_with_two_shards();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let message = checkpoint.builder(DType::F32, &Device::Cpu).get(2, "c.bias").unwrap_err().to_string();
    assert!(message.contains("`c.bias` is missing"), "{message}");
}

#[test]
fn an_extra_tensor_is_named_with_its_file() {
    let dir = folder_with_two_shards();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    checkpoint.builder(DType::F32, &Device::Cpu).get((2, 2), "a.weight").unwrap();
    let message = checkpoint.finish(&[]).unwrap_err().to_string();
    assert!(message.contains("`b.bias`") && message.contains("model-00002.safetensors"), "{message}");
    checkpoint.finish(&["b."]).unwrap();
}

#[test]
fn a_wrong_shape_is_named_with_its_file() {
    let dir = folder_with_two_shards();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let message =
        checkpoint.builder(DType::F32, &Device::Cpu).get((4, 1), "a.weight").unwrap_err().to_string();
    assert!(message.contains("`a.weight` has shape [2, 2]") && message.contains("model-00001"), "{message}");
}

#[test]
fn a_truncated_file_is_named_with_the_tensor() {
    let dir = folder_with_two_shards();
    let path = dir.path().join("model-00002.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let message = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(message.contains("model-00002.safetensors") && message.contains("`b.bias`"), "{message}");
    std::fs::write(&path, &bytes[..5]).unwrap();
    let message = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(message.contains("model-00002.safetensors"), "{message}");
}

#[test]
fn a_shard_without_its_tensor_is_named() {
    let dir = folder_with_two_shards();
    write(&dir.path().join("model-00002.safetensors"), &[("other", tensor(&[1.], &[1]))]);
    let message = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(message.contains("`b.bias`") && message.contains("model-00002"), "{message}");
}

#[test]
fn an_index_cannot_point_out_of_the_folder() {
    let dir = folder_with_two_shards();
    let index = dir.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "../secret.safetensors"}}"#).unwrap();
    assert!(Checkpoint::open(dir.path()).err().unwrap().to_string().contains("plain file name"));
}

#[test]
fn a_lying_header_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let header = br#"{"a":{"dtype":"F32","shape":[4294967295,4294967295,4294967295],"data_offsets":[0,4]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&[0; 4]);
    std::fs::write(dir.path().join("model.safetensors"), &bytes).unwrap();
    assert!(Checkpoint::open(dir.path()).err().unwrap().to_string().contains("tensor `a`"));
    std::fs::write(dir.path().join("model.safetensors"), u64::MAX.to_le_bytes()).unwrap();
    assert!(Checkpoint::open(dir.path()).is_err());
}
