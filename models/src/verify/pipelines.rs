//! Whole pipelines: prompt ids, embeddings, every network call, every step, frames.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use serde::Deserialize;

use super::bars::{self, Bar};
use super::case::Case;
use super::{VerifyError, build};
use crate::cosmos::Reference;
use crate::cosmos::dit::{Control1, Control1Config, ControlConfig, ControlNet, Dit, DitConfig};
use crate::cosmos::kl::{KlConfig, KlCosmos};
use crate::cosmos::pipeline::policy::PolicyJob;
use crate::cosmos::pipeline::predict1::{Predict1, Predict1Job};
use crate::cosmos::pipeline::predict2::{Predict2, Predict2Job};
use crate::cosmos::pipeline::predict25::{Predict25, Predict25Job, Start};
use crate::cosmos::pipeline::prompt::{self, EncodedPrompt, PromptError};
use crate::cosmos::pipeline::transfer1::{Transfer1, Transfer1Job};
use crate::cosmos::pipeline::transfer25::{Transfer25, Transfer25Job};
use crate::cosmos::pipeline::{Hooks, Moment, PipelineError, Prompts, Rounding, from_bytes, to_bytes};
use crate::sampler::{EdmConfig, UniPcConfig};
use crate::text::{QwenConfig, QwenText, T5Config, T5Encoder, TextTokenizer};
use crate::wan::{Wan, WanConfig, WanPlace};

#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class: String,
}

/// A folder with `model_index.json`.
pub(super) fn run(case: &mut Case) -> Result<(), VerifyError> {
    let index: Index = case.config("", "model_index.json")?;
    match index.class.as_str() {
        "CosmosTextToWorldPipeline" | "CosmosVideoToWorldPipeline" => predict1(case),
        "Cosmos2TextToImagePipeline" | "Cosmos2VideoToWorldPipeline" => predict2(case),
        "CosmosPolicyPipeline" => policy(case),
        "Cosmos2_5_PredictBasePipeline" => predict25(case),
        "CosmosTransfer1Pipeline" => transfer1(case),
        "Cosmos2_5_TransferPipeline" => transfer25(case),
        "Cosmos3OmniPipeline" => super::cosmos3::pipeline(case),
        other => Err(case.unsupported(&format!("the pipeline `{other}`"))),
    }
}

/// Bars of the stages that differ between pipelines.
#[derive(Clone, Copy)]
pub(super) struct Bars {
    pub picture: Bar,
    pub encoded: Bar,
    pub decoded: Bar,
    /// Whether steps are stored as `latents.CHUNK.STEP`.
    pub chunked: bool,
}

pub(super) const PLAIN: Bars =
    Bars { picture: bars::PICTURE, encoded: bars::ENCODED, decoded: bars::DECODED, chunked: false };

/// Compares what the hooks see with what is stored under a prefix.
pub(super) struct Recorder<'c> {
    case: &'c mut Case,
    prefix: String,
    bars: Bars,
    counts: BTreeMap<&'static str, usize>,
    failure: Option<VerifyError>,
}

impl<'c> Recorder<'c> {
    pub fn new(case: &'c mut Case, prefix: &str, bars: Bars) -> Self {
        Self { case, prefix: prefix.to_owned(), bars, counts: BTreeMap::new(), failure: None }
    }

    /// Name of the next tensor of a kind.
    fn next(&mut self, kind: &'static str) -> String {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        format!("{}{kind}.{}", self.prefix, *count - 1)
    }

    fn check(&mut self, moment: Moment<'_>) -> Result<(), VerifyError> {
        match moment {
            Moment::Schedule { sigmas, timesteps } => {
                let sigmas: Vec<f64> = sigmas.iter().map(|s| f64::from(*s)).collect();
                let prefix = self.prefix.clone();
                self.case.compare_numbers(&format!("{prefix}sigmas"), &sigmas, bars::SIGMA)?;
                self.case.compare_numbers(&format!("{prefix}timesteps"), timesteps, bars::SIGMA)
            }
            Moment::EncoderInput(video) => {
                let name = self.next("encoder_in_first");
                if !self.case.has(&name) {
                    return Ok(());
                }
                let first = video.narrow(2, 0, 1).map_err(|e| self.case.run_error(e))?;
                // A picture that was decoded before carries the decoder's rounding.
                let bar =
                    if self.counts.contains_key("decoded") { self.bars.decoded } else { self.bars.picture };
                self.case.compare(&name, &first, bar)
            }
            Moment::Encoded(latents) => {
                let name = self.next("encoded");
                self.case.compare(&name, latents, self.bars.encoded)
            }
            Moment::Network(output) => {
                let name = self.next("dit");
                self.case.compare(&name, output, bars::STEP)
            }
            Moment::Networks { vision, sound, actions } => {
                let name = self.next("dit");
                self.case.compare(&format!("{name}.vision"), vision, bars::STEP)?;
                for (kind, output) in [("sound", sound), ("action", actions)] {
                    if let Some(output) = output {
                        self.case.compare(&format!("{name}.{kind}"), output, bars::STEP)?;
                    }
                }
                Ok(())
            }
            Moment::Beside { name, step, value } => {
                let name = format!("{}{name}.{step}", self.prefix);
                self.case.compare(&name, value, bars::STEP)
            }
            Moment::Step { chunk, step, latents, .. } => {
                let name = match self.bars.chunked {
                    true => format!("{}latents.{chunk}.{step}", self.prefix),
                    false => format!("{}latents.{step}", self.prefix),
                };
                self.case.compare(&name, latents, bars::STEP)
            }
            Moment::Decoding(..) => Ok(()),
            Moment::DecoderInput(latents) => {
                let name = self.next("decoder_in");
                self.case.compare(&name, latents, bars::STEP)
            }
            Moment::Decoded(video) => {
                let name = self.next("decoded");
                self.case.compare(&name, video, self.bars.decoded)
            }
        }
    }

    /// Runs `work` with hooks that give the stored noise and compare everything seen, then compares the frames.
    pub fn follow(
        self,
        rounding: Rounding,
        work: impl FnOnce(&mut Hooks<'_>) -> Result<Tensor, PipelineError>,
    ) -> Result<(), VerifyError> {
        self.follow_all(rounding, work, |video| video).map(|_| ())
    }

    /// The same for runs that make more than frames.
    pub fn follow_all<T>(
        mut self,
        rounding: Rounding,
        work: impl FnOnce(&mut Hooks<'_>) -> Result<T, PipelineError>,
        video: impl FnOnce(&T) -> &Tensor,
    ) -> Result<T, VerifyError> {
        let mut stored = Vec::new();
        while self.case.has(&format!("{}rng.{}", self.prefix, stored.len())) {
            stored.push(self.case.input(&format!("{}rng.{}", self.prefix, stored.len()))?);
        }
        let mut stored = stored.into_iter();
        let mut noise = |shape: &[usize]| match stored.next() {
            Some(noise) if noise.dims() == shape => Ok(noise),
            Some(noise) => candle_core::bail!(
                "the case holds noise of shape {:?}, {shape:?} was asked for",
                noise.dims()
            ),
            None => candle_core::bail!("the case holds no more noise, {shape:?} was asked for"),
        };
        let made = {
            let mut watch = |moment: Moment<'_>| match self.check(moment) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    self.failure = Some(error);
                    ControlFlow::Break(())
                }
            };
            work(&mut Hooks { noise: &mut noise, watch: &mut watch })
        };
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let made = made.map_err(|e| self.case.pipeline_error(e))?;
        let bytes = to_bytes(video(&made), rounding).map_err(|e| self.case.run_error(e))?;
        self.case.compare(&format!("{}frames_u8", self.prefix), &bytes, bars::BYTES)?;
        Ok(made)
    }
}

/// Encodes prompt and negative prompt and compares ids and embeddings.
fn prompts(
    case: &mut Case,
    encode: impl Fn(&str, usize, &Device) -> Result<EncodedPrompt, PromptError>,
) -> Result<Prompts, VerifyError> {
    let length: usize = case.required("max_sequence_length")?;
    let mut one = |argument: &str, ids: &str, embeds: &str| -> Result<Tensor, VerifyError> {
        let text: String = case.required(argument)?;
        let encoded = encode(&text, length, case.device()).map_err(|e| case.prompt_error(e))?;
        let numbers: Vec<f64> = encoded.ids.iter().map(|id| f64::from(*id)).collect();
        case.compare_numbers(ids, &numbers, bars::EXACT)?;
        case.compare(embeds, &encoded.embeds, bars::TEXT)?;
        Ok(encoded.embeds)
    };
    Ok(Prompts {
        positive: one("prompt", "prompt_ids", "prompt_embeds")?,
        negative: Some(one("negative_prompt", "negative_ids", "negative_embeds")?),
        projected: false,
    })
}

fn t5_prompts(case: &mut Case) -> Result<Prompts, VerifyError> {
    let folder = case.folder().to_path_buf();
    let config: T5Config = case.config("text_encoder", "config.json")?;
    let encoder = build(case, &folder.join("text_encoder"), &[], |vb| T5Encoder::new(&config, vb))?;
    let tokenizer = TextTokenizer::open(&folder.join("tokenizer"))?;
    prompts(case, |text, length, device| prompt::t5(&tokenizer, &encoder, text, length, device))
}

fn reason1_prompts(case: &mut Case) -> Result<Prompts, VerifyError> {
    let folder = case.folder().to_path_buf();
    let config: serde_json::Value = case.config("text_encoder", "config.json")?;
    let config =
        QwenConfig::from_json(config).map_err(|e| case.no_case(format!("text_encoder/config.json: {e}")))?;
    let unused = ["visual.", "model.visual.", "lm_head."];
    let encoder = build(case, &folder.join("text_encoder"), &unused, |vb| QwenText::new(&config, vb))?;
    let tokenizer = TextTokenizer::open(&folder.join("tokenizer"))?;
    prompts(case, |text, length, device| prompt::reason1(&tokenizer, &encoder, text, length, device))
}

fn dit(case: &Case) -> Result<Dit, VerifyError> {
    let config: DitConfig = case.config("transformer", "config.json")?;
    let reference = case.argument("reference")?.unwrap_or_default();
    build(case, &case.folder().join("transformer"), &[], |vb| Dit::new(&config, reference, vb))
}

pub(super) fn wan(case: &Case) -> Result<WanPlace, VerifyError> {
    let config: WanConfig = case.config("vae", "config.json")?;
    build(case, &case.folder().join("vae"), &[], |vb| Wan::new(&config, vb)).map(WanPlace::from)
}

/// A stored clip, in -1..1.
pub(super) fn clip(case: &Case, name: &str) -> Result<Tensor, VerifyError> {
    from_bytes(&case.input(name)?).and_then(|unit| unit.affine(2.0, -1.0)).map_err(|e| case.run_error(e))
}

fn predict1(case: &mut Case) -> Result<(), VerifyError> {
    let prompts = t5_prompts(case)?;
    let config: KlConfig = case.config("vae", "config.json")?;
    let vae = build(case, &case.folder().join("vae"), &[], |vb| KlCosmos::new(&config, vb))?;
    let schedule: EdmConfig = case.config("scheduler", "scheduler_config.json")?;
    let pipeline = Predict1 { dit: dit(case)?, vae: vae.into(), schedule };
    let start = case.input("latents_start")?;
    let job = Predict1Job {
        prompts: &prompts,
        given: None,
        height: case.required("height")?,
        width: case.required("width")?,
        frames: case.required("num_frames")?,
        fps: case.required("fps")?,
        steps: case.required("num_inference_steps")?,
        guidance: case.required("guidance_scale")?,
        augment_sigma: case.argument("augment_sigma")?.unwrap_or(0.001),
        start: Some(&start),
    };
    if !case.has("video_u8") {
        return Recorder::new(case, "", PLAIN).follow(Rounding::Cut, |hooks| pipeline.run(&job, hooks));
    }
    let video = clip(case, "video_u8")?;
    let first = video.narrow(2, 0, 1).map_err(|e| case.run_error(e))?;
    for (prefix, given) in [("image.", &first), ("video.", &video)] {
        let job = Predict1Job { given: Some(given), ..job };
        Recorder::new(case, prefix, PLAIN).follow(Rounding::Cut, |hooks| pipeline.run(&job, hooks))?;
    }
    Ok(())
}

fn predict2(case: &mut Case) -> Result<(), VerifyError> {
    let prompts = t5_prompts(case)?;
    let pipeline = Predict2 { dit: dit(case)?, vae: wan(case)? };
    let start = case.input("latents_start")?;
    let (height, width): (usize, usize) = (case.required("height")?, case.required("width")?);
    let job = Predict2Job {
        prompts: &prompts,
        given: None,
        height,
        width,
        frames: case.argument("num_frames")?.unwrap_or(1),
        fps: case.argument("fps")?,
        steps: case.required("num_inference_steps")?,
        guidance: case.required("guidance_scale")?,
        sigma_conditioning: case.argument("sigma_conditioning")?.unwrap_or(0.0001),
        actions: None,
        start: Some(&start),
    };
    if !case.has("video_u8") {
        return Recorder::new(case, "", PLAIN).follow(Rounding::Cut, |hooks| pipeline.run(&job, hooks));
    }
    let video = clip(case, "video_u8")?;
    let first = video.narrow(2, 0, 1).map_err(|e| case.run_error(e))?;
    for (prefix, given) in [("image.", &first), ("video.", &video)] {
        let job = Predict2Job { given: Some(given), ..job };
        Recorder::new(case, prefix, PLAIN).follow(Rounding::Cut, |hooks| pipeline.run(&job, hooks))?;
    }
    Ok(())
}

fn policy(case: &mut Case) -> Result<(), VerifyError> {
    let pipeline = Predict2 { dit: dit(case)?, vae: wan(case)? };
    let (text, start, state) = (case.input("text")?, case.input("latents_start")?, case.input("proprio")?);
    let views = clip(case, "views_u8")?;
    let job = PolicyJob {
        text: &text,
        views: &views,
        state: Some(&state),
        chunk: case.required("chunk_size")?,
        action: case.required("action_dim")?,
        steps: case.required("num_inference_steps")?,
        start: Some(&start),
    };
    let made = Recorder::new(case, "", PLAIN).follow_all(
        Rounding::Cut,
        |hooks| pipeline.act(&job, hooks),
        |made| &made.views,
    )?;
    case.compare("actions", &made.actions, bars::STEP)?;
    if let Some(state) = &made.state {
        case.compare("future_proprio", state, bars::STEP)?;
    }
    case.compare_numbers("value", &[made.value], bars::STEP)
}

fn predict25(case: &mut Case) -> Result<(), VerifyError> {
    let prompts = reason1_prompts(case)?;
    let schedule: UniPcConfig = case.config("scheduler", "scheduler_config.json")?;
    let pipeline = Predict25 { dit: dit(case)?, vae: wan(case)?, schedule };
    let noise = case.input("latents_start")?;
    let video = clip(case, "video_u8")?;
    let job = Predict25Job {
        prompts: &prompts,
        start: Start::Text,
        height: case.required("height")?,
        width: case.required("width")?,
        frames: case.required("num_frames")?,
        steps: case.required("num_inference_steps")?,
        guidance: case.required("guidance_scale")?,
        conditional_timestep: case.required("conditional_frame_timestep")?,
        actions: None,
        noise: Some(&noise),
    };
    let starts =
        [("text.", Start::Text), ("image.", Start::Picture(&video)), ("video.", Start::Clip(&video, 2))];
    for (prefix, start) in starts {
        let job = Predict25Job { start, ..job };
        Recorder::new(case, prefix, PLAIN).follow(Rounding::Nearest, |hooks| pipeline.run(&job, hooks))?;
    }
    Ok(())
}

fn transfer1(case: &mut Case) -> Result<(), VerifyError> {
    let config: KlConfig = case.config("vae", "config.json")?;
    let vae = build(case, &case.folder().join("vae"), &[], |vb| KlCosmos::new(&config, vb))?;
    let config: Control1Config = case.config("controlnet", "config.json")?;
    let folder = case.folder().join("controlnet");
    let control = build(case, &folder, &[], |vb| Control1::new(&config, Reference::Nvidia, vb))?;
    let pipeline = Transfer1 { dit: dit(case)?, control, vae: vae.into() };
    let noise = case.input("latents_start")?;
    let controls = clip(case, "control_u8")?;
    let prompts = Prompts {
        positive: case.input("text")?,
        negative: Some(case.input("negative_text")?),
        projected: false,
    };
    let bars = Bars {
        encoded: bars::ENCODED_AGAIN,
        decoded: bars::DECODED_AGAIN,
        chunked: true,
        picture: bars::PICTURE,
    };
    let job = Transfer1Job {
        prompts: &prompts,
        control: &controls,
        chunk_frames: case.required("num_frames_per_chunk")?,
        overlap_frames: case.required("num_input_frames")?,
        fps: case.required("fps")?,
        steps: case.required("num_inference_steps")?,
        guidance: case.required("guidance_scale")?,
        control_scale: case.required("control_weight")?,
        noise: Some(&noise),
    };
    Recorder::new(case, "", bars).follow(Rounding::Cut, |hooks| pipeline.run(&job, hooks))
}

fn transfer25(case: &mut Case) -> Result<(), VerifyError> {
    let prompts = reason1_prompts(case)?;
    let config: ControlConfig = case.config("controlnet", "config.json")?;
    let folder = case.folder().join("controlnet");
    let control = build(case, &folder, &[], |vb| ControlNet::new(&config, Reference::Diffusers, vb))?;
    #[derive(Deserialize)]
    struct Tokens {
        img_context_num_tokens: usize,
    }
    let tokens: Tokens = case.config("transformer", "config.json")?;
    let schedule: UniPcConfig = case.config("scheduler", "scheduler_config.json")?;
    let pipeline = Transfer25 {
        dit: dit(case)?,
        control,
        vae: wan(case)?,
        schedule,
        picture_tokens: tokens.img_context_num_tokens,
    };
    let noise = case.input("latents_start")?;
    let controls = clip(case, "control_u8")?;
    let chunk_frames: usize = case.required("num_frames_per_chunk")?;
    let one = controls.narrow(2, 0, chunk_frames).map_err(|e| case.run_error(e))?;
    let bars = Bars {
        encoded: bars::ENCODED_AGAIN,
        decoded: bars::DECODED_AGAIN,
        chunked: true,
        picture: bars::PICTURE,
    };
    for (prefix, controls) in [("one.", &one), ("two.", &controls)] {
        let job = Transfer25Job {
            prompts: &prompts,
            control_prompts: &prompts,
            control: controls,
            chunk_frames,
            overlap_frames: case.required("num_ar_conditional_frames")?,
            steps: case.required("num_inference_steps")?,
            guidance: case.required("guidance_scale")?,
            control_scale: case.required("controls_conditioning_scale")?,
            conditional_timestep: Some(case.required("conditional_frame_timestep")?),
            noise: Some(&noise),
        };
        Recorder::new(case, prefix, bars).follow(Rounding::Cut, |hooks| pipeline.run(&job, hooks))?;
    }
    Ok(())
}
