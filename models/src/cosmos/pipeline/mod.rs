//! The published pipelines: prompt and frames in, frames out, step by step as the reference libraries run them.
//!
//! A pipeline draws no noise and shows nothing itself: it asks its [`Hooks`], which also see every step and can
//! stop the run between two network calls.

pub mod cosmos3;
pub mod policy;
pub mod predict1;
pub mod predict2;
pub mod predict25;
pub mod prompt;
pub mod transfer1;
pub mod transfer25;

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};

use crate::cosmos::Reference;
use crate::cosmos::kl::KlPlace;
use crate::sampler::{SamplerError, UniPc};
use crate::wan::{Decoded, Posterior, WanPlace};

/// Why a run ended without frames.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A network or tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The noise schedule was refused.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// The hooks asked for it.
    #[error("stopped on request")]
    Stopped,
    /// What was asked for does not fit the model.
    #[error("{0}")]
    Input(String),
}

/// Something that just happened in a run.
pub enum Moment<'a> {
    /// The noise schedule of the run (or chunk) that begins.
    Schedule {
        /// Noise levels, one per step and the one behind the last.
        sigmas: &'a [f32],
        /// What the network is told by the reference library, one per step.
        timesteps: &'a [f64],
    },
    /// A clip goes into the autoencoder, [1, 3, T, H, W].
    EncoderInput(&'a Tensor),
    /// Mean of the latents that came out, before scaling.
    Encoded(&'a Tensor),
    /// A network call gave this prediction.
    Network(&'a Tensor),
    /// A network call gave predictions for several kinds of latents (Cosmos 3).
    Networks {
        /// Pictures.
        vision: &'a Tensor,
        /// Sound.
        sound: Option<&'a Tensor>,
        /// Actions.
        actions: Option<&'a Tensor>,
    },
    /// Latents of another kind after a step (Cosmos 3).
    Beside {
        /// `sound_latents` or `action_latents`.
        name: &'a str,
        /// Step, from 0.
        step: usize,
        /// The latents.
        value: &'a Tensor,
    },
    /// A step is done.
    Step {
        /// Chunk of a long clip, from 0.
        chunk: usize,
        /// Step within the chunk, from 0.
        step: usize,
        /// Steps per chunk.
        steps: usize,
        /// Latents after it.
        latents: &'a Tensor,
    },
    /// Latents go into the decoder.
    DecoderInput(&'a Tensor),
    /// So much of the decoder's work is done, of so much.
    Decoding(usize, usize),
    /// Frames came out of it, [1, 3, T, H, W] in -1..1.
    Decoded(&'a Tensor),
}

/// What a run asks of its caller.
pub struct Hooks<'a> {
    /// Standard normal noise of a shape. Runs draw in a fixed order.
    pub noise: &'a mut dyn FnMut(&[usize]) -> candle_core::Result<Tensor>,
    /// Sees every moment; `Break` stops the run.
    pub watch: &'a mut dyn FnMut(Moment<'_>) -> ControlFlow<()>,
}

impl Hooks<'_> {
    fn show(&mut self, moment: Moment<'_>) -> Result<(), PipelineError> {
        match (self.watch)(moment) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(PipelineError::Stopped),
        }
    }

    /// The noise that a run starts from: what is given, where its shape is right, else drawn.
    fn start(&mut self, given: Option<&Tensor>, shape: &[usize]) -> Result<Tensor, PipelineError> {
        match given {
            Some(noise) if noise.dims() == shape => Ok(noise.clone()),
            Some(noise) => Err(PipelineError::Input(format!(
                "start noise of shape {:?}, this run needs {shape:?}",
                noise.dims()
            ))),
            None => Ok((self.noise)(shape)?),
        }
    }

    /// Encodes a clip to scaled latents, showing what goes in and comes out.
    fn encode_kl(&mut self, vae: &KlPlace, video: &Tensor) -> Result<Tensor, PipelineError> {
        self.show(Moment::EncoderInput(video))?;
        let latents = vae.encode(video)?;
        self.show(Moment::Encoded(&latents))?;
        Ok(match vae.latent_statistics(&latents)? {
            Some((mean, std)) => latents.broadcast_sub(&mean)?.broadcast_div(&std)?,
            None => latents,
        })
    }

    /// Decodes scaled latents, showing what goes in and comes out.
    fn decode_kl(&mut self, vae: &KlPlace, latents: &Tensor) -> Result<Tensor, PipelineError> {
        let latents = match vae.latent_statistics(latents)? {
            Some((mean, std)) => latents.broadcast_mul(&std)?.broadcast_add(&mean)?,
            None => latents.clone(),
        };
        self.show(Moment::DecoderInput(&latents))?;
        let video = vae.decode(&latents)?;
        self.show(Moment::Decoded(&video))?;
        Ok(video)
    }

    /// Encodes a clip, showing what goes in and comes out.
    fn encode(&mut self, vae: &WanPlace, video: &Tensor) -> Result<Posterior, PipelineError> {
        self.show(Moment::EncoderInput(video))?;
        let posterior = vae.encode(video)?;
        self.show(Moment::Encoded(&posterior.mean))?;
        Ok(posterior)
    }

    /// Decodes latents, showing what goes in and comes out.
    fn decode(&mut self, vae: &WanPlace, latents: &Tensor) -> Result<Tensor, PipelineError> {
        self.show(Moment::DecoderInput(latents))?;
        let (mut parts, mut stopped) = (Vec::with_capacity(latents.dim(2)?), false);
        let result = vae.decode_pieces(latents, |decoded| {
            match decoded {
                Decoded::Frames(piece) => parts.push(piece),
                Decoded::Part(done, total) => {
                    stopped = (self.watch)(Moment::Decoding(done, total)).is_break();
                }
            }
            if stopped { Err(candle_core::Error::Msg("stopped".to_owned())) } else { Ok(()) }
        });
        if stopped {
            return Err(PipelineError::Stopped);
        }
        result?;
        let video = Tensor::cat(&parts, 2)?;
        self.show(Moment::Decoded(&video))?;
        Ok(video)
    }
}

/// A prompt as the transformer takes it, and what to steer away from.
#[derive(Clone)]
pub struct Prompts {
    /// Embeddings of the prompt, [1, N, width].
    pub positive: Tensor,
    /// Embeddings of the negative prompt; without them there is no guidance.
    pub negative: Option<Tensor>,
    /// Whether they have passed the projection of the network that reads them.
    pub projected: bool,
}

impl Prompts {
    /// The prompts to run in each step: the negative one only if guidance needs it.
    fn with_guidance(&self, guidance: f64) -> (&Tensor, Option<&Tensor>) {
        (&self.positive, self.negative.as_ref().filter(|_| guidance > 1.0))
    }

    /// The same as a network reads them, whose projection is `project`.
    fn read_by(
        &self,
        guidance: f64,
        project: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<(Tensor, Option<Tensor>)> {
        let (positive, negative) = self.with_guidance(guidance);
        match self.projected {
            true => Ok((positive.clone(), negative.cloned())),
            false => Ok((project(positive)?, negative.map(project).transpose()?)),
        }
    }
}

/// Guidance of Predict and Transfer: `c + g (c - u)`. (Cosmos 3 writes `u + g (c - u)`.)
fn guide(positive: &Tensor, negative: &Tensor, guidance: f64) -> candle_core::Result<Tensor> {
    positive + ((positive - negative)? * guidance)?
}

/// 1 for the first `given` of `frames` latent frames, [1, 1, T, 1, 1].
fn indicator(given: usize, frames: usize, device: &Device) -> candle_core::Result<Tensor> {
    let values: Vec<f32> = (0..frames).map(|frame| if frame < given { 1.0 } else { 0.0 }).collect();
    Tensor::from_vec(values, (1, 1, frames, 1, 1), device)
}

/// `mask · a + (1 - mask) · b`, with a mask that broadcasts.
fn choose(mask: &Tensor, a: &Tensor, b: &Tensor) -> candle_core::Result<Tensor> {
    mask.broadcast_mul(a)? + mask.affine(-1.0, 1.0)?.broadcast_mul(b)?
}

/// A clip [1, 3, T, H, W] brought to `frames` frames: cut, or its last frame repeated.
fn fit_frames(video: &Tensor, frames: usize) -> candle_core::Result<Tensor> {
    let have = video.dim(2)?;
    if have == 0 {
        candle_core::bail!("a clip without frames cannot be made longer");
    }
    if have >= frames {
        return video.narrow(2, 0, frames);
    }
    let last = video.narrow(2, have - 1, 1)?;
    Tensor::cat(&[video, &last.repeat((1, 1, frames - have, 1, 1))?], 2)
}

/// A clip as long as `control` [1, 3, T, H, W], made in chunks of `(frames, overlap)` frames: `make` gets the number of a
/// chunk, its part of the control and the chunk before, whose last `overlap` frames it takes over. The autoencoder makes one
/// latent frame of `time` frames.
fn in_chunks(
    control: &Tensor,
    (frames, overlap): (usize, usize),
    time: usize,
    mut make: impl FnMut(usize, &Tensor, Option<&Tensor>) -> Result<Tensor, PipelineError>,
) -> Result<Tensor, PipelineError> {
    if frames % time != 1 || overlap == 0 || overlap >= frames {
        return Err(PipelineError::Input(format!(
            "chunks of {frames} frames with {overlap} taken over: chunks must be {time}k + 1 long and longer than what is taken over"
        )));
    }
    let total = control.dim(2)?;
    let mut chunks: Vec<Tensor> = Vec::new();
    let mut start = 0;
    while start == 0 || start + overlap < total {
        let end = (start + frames).min(total);
        let part = fit_frames(&control.narrow(2, start, end - start)?, frames)?;
        let made = make(chunks.len(), &part, chunks.last())?;
        chunks.push(made);
        start += frames - overlap;
    }
    let parts = chunks.iter().enumerate().map(|(i, chunk)| match i {
        0 => Ok(chunk.clone()),
        _ => chunk.narrow(2, overlap, frames - overlap),
    });
    let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
    Ok(fit_frames(&Tensor::cat(&parts, 2)?, total)?)
}

/// What a network is told before each step of a flow: the noise level (diffusers), or the scheduler's whole thousandth of
/// it (NVIDIA, whose network scales the integer by 0.001).
fn told(reference: Reference, solver: &UniPc, step: usize) -> f64 {
    match reference {
        Reference::Diffusers => f64::from(solver.sigmas().get(step).copied().unwrap_or(0.0)),
        Reference::Nvidia => solver.timesteps().get(step).map_or(0.0, |t| *t as f64 * 1e-3),
    }
}

/// Latent frames that `frames` frames make.
fn latent_frames(vae: &WanPlace, frames: usize) -> usize {
    frames.saturating_sub(1) / vae.config().temporal_factor() + 1
}

/// Refuses sizes that the networks cannot cut into latents and patches.
fn check_size(vae: &WanPlace, height: usize, width: usize) -> Result<(), PipelineError> {
    let side = 2 * vae.config().spatial_factor();
    if height == 0 || width == 0 || height % side != 0 || width % side != 0 {
        return Err(PipelineError::Input(format!(
            "{width}x{height} pixels cannot be made: both sides must be multiples of {side}. Choose another size."
        )));
    }
    Ok(())
}

/// How frames in -1..1 become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Cut: what the pipelines with a guardrail step do (Predict1, Predict2, Transfer2.5).
    Cut,
    /// To the nearest: Predict2.5 and Cosmos 3.
    Nearest,
}

/// Frames [1, 3, T, H, W] in -1..1 as bytes [T, H, W, 3].
pub fn to_bytes(video: &Tensor, rounding: Rounding) -> candle_core::Result<Tensor> {
    let unit = video.affine(0.5, 0.5)?.clamp(0f32, 1f32)?;
    let levels = (unit * 255.0)?;
    let levels = match rounding {
        Rounding::Cut => levels.floor()?,
        Rounding::Nearest => levels.round()?,
    };
    // [1, 3, T, H, W] -> [T, H, W, 3]
    levels.squeeze(0)?.permute((1, 2, 3, 0))?.to_dtype(candle_core::DType::U8)?.contiguous()
}

/// Bytes [T, H, W, 3] as frames [1, 3, T, H, W] in 0..1.
pub fn from_bytes(bytes: &Tensor) -> candle_core::Result<Tensor> {
    let unit = (bytes.to_dtype(candle_core::DType::F32)? / 255.0)?;
    unit.permute((3, 0, 1, 2))?.unsqueeze(0)?.contiguous()
}
