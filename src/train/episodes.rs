//! Episodes in memory, and clips cut from them.

use forerun_models::dreamer::{CHANNEL_SLOTS, Clip, Config, heads, patches};
use forerun_models::random::{Random, stream_of};
use forerun_models::{Channel, ChannelMode, Frame};

/// One recorded episode: `n` frames in the model's size and the numbers beside them.
#[derive(Clone, Debug, Default)]
pub struct Episode {
    /// Pictures.
    pub frames: Vec<Frame>,
    /// State of each frame, in the library's channel order and units: `n` rows. A channel that this episode's body
    /// does not have is not a number.
    pub state: Vec<Vec<f32>>,
    /// Action that leads from frame `t` to `t + 1`: `n` rows, the last one is not used.
    pub action: Vec<Vec<f32>>,
    /// Read-outs of each frame by name, in metres, 0/1 or 0..1: `n` rows, or empty when there are no labels.
    pub readings: Vec<Vec<(String, f32)>>,
    /// What the robot was asked to do.
    pub prompt: Option<String>,
    /// Whether it was done as asked (a demonstration), so that the words tell what happens.
    pub told: bool,
    /// Embodiment number.
    pub embodiment: u32,
    /// How often it is drawn compared to others, per frame.
    pub weight: f32,
}

/// All episodes of a run, with the channels that they share.
pub struct Library {
    config: Config,
    actions: Vec<Channel>,
    state: Vec<Channel>,
    episodes: Vec<Episode>,
    /// Weighted number of frames up to and including each episode.
    reach: Vec<f64>,
}

/// Frames at the start of an episode in which the words alone decide where the arm goes: later its motion gives it away.
pub const EARLY: usize = 8;

/// A channel description from the numbers that occur: a range with 5 % room, mean and standard deviation.
///
/// Returns a range of at least one unit, so that a channel that never moves does not blow up.
pub fn channel_of(name: &str, unit: &str, values: impl Iterator<Item = f32>) -> Channel {
    let (mut least, mut most) = (f32::INFINITY, f32::NEG_INFINITY);
    let (mut sum, mut squares, mut count) = (0.0_f64, 0.0_f64, 0.0_f64);
    for value in values.filter(|v| v.is_finite()) {
        least = least.min(value);
        most = most.max(value);
        sum += f64::from(value);
        squares += f64::from(value) * f64::from(value);
        count += 1.0;
    }
    if count == 0.0 {
        (least, most) = (-1.0, 1.0);
        count = 1.0;
    }
    let room = ((most - least) * 0.05).max(0.5);
    let mean = sum / count;
    let std = (squares / count - mean * mean).max(0.0).sqrt().max(1e-3);
    Channel {
        name: name.to_owned(),
        unit: unit.to_owned(),
        min: (least - room).floor(),
        max: (most + room).ceil(),
        mode: ChannelMode::Absolute,
        mean: mean as f32,
        std: std as f32,
    }
}

impl Library {
    /// A library for a network of this configuration.
    pub fn new(config: &Config, actions: Vec<Channel>, state: Vec<Channel>) -> Self {
        Self { config: config.clone(), actions, state, episodes: Vec::new(), reach: Vec::new() }
    }

    /// Adds an episode; one with fewer than two frames is left out.
    pub fn add(&mut self, episode: Episode) {
        if episode.frames.len() < 2 {
            return;
        }
        let weight = f64::from(episode.weight.max(0.0)) * (episode.frames.len() - 1) as f64;
        self.reach.push(self.reach.last().copied().unwrap_or(0.0) + weight);
        self.episodes.push(episode);
    }

    /// Number of episodes.
    pub fn len(&self) -> usize {
        self.episodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.episodes.iter().map(|episode| episode.frames.len()).sum()
    }

    /// The episodes.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// Action channels.
    pub fn actions(&self) -> &[Channel] {
        &self.actions
    }

    /// State channels.
    pub fn state(&self) -> &[Channel] {
        &self.state
    }

    /// Clip number `index` of an iteration: a function of the seed, the iteration and the index alone (and of `early`, the share
    /// of the clips of told episodes that begin within [`EARLY`] frames of the episode's start).
    ///
    /// Episodes shorter than the clip lend their whole length and the last frame is held.
    pub fn draw(&self, steps: usize, early: f32, seed: u64, iteration: u64, index: u64) -> Option<Clip> {
        let random = Random::new(seed, stream_of("draw"), iteration * 65_536 + index);
        let all = *self.reach.last()?;
        let at = f64::from(random.uniform(0)) * all;
        let episode = self.reach.partition_point(|reach| *reach <= at).min(self.episodes.len() - 1);
        let episode = self.episodes.get(episode)?;
        let mut starts = episode.frames.len().saturating_sub(steps).max(1);
        if episode.told && random.uniform(2) < early {
            starts = starts.min(EARLY);
        }
        let start = random.below(1, starts as u32) as usize;
        Some(self.clip(episode, start, steps))
    }

    /// The clip of `steps` steps that begins at frame `start` of an episode.
    pub fn clip(&self, episode: &Episode, start: usize, steps: usize) -> Clip {
        let last = episode.frames.len().saturating_sub(1);
        let names = &self.config.readings;
        let mut clip = Clip {
            action_mask: known(episode.action.get(start.min(last)), self.actions.len()),
            state_mask: known(episode.state.get(start.min(last)), self.state.len()),
            prompt: episode.prompt.clone(),
            told: episode.told,
            embodiment: episode.embodiment,
            ..Clip::default()
        };
        for t in start..=start + steps {
            let at = t.min(last);
            if let Some(frame) = episode.frames.get(at) {
                clip.frames.extend(patches::patchify(frame, self.config.patch));
            }
            clip.state.extend(row(episode.state.get(at), &self.state));
            if t < start + steps {
                // Beyond the end nothing moves: the target is where the robot stands.
                let held = if t < last { episode.action.get(at) } else { episode.state.get(last) };
                clip.action.extend(row(held, &self.actions));
                let (values, known) = readings(names, episode.readings.get((t + 1).min(last)));
                clip.readings.extend(values);
                clip.readings_mask.extend(known);
            }
        }
        clip
    }
}

/// 1 for the channels that this body has: those with a number in the clip's first row.
fn known(row: Option<&Vec<f32>>, channels: usize) -> Vec<f32> {
    let has = |i: usize| row.and_then(|row| row.get(i)).is_some_and(|value| value.is_finite());
    (0..CHANNEL_SLOTS).map(|i| if i < channels && has(i) { 1.0 } else { 0.0 }).collect()
}

fn row(values: Option<&Vec<f32>>, channels: &[Channel]) -> Vec<f32> {
    let mut out = vec![0.0; CHANNEL_SLOTS];
    for ((slot, value), channel) in out.iter_mut().zip(values.into_iter().flatten()).zip(channels) {
        if value.is_finite() {
            *slot = ((value - channel.min) / (channel.max - channel.min) * 2.0 - 1.0).clamp(-1.5, 1.5);
        }
    }
    out
}

/// Read-outs in network units and which of them are known. An object that is not there has no position.
fn readings(names: &[String], row: Option<&Vec<(String, f32)>>) -> (Vec<f32>, Vec<f32>) {
    let found = |name: &str| row.and_then(|row| row.iter().find(|(n, _)| n == name)).map(|(_, v)| *v);
    names
        .iter()
        .map(|name| match found(name) {
            Some(value) if value.is_finite() => (value / heads::scale_of(name), 1.0),
            // A labelled frame says of every colour whether it is there.
            None if row.is_some_and(|r| !r.is_empty()) && name.ends_with(".present") => (0.0, 1.0),
            _ => (0.0, 0.0),
        })
        .unzip()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn library() -> Library {
        let config = Config::micro();
        let channel = channel_of("a.pos", "deg", [0.0, 10.0].into_iter());
        let mut library = Library::new(&config, vec![channel.clone()], vec![channel]);
        for weight in [1.0, 0.0, 3.0] {
            library.add(Episode {
                frames: (0..10).map(|i| Frame::filled(32, 32, [i * 20, 0, weight as u8])).collect(),
                state: (0..10).map(|i| vec![i as f32]).collect(),
                action: (0..10).map(|i| vec![i as f32 + 1.0]).collect(),
                readings: (0..10).map(|i| vec![("red.x".into(), i as f32 * 0.1)]).collect(),
                weight,
                ..Episode::default()
            });
        }
        library
    }

    #[test]
    fn a_clip_lines_up_frames_actions_and_labels() {
        let library = library();
        let clip = library.clip(&library.episodes()[0], 2, 4);
        let frame = 32 * 32 * 3;
        assert_eq!(clip.frames.len(), 5 * frame);
        assert_eq!(clip.frames[0], patches::to_unit(40));
        assert_eq!(clip.frames[frame], patches::to_unit(60));
        let channel = &library.actions()[0];
        let scaled = |v: f32| (v - channel.min) / (channel.max - channel.min) * 2.0 - 1.0;
        assert_eq!(clip.action[0], scaled(3.0));
        assert_eq!(clip.state[CHANNEL_SLOTS], scaled(3.0));
        let red = Config::micro().readings.iter().position(|n| n == "red.x").unwrap();
        // The label of the target frame 3, in decimetres.
        assert!((clip.readings[red] - 3.0).abs() < 1e-5);
        assert_eq!(clip.readings_mask[red], 1.0);
    }

    #[test]
    fn a_channel_that_a_body_lacks_is_masked() {
        let config = Config::micro();
        let channel = |name: &str| channel_of(name, "deg", [0.0, 10.0].into_iter());
        let both = vec![channel("a.pos"), channel("b.pos")];
        let mut library = Library::new(&config, both.clone(), both);
        library.add(Episode {
            frames: vec![Frame::filled(32, 32, [0; 3]); 4],
            state: vec![vec![1.0, f32::NAN]; 4],
            action: vec![vec![f32::NAN, 2.0]; 4],
            weight: 1.0,
            ..Episode::default()
        });
        let clip = library.clip(&library.episodes()[0], 0, 2);
        assert_eq!(clip.state_mask[..3], [1.0, 0.0, 0.0]);
        assert_eq!(clip.action_mask[..3], [0.0, 1.0, 0.0]);
        assert!(clip.action.iter().chain(&clip.state).all(|v| v.is_finite()));
        assert_eq!(clip.action[0], 0.0);
        assert!(clip.action[1] != 0.0);
    }

    #[test]
    fn draws_repeat_and_follow_the_weights() {
        let library = library();
        let heavy = (0..400)
            .filter(|i| library.draw(3, 0.0, 1, 0, *i).unwrap().frames[2] == patches::to_unit(3))
            .count();
        assert!((240..360).contains(&heavy), "{heavy}");
        let again = |i| library.draw(3, 0.0, 9, 4, i).unwrap().frames;
        assert_eq!(again(5), again(5));
        assert!((0..50).any(|i| again(i) != again(i + 1)));
    }

    #[test]
    fn early_clips_of_demonstrations_begin_with_the_episode() {
        let begins = |told: bool, early: f32| {
            let mut library = Library::new(&Config::micro(), Vec::new(), Vec::new());
            library.add(Episode {
                frames: (0..60).map(|i| Frame::filled(32, 32, [i; 3])).collect(),
                told,
                weight: 1.0,
                ..Episode::default()
            });
            let limit = patches::to_unit(EARLY as u8);
            (0..200).filter(|i| library.draw(4, early, 1, 0, *i).unwrap().frames[0] < limit).count()
        };
        assert_eq!(begins(true, 1.0), 200);
        assert!((110..160).contains(&begins(true, 0.6)), "{}", begins(true, 0.6));
        assert!(begins(false, 1.0) < 60 && begins(true, 0.0) < 60);
    }

    #[test]
    fn a_clip_beyond_the_end_holds_the_last_frame() {
        let library = library();
        let clip = library.clip(&library.episodes()[0], 8, 4);
        let frame = 32 * 32 * 3;
        assert_eq!(clip.frames[4 * frame], clip.frames[frame]);
        assert_eq!(clip.frames.len(), 5 * frame);
    }
}
