//! How good the model is right now, on episodes that it never trains on.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use forerun_models::Frame;
use forerun_models::dreamer::words::apart;
use forerun_models::dreamer::{Dreamer, HistoryFrame, ModelError, Stream};
use serde::{Deserialize, Serialize};

use super::{Episode, TrainError};

/// Windows that are judged at once.
const BATCH: usize = 8;

/// Pooled PSNR over windows of held-out episodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Steps after the start frame.
    pub horizons: Vec<usize>,
    /// PSNR of the model at each horizon, dB.
    pub psnr: Vec<f32>,
    /// PSNR of the repeated start frame, dB.
    pub freeze: Vec<f32>,
    /// PSNR under another window's actions, dB.
    pub shuffled: Vec<f32>,
    /// How far apart the vectors of the held-out episodes' prompts lie ([`apart`]); absent where there are fewer than two.
    #[serde(default)]
    pub words_apart: Option<f32>,
}

impl Judgement {
    /// Below this prompts are one prompt to the model. Over 26 prompts of the pushes an encoder that had collapsed was at 0.007,
    /// sound ones at 0.57 to 0.89.
    pub const DEAF: f32 = 0.1;
}

/// Windows to judge on.
pub struct Judge {
    episodes: Vec<Episode>,
    horizons: Vec<usize>,
    windows: Vec<(usize, usize)>,
    history: usize,
}

impl Judge {
    /// Picks up to `count` windows, spread evenly over the episodes and over their length.
    pub fn new(episodes: Vec<Episode>, count: usize, history: usize) -> Self {
        let horizons = vec![1, 4, 10];
        let longest = 10;
        let mut windows = Vec::new();
        let mut round = 0;
        while windows.len() < count && round < 64 {
            for (index, episode) in episodes.iter().enumerate() {
                let starts = episode.frames.len().saturating_sub(longest + 1);
                if starts > 0 && windows.len() < count {
                    // The golden ratio spreads the starts over the episode without repeating.
                    let share = (0.31 + 0.618_034 * (round as f64 + index as f64 * 0.37)).fract();
                    windows.push((index, (share * starts as f64) as usize));
                }
            }
            round += 1;
        }
        Self { episodes, horizons, windows, history }
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether there is nothing to judge on.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    fn words_apart(&self, model: &Dreamer) -> Result<Option<f32>, TrainError> {
        let prompts: BTreeSet<&str> = self.episodes.iter().filter_map(|e| e.prompt.as_deref()).collect();
        if prompts.len() < 2 || model.network().config().text_width == 0 {
            return Ok(None);
        }
        let prompts: Vec<Option<&str>> = prompts.into_iter().map(Some).collect();
        let found = model.network().encode_prompts(&prompts).and_then(|vectors| apart(&vectors));
        Ok(Some(found.map_err(ModelError::from)?))
    }

    fn history(&self, episode: &Episode, start: usize) -> Vec<HistoryFrame> {
        let from = (start + 1).saturating_sub(self.history.max(1));
        (from..=start)
            .filter_map(|t| {
                Some(HistoryFrame {
                    frame: episode.frames.get(t)?.clone(),
                    state: episode.state.get(t).cloned(),
                    action: if t < start { episode.action.get(t).cloned() } else { None },
                })
            })
            .collect()
    }

    /// Imagines all windows and compares; with `picture`, writes truth above imagination for a few of them.
    ///
    /// # Errors
    /// When the model cannot be run or the picture not be written.
    pub fn judge(&self, model: &Dreamer, picture: Option<&Path>) -> Result<Judgement, TrainError> {
        let look = self.look(model, false, &AtomicBool::new(false))?;
        if let Some(path) = picture {
            let rows: Vec<&[Frame]> =
                look.shown.iter().flat_map(|shown| [shown.truth.as_slice(), &shown.made]).collect();
            write_sheet(path, &rows)?;
        }
        Ok(look.judgement)
    }

    /// Imagines all windows with their own actions and with another window's; with `spread` once more with other
    /// noise, to see whether the model knows what it does not know.
    ///
    /// # Errors
    /// When the model cannot be run; [`TrainError::Cancelled`].
    pub(super) fn look(
        &self,
        model: &Dreamer,
        spread: bool,
        cancel: &AtomicBool,
    ) -> Result<Look, TrainError> {
        let longest = self.horizons.iter().copied().max().unwrap_or(0);
        let mut sums = vec![[0.0_f64; 3]; self.horizons.len()];
        let mut shown: Vec<Shown> = Vec::new();
        // Between two futures, and between their mean and the truth: squared, over all pixels.
        let mut apart = [0.0_f64; 2];
        for batch in self.windows.chunks(BATCH) {
            let streams = |seed: u64| -> Vec<Stream> {
                batch
                    .iter()
                    .filter_map(|(index, start)| {
                        let episode = self.episodes.get(*index)?;
                        Some(Stream { seed, prompt: None, history: self.history(episode, *start) })
                    })
                    .collect()
            };
            let mut own = model.start(streams(0), 1)?;
            let mut other = model.start(streams(0), 1)?;
            let mut twin = if spread { Some(model.start(streams(1), 1)?) } else { None };
            let mut rows = vec![Shown::default(); batch.len()];
            for step in 0..longest {
                if cancel.load(Ordering::Relaxed) {
                    return Err(TrainError::Cancelled);
                }
                let action = |(index, start): &(usize, usize)| {
                    self.episodes.get(*index).and_then(|e| e.action.get(start + step)).cloned()
                };
                let actions: Vec<_> = batch.iter().map(action).collect();
                let mut shuffled: Vec<_> = actions.clone();
                shuffled.rotate_left(1);
                let made = own.step(&actions)?;
                let wrong = other.step(&shuffled)?;
                let twins = match &mut twin {
                    Some(twin) => twin.step(&actions)?,
                    None => Vec::new(),
                };
                let truth_of = |(index, start): &(usize, usize)| {
                    let frames = &self.episodes.get(*index)?.frames;
                    frames.get(start + step + 1).zip(frames.get(*start))
                };
                for (k, (window, row)) in batch.iter().zip(&mut rows).enumerate() {
                    let (Some((truth, first)), Some(made), Some(wrong)) =
                        (truth_of(window), made.get(k), wrong.get(k))
                    else {
                        continue;
                    };
                    row.truth.push(truth.clone());
                    row.made.push(made.frame.clone());
                    if let Some(at) = self.horizons.iter().position(|h| *h == step + 1)
                        && let Some(sum) = sums.get_mut(at)
                    {
                        sum[0] += squared(&made.frame, truth);
                        sum[1] += squared(first, truth);
                        sum[2] += squared(&wrong.frame, truth);
                    }
                    if let Some(twin) = twins.get(k).filter(|_| step + 1 == longest) {
                        let found = spread_of(&made.frame, &twin.frame, truth);
                        apart[0] += found[0];
                        apart[1] += found[1];
                    }
                }
            }
            if shown.len() < SHOWN {
                shown.extend(rows.into_iter().take(SHOWN - shown.len()));
            }
        }
        let count = self.windows.len().max(1) as f64;
        let column = |k: usize| -> Vec<f32> {
            sums.iter().map(|sum| decibel(sum.get(k).copied().unwrap_or(0.0) / count)).collect()
        };
        let judgement = Judgement {
            horizons: self.horizons.clone(),
            psnr: column(0),
            freeze: column(1),
            shuffled: column(2),
            words_apart: self.words_apart(model)?,
        };
        let spread = (spread && apart[1] > 0.0).then(|| (apart[0] / apart[1]).sqrt() as f32);
        Ok(Look { judgement, spread, shown })
    }
}

/// Windows whose pictures are kept for a preview.
const SHOWN: usize = 6;

/// A window's pictures, frame 1 first.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// What came.
    pub truth: Vec<Frame>,
    /// What was imagined.
    pub made: Vec<Frame>,
}

/// What a look at all windows found.
pub(super) struct Look {
    /// The numbers.
    pub judgement: Judgement,
    /// Spread of two futures over the error of their mean at the last horizon; 1 = the model knows how unsure it is
    /// (Fortin et al. 2014, <https://doi.org/10.1175/JHM-D-14-0008.1>).
    pub spread: Option<f32>,
    /// Pictures of the first windows.
    pub shown: Vec<Shown>,
}

/// Variance between two futures, with the factor for so small an ensemble, and squared error of their mean.
fn spread_of(a: &Frame, b: &Frame, truth: &Frame) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for ((a, b), t) in a.data.iter().zip(&b.data).zip(&truth.data) {
        let (a, b, t) = (f64::from(*a), f64::from(*b), f64::from(*t));
        // Unbiased variance of two is half the squared difference; (m + 1) / m for m = 2 members.
        sums[0] += (a - b) * (a - b) * 0.5 * 1.5;
        sums[1] += ((a + b) * 0.5 - t) * ((a + b) * 0.5 - t);
    }
    sums
}

/// Room above what held-out frames show, before a frame counts as never seen the like.
const FAMILIAR_ROOM: f32 = 1.25;

impl Judge {
    /// The residual ([`Dreamer::residual`]) up to which a frame counts as familiar: the largest one of the held-out
    /// start frames but for the top two percent, and a quarter on top. `None` without windows.
    ///
    /// # Errors
    /// When the model cannot be run.
    pub fn familiar(&self, model: &Dreamer) -> Result<Option<f32>, TrainError> {
        let mut found = Vec::new();
        for (index, start) in &self.windows {
            let Some(episode) = self.episodes.get(*index) else { continue };
            let mut history = self.history(episode, *start);
            let Some(last) = history.pop() else { continue };
            found.push(model.residual(&history, &last.frame)?);
        }
        found.retain(|r| r.is_finite());
        found.sort_by(f32::total_cmp);
        let at = (found.len() as f32 * 0.98).ceil() as usize;
        Ok(found.get(at.saturating_sub(1)).map(|r| (r * FAMILIAR_ROOM).max(1e-6)))
    }
}

/// Mean squared error on the 0..=1 scale.
fn squared(a: &Frame, b: &Frame) -> f64 {
    let sum: f64 = a
        .data
        .iter()
        .zip(&b.data)
        .map(|(a, b)| {
            let d = f64::from(*a) - f64::from(*b);
            d * d
        })
        .sum();
    sum / (a.data.len().max(1) as f64 * 255.0 * 255.0)
}

/// Mean squared error (0..=1 scale) as PSNR in dB; 99 for no error.
pub(super) fn decibel(error: f64) -> f32 {
    if error <= 1e-10 { 99.0 } else { (-10.0 * error.log10()) as f32 }
}

/// Rows of frames as one PNG.
pub(super) fn write_sheet(path: &Path, rows: &[&[Frame]]) -> Result<(), TrainError> {
    let Some(first) = rows.first().and_then(|row| row.first()) else { return Ok(()) };
    let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let (w, h) = (first.width, first.height);
    let mut sheet = image::RgbImage::new((columns * w) as u32, (rows.len() * h) as u32);
    for (r, row) in rows.iter().enumerate() {
        for (c, frame) in row.iter().enumerate() {
            if let Some(tile) = image::RgbImage::from_raw(w as u32, h as u32, frame.data.clone()) {
                image::imageops::replace(&mut sheet, &tile, (c * w) as i64, (r * h) as i64);
            }
        }
    }
    let io = |source| TrainError::File { path: path.to_path_buf(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    sheet
        .save_with_format(path, image::ImageFormat::Png)
        .map_err(|e| io(std::io::Error::other(e.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_are_the_known_ones() {
        assert!((decibel(0.01) - 20.0).abs() < 1e-4);
        assert!((decibel(0.001) - 30.0).abs() < 1e-4);
        assert_eq!(decibel(0.0), 99.0);
    }

    #[test]
    fn futures_that_agree_have_no_spread() {
        let gray = |v: u8| Frame::filled(2, 2, [v; 3]);
        assert_eq!(spread_of(&gray(10), &gray(10), &gray(14)), [0.0, 16.0 * 12.0]);
        let [spread, error] = spread_of(&gray(10), &gray(14), &gray(12));
        assert!(spread > 0.0 && error == 0.0);
    }

    #[test]
    fn errors_are_on_the_unit_scale() {
        let (black, white) = (Frame::filled(4, 4, [0; 3]), Frame::filled(4, 4, [255; 3]));
        assert!((squared(&black, &white) - 1.0).abs() < 1e-9);
    }
}
