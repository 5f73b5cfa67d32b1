//! Model folders with random weights, for tests of what stands above: such a model imagines nonsense, but always the
//! same nonsense, at once, and through the real code.

pub mod full_width;
pub mod published;

use std::path::Path;

use candle_core::{Device, Tensor};

use crate::contract::{CONTRACT_FORMAT, Channel, ChannelMode, Contract, FrameSpec};
use crate::dreamer::{Config, ModelError, Network, save_folder};
use crate::nn::Params;
use crate::random::{Random, stream_of};

/// The contract of [`random_model`]: frames of 32 x 32 at 10 Hz, actions and state with LeRobot's six joint names.
pub fn random_contract() -> Contract {
    let config = Config::micro();
    let joints = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"];
    let channels: Vec<Channel> = joints
        .iter()
        .map(|joint| Channel {
            name: format!("{joint}.pos"),
            unit: if *joint == "gripper" { "%".into() } else { "deg".into() },
            min: if *joint == "gripper" { 0.0 } else { -160.0 },
            max: if *joint == "gripper" { 100.0 } else { 160.0 },
            mode: ChannelMode::Absolute,
            mean: 0.0,
            std: 30.0,
        })
        .collect();
    Contract {
        format: CONTRACT_FORMAT,
        name: "random".into(),
        family: "dreamer".into(),
        frame: FrameSpec {
            width: config.image_width,
            height: config.image_height,
            rate_hz: 10.0,
            history: config.window,
            fit: Default::default(),
        },
        actions: channels.clone(),
        state: channels,
        text: config.text_width > 0,
        knows: "nothing: its weights are random".into(),
        embodiment: "so101".into(),
        licence: "MIT OR Apache-2.0".into(),
        familiar_residual: Some(0.05),
        vocabulary: vec!["push".into(), "red".into()],
    }
}

/// Writes a model folder with random weights of the micro size; the same seed gives the same weights.
///
/// # Errors
/// When the folder cannot be written.
pub fn random_model(folder: &Path, seed: u64) -> Result<Contract, ModelError> {
    let config = Config::micro();
    let device = Device::Cpu;
    let mut params = Params::new(seed, &device);
    Network::new(&config, &mut params, &device)?;
    let mut weights = Vec::new();
    for (i, (name, tensor)) in params.iter().enumerate() {
        // Fresh gates and outputs are zero, which would hide everything behind them.
        let mut noise = vec![0.0f32; tensor.elem_count()];
        Random::new(seed, stream_of("testing"), i as u64).fill_normal(0, &mut noise);
        let noise = Tensor::from_vec(noise, tensor.shape(), &device)?;
        weights.push((name.to_owned(), (tensor.detach() + (noise * 0.1)?)?));
    }
    let contract = random_contract();
    save_folder(folder, &contract, &config, &weights)?;
    Ok(contract)
}
