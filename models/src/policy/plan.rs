//! From observations to chunks of actions.

use candle_core::Tensor;

use super::config::{Config, Look};
use super::folder::Policy;
use super::network::Network;
use super::objective::{Example, read};
use crate::dreamer::{ModelError, patches};
use crate::frame::Frame;
use crate::random::{Random, stream_of};

/// A chunk in the contract's order and units, one row an action; row `k` leads from `k` steps after the observation to
/// `k + 1`.
pub type Chunk = Vec<Vec<f32>>;

/// What a policy is shown at a moment. Frames have the contract's size.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The present frame.
    pub now: &'a Frame,
    /// The frame before; the present one when there is none.
    pub before: Option<&'a Frame>,
    /// The frame at which the task was given; the present one when there is none.
    pub start: Option<&'a Frame>,
    /// The frame to reach (needed by goal policies).
    pub goal: Option<&'a Frame>,
    /// The robot's state, in the contract's order and units.
    pub state: &'a [f32],
    /// Words.
    pub prompt: Option<&'a str>,
}

impl Seen<'_> {
    fn look(&self, look: Look) -> Option<&Frame> {
        match look {
            Look::Now => Some(self.now),
            Look::Before => Some(self.before.unwrap_or(self.now)),
            Look::Start => Some(self.start.unwrap_or(self.now)),
            Look::Goal => self.goal,
        }
    }
}

/// Which of the possible chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Seed of the noise.
    pub seed: u64,
    /// Number of the plan and of the candidate: the noise is a function of (seed, number) alone.
    pub number: u64,
    /// Size of the noise: 0 gives the mean chunk, 1 a chunk as demonstrators differ.
    pub temperature: f32,
}

impl Draw {
    /// The mean chunk.
    pub const MEAN: Draw = Draw { seed: 0, number: 0, temperature: 0.0 };
}

/// Steps from noise to a chunk.
const STEPS: usize = 6;

/// Patches of all looks, place by place.
pub(super) fn pictures(config: &Config, seen: &Seen<'_>) -> Result<Vec<f32>, ModelError> {
    let looks = config
        .looks
        .iter()
        .map(|look| {
            let frame = seen.look(*look).ok_or_else(|| {
                ModelError::Input("this policy goes where a picture shows: give it a goal frame".into())
            })?;
            if (frame.width, frame.height) != (config.image_width, config.image_height) {
                return Err(ModelError::Input(format!(
                    "a frame is {}x{}, the policy takes {}x{}",
                    frame.width, frame.height, config.image_width, config.image_height
                )));
            }
            Ok(patches::patchify(frame, config.patch))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let each = config.patch * config.patch * 3;
    let mut out = Vec::with_capacity(config.patches() * config.token_values());
    for place in 0..config.patches() {
        for look in &looks {
            out.extend_from_slice(look.get(place * each..(place + 1) * each).unwrap_or(&[]));
        }
    }
    Ok(out)
}

impl Example {
    /// The observation part of an example (no chunk yet) in the network's numbers.
    ///
    /// # Errors
    /// Frames of another size, a missing goal frame.
    pub fn observed(config: &Config, seen: &Seen<'_>) -> Result<Self, ModelError> {
        let prompt = seen.prompt.filter(|p| !p.trim().is_empty()).map(str::to_owned);
        Ok(Self {
            pictures: pictures(config, seen)?,
            state: config.scaling.scale_state(seen.state),
            prompt: prompt.filter(|_| config.text_width > 0),
            ..Self::default()
        })
    }
}

impl Policy {
    /// Chunks for some observations: `draws[i]` says which ones for observation `i`; all must have one length.
    ///
    /// # Errors
    /// Frames of another size, a missing goal frame, lists of different lengths, device errors.
    pub fn plan(&self, seen: &[Seen<'_>], draws: &[Vec<Draw>]) -> Result<Vec<Vec<Chunk>>, ModelError> {
        let config = self.network().config();
        let each = draws.first().map_or(0, Vec::len);
        if seen.is_empty() || each == 0 {
            return Ok(seen.iter().map(|_| Vec::new()).collect());
        }
        if draws.len() != seen.len() || draws.iter().any(|d| d.len() != each) {
            return Err(ModelError::Input("every observation needs the same number of chunks".into()));
        }
        let examples = seen.iter().map(|s| Example::observed(config, s)).collect::<Result<Vec<_>, _>>()?;
        let encoded = read(self.network(), &examples)?;
        let plan = Network::repeat(&encoded.plan, each)?;
        let all: Vec<Draw> = draws.iter().flatten().copied().collect();
        let values = self.write(&plan, &all)?;
        let n = config.chunk * config.actions();
        Ok(seen
            .iter()
            .zip(values.chunks(n * each))
            .map(|(s, values)| values.chunks(n).map(|v| config.scaling.chunk(v, s.state)).collect())
            .collect())
    }

    /// The mean chunk of each example in scaled units, `chunk * actions` numbers: what training is judged by.
    ///
    /// # Errors
    /// Examples of another size, device errors.
    pub fn mean_scaled(&self, examples: &[Example]) -> Result<Vec<Vec<f32>>, ModelError> {
        let config = self.network().config();
        let encoded = read(self.network(), examples)?;
        let values = self.write(&encoded.plan, &vec![Draw::MEAN; examples.len()])?;
        Ok(values.chunks(config.chunk * config.actions()).map(<[f32]>::to_vec).collect())
    }

    /// From noise to scaled chunks.
    fn write(&self, plan: &Tensor, draws: &[Draw]) -> Result<Vec<f32>, ModelError> {
        let network = self.network();
        let config = network.config();
        let (c, a) = (config.chunk, config.actions());
        let n = c * a;
        let mut z = vec![0.0_f32; draws.len() * n];
        for (draw, z) in draws.iter().zip(z.chunks_mut(n)) {
            if draw.temperature > 0.0 {
                Random::new(draw.seed, stream_of("plan"), draw.number).fill_normal(0, z);
                z.iter_mut().for_each(|v| *v *= draw.temperature);
            }
        }
        // Without noise the first pass is the mean already; further ones would sharpen what is no sample.
        let steps = if draws.iter().all(|d| d.temperature <= 0.0) { 1 } else { STEPS };
        for k in 0..steps {
            let level = k as f32 / steps as f32;
            let noisy = Tensor::from_slice(&z, (draws.len(), c, a), network.device())?;
            let clean: Vec<f32> =
                network.denoise(plan, &noisy, &vec![level; draws.len()])?.flatten_all()?.to_vec1()?;
            // Along the straight line from noise to the predicted chunk; all of it in the last step.
            let share = 1.0 / (steps - k) as f32;
            z.iter_mut().zip(&clean).for_each(|(z, x)| *z += (x - *z) * share);
        }
        Ok(z)
    }
}
