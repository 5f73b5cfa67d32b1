//! Imagining: one frame after another, for several futures at once.

use super::config::CHANNEL_SLOTS;
use super::folder::{Dreamer, ModelError};
use super::heads::present;
use super::intent::Follower;
use super::network::Condition;
use super::passes::{Passes, Readings};
use super::patches::{patchify, unpatchify};
use crate::contract::Channel;
use crate::frame::Frame;
use crate::random::{Random, stream_of};

/// Most denoising steps a frame.
pub const MAX_REFINE: usize = 8;

/// A known frame before the first imagined one.
#[derive(Clone, Debug)]
pub struct HistoryFrame {
    /// The picture, in the contract's size.
    pub frame: Frame,
    /// The robot's state at this frame, in the contract's order and units.
    pub state: Option<Vec<f32>>,
    /// The action that led from this frame to the next one of the history, in the contract's order and units.
    pub action: Option<Vec<f32>>,
}

/// One future: where it starts and what it hears.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Seed of its noise.
    pub seed: u64,
    /// Words.
    pub prompt: Option<String>,
    /// Known frames, the last one being the present; may be empty (the start is imagined too).
    pub history: Vec<HistoryFrame>,
}

/// One imagined frame.
#[derive(Clone, Debug)]
pub struct Imagined {
    /// The picture.
    pub frame: Frame,
    /// What the heads read: name and value (probabilities, metres, 0..1).
    pub reading: Vec<(String, f32)>,
    /// The state that the model believes the robot to be in, in the contract's order and units.
    pub state: Vec<f32>,
    /// The action that the model would have taken, in the contract's order and units (meaningful where none was
    /// given).
    pub action: Vec<f32>,
}

/// A batch of futures that advance together.
///
/// A future's noise depends on its own stream alone, and on the processor so do its frames. On cards its last bits may depend on
/// how many others are beside it (matrix products of another height add up in another order), so a record names its whole batch.
pub struct Rollout<'a> {
    model: &'a Dreamer,
    streams: Vec<Stream>,
    refine: usize,
    passes: Box<dyn Passes + 'a>,
    /// Whether there is a frame to start from; without one the start is imagined too.
    has_present: bool,
    /// Steps taken, history included.
    t: usize,
    /// Imagined frames so far: the number in the noise's key.
    imagined: u64,
    /// State of the present frames, where it is known.
    states: Vec<Option<Vec<f32>>>,
    /// Those that a policy leads where they are given no numbers; none without such a policy.
    followers: Vec<Option<Follower>>,
}

/// A value on the contract's scale to the network's -1..=1.
fn scaled(value: f32, channel: &Channel) -> f32 {
    (value - channel.min) / (channel.max - channel.min) * 2.0 - 1.0
}

/// The network's -1..=1 to the contract's scale.
fn unscaled(value: f32, channel: &Channel) -> f32 {
    (value + 1.0) * 0.5 * (channel.max - channel.min) + channel.min
}

/// Values in contract order as network inputs and their mask, `CHANNEL_SLOTS` each.
pub(crate) fn slots(values: Option<&[f32]>, channels: &[Channel]) -> (Vec<f32>, Vec<f32>) {
    let mut out = vec![0.0; CHANNEL_SLOTS];
    let mut mask = vec![0.0; CHANNEL_SLOTS];
    if let Some(values) = values {
        for (((value, channel), slot), known) in values.iter().zip(channels).zip(&mut out).zip(&mut mask) {
            if value.is_finite() {
                *slot = scaled(*value, channel).clamp(-1.5, 1.5);
                *known = 1.0;
            }
        }
    }
    (out, mask)
}

impl Dreamer {
    /// Starts a batch of futures; histories are cut to the shortest one and to the contract's length.
    ///
    /// `refine` is the number of denoising steps a frame, 1 to [`MAX_REFINE`].
    ///
    /// # Errors
    /// Frames of another size than the contract's, wrong numbers of channels, device errors.
    pub fn start(&self, streams: Vec<Stream>, refine: usize) -> Result<Rollout<'_>, ModelError> {
        if streams.is_empty() {
            return Err(ModelError::Input("there is no future to imagine; ask for at least one seed".into()));
        }
        if refine == 0 || refine > MAX_REFINE {
            return Err(ModelError::Input(format!("refine is {refine}; it goes from 1 to {MAX_REFINE}")));
        }
        let spec = &self.contract().frame;
        for held in streams.iter().flat_map(|s| &s.history) {
            if (held.frame.width, held.frame.height) != (spec.width, spec.height) {
                return Err(ModelError::Input(format!(
                    "a start frame is {}x{}, the model takes {}x{}",
                    held.frame.width, held.frame.height, spec.width, spec.height
                )));
            }
            self.check_values("state", held.state.as_deref(), &self.contract().state)?;
            self.check_values("action", held.action.as_deref(), &self.contract().actions)?;
        }
        let prompts: Vec<Option<&str>> =
            streams.iter().map(|s| s.prompt.as_deref().filter(|p| !p.trim().is_empty())).collect();
        let network = self.network();
        let text = network.encode_prompts(&prompts)?;
        let known = streams.iter().map(|s| s.history.len()).min().unwrap_or(0).min(spec.history);
        let mut rollout = Rollout {
            passes: self.passes(text, streams.len())?,
            model: self,
            refine,
            has_present: known > 0,
            t: 0,
            imagined: 0,
            states: vec![None; streams.len()],
            followers: streams.iter().map(|s| self.intent().and_then(|_| Follower::new(s))).collect(),
            streams,
        };
        // The passages inside the history fill the caches, as if those frames had been imagined in one step.
        for back in (1..known).rev() {
            rollout.look_at(back)?;
            let actions: Vec<Option<Vec<f32>>> = rollout
                .streams
                .iter()
                .map(|s| s.history.len().checked_sub(back + 1).and_then(|i| s.history.get(i)?.action.clone()))
                .collect();
            rollout.pass_history(&actions)?;
        }
        if known > 0 {
            rollout.look_at(0)?;
        }
        Ok(rollout)
    }

    fn check_values(
        &self,
        what: &str,
        values: Option<&[f32]>,
        channels: &[Channel],
    ) -> Result<(), ModelError> {
        match values {
            Some(values) if values.len() != channels.len() => Err(ModelError::Input(format!(
                "{} {what} values for {} channels ({})",
                values.len(),
                channels.len(),
                channels.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
            ))),
            _ => Ok(()),
        }
    }

    /// How unlike the training data a frame is: the mean squared error (0..=1 scale) of recovering it from itself
    /// with 70 % noise mixed in, seen right after the history (or after itself when there is none).
    ///
    /// # Errors
    /// As [`Dreamer::start`].
    pub fn residual(&self, history: &[HistoryFrame], frame: &Frame) -> Result<f32, ModelError> {
        let last = history.last().cloned().unwrap_or(HistoryFrame {
            frame: frame.clone(),
            state: None,
            action: None,
        });
        let stream = Stream { seed: 0, prompt: None, history: vec![last] };
        let mut rollout = self.start(vec![stream], 1)?;
        let clean = patchify(frame, self.network().config().patch);
        let config = self.network().config();
        if clean.len() != config.patches() * config.patch_values() {
            return Err(ModelError::Input("the frame has another size than the model takes".into()));
        }
        // Nothing to copy from: the context is hidden, so that the frame must be understood to be recovered.
        rollout.has_present = false;
        const LEVEL: f32 = 0.3;
        let mut noisy = vec![0.0; clean.len()];
        Random::new(0, stream_of("residual"), 0).fill_normal(0, &mut noisy);
        for (z, x) in noisy.iter_mut().zip(&clean) {
            *z = *z * (1.0 - LEVEL) + x * LEVEL;
        }
        rollout.passes.set_noisy(&noisy)?;
        rollout.pass(LEVEL, 3, &[None], false)?;
        let guess = rollout.passes.predicted()?;
        let sum: f64 = guess.iter().zip(&clean).map(|(g, c)| f64::from((g - c) * 0.5).powi(2)).sum();
        Ok((sum / clean.len().max(1) as f64) as f32)
    }
}

impl Rollout<'_> {
    /// Number of futures.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Makes the history frame `back` places before the last one the present.
    fn look_at(&mut self, back: usize) -> Result<(), ModelError> {
        let patch = self.model.network().config().patch;
        let mut present = Vec::new();
        for (stream, state) in self.streams.iter().zip(&mut self.states) {
            let held = stream.history.len().checked_sub(back + 1).and_then(|i| stream.history.get(i));
            if let Some(held) = held {
                present.extend(patchify(&held.frame, patch));
                *state = held.state.clone();
            }
        }
        self.passes.set_present(&present)
    }

    fn noise(&self, index: u64) -> Vec<f32> {
        let config = self.model.network().config();
        let frame = config.patches() * config.patch_values();
        let mut noise = vec![0.0; self.streams.len() * frame];
        for (stream, part) in self.streams.iter().zip(noise.chunks_mut(frame)) {
            Random::new(stream.seed, stream_of("imagine"), index).fill_normal(0, part);
        }
        noise
    }

    fn pass_history(&mut self, actions: &[Option<Vec<f32>>]) -> Result<(), ModelError> {
        // Steps of the history have their own noise, counted down from the end of the numbers.
        let noise = self.noise(u64::MAX - self.t as u64);
        self.passes.set_noisy(&noise)?;
        self.pass(0.0, 0, actions, true)?;
        self.t += 1;
        Ok(())
    }

    /// One pass of the network over what is set to be denoised; hands out what drove it.
    fn pass(
        &mut self,
        level: f32,
        step_size: u32,
        actions: &[Option<Vec<f32>>],
        commit: bool,
    ) -> Result<Condition, ModelError> {
        let contract = self.model.contract();
        let streams = self.streams.len();
        let mut condition = Condition {
            target_level: vec![level; streams],
            context_noise: vec![0.0; streams],
            step_size: vec![step_size; streams],
            action: Vec::new(),
            action_mask: Vec::new(),
            state: Vec::new(),
            state_mask: Vec::new(),
            has_context: vec![if self.has_present { 1.0 } else { 0.0 }; streams],
            embodiment: vec![0; streams],
        };
        for (i, state) in self.states.iter().enumerate() {
            let action = actions.get(i).and_then(|a| a.as_deref());
            let (values, mask) = slots(action, &contract.actions);
            condition.action.extend(values);
            condition.action_mask.extend(mask);
            let (values, mask) = slots(state.as_deref().filter(|_| self.has_present), &contract.state);
            condition.state.extend(values);
            condition.state_mask.extend(mask);
        }
        self.passes.predict(&condition, self.t, commit)?;
        Ok(condition)
    }

    /// What the heads said in the last pass, driven by `condition`: a row a future.
    fn heads(&mut self, condition: &Condition) -> Result<Vec<Vec<f32>>, ModelError> {
        let Readings { mut heads, relative } = self.passes.readings()?;
        if let Some(relative) = &relative {
            self.anchor(&mut heads, relative, condition);
        }
        Ok(heads)
    }

    /// Replaces next state and action, read off the picture, by the told state and what the network adds to it, where
    /// that state is known: a step is small against the range of a joint, and so are the errors of its parts.
    fn anchor(&self, heads: &mut [Vec<f32>], relative: &[Vec<f32>], condition: &Condition) {
        let config = self.model.network().config();
        let told = condition.state.chunks(CHANNEL_SLOTS).zip(condition.state_mask.chunks(CHANNEL_SLOTS));
        for ((head, relative), (state, known)) in heads.iter_mut().zip(relative).zip(told) {
            let channels = head.iter_mut().skip(config.readings.len()).zip(relative);
            let told = state.iter().zip(known).cycle();
            for ((value, step), (from, known)) in channels.zip(told) {
                if *known > 0.0 {
                    *value = from + step / config.relative_scale;
                }
            }
        }
    }

    /// The next frame of every future. `actions[i]` leads future `i` from its present frame to the next one, in the
    /// contract's order and units; `None`, or a channel that is not a number, leaves it to the model.
    ///
    /// # Errors
    /// Wrong numbers of channels, device errors.
    pub fn step(&mut self, actions: &[Option<Vec<f32>>]) -> Result<Vec<Imagined>, ModelError> {
        if actions.len() != self.streams.len() {
            return Err(ModelError::Input(format!(
                "{} actions for {} futures",
                actions.len(),
                self.streams.len()
            )));
        }
        for action in actions {
            self.model.check_values("action", action.as_deref(), &self.model.contract().actions)?;
        }
        let refine = self.refine;
        // 1, 1/2, 1/4 and 1/8 are the step sizes that the network was trained with.
        let step_size = match refine {
            1 => 0,
            2 => 1,
            3 | 4 => 2,
            _ => 3,
        };
        self.passes.set_noisy(&self.noise(self.imagined))?;
        let open: Vec<bool> = actions.iter().map(Option::is_none).collect();
        let own = self.own_actions(actions, &open)?;
        let actions = own.as_deref().unwrap_or(actions);
        for k in 0..refine - 1 {
            self.pass(k as f32 / refine as f32, step_size, actions, false)?;
            // Along the straight line from noise to the predicted frame.
            self.passes.approach(1.0 / (refine - k) as f32)?;
        }
        let drove = self.pass((refine - 1) as f32 / refine as f32, step_size, actions, true)?;
        let heads = self.heads(&drove)?;
        let frames = self.passes.settle()?;
        let mut out = self.read(&frames, &heads);
        for (imagined, own) in out.iter_mut().zip(own.iter().flatten().zip(&open)) {
            if let (Some(action), true) = own {
                imagined.action.clone_from(action);
            }
        }
        self.has_present = true;
        for (follower, imagined) in self.followers.iter_mut().zip(&out) {
            if let Some(follower) = follower {
                follower.reached(&imagined.frame, &imagined.state);
            }
        }
        // Where actions drive a future, given ones or its own, the network's reading of the joints goes on where the
        // recorded one ends: it keeps the arm in its place through frames that show little of it.
        for ((state, imagined), action) in self.states.iter_mut().zip(&out).zip(actions) {
            // A channel that this body does not have stays unknown.
            let goes_on = |known: Vec<f32>| {
                let read = imagined.state.iter().zip(known);
                read.map(|(new, old)| if old.is_finite() { *new } else { f32::NAN }).collect()
            };
            *state = state.take().filter(|_| action.is_some()).map(goes_on);
        }
        self.t += 1;
        self.imagined += 1;
        Ok(out)
    }

    /// What drives the next step of futures that are given no numbers: the action that a policy in the model's folder takes to be
    /// meant by the words; where there is none, or no words, the one that the network itself takes to be meant (or likely), read
    /// off in a pass of its own. A mean over all futures would blur; one action draws one sharp frame, and the next guess starts
    /// from there. `None` where no future is `open` to it.
    fn own_actions(
        &mut self,
        given: &[Option<Vec<f32>>],
        open: &[bool],
    ) -> Result<Option<Vec<Option<Vec<f32>>>>, ModelError> {
        // A network without a start has no joints to move yet.
        if !self.has_present || !open.contains(&true) {
            return Ok(None);
        }
        let meant = match self.model.intent() {
            Some(intent) => intent.actions(&mut self.followers, open, self.imagined as usize)?,
            None => vec![None; open.len()],
        };
        if open.iter().zip(&meant).all(|(open, meant)| !open || meant.is_some()) {
            return Ok(Some(
                given.iter().zip(meant).map(|(given, meant)| meant.or_else(|| given.clone())).collect(),
            ));
        }
        let drove = self.pass(0.0, 0, given, false)?;
        let heads = self.heads(&drove)?;
        let contract = self.model.contract();
        let from = self.model.network().config().readings.len() + CHANNEL_SLOTS;
        let guess = |head: &Vec<f32>| -> Vec<f32> {
            head.iter()
                .skip(from)
                .zip(&contract.actions)
                .map(|(v, c)| unscaled(*v, c).clamp(c.min, c.max))
                .collect()
        };
        let all = given.iter().zip(open).zip(meant).zip(&heads);
        Ok(Some(
            all.map(|(((action, open), meant), head)| match (open, meant) {
                (true, Some(meant)) => Some(meant),
                (true, None) => Some(guess(head)),
                (false, _) => action.clone(),
            })
            .collect(),
        ))
    }

    fn read(&self, frames: &[f32], heads: &[Vec<f32>]) -> Vec<Imagined> {
        let config = self.model.network().config();
        let contract = self.model.contract();
        let frame = config.patches() * config.patch_values();
        let readings = config.readings.len();
        let channel = |head: &[f32], from: usize, channels: &[Channel]| -> Vec<f32> {
            head.iter().skip(from).zip(channels).map(|(v, c)| unscaled(*v, c)).collect()
        };
        frames
            .chunks(frame)
            .zip(heads)
            .map(|(values, head)| Imagined {
                frame: unpatchify(values, config.image_width, config.image_height, config.patch),
                reading: config
                    .readings
                    .iter()
                    .zip(head)
                    .map(|(name, raw)| (name.clone(), present(name, *raw)))
                    .collect(),
                state: channel(head, readings, &contract.state),
                action: channel(head, readings + CHANNEL_SLOTS, &contract.actions),
            })
            .collect()
    }
}
