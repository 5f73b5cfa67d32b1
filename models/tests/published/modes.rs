//! Memory modes: the same clip with less memory, or nearly the same.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use forerun_models::common::Storage;
use forerun_models::published::{ClipSettings, MemoryMode, Numbers};
use forerun_models::testing::published::{Tiny, random_weights};
use forerun_models::wan::{Decoded, Wan, WanConfig};

use crate::support::{distance, folder, folder_with, frames, made, open, run, settings};

fn with(memory: MemoryMode) -> ClipSettings {
    ClipSettings { memory, ..settings() }
}

#[test]
fn loading_in_turn_changes_no_bit() {
    for kind in [Tiny::Predict1, Tiny::Predict25, Tiny::Cosmos3] {
        let dir = folder(kind);
        let offload = with(MemoryMode { offload: Some(true), ..MemoryMode::default() });
        let plain = made(dir.path(), &frames(1), 5, &settings());
        assert!(made(dir.path(), &frames(1), 5, &offload) == plain, "{kind:?}");
        // Two futures with other words: the text encoder comes and goes.
        let model = open(dir.path()).unwrap();
        for seed in [1, 2] {
            run(&model, &frames(1), 5, seed, &offload).unwrap();
        }
    }
}

#[test]
fn decoding_in_tiles_is_decoding() {
    for config in [
        WanConfig { base_dim: 4, dim_mult: vec![1, 2, 2, 2], num_res_blocks: 1, ..WanConfig::default() },
        WanConfig {
            base_dim: 4,
            decoder_base_dim: Some(4),
            z_dim: 6,
            dim_mult: vec![1, 2, 2, 2],
            num_res_blocks: 1,
            is_residual: true,
            in_channels: 12,
            out_channels: 12,
            patch_size: Some(2),
            latents_mean: vec![0.0; 6],
            latents_std: vec![1.0; 6],
            ..WanConfig::default()
        },
    ] {
        let weights = random_weights(5, |vb| Wan::new(&config, vb).map(drop)).unwrap();
        let wan = Wan::new(&config, VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu)).unwrap();
        // Wider than a tile with its rim, so that some tiles truly lack far parts of the picture.
        let shape = (1, config.z_dim, 2, 5, 40);
        let count = config.z_dim * 2 * 5 * 40;
        let values: Vec<f32> = (0..count).map(|i| ((i as f32 + 1.0) * 0.37).sin()).collect();
        let latents = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let whole = wan.decode(&latents).unwrap();
        for tile in [3, 8, 64] {
            let mut parts = Vec::new();
            wan.decode_pieces(&latents, Some(tile), |decoded| {
                if let Decoded::Frames(piece) = decoded {
                    parts.push(piece);
                }
                Ok(())
            })
            .unwrap();
            let tiled = Tensor::cat(&parts, 2).unwrap();
            let worst =
                (tiled - &whole).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            // The stated tolerance: a hundredth of a level of 255 on frames in -1..1.
            assert!(worst < 8e-5, "tile {tile}: {worst}");
        }
    }
    let dir = folder(Tiny::Predict2);
    let tiled = with(MemoryMode { tile: Some(2), ..MemoryMode::default() });
    let (a, b) = (made(dir.path(), &frames(1), 4, &settings()), made(dir.path(), &frames(1), 4, &tiled));
    assert!(distance(&a, &b) < 0.05);
}

#[test]
fn fewer_bits_give_nearly_the_same_clip() {
    for (kind, heads) in [(Tiny::Predict25, 16), (Tiny::Cosmos3, 16)] {
        let dir = folder_with(kind, heads);
        let make = |memory: MemoryMode| made(dir.path(), &frames(1), 4, &with(memory));
        let plain = make(MemoryMode::default());
        let other = run(&open(dir.path()).unwrap(), &frames(1), 4, 9, &settings()).unwrap().frames;
        let apart = distance(&plain, &other);
        let of = |memory: MemoryMode| distance(&plain, &make(memory)) / apart;
        let half = of(MemoryMode { numbers: Some(Numbers::Bf16), ..MemoryMode::default() });
        let eight = of(MemoryMode { linear: Some(Storage::Q8_0), ..MemoryMode::default() });
        let four = of(MemoryMode { linear: Some(Storage::Q4K), ..MemoryMode::default() });
        // In units of what another seed changes.
        assert!(half < 0.8 && eight < 0.8 && four < 1.2, "{kind:?}: bf16 {half}, q8_0 {eight}, q4_K {four}");
        assert!(
            half > 0.0 && eight > 0.0 && four > eight,
            "{kind:?}: bf16 {half}, q8_0 {eight}, q4_K {four}"
        );
    }
}
