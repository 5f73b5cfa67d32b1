//! Examples for behaviour cloning, cut out of episodes.

use std::borrow::Cow;

use forerun_models::Channel;
use forerun_models::dreamer::heads;
use forerun_models::policy::{Config, Example, Look, Scaling, Seen};
use forerun_models::random::{Random, stream_of};

use super::PolicySettings;
use crate::Frame;
use crate::train::{Episode, TrainError};

/// Deviations below this share of a channel's range are taken as this: a joint that hardly moves should not weigh more
/// than its noise is worth.
const LEAST_STD: f32 = 0.004;

/// Means and deviations of actions and state over all frames of some episodes.
pub fn scaling_of(episodes: &[&Episode], actions: &[Channel], state: &[Channel], chunk: usize) -> Scaling {
    let mut scaling =
        Scaling { base: Scaling::bases(actions, state), ..Scaling::unit(actions.len(), state.len(), chunk) };
    let n = chunk * actions.len();
    let (mut sum, mut squares, mut count) = (vec![0.0_f64; n], vec![0.0_f64; n], 0.0_f64);
    for episode in episodes {
        for t in 0..episode.frames.len() {
            let rows = rows(episode, t, chunk);
            let own: &[f32] = episode.state.get(t).map_or(&[], Vec::as_slice);
            let values = scaling.relative(&rows, own);
            if values.len() != n || values.iter().any(|v| !v.is_finite()) {
                continue;
            }
            count += 1.0;
            for ((v, s), q) in values.iter().zip(&mut sum).zip(&mut squares) {
                *s += f64::from(*v);
                *q += f64::from(*v) * f64::from(*v);
            }
        }
    }
    let count = count.max(1.0);
    let floors = actions.iter().map(|c| (c.max - c.min).abs() * LEAST_STD).cycle();
    let moments = sum.iter().zip(&squares).zip(floors);
    for (((mean, std), ((s, q), floor)),) in
        scaling.mean.iter_mut().zip(&mut scaling.std).zip(moments).map(|all| (all,))
    {
        *mean = (s / count) as f32;
        *std = ((q / count - (s / count).powi(2)).max(0.0).sqrt() as f32).max(floor).max(1e-6);
    }
    scaling.state = state.iter().map(|c| [c.mean, c.std.max(1e-3)]).collect();
    scaling
}

/// The actions from frame `t` on; beyond the episode's end the last one is held.
fn rows(episode: &Episode, t: usize, chunk: usize) -> Vec<Vec<f32>> {
    let last = episode.frames.len().min(episode.action.len()).saturating_sub(1);
    (t..t + chunk).filter_map(|at| episode.action.get(at.min(last)).cloned()).collect()
}

/// A frame moved to the right and down by shares of its sides; what comes in at an edge repeats the edge.
fn moved(frame: &Frame, by: [f32; 2]) -> Cow<'_, Frame> {
    let [dx, dy] = [by[0] * frame.width as f32, by[1] * frame.height as f32].map(|v| v.round() as isize);
    if (dx, dy) == (0, 0) || frame.width == 0 {
        return Cow::Borrowed(frame);
    }
    let row = 3 * frame.width;
    let from = |at: usize, by: isize, size: usize| at.saturating_add_signed(-by).min(size - 1);
    let columns: Vec<usize> = (0..frame.width).map(|x| 3 * from(x, dx, frame.width)).collect();
    let mut out = frame.clone();
    for (y, line) in out.data.chunks_exact_mut(row).enumerate() {
        let source = frame.data.chunks_exact(row).nth(from(y, dy, frame.height)).unwrap_or_default();
        for (pixel, column) in line.chunks_exact_mut(3).zip(&columns) {
            if let Some(value) = source.get(*column..column + 3) {
                pixel.copy_from_slice(value);
            }
        }
    }
    Cow::Owned(out)
}

/// Cuts examples out of episodes.
pub struct Cutter<'a> {
    config: &'a Config,
    episodes: Vec<&'a Episode>,
    /// (episode, frame) of every moment that can be learnt from.
    moments: Vec<(usize, usize)>,
    goal_steps: [usize; 2],
    colour_jitter: f32,
    shift: f32,
    state_noise: f32,
}

impl<'a> Cutter<'a> {
    /// A cutter over these episodes; those without pictures or actions are left out.
    pub fn new(config: &'a Config, episodes: Vec<&'a Episode>, settings: &PolicySettings) -> Self {
        let goal = config.looks.contains(&Look::Goal);
        let mut moments = Vec::new();
        for (i, episode) in episodes.iter().enumerate() {
            let frames = episode.frames.len().min(episode.action.len());
            // A goal lies ahead; without one, standing still at the end is to be learnt as well.
            let usable = if goal { frames.saturating_sub(1) } else { frames };
            moments.extend((0..usable).map(|t| (i, t)));
        }
        Self {
            config,
            episodes,
            moments,
            goal_steps: settings.goal_steps,
            colour_jitter: settings.colour_jitter,
            shift: settings.shift,
            state_noise: settings.state_noise,
        }
    }

    /// Number of moments.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// Whether there is nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }

    /// Example number `index` of an iteration: a function of the seed, the iteration and the index alone.
    ///
    /// # Errors
    /// Pictures of another size than the policy takes.
    pub fn draw(&self, seed: u64, iteration: u64, index: u64) -> Result<Option<Example>, TrainError> {
        let random = Random::new(seed, stream_of("example"), iteration * 65_536 + index);
        let at = random.below(0, self.moments.len().min(u32::MAX as usize) as u32) as usize;
        let [near, far] = self.goal_steps;
        let ahead = near + random.below(1, (far - near + 1) as u32) as usize;
        let off = |place: u64| (random.uniform(place) * 2.0 - 1.0) * self.shift;
        let Some(mut example) = self.cut_moved(at, ahead, [off(2), off(3)])? else { return Ok(None) };
        if self.colour_jitter > 0.0 {
            self.recolour(&mut example.pictures, &random);
        }
        if self.state_noise > 0.0 {
            let mut noise = vec![0.0; example.state.len()];
            random.fill_normal(64, &mut noise);
            example.state.iter_mut().zip(noise).for_each(|(s, n)| *s += n * self.state_noise);
        }
        Ok(Some(example))
    }

    /// Other light and other paint, the same in all pictures of an example.
    fn recolour(&self, pictures: &mut [f32], random: &Random) {
        let around = |place: u64| (random.uniform(place) * 2.0 - 1.0) * self.colour_jitter;
        let light = 1.0 + around(8);
        let gains: [f32; 3] = std::array::from_fn(|c| light * (1.0 + 0.5 * around(9 + c as u64)));
        let offset = 0.5 * around(12);
        for pixel in pictures.chunks_exact_mut(3) {
            pixel.iter_mut().zip(gains).for_each(|(v, gain)| *v = (*v + 1.0) * gain - 1.0 + offset);
        }
    }

    /// The example of moment `at`, as it was recorded, with its goal (if the policy has one) `ahead` steps later.
    ///
    /// # Errors
    /// Pictures of another size than the policy takes.
    pub fn cut(&self, at: usize, ahead: usize) -> Result<Option<Example>, TrainError> {
        self.cut_moved(at, ahead, [0.0; 2])
    }

    /// The same with all pictures moved to the right and down by these shares of their sides. A few hundred episodes are
    /// few places of the things on a table: without it the network knows each of them by heart (random shifts: Kostrikov
    /// et al. 2020, "DrQ", <https://arxiv.org/abs/2004.13649>).
    fn cut_moved(&self, at: usize, ahead: usize, by: [f32; 2]) -> Result<Option<Example>, TrainError> {
        let config = self.config;
        let Some((number, t)) = self.moments.get(at).copied() else { return Ok(None) };
        let Some(episode) = self.episodes.get(number) else { return Ok(None) };
        let last = episode.frames.len().saturating_sub(1);
        let at = |index: usize| episode.frames.get(index).map(|frame| moved(frame, by));
        let Some(now) = at(t) else { return Ok(None) };
        let before = config.looks.contains(&Look::Before).then(|| at(t.checked_sub(1)?)).flatten();
        let start = config.looks.contains(&Look::Start).then(|| at(0)).flatten();
        let goal = config.looks.contains(&Look::Goal).then(|| at((t + ahead).min(last))).flatten();
        let own: &[f32] = episode.state.get(t).map_or(&[], Vec::as_slice);
        let seen = Seen {
            now: &now,
            before: before.as_deref(),
            start: start.as_deref(),
            goal: goal.as_deref(),
            state: own,
            prompt: episode.prompt.as_deref(),
        };
        let mut example = Example::observed(config, &seen)?;
        let rows = rows(episode, t, config.chunk);
        example.chunk = config.scaling.scale_chunk(&rows, own);
        // Holding the last action beyond the end is sure only where an action is a place to stay at.
        let base = &config.scaling.base;
        example.chunk_mask = (t..t + config.chunk)
            .flat_map(|k| base.iter().map(move |b| if k <= last || b.is_some() { 1.0 } else { 0.0 }))
            .collect();
        for (value, known) in example.chunk.iter_mut().zip(&mut example.chunk_mask) {
            if !value.is_finite() {
                (*value, *known) = (0.0, 0.0);
            }
        }
        let labels = episode.readings.get(t).filter(|row| !row.is_empty());
        for name in &config.readings {
            let found = labels.and_then(|row| row.iter().find(|(n, _)| n == name)).map(|(_, v)| *v);
            let (value, known) = match found {
                Some(value) if value.is_finite() => (value / heads::scale_of(name), 1.0),
                // A labelled frame says of every colour whether it is there.
                None if labels.is_some() && name.ends_with(".present") => (0.0, 1.0),
                _ => (0.0, 0.0),
            };
            example.readings.push(value);
            example.readings_mask.push(known);
        }
        Ok(Some(example))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::train::channel_of;
    use forerun_models::policy::Kind;

    fn episode() -> Episode {
        Episode {
            frames: (0..10u8).map(|i| Frame::filled(32, 32, [i * 20, 0, 0])).collect(),
            state: (0..10).map(|i| vec![i as f32 * 2.0]).collect(),
            action: (0..10).map(|i| vec![i as f32 * 2.0 + 3.0]).collect(),
            readings: (0..10).map(|i| vec![("red.x".into(), i as f32 * 0.1)]).collect(),
            prompt: Some("go".into()),
            weight: 1.0,
            ..Episode::default()
        }
    }

    fn config(kind: Kind, episode: &Episode) -> Config {
        let channel = channel_of("a.pos", "deg", [0.0, 30.0].into_iter());
        let mut config = Config::by_name("micro", kind).unwrap();
        config.scaling = scaling_of(&[episode], &[channel.clone()], &[channel], config.chunk);
        config
    }

    #[test]
    fn a_chunk_is_learnt_as_the_way_from_where_the_arm_stands() {
        let episode = episode();
        let config = config(Kind::Direct, &episode);
        assert_eq!(config.problem(), None);
        // The first action is always 3 above the state: no spread, so the floor is used.
        assert!((config.scaling.mean[0] - 3.0).abs() < 1e-5);
        let cutter = Cutter::new(&config, vec![&episode], &PolicySettings::default());
        assert_eq!(cutter.len(), 10);
        let example = cutter.cut(2, 1).unwrap().unwrap();
        let chunk = config.scaling.chunk(&example.chunk, &[4.0]);
        for (k, row) in chunk.iter().enumerate() {
            let wanted = ((2 + k).min(9)) as f32 * 2.0 + 3.0;
            assert!((row[0] - wanted).abs() < 1e-3, "{k}: {row:?}");
        }
        assert!(example.chunk_mask.iter().all(|m| *m == 1.0));
        let red = config.readings.iter().position(|n| n == "red.x").unwrap();
        assert!((example.readings[red] - 2.0).abs() < 1e-5);
        assert_eq!(example.prompt.as_deref(), Some("go"));
    }

    #[test]
    fn tokens_hold_the_present_and_the_start_or_the_goal() {
        let episode = episode();
        let unit = |i: usize| i as f32 * 20.0 / 127.5 - 1.0;
        let half = 8 * 8 * 3;
        for (kind, other) in [(Kind::Direct, 0), (Kind::Goal, 9)] {
            let config = config(kind, &episode);
            let cutter = Cutter::new(&config, vec![&episode], &PolicySettings::default());
            let example = cutter.cut(4, 20).unwrap().unwrap();
            assert!((example.pictures[0] - unit(4)).abs() < 1e-5);
            assert!((example.pictures[half] - unit(other)).abs() < 1e-5);
        }
    }

    #[test]
    fn all_pictures_of_an_example_move_together_and_keep_their_edges() {
        let mut frame = Frame::filled(10, 4, [9; 3]);
        frame.data[..3].copy_from_slice(&[1, 2, 3]);
        let at = |f: &Frame, x: usize, y: usize| f.data[3 * (10 * y + x)];
        let there = moved(&frame, [0.2, 0.25]);
        assert_eq!((at(&there, 2, 1), at(&there, 0, 0), at(&there, 3, 1)), (1, 1, 9));
        let back = moved(&frame, [-0.1, 0.0]);
        assert_eq!((at(&back, 0, 0), at(&back, 9, 3)), (9, 9));
        assert!(matches!(moved(&frame, [0.01, 0.0]), Cow::Borrowed(_)));
    }

    #[test]
    fn draws_repeat_and_differ() {
        let episode = episode();
        let config = config(Kind::Direct, &episode);
        let cutter = Cutter::new(&config, vec![&episode], &PolicySettings::default());
        let draw = |i| cutter.draw(1, 5, i).unwrap().unwrap().pictures;
        assert_eq!(draw(3), draw(3));
        assert!((0..20).any(|i| draw(i) != draw(i + 1)));
    }
}
