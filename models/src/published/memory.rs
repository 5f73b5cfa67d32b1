//! How much memory a run needs, told before it begins.
//!
//! Weights are counted exactly, from the headers of the files. Activations are estimated from the shapes that a run goes
//! through; the factors were fitted to measured peaks of small models, so that the estimate is never below the measure
//! (`tests/published_memory.rs`).

use std::path::Path;

use super::PublishedError;
use super::clip_shape::Shape;
use super::folder::{Network, PublishedFolder};
use super::settings::{ClipSettings, Numbers};
use crate::checkpoint::Checkpoint;
use crate::common::Storage;

/// Bytes at the heaviest moment of each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// While the words are read.
    pub words: u64,
    /// While latents are denoised.
    pub denoise: u64,
    /// While frames are encoded or decoded.
    pub frames: u64,
}

impl Need {
    /// The heaviest moment of all.
    pub fn peak(&self) -> u64 {
        self.words.max(self.denoise).max(self.frames)
    }
}

/// Scores that attention holds at one time, in elements, where no kernel of ours serves (`common::attention`): in bf16.
/// In f32 the kernel holds a few rows.
const SCORES: u64 = 64 << 20;
/// What the kernels lay out for each of their threads, and what a run remembers besides, whatever its size.
const AROUND: u64 = 16 << 20;

/// What a run of `steps` frames from `given` frames needs under these choices.
///
/// # Errors
/// A weight file is missing or damaged.
pub fn need(
    folder: &PublishedFolder,
    wanted: &ClipSettings,
    given: usize,
    steps: usize,
) -> Result<Need, PublishedError> {
    let settings = folder.settings(wanted);
    let shape = Shape::of(folder, &settings, given, steps);
    let memory = settings.memory;
    let storage = memory.linear.unwrap_or_default();
    let plain = match (memory.numbers.unwrap_or_default(), storage) {
        (Numbers::Bf16, Storage::Plain) => 2,
        _ => 4,
    };
    let root = &folder.folder;
    let all = |part: &str, storage: Storage, plain: usize, used: &dyn Fn(&str) -> bool| {
        weights(&root.join(part), storage, plain, used)
    };
    let text_used = |name: &str| !super::folder::TEXT_UNUSED.iter().any(|part| name.starts_with(part));
    let (encoder, denoiser) = match &folder.network {
        Network::Towers(_) => (
            all("transformer", storage, plain, &|n| {
                !super::parts::is_generation(n) && !n.starts_with("lm_head.") && !n.starts_with("norm.")
            })?,
            all("transformer", storage, plain, &super::parts::is_generation)?,
        ),
        Network::Dit(_) => {
            let encoder = match folder.text {
                true => all("text_encoder", storage, plain, &text_used)?,
                false => 0,
            };
            let control = match root.join("controlnet").is_dir() {
                true => all("controlnet", storage, plain, &|_| true)?,
                false => 0,
            };
            (encoder, all("transformer", storage, plain, &|_| true)? + control)
        }
    };
    let vae = all("vae", Storage::Plain, 4, &|_| true)?;
    let scores = if plain == 2 { SCORES } else { 0 };
    // Autoencoders compute in f32 whatever was chosen.
    let (words, thought, pictures) =
        (shape.words(plain, scores), shape.denoise(plain, scores), shape.frames(memory.tiles()));
    let (words, thought, pictures) = (words + AROUND, thought + AROUND, pictures + AROUND);
    Ok(match memory.offloads() {
        false => {
            let everything = encoder + denoiser + vae;
            Need { words: everything + words, denoise: everything + thought, frames: everything + pictures }
        }
        // The words are read before the transformer comes, and the autoencoder goes between its uses.
        true => {
            Need { words: encoder + words, denoise: denoiser + thought, frames: denoiser + vae + pictures }
        }
    })
}

/// Bytes of a part's weights in memory.
fn weights(
    folder: &Path,
    storage: Storage,
    plain: usize,
    used: &dyn Fn(&str) -> bool,
) -> Result<u64, PublishedError> {
    let checkpoint = Checkpoint::open(folder)?;
    let bytes = checkpoint.names().filter(|name| used(name)).filter_map(|name| {
        Some(match checkpoint.shape(name)? {
            [outputs, inputs] if is_large_layer(name) => storage.bytes(*outputs, *inputs, plain),
            shape => shape.iter().product::<usize>() as u64 * plain as u64,
        })
    });
    Ok(bytes.sum())
}

/// Layers within blocks and projections of the context may be quantised; edges of the networks and tables never are.
fn is_large_layer(name: &str) -> bool {
    let within = ["blocks.", "layers.", ".block.", "crossattn_proj.", "img_context_proj."];
    within.iter().any(|part| name.contains(part))
        && name.ends_with(".weight")
        && !name.contains("bias.weight")
}
