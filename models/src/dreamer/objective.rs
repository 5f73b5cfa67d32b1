//! What the network is trained for: predict the clean next frame from noisy ones, read the labels.
//!
//! The recipe is diffusion forcing with x-prediction (Chen et al. 2024, <https://arxiv.org/abs/2407.01392>; Hafner
//! et al. 2025, "Dreamer 4", <https://arxiv.org/abs/2509.24527>) with three changes that a small budget asks for:
//! most targets start from pure noise, which is the case that counts when a frame is generated in one step; pixels
//! that change weigh more than the resting table; and some clips get the network's own rollout as their past, with
//! the true future as the target, so that it learns to mend its own mistakes instead of adding to them.

use candle_core::{D, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::blur::Blur;
use super::config::{CHANNEL_SLOTS, Config};
use super::heads::is_logit;
use super::network::{Condition, Network, Output, Time};
use crate::nn::ops::weighted_squares;
use crate::random::{Random, stream_of};

/// A piece of an episode, ready for the network: `T + 1` frames and what happened between them.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// Patches of `T + 1` frames, `(T + 1) * P * V` numbers from -1 to 1.
    pub frames: Vec<f32>,
    /// Action of each step, scaled to -1..=1: `T * CHANNEL_SLOTS`.
    pub action: Vec<f32>,
    /// 1 for known action channels: `CHANNEL_SLOTS`.
    pub action_mask: Vec<f32>,
    /// State of each frame, scaled to -1..=1: `(T + 1) * CHANNEL_SLOTS`.
    pub state: Vec<f32>,
    /// 1 for known state channels: `CHANNEL_SLOTS`.
    pub state_mask: Vec<f32>,
    /// Read-outs of each target frame in network units: `T * R`.
    pub readings: Vec<f32>,
    /// 1 for known read-outs: `T * R`.
    pub readings_mask: Vec<f32>,
    /// What the robot was asked to do.
    pub prompt: Option<String>,
    /// Whether the prompt alone tells what happens (demonstrations), so that it is worth learning from words.
    pub told: bool,
    /// Embodiment number.
    pub embodiment: u32,
}

/// How training mixes its cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// Share of action-driven clips whose targets get random noise levels; the others start from pure noise.
    pub flow_share: f32,
    /// The same for clips driven by words alone, which have many futures.
    pub flow_share_words: f32,
    /// Share of clips with a known task that are driven by the words alone.
    pub words_only: f32,
    /// Share of those in which the actions of about half the steps are told all the same: a future that is asked for in
    /// words knows what it did so far and has to find the next action.
    pub words_between: f32,
    /// Weight of the pictures' loss in steps whose action is hidden, against 1 elsewhere: they have many futures, and
    /// imagining looks at their read-outs only.
    pub hidden_weight: f32,
    /// Share of clips without any drive.
    pub free: f32,
    /// Share of action-driven clips that hear no words.
    pub mute: f32,
    /// Share of clips that start from nothing.
    pub from_nothing: f32,
    /// Share of clips with noise mixed into their context.
    pub context_noise_share: f32,
    /// Most of that noise.
    pub context_noise: f32,
    /// Share of clips whose past has lost its edges, as hundreds of imagined frames lose them; in a past that is the network's
    /// own it is the frame it starts from.
    pub context_blur_share: f32,
    /// Most of that, as the standard deviation of a Gaussian in pixels.
    pub context_blur: f32,
    /// Share of clips of which no state is known.
    pub state_none: f32,
    /// Share of clips of which the states of some first frames are known. It is known throughout in the others, as for a
    /// future, which goes on from its own read-out of the joints.
    pub state_part: f32,
    /// Share of the clips driven by actions or words, from pure noise, whose past is the network's own rollout.
    pub own_past: f32,
    /// Weight of pixels that change, on top of 1.
    pub change_weight: f32,
    /// Change of a colour, on the -1..=1 scale, from which a pixel counts as changing.
    pub change_threshold: f32,
    /// Weight of the loss of the moved context against the target: it teaches the displacements wherever the frame
    /// is drawn anew at present.
    pub motion_weight: f32,
    /// Weight of the loss of what is drawn anew against the target: it teaches drawing wherever the frame is fetched at
    /// present, without which the gate would never find it worth while.
    pub drawn_weight: f32,
    /// Weight of the read-outs' loss.
    pub readings_weight: f32,
    /// Weight of the loss of next state and inverse dynamics.
    pub channels_weight: f32,
    /// Weight of the loss of the next state relative to the known state, times the network's `relative_scale`: errors where
    /// the state is known, as a mean over all steps.
    pub relative_weight: f32,
    /// Weight of the same for the action: errors where it is hidden and the state known.
    pub meant_weight: f32,
    /// Share of clips whose known state is told with an error, as it comes from the network's own reading later.
    pub state_noise_share: f32,
    /// Standard deviation of that error, on the -1..=1 scale.
    pub state_noise: f32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            flow_share: 0.25,
            flow_share_words: 0.7,
            words_only: 0.3,
            words_between: 0.5,
            hidden_weight: 0.3,
            free: 0.03,
            mute: 0.5,
            from_nothing: 0.03,
            context_noise_share: 0.2,
            context_noise: 0.15,
            context_blur_share: 0.0,
            context_blur: 2.0,
            state_none: 0.2,
            state_part: 0.4,
            own_past: 0.0,
            change_weight: 6.0,
            change_threshold: 0.06,
            motion_weight: 0.2,
            drawn_weight: 0.0,
            readings_weight: 0.05,
            channels_weight: 0.05,
            relative_weight: 0.15,
            meant_weight: 0.4,
            state_noise_share: 0.4,
            state_noise: 0.006,
        }
    }
}

/// The loss of a micro-batch, to be differentiated, and its parts for the log.
pub struct Loss {
    /// What is minimised.
    pub total: Tensor,
    /// Weighted squared error of the frames (scale -1..=1).
    pub frames: f32,
    /// Plain mean squared error of the steps that start from pure noise with known actions, on the 0..=1 scale,
    /// and the number of such steps: the log's PSNR comes from it.
    pub sharp: (f64, usize),
    /// Loss of the read-outs.
    pub readings: f32,
}

/// What was drawn for one clip.
#[derive(Clone)]
struct Draw {
    flow: bool,
    /// Whether the action of each step is hidden.
    hidden: Vec<bool>,
    /// Whether the clip is driven by all its actions.
    action: bool,
    text: bool,
    nothing: bool,
    known_states: usize,
    own_past: bool,
    context_noise: f32,
    blurred: bool,
    state_noise: f32,
}

fn draw(clip: &Clip, recipe: &Recipe, random: &Random, steps: usize) -> Draw {
    let u = |place: u64| random.uniform(place);
    let has_text = clip.prompt.is_some();
    let kind = u(0);
    let words_only = if clip.told && has_text { recipe.words_only } else { 0.0 };
    let (action, text) = if kind < recipe.free {
        (false, false)
    } else if kind < recipe.free + words_only {
        (false, true)
    } else {
        (true, has_text && u(1) >= recipe.mute)
    };
    let between = text && !action && u(10) < recipe.words_between;
    let hidden = (0..steps as u64).map(|t| !(action || between && u(16 + t) < 0.5)).collect();
    let mut flow = u(2) < if action { recipe.flow_share } else { recipe.flow_share_words };
    // Words have to be followed on pictures that the network made itself: there the past counts more than the noise.
    let own_past = (action && !flow || text && !action) && u(3) < recipe.own_past;
    flow &= !own_past;
    let nothing = !own_past && u(4) < recipe.from_nothing;
    let known_states = match u(5) {
        u if u < recipe.state_none => 0,
        u if u < recipe.state_none + recipe.state_part => 1 + random.below(6, steps as u32) as usize,
        _ => steps,
    };
    let noisy = !own_past && u(7) < recipe.context_noise_share;
    let context_noise = if noisy { u(8) * recipe.context_noise } else { 0.0 };
    let blurred = !noisy && u(11) < recipe.context_blur_share;
    let state_noise = if u(9) < recipe.state_noise_share { recipe.state_noise } else { 0.0 };
    Draw { flow, hidden, action, text, nothing, known_states, own_past, context_noise, blurred, state_noise }
}

/// The loss of the network on some clips of equal length.
///
/// All randomness is a function of `seed`, `iteration` and `first_clip + i`.
///
/// # Errors
/// Clips of different or wrong lengths, device errors.
pub fn loss(
    network: &Network,
    clips: &[Clip],
    recipe: &Recipe,
    seed: u64,
    iteration: u64,
    first_clip: u64,
) -> Result<Loss> {
    let config = network.config();
    let (p, v) = (config.patches(), config.patch_values());
    let frame = p * v;
    let steps = clips.first().map_or(0, |clip| clip.frames.len() / frame).saturating_sub(1);
    if steps == 0 || clips.iter().any(|clip| clip.frames.len() != (steps + 1) * frame) {
        candle_core::bail!("clips need the same number of frames, two or more");
    }
    let device = network.device();
    let groups = clips.len() * steps;
    let draws: Vec<Draw> = (0..clips.len())
        .map(|i| {
            let random = Random::new(seed, stream_of("clip"), iteration * 65_536 + first_clip + i as u64);
            clips.get(i).map_or_else(
                || draw(&Clip::default(), recipe, &random, steps),
                |clip| draw(clip, recipe, &random, steps),
            )
        })
        .collect();

    let prompts: Vec<Option<&str>> = clips
        .iter()
        .zip(&draws)
        .map(|(clip, d)| if d.text { clip.prompt.as_deref() } else { None })
        .collect();
    let text = network.encode_prompts(&prompts)?;

    let mut condition = conditions(clips, &draws, steps, config);
    for (i, (d, state)) in draws.iter().zip(condition.state.chunks_mut(steps * CHANNEL_SLOTS)).enumerate() {
        if d.state_noise > 0.0 {
            let place = iteration * 65_536 + first_clip + i as u64;
            let mut error = vec![0.0_f32; state.len()];
            Random::new(seed, stream_of("state error"), place).fill_normal(0, &mut error);
            state.iter_mut().zip(error).for_each(|(s, e)| *s += e * d.state_noise);
        }
    }
    let mut context = Vec::with_capacity(groups * frame);
    let mut noisy = vec![0.0_f32; groups * frame];
    let mut target = Vec::with_capacity(groups * frame);
    for (i, (clip, d)) in clips.iter().zip(&draws).enumerate() {
        let place = iteration * 65_536 + first_clip + i as u64;
        let noise = Random::new(seed, stream_of("noise"), place);
        let blur = d.blurred.then(|| Blur::draw(recipe.context_blur, steps, seed, place));
        for t in 0..steps {
            let at = (i * steps + t) * frame;
            let from = clip.frames.get(t * frame..(t + 1) * frame).unwrap_or(&[]);
            let to = clip.frames.get((t + 1) * frame..(t + 2) * frame).unwrap_or(&[]);
            target.extend_from_slice(to);
            let z = noisy.get_mut(at..at + frame).unwrap_or(&mut []);
            noise.fill_normal((2 * t * frame) as u64, z);
            if d.flow {
                let u = noise.uniform(u64::MAX - 8 - t as u64);
                let level = u * 0.98;
                let index = i * steps + t;
                if let Some(slot) = condition.target_level.get_mut(index) {
                    *slot = level;
                }
                if let Some(slot) = condition.step_size.get_mut(index) {
                    *slot = 1 + noise.below(u64::MAX - 512 - t as u64, 3);
                }
                for (z, x) in z.iter_mut().zip(to) {
                    *z = *z * (1.0 - level) + x * level;
                }
            }
            if d.context_noise > 0.0 {
                let mut extra = vec![0.0_f32; frame];
                noise.fill_normal(((2 * t + 1) * frame) as u64, &mut extra);
                context.extend(
                    from.iter().zip(extra).map(|(x, e)| x * (1.0 - d.context_noise) + e * d.context_noise),
                );
            } else {
                context.extend_from_slice(from);
                if let Some(blur) = blur.filter(|blur| blur.covers(t)) {
                    blur.apply(context.get_mut(at..at + frame).unwrap_or(&mut []), config);
                }
            }
        }
    }
    if draws.iter().any(|d| d.own_past) {
        own_past(network, clips, &draws, &condition, &noisy, &text, steps, &mut context)?;
    }

    let shape = (groups, p, v);
    let weights = pixel_weights(clips, &draws, &context, recipe, steps, frame);
    let context = Tensor::from_vec(context, shape, device)?;
    let noisy = Tensor::from_vec(noisy, shape, device)?;
    let target = Tensor::from_vec(target, shape, device)?;
    let output = network.forward(clips.len(), &context, &noisy, &condition, &text, Time::Sequence)?;

    let weights = Tensor::from_vec(weights, shape, device)?;
    let frames = weighted_squares(&output.frames, &target, &weights)?;
    let motion = match &output.moved {
        Some(moved) => Some(weighted_squares(moved, &target, &weights)?),
        None => None,
    };
    let drawn = match &output.drawn {
        Some(drawn) if recipe.drawn_weight > 0.0 => {
            Some(weighted_squares(&drawn.narrow(D::Minus1, 0, v)?.contiguous()?, &target, &weights)?)
        }
        _ => None,
    };
    let sharp = sharp_error(&output.frames, &target, &draws, steps)?;
    let (readings, channels) = head_losses(&output, clips, &draws, config, steps, device)?;
    let relative = relative_loss(&output, clips, &draws, &condition, recipe, config, steps, device)?;
    let mut total = (&frames
        + (readings.affine(f64::from(recipe.readings_weight), 0.0)?
            + channels.affine(f64::from(recipe.channels_weight), 0.0)?)?)?;
    let more = [(motion, recipe.motion_weight), (drawn, recipe.drawn_weight), (relative, 1.0)];
    for (part, weight) in more {
        if let Some(part) = part {
            total = (total + part.affine(f64::from(weight), 0.0)?)?;
        }
    }
    Ok(Loss { frames: frames.to_scalar()?, readings: readings.to_scalar()?, sharp, total })
}

/// Plain squared error of the action-driven steps from pure noise, 0..=1 scale.
fn sharp_error(frames: &Tensor, target: &Tensor, draws: &[Draw], steps: usize) -> Result<(f64, usize)> {
    let squared = (frames.detach() - target)?.sqr()?;
    let each: Vec<f32> = squared.flatten_from(1)?.mean(D::Minus1)?.to_vec1()?;
    let mut sum = (0.0, 0);
    for (draw, errors) in draws.iter().zip(each.chunks(steps)) {
        if draw.action && !draw.flow && !draw.nothing {
            sum.0 += errors.iter().map(|e| f64::from(*e) / 4.0).sum::<f64>();
            sum.1 += errors.len();
        }
    }
    Ok(sum)
}

/// Whether the network has to do without the action of step `t`.
fn is_hidden(draw: &Draw, t: usize) -> bool {
    draw.hidden.get(t).copied().unwrap_or(true)
}

fn conditions(clips: &[Clip], draws: &[Draw], steps: usize, config: &Config) -> Condition {
    let groups = clips.len() * steps;
    let mut condition = Condition {
        target_level: vec![0.0; groups],
        context_noise: Vec::with_capacity(groups),
        step_size: vec![0; groups],
        action: Vec::with_capacity(groups * CHANNEL_SLOTS),
        action_mask: Vec::with_capacity(groups * CHANNEL_SLOTS),
        state: Vec::with_capacity(groups * CHANNEL_SLOTS),
        state_mask: Vec::with_capacity(groups * CHANNEL_SLOTS),
        has_context: Vec::with_capacity(groups),
        embodiment: Vec::with_capacity(clips.len()),
    };
    for (clip, d) in clips.iter().zip(draws) {
        condition.embodiment.push(clip.embodiment.min(config.embodiments.saturating_sub(1) as u32));
        condition.action.extend(clip.action.iter().take(steps * CHANNEL_SLOTS));
        condition.state.extend(clip.state.iter().take(steps * CHANNEL_SLOTS));
        for t in 0..steps {
            condition.context_noise.push(d.context_noise);
            condition.has_context.push(if d.nothing && t == 0 { 0.0 } else { 1.0 });
            let known = if is_hidden(d, t) { 0.0 } else { 1.0 };
            condition.action_mask.extend(clip.action_mask.iter().map(|m| m * known));
            let known = if t < d.known_states && !(d.nothing && t == 0) { 1.0 } else { 0.0 };
            condition.state_mask.extend(clip.state_mask.iter().map(|m| m * known));
        }
    }
    condition
}

/// Replaces the context of `own_past` clips by the network's own rollout from the clip's first frame. It is told the
/// recorded actions, hidden ones too, so that it stays beside what was recorded.
fn own_past(
    network: &Network,
    clips: &[Clip],
    draws: &[Draw],
    condition: &Condition,
    noisy: &[f32],
    text: &Tensor,
    steps: usize,
    context: &mut [f32],
) -> Result<()> {
    let config = network.config();
    let (p, v) = (config.patches(), config.patch_values());
    let frame = p * v;
    let rows: Vec<usize> = draws.iter().enumerate().filter(|(_, d)| d.own_past).map(|(i, _)| i).collect();
    let device = network.device();
    let ids = Tensor::from_vec(rows.iter().map(|i| *i as u32).collect(), rows.len(), device)?;
    let text = text.detach().index_select(&ids, 0)?;
    let mut caches = network.caches();
    let mut present: Vec<f32> = Vec::with_capacity(rows.len() * frame);
    for i in &rows {
        present.extend(context.get(i * steps * frame..(i * steps + 1) * frame).unwrap_or(&[]));
    }
    let pick = |values: &[f32], t: usize, each: usize| -> Vec<f32> {
        rows.iter()
            .flat_map(|i| {
                values.get((i * steps + t) * each..(i * steps + t + 1) * each).unwrap_or(&[]).to_vec()
            })
            .collect()
    };
    for t in 0..steps - 1 {
        let shape = (rows.len(), p, v);
        let now = Tensor::from_slice(&present, shape, device)?;
        let z = Tensor::from_vec(pick(noisy, t, frame), shape, device)?;
        let at = Condition {
            target_level: vec![0.0; rows.len()],
            context_noise: vec![0.0; rows.len()],
            step_size: vec![0; rows.len()],
            action: pick(&condition.action, t, CHANNEL_SLOTS),
            action_mask: rows
                .iter()
                .flat_map(|i| clips.get(*i).map_or(&[][..], |clip| &clip.action_mask).iter().copied())
                .collect(),
            state: pick(&condition.state, t, CHANNEL_SLOTS),
            state_mask: pick(&condition.state_mask, t, CHANNEL_SLOTS),
            has_context: vec![1.0; rows.len()],
            embodiment: rows.iter().map(|i| condition.embodiment.get(*i).copied().unwrap_or(0)).collect(),
        };
        let time = Time::Step { caches: &mut caches, t, commit: true };
        let next = network.forward(rows.len(), &now, &z, &at, &text, time)?.frames.detach();
        present = next.clamp(-1.0_f32, 1.0_f32)?.flatten_all()?.to_vec1()?;
        for (row, i) in rows.iter().enumerate() {
            let to = (i * steps + t + 1) * frame;
            if let (Some(slot), Some(made)) =
                (context.get_mut(to..to + frame), present.get(row * frame..(row + 1) * frame))
            {
                slot.copy_from_slice(made);
            }
        }
    }
    Ok(())
}

/// 1 for resting pixels, `1 + change_weight` for those that change from the context that the network sees (without noise mixed in
/// on purpose) into the target; less where the action is hidden in a clip that has a past.
fn pixel_weights(
    clips: &[Clip],
    draws: &[Draw],
    context: &[f32],
    recipe: &Recipe,
    steps: usize,
    frame: usize,
) -> Vec<f32> {
    let mut weights = Vec::with_capacity(clips.len() * steps * frame);
    let seen = context.chunks(steps * frame);
    for ((clip, d), seen) in clips.iter().zip(draws).zip(seen) {
        let seen = if d.context_noise > 0.0 { clip.frames.as_slice() } else { seen };
        for t in 0..steps {
            let from_nothing = d.nothing && t == 0;
            let whole = if is_hidden(d, t) && !from_nothing { recipe.hidden_weight } else { 1.0 };
            let from = seen.get(t * frame..(t + 1) * frame).unwrap_or(&[]);
            let to = clip.frames.get((t + 1) * frame..(t + 2) * frame).unwrap_or(&[]);
            for (a, b) in from.chunks_exact(3).zip(to.chunks_exact(3)) {
                let change = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
                let weight = if change > recipe.change_threshold { 1.0 + recipe.change_weight } else { 1.0 };
                weights.extend([weight * whole; 3]);
            }
        }
    }
    weights
}

/// Losses of the read-outs (cross entropy for yes-or-no ones, squared error for the rest) and of the channels
/// (next state always where known; the action where the network was not told it).
fn head_losses(
    output: &Output,
    clips: &[Clip],
    draws: &[Draw],
    config: &Config,
    steps: usize,
    device: &candle_core::Device,
) -> Result<(Tensor, Tensor)> {
    let r = config.readings.len();
    let groups = clips.len() * steps;
    let collect = |values: fn(&Clip) -> &Vec<f32>, each: usize, skip: usize| -> Vec<f32> {
        clips
            .iter()
            .flat_map(|clip| {
                let mut row: Vec<f32> = values(clip).iter().skip(skip).take(steps * each).copied().collect();
                row.resize(steps * each, 0.0);
                row
            })
            .collect()
    };
    let target = Tensor::from_vec(collect(|c| &c.readings, r, 0), (groups, r), device)?;
    let mask = collect(|c| &c.readings_mask, r, 0);
    let logit: Vec<f32> = config.readings.iter().map(|n| if is_logit(n) { 1.0 } else { 0.0 }).collect();
    let logit_mask: Vec<f32> = mask.iter().zip(logit.iter().cycle()).map(|(m, l)| m * l).collect();
    let value_mask: Vec<f32> = mask.iter().zip(logit.iter().cycle()).map(|(m, l)| m * (1.0 - l)).collect();
    let known = mask.iter().sum::<f32>().max(1.0);
    let raw = output.heads.narrow(1, 0, r)?;
    // Cross entropy of a logit x with target y: max(x, 0) - x y + ln(1 + exp(-|x|)).
    let cross = ((raw.relu()? - (&raw * &target)?)? + (raw.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let squared = (&raw - &target)?.sqr()?;
    let cross = (cross * Tensor::from_vec(logit_mask, (groups, r), device)?)?.sum_all()?;
    let squared = (squared * Tensor::from_vec(value_mask, (groups, r), device)?)?.sum_all()?;
    let readings = (cross + squared)?.affine(1.0 / f64::from(known), 0.0)?;

    let next_state = collect(|c| &c.state, CHANNEL_SLOTS, CHANNEL_SLOTS);
    let action = collect(|c| &c.action, CHANNEL_SLOTS, 0);
    let mut wanted: Vec<f32> = Vec::with_capacity(groups * 2 * CHANNEL_SLOTS);
    let mut masks: Vec<f32> = Vec::with_capacity(groups * 2 * CHANNEL_SLOTS);
    for (i, (clip, d)) in clips.iter().zip(draws).enumerate() {
        for t in 0..steps {
            let at = (i * steps + t) * CHANNEL_SLOTS;
            wanted.extend(next_state.get(at..at + CHANNEL_SLOTS).unwrap_or(&[]));
            wanted.extend(action.get(at..at + CHANNEL_SLOTS).unwrap_or(&[]));
            masks.extend(clip.state_mask.iter());
            let untold = if is_hidden(d, t) { 1.0 } else { 0.0 };
            masks.extend(clip.action_mask.iter().map(|m| m * untold));
        }
    }
    let known = masks.iter().sum::<f32>().max(1.0);
    let shape = (groups, 2 * CHANNEL_SLOTS);
    let error =
        (output.heads.narrow(1, r, 2 * CHANNEL_SLOTS)? - Tensor::from_vec(wanted, shape, device)?)?.sqr()?;
    let channels =
        (error * Tensor::from_vec(masks, shape, device)?)?.sum_all()?.affine(1.0 / f64::from(known), 0.0)?;
    Ok((readings, channels))
}

/// Most that a channel moves in a step relative to its state, times the network's `relative_scale`: an eighth of its
/// range at a scale of 16. Farther goals are reached in several steps.
const FARTHEST: f32 = 4.0;

/// Loss of next state (where known) and action (where the network was not told it) relative to the state that the
/// network was told, each with its weight; `None` for a network that has no such outputs.
fn relative_loss(
    output: &Output,
    clips: &[Clip],
    draws: &[Draw],
    condition: &Condition,
    recipe: &Recipe,
    config: &Config,
    steps: usize,
    device: &candle_core::Device,
) -> Result<Option<Tensor>> {
    let Some(relative) = &output.relative else { return Ok(None) };
    let scale = config.relative_scale;
    let groups = clips.len() * steps;
    let mut wanted: Vec<f32> = Vec::with_capacity(groups * 2 * CHANNEL_SLOTS);
    let mut masks: Vec<f32> = Vec::with_capacity(groups * 2 * CHANNEL_SLOTS);
    let mut counts = [0.0_f32; 2];
    let told =
        condition.state.chunks_exact(CHANNEL_SLOTS).zip(condition.state_mask.chunks_exact(CHANNEL_SLOTS));
    let mut told = told.into_iter();
    for (clip, d) in clips.iter().zip(draws) {
        for t in 0..steps {
            let Some((state, known)) = told.next() else { candle_core::bail!("states do not fit the clips") };
            let untold = if is_hidden(d, t) { 1.0 } else { 0.0 };
            let next = clip.state.iter().skip((t + 1) * CHANNEL_SLOTS).zip(&clip.state_mask);
            let action = clip.action.iter().skip(t * CHANNEL_SLOTS).zip(&clip.action_mask);
            let both = [(1.0, next.collect::<Vec<_>>()), (untold, action.collect())];
            for ((counted, values), count) in both.into_iter().zip(&mut counts) {
                for (((to, mask), from), known) in values.into_iter().zip(state).zip(known) {
                    wanted.push(((to - from) * scale).clamp(-FARTHEST, FARTHEST));
                    masks.push(mask * known * counted);
                    *count += mask;
                }
            }
        }
    }
    // Each kind is a mean of its own over all steps, known and told or not: hidden actions are few, and how a batch is cut
    // into pieces must not change what it teaches.
    let parts = [recipe.relative_weight, recipe.meant_weight];
    for row in masks.chunks_mut(2 * CHANNEL_SLOTS) {
        for ((half, weight), count) in row.chunks_mut(CHANNEL_SLOTS).zip(parts).zip(counts) {
            half.iter_mut().for_each(|mask| *mask *= weight / count.max(1.0));
        }
    }
    let shape = (groups, 2 * CHANNEL_SLOTS);
    // Squared for small errors, straight for large ones (Huber 1964): a leap far away must not drown the pictures.
    let size = (relative - Tensor::from_vec(wanted, shape, device)?)?.abs()?;
    let small = size.clamp(0.0_f32, 1.0_f32)?;
    let error = (small.sqr()? + (size - small)?.affine(2.0, 0.0)?)?;
    Ok(Some((error * Tensor::from_vec(masks, shape, device)?)?.sum_all()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 12;

    fn draws(recipe: &Recipe, told: bool) -> Vec<Draw> {
        let clip = Clip { prompt: Some("push".into()), told, ..Clip::default() };
        (0..400).map(|i| draw(&clip, recipe, &Random::new(1, stream_of("clip"), i), STEPS)).collect()
    }

    #[test]
    fn words_are_followed_through_a_past_of_their_own_with_some_actions_told() {
        let recipe = Recipe { words_only: 0.9, own_past: 0.6, from_nothing: 0.0, ..Recipe::default() };
        let all = draws(&recipe, true);
        let words: Vec<&Draw> = all.iter().filter(|d| d.text && !d.action).collect();
        assert!(words.len() > 300, "{}", words.len());
        let hidden = |d: &Draw| d.hidden.iter().filter(|h| **h).count();
        let (whole, part): (Vec<&Draw>, Vec<&Draw>) = words.iter().partition(|d| hidden(d) == STEPS);
        assert!(whole.len() > 100 && part.len() > 100, "{} {}", whole.len(), part.len());
        let own = words.iter().filter(|d| d.own_past).count();
        assert!((0.5..0.7).contains(&(own as f32 / words.len() as f32)), "{own} of {}", words.len());
        // A past of its own is followed by a frame from pure noise, as in imagining.
        assert!(all.iter().all(|d| !(d.own_past && d.flow)));
    }

    #[test]
    fn what_is_not_told_in_words_is_never_driven_by_them() {
        let recipe = Recipe { words_only: 0.9, ..Recipe::default() };
        for d in draws(&recipe, false) {
            assert_eq!(d.hidden, vec![!d.action; STEPS]);
            assert!(d.action || !d.text);
        }
    }

    #[test]
    fn states_are_known_throughout_in_part_or_not_at_all() {
        let recipe =
            Recipe { state_none: 0.1, state_part: 0.3, context_blur_share: 0.5, ..Recipe::default() };
        let all = draws(&recipe, true);
        let share = |n: usize| n as f32 / all.len() as f32;
        let none = share(all.iter().filter(|d| d.known_states == 0).count());
        let whole = share(all.iter().filter(|d| d.known_states == STEPS).count());
        assert!((0.05..0.16).contains(&none), "{none}");
        assert!((0.53..0.72).contains(&whole), "{whole}");
        assert!(all.iter().any(|d| d.blurred) && all.iter().all(|d| !d.blurred || d.context_noise == 0.0));
    }

    #[test]
    fn pictures_under_hidden_actions_weigh_less() {
        let recipe = Recipe::default();
        let clip = Clip { frames: vec![0.0; 2 * 3 + 3], ..Clip::default() };
        let mut d = draw(&clip, &recipe, &Random::new(1, 2, 3), 2);
        (d.hidden, d.nothing) = (vec![false, true], false);
        (d.own_past, d.context_noise) = (true, 0.0);
        let weights = pixel_weights(std::slice::from_ref(&clip), &[d.clone()], &[0.0; 6], &recipe, 2, 3);
        assert_eq!(weights, [1.0, 1.0, 1.0, 0.3, 0.3, 0.3]);
        // A mistake in its own past has to be mended, though nothing moved.
        let weights = pixel_weights(&[clip], &[d], &[0.0, 0.0, 0.0, 0.5, 0.0, 0.0], &recipe, 2, 3);
        assert_eq!(weights[..3], [1.0; 3]);
        assert!(weights[3..].iter().all(|w| (w - 0.3 * (1.0 + recipe.change_weight)).abs() < 1e-6));
    }
}
