//! What a policy is trained for: the demonstrated chunk, from the same observation; labels on the side.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::network::{Encoded, Network};
use crate::dreamer::heads::is_logit;
use crate::random::{Random, stream_of};

/// An observation and what a demonstrator did about it, in the network's numbers.
#[derive(Clone, Debug, Default)]
pub struct Example {
    /// Patches of all looks, place by place: `P * token_values`, -1 to 1.
    pub pictures: Vec<f32>,
    /// Scaled state: `S` numbers.
    pub state: Vec<f32>,
    /// Scaled chunk: `chunk * actions`.
    pub chunk: Vec<f32>,
    /// 1 for known actions, 0 for those that the data does not tell: `chunk * actions`.
    pub chunk_mask: Vec<f32>,
    /// Words.
    pub prompt: Option<String>,
    /// Read-outs of the present frame in network units, and which of them are known; empty when there are no labels.
    pub readings: Vec<f32>,
    /// 1 for known read-outs.
    pub readings_mask: Vec<f32>,
}

/// How training mixes its cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Noises drawn for each observation: the pictures are read once for all of them.
    pub draws: usize,
    /// Share of the draws that start from pure noise, where the first and most important step is learnt.
    pub pure: f32,
    /// Weight of the read-outs' loss.
    pub readings_weight: f32,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { draws: 4, pure: 0.5, readings_weight: 0.1 }
    }
}

/// The loss of a micro-batch, to be differentiated, and its parts for the log.
pub struct Loss {
    /// What is minimised.
    pub total: Tensor,
    /// Squared error of the chunks, in scaled units.
    pub chunk: f32,
    /// Loss of the read-outs.
    pub readings: f32,
}

fn gather(examples: &[Example], width: usize, of: fn(&Example) -> &Vec<f32>) -> Vec<f32> {
    let mut out = Vec::with_capacity(examples.len() * width);
    for example in examples {
        let from = out.len();
        out.extend(of(example).iter().take(width));
        out.resize(from + width, 0.0);
    }
    out
}

/// Reads the observations of some examples.
///
/// # Errors
/// Examples of another size, device errors.
pub(super) fn read(network: &Network, examples: &[Example]) -> Result<Encoded> {
    let config = network.config();
    let b = examples.len();
    let (p, v, s) = (config.patches(), config.token_values(), config.state().max(1));
    if examples.iter().any(|e| e.pictures.len() != p * v) {
        candle_core::bail!("an example's pictures have another size than the policy takes");
    }
    let device = network.device();
    let pictures = Tensor::from_vec(gather(examples, p * v, |e| &e.pictures), (b, p, v), device)?;
    let state = Tensor::from_vec(gather(examples, s, |e| &e.state), (b, s), device)?;
    let prompts: Vec<Option<&str>> = examples.iter().map(|e| e.prompt.as_deref()).collect();
    let text = network.encode_prompts(&prompts)?;
    network.encode(&pictures, &state, &text)
}

/// The loss of the network on some examples. All randomness is a function of `seed`, `iteration` and `first + i`.
///
/// # Errors
/// No examples, examples of another size, device errors.
pub fn loss(
    network: &Network,
    examples: &[Example],
    recipe: &Recipe,
    seed: u64,
    iteration: u64,
    first: u64,
) -> Result<Loss> {
    let config = network.config();
    let (c, a) = (config.chunk, config.actions());
    let (b, n, draws) = (examples.len(), c * a, recipe.draws.clamp(1, 64));
    if b == 0 {
        candle_core::bail!("there is no example to learn from");
    }
    let device = network.device();
    let encoded = read(network, examples)?;
    let mut noisy = Vec::with_capacity(b * draws * n);
    let mut target = Vec::with_capacity(b * draws * n);
    let mut mask = Vec::with_capacity(b * draws * n);
    let mut levels = Vec::with_capacity(b * draws);
    let (chunks, masks) = (gather(examples, n, |e| &e.chunk), gather(examples, n, |e| &e.chunk_mask));
    for (i, (chunk, known)) in chunks.chunks_exact(n).zip(masks.chunks_exact(n)).enumerate() {
        let random = Random::new(seed, stream_of("chunk"), iteration * 65_536 + first + i as u64);
        for draw in 0..draws {
            let place = (draw * (n + 8)) as u64;
            // The rest leans to the noisy side, where the mode of the chunk is decided.
            let u = random.uniform(place);
            let level = if random.uniform(place + 1) < recipe.pure { 0.0 } else { 0.98 * u * u.sqrt() };
            let mut z = vec![0.0; n];
            random.fill_normal(place + 8, &mut z);
            z.iter_mut().zip(chunk).for_each(|(z, x)| *z = *z * (1.0 - level) + x * level);
            noisy.extend(z);
            target.extend_from_slice(chunk);
            mask.extend_from_slice(known);
            levels.push(level);
        }
    }
    let shape = (b * draws, c, a);
    let plan = Network::repeat(&encoded.plan, draws)?;
    let guess = network.denoise(&plan, &Tensor::from_vec(noisy, shape, device)?, &levels)?;
    let known = mask.iter().sum::<f32>().max(1.0);
    let squared = (guess - Tensor::from_vec(target, shape, device)?)?.sqr()?;
    let chunk =
        (squared * Tensor::from_vec(mask, shape, device)?)?.sum_all()?.affine(1.0 / f64::from(known), 0.0)?;
    let readings = reading_loss(network, &encoded, examples)?;
    let total = (&chunk + readings.affine(f64::from(recipe.readings_weight), 0.0)?)?;
    Ok(Loss { chunk: chunk.to_scalar()?, readings: readings.to_scalar()?, total })
}

/// Cross entropy of the yes-or-no read-outs, squared error of the others, over those that are known.
fn reading_loss(network: &Network, encoded: &Encoded, examples: &[Example]) -> Result<Tensor> {
    let names = &network.config().readings;
    let r = network.reading_width()?;
    let shape = (examples.len(), r);
    let device = network.device();
    let mut mask = gather(examples, r, |e| &e.readings_mask);
    if names.is_empty() {
        mask.fill(0.0);
    }
    let known = mask.iter().sum::<f32>().max(1.0);
    let yes_no: Vec<f32> =
        (0..r).map(|i| if names.get(i).is_some_and(|n| is_logit(n)) { 1.0 } else { 0.0 }).collect();
    let pick =
        |keep: fn(f32) -> f32| mask.iter().zip(yes_no.iter().cycle()).map(|(m, l)| m * keep(*l)).collect();
    let (logits, values): (Vec<f32>, Vec<f32>) = (pick(|l| l), pick(|l| 1.0 - l));
    let target = Tensor::from_vec(gather(examples, r, |e| &e.readings), shape, device)?;
    let raw = &encoded.readings;
    // Cross entropy of a logit x with target y: max(x, 0) - x y + ln(1 + exp(-|x|)).
    let cross = ((raw.relu()? - (raw * &target)?)? + (raw.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    let squared = (raw - &target)?.sqr()?;
    let cross = (cross * Tensor::from_vec(logits, shape, device)?)?.sum_all()?;
    let squared = (squared * Tensor::from_vec(values, shape, device)?)?.sum_all()?;
    (cross + squared)?.affine(1.0 / f64::from(known), 0.0)
}
