//! The models that reason about pictures and clips: Cosmos-Reason1 (Qwen2.5-VL) and Cosmos-Reason2 (Qwen3-VL).
//! A vision tower turns patches into tokens, a language tower reads them among the words.

mod answer;
mod grid;
mod judge;
mod language;
mod look;
mod vision;
mod vision25;
mod vision3;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;

use crate::common::config_error;
pub use answer::{Taste, answer};
pub use grid::PatchGrid;
pub use judge::{Judge, JudgeError, Question, Verdict};
pub use language::LanguageConfig;
use language::{Language, Memory};
pub use look::{Clip, look_at};
use vision::Seen;
pub use vision::VisionConfig;
use vision3::Vision3;
use vision25::Vision25;

/// `config.json` of the published files.
#[derive(Clone, Debug, Deserialize)]
pub struct ReasonConfig {
    /// `qwen2_5_vl` or `qwen3_vl`.
    pub model_type: String,
    /// The language tower.
    pub text_config: LanguageConfig,
    /// The vision tower.
    pub vision_config: VisionConfig,
    /// Id of the token that stands for a piece of a picture.
    pub image_token_id: u32,
    /// Id of the token that stands for a piece of a clip.
    pub video_token_id: u32,
}

/// Patches of pictures (or of clips) one behind the other.
#[derive(Clone, Copy)]
pub struct Patches<'a> {
    /// [patches, 3 · frames · side · side], in blocks of merged patches.
    pub values: &'a Tensor,
    /// The patches of each picture or clip.
    pub grids: &'a [PatchGrid],
}

enum Vision {
    Qwen25(Vision25),
    Qwen3(Vision3),
}

/// The model.
pub struct Reasoner {
    config: ReasonConfig,
    vision: Vision,
    language: Language,
}

impl Reasoner {
    /// Tensor names as the published files have them.
    pub fn new(cfg: &ReasonConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (text, picture) = (&cfg.text_config, &cfg.vision_config);
        let heads_fit =
            text.num_key_value_heads > 0 && text.num_attention_heads % text.num_key_value_heads == 0;
        if !heads_fit || picture.num_heads == 0 || picture.hidden_size % picture.num_heads != 0 {
            return Err(config_error("the numbers of heads do not divide what they should"));
        }
        let (vision, language) = match cfg.model_type.as_str() {
            "qwen2_5_vl" => {
                let vision = Vision::Qwen25(Vision25::new(&cfg.vision_config, vb.pp("visual"))?);
                (vision, Language::new(&cfg.text_config, false, vb.pp("model"), &vb)?)
            }
            "qwen3_vl" => {
                let vision = Vision::Qwen3(Vision3::new(&cfg.vision_config, vb.pp("model.visual"))?);
                (vision, Language::new(&cfg.text_config, true, vb.pp("model.language_model"), &vb)?)
            }
            other => {
                return Err(config_error(format!("model_type `{other}`; known are qwen2_5_vl and qwen3_vl")));
            }
        };
        Ok(Self { config: cfg.clone(), vision, language })
    }

    /// What each token is: 0 a word, 1 a piece of a picture, 2 a piece of a clip.
    pub fn kinds(&self, ids: &[u32]) -> Vec<u32> {
        let kind = |id: &u32| match *id {
            id if id == self.config.image_token_id => 1,
            id if id == self.config.video_token_id => 2,
            _ => 0,
        };
        ids.iter().map(kind).collect()
    }

    /// Scores of every token of the vocabulary behind each of `ids`, [1, N, vocabulary].
    pub fn logits(
        &self,
        ids: &[u32],
        pictures: Option<Patches<'_>>,
        clips: Option<Patches<'_>>,
    ) -> Result<Tensor> {
        let (seen, rows, places) = self.look(ids, pictures, clips)?;
        self.language.logits(ids, seen.as_ref().map(|seen| (seen, rows.as_slice())), &places)
    }

    /// Reads a question and what belongs to it. The answer is then written token by token, each at the price of one.
    pub fn begin(
        &self,
        ids: &[u32],
        pictures: Option<Patches<'_>>,
        clips: Option<Patches<'_>>,
    ) -> Result<Answering<'_>> {
        let (seen, rows, places) = self.look(ids, pictures, clips)?;
        let mut memory = Memory::default();
        let seen = seen.as_ref().map(|seen| (seen, rows.as_slice()));
        let scores = self.language.next(ids, seen, &places, &mut memory)?;
        let next = places.iter().flatten().max().map_or(0, |place| place + 1);
        Ok(Answering { model: self, memory, next, scores: scores.flatten_all()? })
    }

    /// What is seen, the row of it that stands for each token, and the place of each token.
    fn look(
        &self,
        ids: &[u32],
        pictures: Option<Patches<'_>>,
        clips: Option<Patches<'_>>,
    ) -> Result<(Option<Seen>, Vec<u32>, Vec<[u32; 3]>)> {
        let kinds = self.kinds(ids);
        let empty: &[PatchGrid] = &[];
        let grids = [pictures.map_or(empty, |p| p.grids), clips.map_or(empty, |p| p.grids)];
        let places = self.places(&kinds, grids)?;
        let mut seen = Vec::new();
        for patches in [pictures, clips].into_iter().flatten() {
            seen.push(match &self.vision {
                Vision::Qwen25(vision) => vision.forward(patches.values, patches.grids)?,
                Vision::Qwen3(vision) => vision.forward(patches.values, patches.grids)?,
            });
        }
        let seen = match seen.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(Seen::join(several)?),
        };
        let pictures_count = kinds.iter().filter(|kind| **kind == 1).count();
        let rows = rows(&kinds, pictures_count);
        if let Some(seen) = &seen {
            let (have, want) = (seen.tokens.dim(0)?, kinds.iter().filter(|kind| **kind != 0).count());
            if have != want {
                candle_core::bail!("{have} tokens were seen, but the text has room for {want}");
            }
        }
        Ok((seen, rows, places))
    }

    /// Its configuration.
    pub fn config(&self) -> &ReasonConfig {
        &self.config
    }

    /// Where every token is on the three axes.
    fn places(&self, kinds: &[u32], grids: [&[PatchGrid]; 2]) -> Result<Vec<[u32; 3]>> {
        let vision = &self.config.vision_config;
        // Qwen3-VL puts every frame of a clip between its own marks, so each is a picture of its own.
        let clips: Vec<PatchGrid> = match self.vision {
            Vision::Qwen3(_) => grids[1]
                .iter()
                .flat_map(|grid| std::iter::repeat_n(PatchGrid { frames: 1, ..*grid }, grid.frames))
                .collect(),
            Vision::Qwen25(_) => grids[1].to_vec(),
        };
        grid::token_places(kinds, [grids[0], &clips], vision.spatial_merge_size, vision.tokens_per_second)
    }
}

/// An answer being written.
pub struct Answering<'a> {
    model: &'a Reasoner,
    memory: Memory,
    /// Place of the next token on all axes.
    next: u32,
    scores: Tensor,
}

impl Answering<'_> {
    /// Scores of every token of the vocabulary as the next one, [vocabulary].
    pub fn scores(&self) -> &Tensor {
        &self.scores
    }

    /// Writes the next token.
    pub fn write(&mut self, id: u32) -> Result<()> {
        let scores = self.model.language.next(&[id], None, &[[self.next; 3]], &mut self.memory)?;
        self.next += 1;
        self.scores = scores.flatten_all()?;
        Ok(())
    }
}

/// For each token the row of what was seen that stands there, counted from 1; 0 for words.
fn rows(kinds: &[u32], pictures: usize) -> Vec<u32> {
    let (mut picture, mut clip) = (0, pictures as u32);
    let row = |kind: &u32| match kind {
        1 => {
            picture += 1;
            picture
        }
        2 => {
            clip += 1;
            clip
        }
        _ => 0,
    };
    kinds.iter().map(row).collect()
}
