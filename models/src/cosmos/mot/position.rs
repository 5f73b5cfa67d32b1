//! Where a token is, on three axes: time, row, column.
//!
//! Text tokens count up equally on all axes. What is generated starts a long way behind the text; its time runs in
//! units of the base rate, in f32 and in the reference's order of operations, because at 15000 the last bits count.

use candle_core::{Device, Result};

use super::MotConfig;
use crate::common::rotary::Rotary;

/// (time, row, column) per token.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    places: Vec<[f32; 3]>,
}

/// How time runs for one kind of token.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Steps per second, if time depends on the rate.
    rate: Option<f64>,
    /// The same at the base rate.
    base: f64,
    /// Added to every step number.
    start: usize,
}

impl Clock {
    /// Time of step `index` of `count`, from `offset` on.
    fn time(&self, index: usize, count: usize, offset: f32) -> f32 {
        let index = (index + self.start) as f32;
        match self.rate {
            Some(rate) if count > 1 => index / rate as f32 * self.base as f32 + offset,
            _ => index + offset,
        }
    }
}

impl Positions {
    /// From stored places.
    pub fn new(places: Vec<[f32; 3]>) -> Self {
        Self { places }
    }

    /// Text of `tokens` tokens.
    pub fn text(tokens: usize) -> Self {
        Self { places: (0..tokens).map(|i| [i as f32; 3]).collect() }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Time at which everything generated starts, behind a text of `text` tokens.
    fn offset(cfg: &MotConfig, text: usize) -> f32 {
        (text + cfg.unified_3d_mrope_temporal_modality_margin) as f32
    }

    /// Adds a clip of latents [.., T, h, w] at `fps` frames per second, four frames to a latent.
    pub fn add_vision(
        &mut self,
        cfg: &MotConfig,
        text: usize,
        (frames, height, width): (usize, usize, usize),
        fps: f64,
    ) {
        let rate = cfg.enable_fps_modulation.then_some(fps / 4.0);
        let clock = Clock { rate, base: cfg.base_fps / 4.0, start: 0 };
        let offset = Self::offset(cfg, text);
        let spatial = if cfg.unified_3d_mrope_reset_spatial_ids { 0.0 } else { offset };
        let (rows, columns) = (height.div_ceil(cfg.latent_patch_size), width.div_ceil(cfg.latent_patch_size));
        for frame in 0..frames {
            let time = clock.time(frame, frames, offset);
            for row in 0..rows {
                self.places
                    .extend((0..columns).map(|column| [time, row as f32 + spatial, column as f32 + spatial]));
            }
        }
    }

    /// Adds `count` sound latents.
    pub fn add_sound(&mut self, cfg: &MotConfig, text: usize, count: usize) {
        let rate = cfg.enable_fps_modulation.then_some(cfg.sound_latent_fps);
        self.add_line(cfg, text, count, Clock { rate, base: cfg.base_fps, start: 0 });
    }

    /// Adds `count` actions at `fps` per second. An action lies at the end of its step: they start one step late.
    pub fn add_actions(&mut self, cfg: &MotConfig, text: usize, count: usize, fps: f64) {
        let rate = cfg.enable_fps_modulation.then_some(fps);
        self.add_line(cfg, text, count, Clock { rate, base: cfg.base_fps / 4.0, start: 1 });
    }

    fn add_line(&mut self, cfg: &MotConfig, text: usize, count: usize, clock: Clock) {
        let offset = Self::offset(cfg, text);
        let spatial = if cfg.unified_3d_mrope_reset_spatial_ids { 0.0 } else { offset };
        self.places.extend((0..count).map(|i| [clock.time(i, count, offset), spatial, spatial]));
    }

    /// Rotary angles: slot i of the frequencies turns with the row if i % 3 is 1, with the column if it is 2, as long
    /// as i is below three times the slots of that axis; all others turn with time.
    pub fn rotary(&self, cfg: &MotConfig, device: &Device) -> Result<Rotary> {
        let half = cfg.head_dim / 2;
        let [_, height, width] = cfg.axes();
        let axis = |slot: usize| match slot % 3 {
            1 if slot < 3 * height => 1,
            2 if slot < 3 * width => 2,
            _ => 0,
        };
        let slots: Vec<(usize, f32)> = (0..half)
            .map(|i| (axis(i), cfg.rope_theta.powf(-((2 * i) as f64) / cfg.head_dim as f64) as f32))
            .collect();
        let angles = self
            .places
            .iter()
            .flat_map(|place| slots.iter().map(|(axis, frequency)| place[*axis] * frequency));
        Rotary::from_angles(angles.collect(), self.places.len(), half, device)
    }
}
