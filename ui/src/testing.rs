//! What unit tests of several modules share.

use forerun::engine::protocol::{Actions, ImagineSpec, ModelInfo, Start};
use forerun::models::{Channel, ChannelMode, Contract, FrameSpec};

/// A contract like the shipped model's.
pub fn contract() -> Contract {
    let channel = |name: &str, unit: &str, min: f32, max: f32| Channel {
        name: name.into(),
        unit: unit.into(),
        min,
        max,
        mode: ChannelMode::Absolute,
        mean: (min + max) / 2.0,
        std: (max - min) / 4.0,
    };
    Contract {
        format: 1,
        name: "tabletop".into(),
        family: "dreamer".into(),
        frame: FrameSpec { width: 128, height: 128, rate_hz: 10.0, history: 8, fit: Default::default() },
        actions: vec![
            channel("shoulder_pan.pos", "deg", -110.0, 110.0),
            channel("gripper.pos", "%", 0.0, 100.0),
        ],
        state: Vec::new(),
        text: true,
        knows: "Pushing one cube on a table.".into(),
        embodiment: "so101".into(),
        licence: "Apache-2.0".into(),
        familiar_residual: Some(0.01),
        vocabulary: vec!["push".into()],
    }
}

/// A job with these seeds.
pub fn spec(seeds: &[u64], steps: usize) -> ImagineSpec {
    ImagineSpec {
        model: "tabletop".into(),
        start: Start::Nothing,
        prompt: String::new(),
        actions: Actions::Free,
        steps,
        seeds: seeds.to_vec(),
        refine: 1,
        device: "cpu".into(),
        out: None,
        clip: Default::default(),
    }
}

/// A model like the shipped one.
pub fn model() -> ModelInfo {
    ModelInfo {
        name: "tabletop".into(),
        folder: "models/tabletop".into(),
        sha256: "0123456789abcdef".repeat(4),
        parameters: 6_200_000,
        contract: contract(),
        clip: None,
    }
}
