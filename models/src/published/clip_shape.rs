//! The shapes that a run goes through, and what its activations take.

use super::folder::{Autoencoder, Network, PublishedFolder};
use super::settings::ClipSettings;

/// Tokens of a prompt of Predict and Transfer; Cosmos 3 prompts are shorter.
const WORDS: u64 = 512;

/// Sizes of one chunk of a run.
pub(super) struct Shape<'a> {
    folder: &'a PublishedFolder,
    /// Pixels of a frame.
    width: u64,
    height: u64,
    /// Frames of a chunk, latent frames, latents of a frame.
    frames: u64,
    latent_frames: u64,
    latents: u64,
    /// Tokens that the transformer sees.
    tokens: u64,
}

impl<'a> Shape<'a> {
    pub fn of(folder: &'a PublishedFolder, settings: &ClipSettings, given: usize, steps: usize) -> Self {
        let (side, time) = folder.autoencoder.factors();
        let (side, time) = (side.max(1) as u64, time.max(1) as u64);
        let (width, height) = (settings.width.unwrap_or(0) as u64, settings.height.unwrap_or(0) as u64);
        let chunk = settings.chunk.unwrap_or(93) as u64;
        let wanted = match folder.arm() {
            Some((_, number)) => number as u64 + 1,
            None => (given + steps) as u64,
        };
        let frames = (wanted.saturating_sub(1).div_ceil(time) * time + 1).min(chunk.max(time + 1));
        // Nothing, state and pictures before and after the actions, and the value.
        let frames = match &folder.policy {
            None => frames,
            Some(policy) => {
                let half = 1 + u64::from(!policy.state.is_empty()) + policy.cameras.len() as u64;
                2 * half * time + 1
            }
        };
        let latent_frames = (frames - 1) / time + 1;
        let latents = (width / side) * (height / side);
        Self {
            folder,
            width,
            height,
            frames,
            latent_frames,
            latents,
            tokens: latent_frames * latents.div_ceil(4),
        }
    }

    /// While the words are read, with numbers of `bytes` bytes. Attention holds at most `most` scores at one time.
    pub fn words(&self, bytes: usize, most: u64) -> u64 {
        let bytes = bytes as u64;
        // The places of T5 as a bias for every head, and its making; as much again covers the towers of others.
        let scores = 5 * 4 * WORDS * WORDS * self.folder.text_heads() as u64;
        match &self.folder.network {
            Network::Towers(config) => {
                let width = config.hidden_size as u64;
                // Keys and values of all layers stay.
                let memory = 2
                    * config.num_hidden_layers as u64
                    * (config.num_key_value_heads * config.head_dim) as u64;
                WORDS * (memory * bytes + 12 * width * 4 + 3 * config.intermediate_size as u64 * 4)
                    + 3 * 4 * (WORDS * WORDS * config.num_attention_heads as u64).min(most)
            }
            Network::Dit(config) if config.use_crossattn_projection => {
                // All layers side by side, once as states and twice while they are joined, for two prompts.
                let embedded = WORDS * config.crossattn_proj_in_channels as u64;
                let inner = WORDS * self.folder.text_inner() as u64;
                embedded * 4 * 5 + scores + 3 * 4 * inner
            }
            Network::Dit(config) => {
                let width = config.text_embed_dim as u64;
                WORDS * width * 4 * (12 + 64) + scores
            }
        }
    }

    /// While latents are denoised. Attention holds at most `scores` scores at one time.
    pub fn denoise(&self, bytes: usize, scores: u64) -> u64 {
        let bytes = bytes as u64;
        let n = self.tokens;
        let (width, hidden, heads, context) = match &self.folder.network {
            Network::Dit(config) => (
                config.width() as u64,
                (config.width() as f64 * config.mlp_ratio) as u64,
                config.num_attention_heads as u64,
                WORDS * config.text_embed_dim as u64 * 4,
            ),
            Network::Towers(config) => (
                (config.hidden_size).max(config.num_attention_heads * config.head_dim) as u64,
                config.intermediate_size as u64,
                config.num_attention_heads as u64,
                2 * WORDS
                    * (config.num_hidden_layers * config.num_key_value_heads * config.head_dim) as u64
                    * bytes,
            ),
        };
        // The stream, its normed copy, queries, keys and values with their rotated and their laid out copies in f32; or the
        // feed-forward part.
        let attention = n * width * (6 * bytes + 16 * 4) + 3 * 4 * (heads * n * (n + WORDS)).min(scores);
        let forward = n * width * 4 * bytes + 3 * n * hidden * bytes;
        let latents = self.latent_frames * self.latents * 64 * 4 * 8;
        attention.max(forward) + context + latents
    }

    /// While a clip is encoded or decoded, at most `tile` latents a side at one time.
    pub fn frames(&self, tile: Option<usize>) -> u64 {
        // The clip itself: as it is made, joined, and as bytes.
        let clip = self.frames * self.width * self.height * 3 * (4 + 4 + 4 + 1);
        match &self.folder.autoencoder {
            Autoencoder::Wan(config) => {
                let (side, time) = (config.spatial_factor() as u64, config.temporal_factor() as u64);
                let patch = config.patch_size.unwrap_or(1).max(1) as u64;
                let base = config.decoder_base_dim.unwrap_or(config.base_dim).max(config.base_dim) as u64;
                let stage = |at: usize| base * config.dim_mult.get(at).copied().unwrap_or(1) as u64;
                let deepest = stage(config.dim_mult.len().saturating_sub(1));
                let seen = |length: u64, tile: usize| {
                    let rim = config.rim() as u64;
                    length.min((tile as u64 + 2 * rim) * side)
                };
                let cut = tile.filter(|tile| (*tile as u64) * side < self.width.max(self.height));
                let (w, h, middles) = match cut {
                    None => (self.width, self.height, 0),
                    // The middle of the decoder for the whole clip, and the insides of all tiles.
                    Some(tile) => {
                        let middles = self.latent_frames * self.latents * deepest * 4;
                        (seen(self.width, tile), seen(self.height, tile), middles + clip)
                    }
                };
                let pixels = (w / patch) * (h / patch);
                // The last stage: a group of frames, its remembered frames and the copies of a convolution.
                let last = pixels * stage(1) * (time + 2) * 4 * 5;
                // Every convolution remembers two frames.
                let memory = pixels * stage(1) * 2 * 4 * (4 * config.num_res_blocks as u64 + 6);
                clip + middles + last + memory
            }
            Autoencoder::Kl(config) => {
                let patch = config.patch_size.max(1) as u64;
                let widest = config
                    .encoder_block_out_channels
                    .iter()
                    .chain(&config.decode_block_out_channels)
                    .copied()
                    .max()
                    .unwrap_or(1) as u64;
                let (w, h) = (self.width / patch, self.height / patch);
                let frames = self.frames.div_ceil(patch);
                clip + frames * w * h * (widest * 4 * 8 + 3 * patch * patch * patch * 4 * 3)
            }
        }
    }
}
