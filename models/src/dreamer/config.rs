//! Sizes and switches of a dreamer network (`config.json` of a model folder).

use serde::{Deserialize, Serialize};

use crate::kernels::warp::Sampling;

/// The newest `format` of a dreamer's `config.json` that this version reads.
pub const CONFIG_FORMAT: u32 = 1;

/// Number of action (and of state) inputs that every network has; unused ones are masked.
pub const CHANNEL_SLOTS: usize = 32;

/// Most frames of the past that a future starts from: each costs a pass before the first new frame is seen.
const START_FRAMES: usize = 8;

/// Everything that decides the shapes of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Version of this file.
    pub format: u32,
    /// Picture width in pixels, a multiple of `patch`.
    pub image_width: usize,
    /// Picture height in pixels, a multiple of `patch`.
    pub image_height: usize,
    /// Side of a square patch in pixels.
    pub patch: usize,
    /// Token width D.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads; `width / heads` is the head size.
    pub heads: usize,
    /// Extra tokens a frame for the heads to read.
    pub registers: usize,
    /// Every how many blocks a temporal attention follows the spatial one.
    pub time_every: usize,
    /// Steps that temporal attention looks back at, the present one included.
    pub window: usize,
    /// Hidden width of the SwiGLU feed-forward.
    pub feed_forward: usize,
    /// Width of the byte-level text encoder; 0 = the network takes no text.
    pub text_width: usize,
    /// Blocks of the text encoder.
    pub text_layers: usize,
    /// Bytes of a prompt that the text encoder reads; the rest is cut.
    pub text_bytes: usize,
    /// Number of embodiments that the network can tell apart.
    pub embodiments: usize,
    /// What the heads read off a frame, in order (see [`super::heads`]).
    pub readings: Vec<String>,
    /// Base of the rotary position embeddings.
    pub rope_base: f32,
    /// Displacements along a side of a patch by which the frame before is moved; 0 = it is copied as it is.
    #[serde(default)]
    pub motion_cells: usize,
    /// How moved pixels are made that lie between those of the frame before.
    #[serde(default)]
    pub motion_sampling: Sampling,
    /// Factor on the difference between each action channel and the state channel in the same place (both -1..=1
    /// over their ranges), which the network is told beside them; 0 = it is not told. Steps are small against
    /// ranges: without it, where a joint goes next hides in the last digits.
    #[serde(default)]
    pub relative_scale: f32,
    /// Sines and cosines of each action and state channel that the network sees beside its value, each of twice the
    /// frequency. A picture changes by a pixel where a joint turns by half a degree of its 200, and networks learn late what
    /// is fine in their inputs (Tancik et al. 2020, <https://arxiv.org/abs/2006.10739>).
    #[serde(default = "few_harmonics")]
    pub harmonics: usize,
    /// Numbers a cell of 4 x 4 pixels in the layers that put right what is drawn anew (see [`super::refiner`]); 0 = there are
    /// none. Needs motion and patches of a multiple of 4 pixels.
    #[serde(default)]
    pub refiner: usize,
}

/// What models have that do not say.
fn few_harmonics() -> usize {
    3
}

impl Config {
    /// Feed-forward width for a token width: 8/3 of it, rounded up to a multiple of 64 (128 for 192, ... ).
    fn feed_forward_for(width: usize) -> usize {
        (width * 8 / 3).div_ceil(64) * 64
    }

    fn sized(width: usize, layers: usize, heads: usize) -> Self {
        Self {
            format: CONFIG_FORMAT,
            image_width: 128,
            image_height: 128,
            patch: 16,
            width,
            layers,
            heads,
            registers: 4,
            time_every: 2,
            window: 8,
            feed_forward: Self::feed_forward_for(width),
            text_width: 128,
            text_layers: 2,
            text_bytes: 96,
            embodiments: 8,
            readings: super::heads::tabletop_readings(),
            rope_base: 100.0,
            motion_cells: 4,
            motion_sampling: Sampling::Cubic,
            relative_scale: 16.0,
            harmonics: few_harmonics(),
            refiner: 0,
        }
    }

    /// 192 wide, 6 blocks, 4 heads: trains on two CPU cores in hours. (About one weight for twenty tokens that such
    /// a run sees, as Hoffmann et al. 2022, <https://arxiv.org/abs/2203.15556>, find best.)
    pub fn tiny() -> Self {
        Self::sized(192, 6, 4)
    }

    /// 384 wide, 8 blocks, 6 heads: trains on one GPU within an hour.
    pub fn small() -> Self {
        Self::sized(384, 8, 6)
    }

    /// 640 wide, 12 blocks, 10 heads: trains on one GPU in hours.
    pub fn base() -> Self {
        Self::sized(640, 12, 10)
    }

    /// 64 wide, 2 blocks: for tests, trains in seconds.
    pub fn micro() -> Self {
        Self {
            image_width: 32,
            image_height: 32,
            patch: 8,
            text_width: 32,
            text_layers: 1,
            text_bytes: 32,
            ..Self::sized(64, 2, 2)
        }
    }

    /// A size by its name.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "micro" => Some(Self::micro()),
            "tiny" => Some(Self::tiny()),
            "small" => Some(Self::small()),
            "base" => Some(Self::base()),
            _ => None,
        }
    }

    /// Patches a row and a column.
    pub fn grid(&self) -> (usize, usize) {
        (self.image_height / self.patch, self.image_width / self.patch)
    }

    /// Patches a frame.
    pub fn patches(&self) -> usize {
        let (rows, cols) = self.grid();
        rows * cols
    }

    /// Tokens a frame: patches and registers.
    pub fn tokens(&self) -> usize {
        self.patches() + self.registers
    }

    /// Frames that a future starts from, the present one included: as many as the window sees, and no more than are made fast.
    pub fn history(&self) -> usize {
        self.window.min(START_FRAMES)
    }

    /// Numbers a patch: `patch * patch * 3`.
    pub fn patch_values(&self) -> usize {
        self.patch * self.patch * 3
    }

    /// Numbers that describe a channel: its value, sine and cosine of each harmonic, whether it is known.
    pub(super) fn channel_features(&self) -> usize {
        2 + 2 * self.harmonics
    }

    /// Whether temporal attention follows block `layer`.
    pub fn has_time(&self, layer: usize) -> bool {
        self.time_every > 0 && layer % self.time_every == self.time_every - 1
    }

    /// What makes this configuration impossible, in words.
    pub fn problem(&self) -> Option<String> {
        if self.format > CONFIG_FORMAT {
            return Some(format!(
                "config.json has format {}, this version reads up to {CONFIG_FORMAT}: update Forerun",
                self.format
            ));
        }
        let sized = [self.image_width, self.image_height, self.patch, self.width, self.layers, self.heads];
        if sized.contains(&0) || self.window == 0 || self.feed_forward == 0 {
            return Some("config.json has a size of zero".into());
        }
        if self.image_width % self.patch != 0 || self.image_height % self.patch != 0 {
            return Some(format!(
                "pictures of {}x{} do not divide into patches of {}",
                self.image_width, self.image_height, self.patch
            ));
        }
        if self.width % self.heads != 0 || (self.width / self.heads) % 4 != 0 {
            return Some(format!(
                "width {} does not divide into {} heads of a multiple of 4",
                self.width, self.heads
            ));
        }
        if self.refiner > 0 && (self.motion_cells == 0 || self.patch % super::refiner::CELL != 0) {
            return Some(format!(
                "a refiner needs motion_cells and patches of a multiple of {} pixels",
                super::refiner::CELL
            ));
        }
        let limits = [
            ("width", self.width, 8192),
            ("layers", self.layers, 256),
            ("image_width", self.image_width, 4096),
            ("image_height", self.image_height, 4096),
            ("window", self.window, 4096),
            ("feed_forward", self.feed_forward, 65_536),
            ("text_bytes", self.text_bytes, 65_536),
            ("text_width", self.text_width, 8192),
            ("text_layers", self.text_layers, 256),
            ("registers", self.registers, 1024),
            ("embodiments", self.embodiments, 4096),
            ("readings", self.readings.len(), 4096),
            ("motion_cells", self.motion_cells, 64),
            ("harmonics", self.harmonics, 16),
            ("refiner", self.refiner, 1024),
        ];
        limits
            .iter()
            .find(|(_, value, most)| value > most)
            .map(|(name, value, most)| format!("{name} is {value}, more than the {most} that are sensible"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_sizes_are_possible() {
        for name in ["micro", "tiny", "small", "base"] {
            let config = Config::by_name(name).into_iter().next();
            assert_eq!(config.and_then(|c| c.problem()), None, "{name}");
        }
        assert!(Config::by_name("huge").is_none());
    }

    #[test]
    fn impossible_sizes_are_named() {
        let odd = Config { image_width: 100, ..Config::tiny() };
        assert!(odd.problem().is_some_and(|p| p.contains("100x128")));
        let rough = Config { patch: 18, image_width: 36, image_height: 36, refiner: 8, ..Config::tiny() };
        assert!(rough.problem().is_some_and(|p| p.contains("refiner")));
        let newer = Config { format: CONFIG_FORMAT + 1, ..Config::tiny() };
        assert!(newer.problem().is_some_and(|p| p.contains("update Forerun")));
    }

    #[test]
    fn tiny_has_the_tokens_of_the_design() {
        let tiny = Config::tiny();
        assert_eq!((tiny.patches(), tiny.tokens(), tiny.patch_values()), (64, 68, 768));
        assert_eq!((0..6).filter(|l| tiny.has_time(*l)).count(), 3);
    }
}
