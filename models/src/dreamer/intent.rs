//! What words ask a robot to do, where a future is given no numbers: a policy that lies in the model's folder (`intent/`).
//!
//! A world model reads the action that was meant off its own pictures, too, and does so where it has no such policy. But its
//! weights are about pictures, and demonstrations are the smaller part of what it has seen: a network of its own for
//! `p(action | frame, words)` beside the one for `p(next frame | frame, action)` aims better.

use std::path::Path;

use candle_core::Device;

use super::folder::ModelError;
use super::rollout::Stream;
use crate::contract::{CONTRACT_FILE, Channel, Contract};
use crate::frame::Frame;
use crate::policy::{Draw, Kind, Overlap, Policy, Seen};

/// The folder inside a model's.
pub const FOLDER: &str = "intent";
/// How far futures of different seeds differ in what they do: 0 = all do the mean, 1 = as demonstrators differ.
pub const VARIETY: f32 = 1.0;

/// A policy that knows what is meant.
pub(super) struct Intent {
    policy: Policy,
}

/// Why a policy cannot lead a model's futures; `None` where it can. They go by the same channels in the same order, see frames
/// of one size at one rate, and the policy goes by words.
pub fn misfit(policy: &Contract, kind: Kind, model: &Contract) -> Option<String> {
    let names = |channels: &[Channel]| -> Vec<(String, String)> {
        channels.iter().map(|c| (c.name.clone(), c.unit.clone())).collect()
    };
    let size = |contract: &Contract| (contract.frame.width, contract.frame.height);
    let apart = (policy.frame.rate_hz - model.frame.rate_hz).abs() > 0.01 * model.frame.rate_hz;
    if kind != Kind::Direct || !policy.text {
        return Some("it does not go by words".into());
    }
    if size(policy) != size(model) || apart {
        return Some(format!(
            "it sees {}x{} at {} frames a second, the model {}x{} at {}",
            policy.frame.width,
            policy.frame.height,
            policy.frame.rate_hz,
            model.frame.width,
            model.frame.height,
            model.frame.rate_hz
        ));
    }
    let same = names(&policy.actions) == names(&model.actions) && names(&policy.state) == names(&model.state);
    (!same).then(|| "its actions or state have other names, units or another order than the model's".into())
}

impl Intent {
    /// The policy in a model's folder; `None` where there is none.
    ///
    /// # Errors
    /// A policy that cannot be read or is another robot's.
    pub(super) fn load(
        folder: &Path,
        contract: &Contract,
        device: &Device,
    ) -> Result<Option<Self>, ModelError> {
        let folder = folder.join(FOLDER);
        let path = folder.join(CONTRACT_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let policy = Policy::load(&folder, device)?;
        match misfit(policy.contract(), policy.network().config().kind, contract) {
            Some(reason) => Err(ModelError::Json { path, reason }),
            None => Ok(Some(Self { policy })),
        }
    }

    /// The actions of the followers that are `open`, in the contract's order and units; `None` for the others, and where nobody
    /// knows how the robot stands.
    pub(super) fn actions(
        &self,
        followers: &mut [Option<Follower>],
        open: &[bool],
        step: usize,
    ) -> Result<Vec<Option<Vec<f32>>>, ModelError> {
        let due: Vec<usize> = followers
            .iter()
            .zip(open)
            .enumerate()
            .filter_map(|(i, (follower, open))| {
                follower.as_ref().is_some_and(|f| *open && f.is_due(step)).then_some(i)
            })
            .collect();
        let shown = due.iter().filter_map(|i| {
            let follower = followers.get(*i)?.as_ref()?;
            Some((follower.seen()?, vec![follower.draw()]))
        });
        let (seen, draws): (Vec<Seen<'_>>, Vec<Vec<Draw>>) = shown.unzip();
        let plans = self.policy.plan(&seen, &draws)?;
        for (i, plan) in due.iter().zip(plans) {
            if let (Some(Some(follower)), Some(chunk)) = (followers.get_mut(*i), plan.into_iter().next()) {
                follower.plans.add(step, chunk);
            }
        }
        let channels = &self.policy.contract().actions;
        let clamped = |row: Vec<f32>| row.iter().zip(channels).map(|(v, c)| v.clamp(c.min, c.max)).collect();
        let all = followers.iter_mut().zip(open);
        Ok(all
            .map(|(follower, open)| {
                follower.as_mut().filter(|_| *open)?.plans.at(step, Overlap::KEEP, 0).map(clamped)
            })
            .collect())
    }
}

/// One future that goes by words.
pub(super) struct Follower {
    seed: u64,
    prompt: String,
    start: Frame,
    now: Frame,
    state: Option<Vec<f32>>,
    plans: Overlap,
}

impl Follower {
    /// The future of this stream; `None` where it hears no words or has no start.
    pub(super) fn new(stream: &Stream) -> Option<Self> {
        let prompt = stream.prompt.clone().filter(|words| !words.trim().is_empty())?;
        let last = stream.history.last()?;
        let (start, now) = (last.frame.clone(), last.frame.clone());
        let state = whole(last.state.as_deref());
        Some(Self { seed: stream.seed, prompt, start, now, state, plans: Overlap::default() })
    }

    /// The future has reached this frame, in which the robot stands like this.
    pub(super) fn reached(&mut self, frame: &Frame, state: &[f32]) {
        self.now = frame.clone();
        self.state = whole(Some(state)).or_else(|| self.state.take());
    }

    fn is_due(&self, step: usize) -> bool {
        self.state.is_some() && self.plans.newest().is_none_or(|born| step >= born + Overlap::EVERY)
    }

    /// One draw for all plans of a future: it stays of one mind.
    fn draw(&self) -> Draw {
        Draw { seed: self.seed, number: 0, temperature: VARIETY }
    }

    fn seen(&self) -> Option<Seen<'_>> {
        Some(Seen {
            now: &self.now,
            before: None,
            start: Some(&self.start),
            goal: None,
            state: self.state.as_deref()?,
            prompt: Some(&self.prompt),
        })
    }
}

/// A state of which all is known.
fn whole(state: Option<&[f32]>) -> Option<Vec<f32>> {
    state.filter(|state| state.iter().all(|v| v.is_finite())).map(<[f32]>::to_vec)
}
