//! Action tracks tried in the world model before anything moves: what they lead to, and how sure that is.

use forerun_models::kernels::precision::{self, Precision};
use forerun_models::policy::Chunk;
use forerun_models::{Contract, Frame};
use serde::{Deserialize, Serialize};

use super::align::Columns;
use super::judge::Push;
use super::mind::Moment;
use super::model_place::reading;
use crate::engine::backend::{HistoryFrame, Imagined, Stream, WorldModel};
use crate::engine::fit::fit_for;
use crate::failure::Failure;
use crate::world::V3;

/// Spread over the seeds from which a rehearsal is called doubtful.
pub const DOUBTFUL: f32 = 0.25;

/// What counts in a future, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worth {
    /// Highest probability of success on the way, 0..1.
    pub success: f32,
    /// Progress at the end, 0..1.
    pub progress: f32,
    /// Nearness of the gripper at the end to where an asked push begins, else to the nearest thing, in decimetres (a slope to
    /// follow before anything is touched).
    pub reach: f32,
    /// Likeness of the end to a goal picture: minus its root mean squared difference, 0..1.
    pub goal: f32,
    /// What a spread of 1 over the seeds costs: a model that is not sure must not be believed.
    pub doubt: f32,
}

impl Default for Worth {
    fn default() -> Self {
        Self { success: 1.0, progress: 1.0, reach: 0.2, goal: 0.0, doubt: 1.0 }
    }
}

impl Worth {
    /// When there is a picture to reach and no words.
    pub fn of_goal() -> Self {
        Self { success: 0.0, progress: 0.0, reach: 0.0, goal: 10.0, doubt: 1.0 }
    }
}

/// How a track went in imagination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rehearsal {
    /// Worth, averaged over the seeds, less its spread times the doubt.
    pub value: f32,
    /// Standard deviation of the worth over the seeds; 0 with one seed.
    pub spread: f32,
    /// Highest probability of success, averaged over the seeds.
    pub success: f32,
    /// Progress at the end, averaged over the seeds.
    pub progress: f32,
}

/// A free future.
#[derive(Clone, Debug)]
pub struct Dream {
    /// Its last frame.
    pub end: Frame,
    /// What the model takes to have been done, frame by frame, in the order and units of the model's contract.
    pub actions: Chunk,
    /// What it is worth.
    pub worth: f32,
}

/// A world model as a place to try tracks of a mind's channels in.
pub struct Rehearser<'m> {
    model: &'m dyn WorldModel,
    refine: usize,
    actions: Columns,
    state: Columns,
}

/// Frames that the model is shown, the present included: each one of the past costs as much as an imagined one. Many
/// tracks from one moment get the present alone (its state is known); a few dreams see how things move, too.
const SHOWN_TRACKS: usize = 1;
const SHOWN_DREAMS: usize = 4;

/// Progress is averaged over this many last frames: one head's reading of one frame is noisy.
const LAST: usize = 3;

impl<'m> Rehearser<'m> {
    /// A rehearser for a mind with this contract; channels are matched by name and unit.
    ///
    /// # Errors
    /// A model of another robot or rate.
    pub fn new(model: &'m dyn WorldModel, mind: &Contract, refine: usize) -> Result<Self, Failure> {
        let own = model.contract();
        if (own.frame.rate_hz - mind.frame.rate_hz).abs() > 0.01 * own.frame.rate_hz {
            return Err(Failure::new(
                format!(
                    "The model imagines {} frames a second, the policy acts {} times.",
                    own.frame.rate_hz, mind.frame.rate_hz
                ),
                "Choose a model and a policy of one rate.",
            ));
        }
        Ok(Self {
            actions: Columns::find("actions", &own.actions, &mind.actions)?,
            state: Columns::find("state", &own.state, &mind.state)?,
            model,
            refine,
        })
    }

    /// The last frames of a moment as the model takes them.
    fn history(&self, moment: &Moment<'_>, shown: usize) -> Result<Vec<HistoryFrame>, Failure> {
        let frame = &self.model.contract().frame;
        let skip = moment.history.len().saturating_sub(shown);
        moment
            .history
            .iter()
            .skip(skip)
            .map(|held| {
                Ok(HistoryFrame {
                    frame: fit_for(&held.frame, frame)?.frame,
                    state: held.state.as_deref().map(|s| self.state.take(s)).filter(|s| !s.is_empty()),
                    action: held.action.as_deref().map(|a| self.actions.take(a)),
                })
            })
            .collect()
    }

    /// Free futures from this moment, driven by the words alone: `steps` frames for each seed.
    ///
    /// # Errors
    /// When the model fails.
    pub fn dream(
        &self,
        moment: &Moment<'_>,
        seeds: &[u64],
        steps: usize,
        worth: &Worth,
    ) -> Result<Vec<Dream>, Failure> {
        let begun = (Dream { end: moment.now.clone(), actions: Vec::new(), worth: 0.0 }, Signs::of(moment));
        let mut out = vec![begun; seeds.len()];
        self.roll(moment, SHOWN_DREAMS, seeds, steps, &|_, _| None, &mut |i, imagined| {
            if let Some((dream, signs)) = out.get_mut(i) {
                signs.note(&imagined);
                dream.end = imagined.frame;
                dream.actions.push(imagined.action);
            }
        })?;
        Ok(out.into_iter().map(|(dream, signs)| Dream { worth: signs.worth(worth), ..dream }).collect())
    }

    /// Tries tracks (rows in the mind's order and units) from this moment, each under every seed.
    ///
    /// # Errors
    /// When the model fails, or has no read-outs that the worth asks for.
    pub fn rehearse(
        &self,
        moment: &Moment<'_>,
        tracks: &[Chunk],
        seeds: &[u64],
        goal: Option<&Frame>,
        worth: &Worth,
    ) -> Result<Vec<Rehearsal>, Failure> {
        let frame = &self.model.contract().frame;
        let goal = match goal {
            Some(goal) if worth.goal > 0.0 => Some(fit_for(goal, frame)?.frame),
            _ => None,
        };
        let each = seeds.len().max(1);
        let longest = tracks.iter().map(Vec::len).max().unwrap_or(0);
        let all: Vec<u64> = tracks.iter().flat_map(|_| seeds.iter().copied()).collect();
        let mut signs = vec![Signs::of(moment); all.len()];
        let action = |i: usize, step: usize| {
            let track = tracks.get(i / each)?;
            // A shorter track stays at its end.
            track.get(step).or_else(|| track.last()).map(|row| self.actions.take(row))
        };
        self.roll(moment, SHOWN_TRACKS, &all, longest, &action, &mut |i, imagined| {
            if let Some(signs) = signs.get_mut(i) {
                signs.note(&imagined);
                if let Some(goal) = &goal {
                    signs.likeness = -difference(&imagined.frame, goal);
                }
            }
        })?;
        Ok(signs.chunks(each).map(|of| judge(of, worth)).collect())
    }

    fn roll(
        &self,
        moment: &Moment<'_>,
        shown: usize,
        seeds: &[u64],
        steps: usize,
        action: &dyn Fn(usize, usize) -> Option<Vec<f32>>,
        seen: &mut dyn FnMut(usize, Imagined),
    ) -> Result<(), Failure> {
        if seeds.is_empty() || steps == 0 {
            return Ok(());
        }
        let history = self.history(moment, shown)?;
        let prompt = moment.prompt.map(str::to_owned);
        let streams = seeds
            .iter()
            .map(|seed| Stream { seed: *seed, prompt: prompt.clone(), history: history.clone() })
            .collect();
        // What is tried and thrown away is computed twice as fast with bf16 factors, where the processor has them.
        precision::with(Precision::Bf16, || {
            let mut futures = self.model.start(streams, self.refine)?;
            for step in 0..steps {
                let actions: Vec<_> = (0..seeds.len()).map(|i| action(i, step)).collect();
                for (i, imagined) in futures.step(&actions)?.into_iter().enumerate() {
                    seen(i, imagined);
                }
            }
            Ok(())
        })
    }
}

/// What the heads said along one future.
#[derive(Clone, Debug, Default)]
struct Signs {
    /// What the words ask for, where places tell it better than the heads of success and progress.
    push: Option<Push>,
    /// Where the thing was in the first frame.
    first: Option<V3>,
    success: f32,
    progress: Vec<f32>,
    distance: f32,
    likeness: f32,
}

impl Signs {
    fn of(moment: &Moment<'_>) -> Self {
        Self { push: moment.prompt.and_then(Push::asked), ..Self::default() }
    }

    fn note(&mut self, imagined: &Imagined) {
        let places =
            self.push.clone().filter(|_| imagined.reading.iter().any(|(name, _)| name == "gripper.x"));
        if let Some(push) = places {
            // A thing that is not seen is where it was.
            if let Some(now) = push.place(imagined) {
                let first = *self.first.get_or_insert(now);
                self.progress.push(push.judge(first, now).0.clamp(-1.0, 1.0));
                self.distance = push.reach(imagined).unwrap_or(0.0) * 10.0;
            }
            return;
        }
        self.success = self.success.max(reading(imagined, "success"));
        self.progress.push(reading(imagined, "progress").clamp(0.0, 1.0));
        self.distance = nearest(imagined);
    }

    fn last_progress(&self) -> f32 {
        let last = &self.progress[self.progress.len().saturating_sub(LAST)..];
        last.iter().sum::<f32>() / last.len().max(1) as f32
    }

    fn worth(&self, w: &Worth) -> f32 {
        w.success * self.success + w.progress * self.last_progress() + w.goal * self.likeness
            - w.reach * self.distance.min(3.0)
    }
}

/// Distance from the gripper to the nearest thing, in decimetres; 0 for models that do not tell.
fn nearest(imagined: &Imagined) -> f32 {
    let at = |of: &str| ["x", "y", "z"].map(|axis| reading(imagined, &format!("{of}.{axis}")));
    let gripper = at("gripper");
    let distance = imagined
        .reading
        .iter()
        .filter_map(|(name, there)| name.strip_suffix(".present").filter(|_| *there > 0.5))
        .map(|colour| at(colour).iter().zip(gripper).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt())
        .fold(f32::INFINITY, f32::min);
    if distance.is_finite() { distance * 10.0 } else { 0.0 }
}

fn judge(of: &[Signs], worth: &Worth) -> Rehearsal {
    let n = of.len().max(1) as f32;
    let values: Vec<f32> = of.iter().map(|signs| signs.worth(worth)).collect();
    let mean = values.iter().sum::<f32>() / n;
    let spread = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt();
    Rehearsal {
        value: mean - worth.doubt * spread,
        spread,
        success: of.iter().map(|s| s.success).sum::<f32>() / n,
        progress: of.iter().map(Signs::last_progress).sum::<f32>() / n,
    }
}

/// Root mean squared difference of two pictures of one size, 0..1.
fn difference(a: &Frame, b: &Frame) -> f32 {
    let sum: f64 =
        a.data.iter().zip(&b.data).map(|(x, y)| ((f64::from(*x) - f64::from(*y)) / 255.0).powi(2)).sum();
    (sum / a.data.len().max(1) as f64).sqrt() as f32
}

/// Number of the best rehearsal; 0 when there is none.
pub fn best(rehearsals: &[Rehearsal]) -> usize {
    let better = |a: &(usize, &Rehearsal), b: &(usize, &Rehearsal)| {
        // The earlier one of two that are worth the same.
        a.1.value.total_cmp(&b.1.value).then(b.0.cmp(&a.0))
    };
    rehearsals.iter().enumerate().max_by(better).map_or(0, |(i, _)| i)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn signs(success: f32) -> Signs {
        Signs { success, progress: vec![0.0, success, success, success], ..Signs::default() }
    }

    #[test]
    fn a_track_on_which_the_seeds_disagree_is_worth_less() {
        let worth = Worth::default();
        let sure = judge(&[signs(0.6), signs(0.6)], &worth);
        let unsure = judge(&[signs(1.0), signs(0.2)], &worth);
        assert!((sure.success - unsure.success).abs() < 1e-6);
        assert!(sure.spread == 0.0 && unsure.spread > DOUBTFUL);
        assert!(sure.value > unsure.value);
        assert_eq!(best(&[unsure, sure, sure]), 1);
        let bold = Worth { doubt: 0.0, ..worth };
        let (a, b) = (judge(&[signs(0.6), signs(0.6)], &bold), judge(&[signs(1.0), signs(0.3)], &bold));
        assert!(b.value > a.value);
    }

    #[test]
    fn the_nearest_thing_that_is_there_counts() {
        let reading = [
            ("gripper.x", 0.2),
            ("gripper.y", 0.0),
            ("gripper.z", 0.0),
            ("red.present", 0.9),
            ("red.x", 0.3),
            ("red.y", 0.0),
            ("red.z", 0.0),
            ("blue.present", 0.1),
            ("blue.x", 0.2),
            ("blue.y", 0.0),
            ("blue.z", 0.0),
        ];
        let reading = reading.map(|(n, v)| (n.to_owned(), v)).to_vec();
        let frame = Frame::filled(2, 2, [0; 3]);
        let imagined = Imagined { frame, reading, state: Vec::new(), action: Vec::new() };
        assert!((nearest(&imagined) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn pictures_differ_by_their_root_mean_square() {
        let (a, b) = (Frame::filled(2, 2, [0; 3]), Frame::filled(2, 2, [51; 3]));
        assert!((difference(&a, &b) - 0.2).abs() < 1e-6);
    }
}
