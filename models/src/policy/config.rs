//! Sizes of a policy's network, and what it looks at (`config.json` of a policy folder).

use serde::{Deserialize, Serialize};

use super::Scaling;

/// The newest `format` of a policy's `config.json` that this version reads.
pub const CONFIG_FORMAT: u32 = 1;

/// What a policy is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Words (or nothing: a policy of one task).
    Direct,
    /// A picture of how things should look in a moment.
    Goal,
}

impl Kind {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Goal => "goal",
        }
    }
}

/// A picture that every patch token holds beside the others, at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Look {
    /// The present.
    Now,
    /// The frame before: what moves, and how fast.
    Before,
    /// The frame at which the task was given: how far things have been moved since.
    Start,
    /// The frame to reach.
    Goal,
}

/// Everything that decides the shapes of a policy's weights, and the scales of its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Version of this file.
    pub format: u32,
    /// What it is told to do.
    pub kind: Kind,
    /// Pictures that it looks at, in the order in which a token holds them.
    pub looks: Vec<Look>,
    /// Picture width in pixels, a multiple of `patch`.
    pub image_width: usize,
    /// Picture height in pixels, a multiple of `patch`.
    pub image_height: usize,
    /// Side of a square patch in pixels.
    pub patch: usize,
    /// Width of the two-layer stem that turns a place's patches into a token.
    pub stem: usize,
    /// Token width.
    pub width: usize,
    /// Blocks of the reading transformer.
    pub layers: usize,
    /// Its heads.
    pub heads: usize,
    /// Actions a chunk.
    pub chunk: usize,
    /// Token width of the writing transformer (one token an action).
    pub chunk_width: usize,
    /// Its blocks.
    pub chunk_layers: usize,
    /// Its heads.
    pub chunk_heads: usize,
    /// Width of the byte-level text encoder; 0 = no words.
    pub text_width: usize,
    /// Its blocks.
    pub text_layers: usize,
    /// Bytes of a prompt that it reads.
    pub text_bytes: usize,
    /// What is read off the pictures on the side while training, where the data has labels (names as in
    /// [`crate::dreamer::heads`]): it teaches the eyes, the actions do not depend on it.
    pub readings: Vec<String>,
    /// Base of the rotary position embeddings.
    pub rope_base: f32,
    /// Scales of actions and state.
    pub scaling: Scaling,
}

/// Feed-forward width for a token width: 8/3 of it, rounded up to a multiple of 32.
pub(super) fn feed_forward(width: usize) -> usize {
    (width * 8 / 3).div_ceil(32) * 32
}

impl Config {
    fn sized(kind: Kind, width: usize, layers: usize, heads: usize) -> Self {
        Self {
            format: CONFIG_FORMAT,
            kind,
            looks: match kind {
                Kind::Direct => vec![Look::Now, Look::Start],
                Kind::Goal => vec![Look::Now, Look::Goal],
            },
            image_width: 128,
            image_height: 128,
            patch: 16,
            stem: width,
            width,
            layers,
            heads,
            chunk: 12,
            chunk_width: 128,
            chunk_layers: 2,
            chunk_heads: 4,
            text_width: if kind == Kind::Direct { 96 } else { 0 },
            text_layers: 2,
            text_bytes: 64,
            readings: crate::dreamer::heads::tabletop_readings(),
            rope_base: 100.0,
            scaling: Scaling::default(),
        }
    }

    /// A size by its name: `micro` (tests), `small` (trains within an hour on two CPU cores), `medium`.
    pub fn by_name(name: &str, kind: Kind) -> Option<Self> {
        match name {
            "micro" => Some(Self {
                image_width: 32,
                image_height: 32,
                patch: 8,
                chunk: 8,
                chunk_width: 32,
                chunk_layers: 1,
                chunk_heads: 2,
                text_width: if kind == Kind::Direct { 32 } else { 0 },
                text_layers: 1,
                text_bytes: 48,
                ..Self::sized(kind, 64, 2, 2)
            }),
            "small" => Some(Self::sized(kind, 192, 4, 4)),
            "medium" => Some(Self::sized(kind, 256, 6, 4)),
            _ => None,
        }
    }

    /// Patches a row and a column.
    pub fn grid(&self) -> (usize, usize) {
        (self.image_height / self.patch, self.image_width / self.patch)
    }

    /// Patches a picture.
    pub fn patches(&self) -> usize {
        let (rows, cols) = self.grid();
        rows * cols
    }

    /// Numbers a token holds: all looks' patches at its place.
    pub fn token_values(&self) -> usize {
        self.patch * self.patch * 3 * self.looks.len()
    }

    /// Action channels.
    pub fn actions(&self) -> usize {
        self.scaling.base.len()
    }

    /// State channels.
    pub fn state(&self) -> usize {
        self.scaling.state.len()
    }

    /// What makes this configuration impossible, in words.
    pub fn problem(&self) -> Option<String> {
        if self.format > CONFIG_FORMAT {
            return Some(format!(
                "config.json has format {}, this version reads up to {CONFIG_FORMAT}: update Forerun",
                self.format
            ));
        }
        let most = |name, value: usize, least, most| {
            (!(least..=most).contains(&value))
                .then(|| format!("{name} is {value}; {least} to {most} are possible"))
        };
        let bounds = [
            most("image_width", self.image_width, 8, 2048),
            most("image_height", self.image_height, 8, 2048),
            most("patch", self.patch, 1, 256),
            most("stem", self.stem, 1, 8192),
            most("width", self.width, 1, 4096),
            most("layers", self.layers, 1, 64),
            most("heads", self.heads, 1, 256),
            most("chunk", self.chunk, 1, 256),
            most("chunk_width", self.chunk_width, 1, 4096),
            most("chunk_layers", self.chunk_layers, 1, 64),
            most("chunk_heads", self.chunk_heads, 1, 256),
            most("text_width", self.text_width, 0, 4096),
            most("text_layers", self.text_layers, 0, 64),
            most("text_bytes", self.text_bytes, 1, 4096),
            most("the number of readings", self.readings.len(), 0, 1024),
            most("the number of looks", self.looks.len(), 1, 4),
        ];
        if let Some(problem) = bounds.into_iter().flatten().next() {
            return Some(problem);
        }
        if self.image_width % self.patch != 0 || self.image_height % self.patch != 0 {
            return Some(format!(
                "pictures of {}x{} do not divide into patches of {}",
                self.image_width, self.image_height, self.patch
            ));
        }
        for (what, width, heads) in
            [("width", self.width, self.heads), ("chunk_width", self.chunk_width, self.chunk_heads)]
        {
            if width % heads != 0 || (width / heads) % 4 != 0 {
                return Some(format!("{what} {width} does not divide into {heads} heads of a multiple of 4"));
            }
        }
        if self.looks.first() != Some(&Look::Now) {
            return Some("the first look must be `now`".into());
        }
        let doubled = (1..self.looks.len()).any(|i| self.looks[..i].contains(&self.looks[i]));
        if doubled || (self.kind == Kind::Goal) != self.looks.contains(&Look::Goal) {
            return Some(
                "each look may be there once, and `goal` exactly where the policy is of the kind `goal`"
                    .into(),
            );
        }
        self.scaling.problem(self.chunk)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shipped_sizes_are_possible() {
        for kind in [Kind::Direct, Kind::Goal] {
            for name in ["micro", "small", "medium"] {
                let mut config = Config::by_name(name, kind).unwrap();
                config.scaling = Scaling::unit(2, 1, config.chunk);
                assert_eq!(config.problem(), None, "{name}");
            }
        }
        assert!(Config::by_name("huge", Kind::Goal).is_none());
    }

    #[test]
    fn impossible_ones_are_named() {
        let base =
            || Config { scaling: Scaling::unit(2, 1, 12), ..Config::by_name("small", Kind::Goal).unwrap() };
        let told = |config: Config| config.problem().unwrap();
        assert!(told(Config { image_width: 100, ..base() }).contains("100x128"));
        assert!(told(Config { looks: vec![Look::Now], ..base() }).contains("goal"));
        assert!(told(Config { looks: vec![Look::Goal, Look::Now], ..base() }).contains("now"));
        assert!(told(Config { chunk: 13, ..base() }).contains("chunk"));
        assert!(told(Config { format: 9, ..base() }).contains("update Forerun"));
        assert!(told(Config { heads: 7, ..base() }).contains("heads"));
    }
}
