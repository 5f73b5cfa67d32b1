//! Cosmos 3: its two towers alone, and its pipeline in every mode.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde::Deserialize;

use super::bars::{self, NETWORK};
use super::case::Case;
use super::pipelines::{Bars, PLAIN, Recorder, clip, wan};
use super::{VerifyError, build};
use crate::checkpoint::Checkpoint;
use crate::cosmos::audio::{AudioCodec, AudioConfig};
use crate::cosmos::mot::{
    Generation, MotActions, MotConfig, MotInput, Positions, PromptMemory, Understanding,
};
use crate::cosmos::pipeline::Rounding;
use crate::cosmos::pipeline::cosmos3::embodiment::{self, Embodiment};
use crate::cosmos::pipeline::cosmos3::prompt::{self, Facts, ViewPoint};
use crate::cosmos::pipeline::cosmos3::{ActionMode, ActionStart, Cosmos3, Cosmos3Job, Start, canvas};
use crate::text::TextTokenizer;

/// Both towers from one folder; the output layer of the language model is not run.
fn towers(case: &Case, part: &str) -> Result<(Understanding, Generation), VerifyError> {
    let config: MotConfig = case.config(part, "config.json")?;
    let checkpoint = Checkpoint::open(&case.folder().join(part))?;
    let builder = || checkpoint.builder(DType::F32, case.device());
    let understanding = Understanding::new(&config, builder()).map_err(|e| case.run_error(e))?;
    let generation = Generation::new(&config, builder()).map_err(|e| case.run_error(e))?;
    checkpoint.finish(&["lm_head.", "norm."])?;
    Ok((understanding, generation))
}

/// Marks for the listed places.
fn marks(places: &[usize], count: usize) -> Vec<bool> {
    (0..count).map(|i| places.contains(&i)).collect()
}

/// The two towers on stored tokens and positions.
pub(super) fn network(case: &mut Case) -> Result<(), VerifyError> {
    let (understanding, generation) = towers(case, "")?;
    let ids = case.input("input_ids")?;
    let (vision, rows) = (case.input("vision_tokens")?, case.input("action_tokens")?);
    let sound = case.optional("sound_tokens")?;
    let (given_frames, given_rows): (Vec<usize>, Vec<usize>) =
        (case.required("given_vision_frames")?, case.required("given_action_rows")?);
    let timestep: f64 = case.required("timestep")?;
    let run = |case: &Case| -> candle_core::Result<_> {
        let prompt = understanding.read(&ids)?;
        let domain = case.input("action_domain_id").map_err(candle_core::Error::wrap)?.to_vec1::<i64>()?;
        // [3, N] -> one place per token; the text's are those that the tower makes itself.
        let places = case.input("position_ids").map_err(candle_core::Error::wrap)?.t()?.to_vec2::<f32>()?;
        let places =
            places.iter().skip(prompt.tokens()).filter_map(|p| <[f32; 3]>::try_from(p.as_slice()).ok());
        let positions = Positions::new(places.collect());
        generation.forward(
            &prompt,
            &MotInput {
                vision: &vision,
                vision_given: &marks(&given_frames, vision.dim(2)?),
                sound: sound.as_ref(),
                actions: Some(MotActions {
                    rows: &rows,
                    given: &marks(&given_rows, rows.dim(0)?),
                    domain: domain.first().copied().unwrap_or(0) as usize,
                }),
                positions: &positions,
                timestep,
            },
        )
    };
    let output = run(case).map_err(|e| case.run_error(e))?;
    case.compare("sample", &output.vision, NETWORK)?;
    for (name, ours) in [("action", output.actions), ("sound", output.sound)] {
        if let Some(ours) = ours {
            case.compare(name, &ours, NETWORK)?;
        }
    }
    Ok(())
}

/// The arguments of one mode, as the reference pipeline takes them.
#[derive(Clone, Deserialize)]
struct Mode {
    #[serde(default)]
    num_frames: Option<usize>,
    #[serde(default)]
    height: Option<usize>,
    #[serde(default)]
    width: Option<usize>,
    #[serde(default = "default_fps")]
    fps: f64,
    num_inference_steps: usize,
    guidance_scale: f64,
    #[serde(default)]
    use_system_prompt: Option<bool>,
    #[serde(default)]
    image: bool,
    #[serde(default)]
    video: bool,
    #[serde(default)]
    enable_sound: bool,
    #[serde(default = "default_true")]
    given_latents: bool,
    #[serde(default)]
    action: Option<Action>,
}

#[derive(Clone, Deserialize)]
struct Action {
    mode: String,
    chunk_size: usize,
    domain_name: String,
    resolution_tier: usize,
    view_point: String,
}

fn default_fps() -> f64 {
    24.0
}

fn default_true() -> bool {
    true
}

/// All modes of a pipeline case.
pub(super) fn pipeline(case: &mut Case) -> Result<(), VerifyError> {
    let (understanding, generation) = towers(case, "transformer")?;
    let tokenizer = TextTokenizer::open(&case.folder().join("text_tokenizer"))?;
    let folder = case.folder().join("sound_tokenizer");
    let codec = match folder.is_dir() {
        true => {
            let config: AudioConfig = case.config("sound_tokenizer", "config.json")?;
            Some(build(case, &folder, &[], |vb| AudioCodec::new(&config, vb))?)
        }
        false => None,
    };
    let model =
        Cosmos3 { generation, vae: wan(case)?, schedule: case.config("scheduler", "scheduler_config.json")? };
    let modes: BTreeMap<String, Mode> = case.required("modes")?;
    for (name, mode) in modes {
        one_mode(case, &model, &understanding, (&tokenizer, codec.as_ref()), &name, &mode)?;
    }
    Ok(())
}

fn one_mode(
    case: &mut Case,
    model: &Cosmos3,
    understanding: &Understanding,
    (tokenizer, codec): (&TextTokenizer, Option<&AudioCodec>),
    name: &str,
    mode: &Mode,
) -> Result<(), VerifyError> {
    let prefix = format!("{name}.");
    let frames = match &mode.action {
        Some(action) => action.chunk_size + 1,
        None => mode.num_frames.unwrap_or(189),
    };
    let noise = case.input(&format!("{prefix}latents_noise"))?;
    let video = match case.has(&format!("{prefix}video_u8")) {
        true => Some(clip(case, &format!("{prefix}video_u8"))?),
        false => None,
    };
    let picture = match mode.image {
        true => Some(in_levels(case, &format!("{prefix}video_u8"))?),
        false => None,
    };
    let actions = case.optional(&format!("{prefix}raw_actions"))?;
    let body = mode.action.as_ref().map(|action| known_body(case, action)).transpose()?;
    let start = match (&mode.action, body, &video, &picture) {
        (Some(action), Some(body), Some(video), _) => Start::Action(ActionStart {
            mode: action_mode(case, &action.mode)?,
            frames: video,
            chunk: action.chunk_size,
            embodiment: body,
            actions: actions.as_ref(),
            tier: action.resolution_tier,
        }),
        (None, _, _, Some(picture)) => Start::Picture(picture),
        (None, _, Some(video), None) if mode.video => Start::Clip(video, 2),
        _ => Start::Text,
    };
    let (height, width) = size(case, mode, &start)?;
    let facts = Facts { frames, fps: mode.fps, height, width };
    let prompt = read_prompt(case, understanding, tokenizer, mode, facts, (&prefix, false))?;
    let negative = read_prompt(case, understanding, tokenizer, mode, facts, (&prefix, true))?;
    let codec = codec.filter(|_| mode.enable_sound);
    let job = Cosmos3Job {
        prompt: &prompt,
        negative: Some(&negative),
        start,
        height,
        width,
        frames,
        fps: mode.fps,
        steps: mode.num_inference_steps,
        guidance: mode.guidance_scale,
        sound: codec.map(|codec| codec.config().latents(frames, mode.fps)),
        noise: mode.given_latents.then_some(&noise),
        encode_blank: true,
    };
    let bars = Bars { picture: if mode.image { bars::RESIZED } else { bars::PICTURE }, ..PLAIN };
    let made = Recorder::new(case, &prefix, bars).follow_all(
        Rounding::Nearest,
        |hooks| model.run(&job, hooks),
        |made| &made.video,
    )?;
    if let (Some(codec), Some(latents)) = (codec, &made.sound) {
        let sound = latents.unsqueeze(0).and_then(|latents| codec.decode(&latents)?.squeeze(0));
        case.compare(&format!("{prefix}sound"), &sound.map_err(|e| case.run_error(e))?, bars::DECODED)?;
    }
    match made.actions {
        Some(actions) => case.compare(&format!("{prefix}action"), &actions, bars::STEP),
        None => Ok(()),
    }
}

/// A stored picture [1, 3, T, H, W] in 0..255.
fn in_levels(case: &Case, name: &str) -> Result<Tensor, VerifyError> {
    let bytes = case.input(name)?;
    let run = || bytes.to_dtype(DType::F32)?.permute((3, 0, 1, 2))?.unsqueeze(0)?.contiguous();
    run().map_err(|e: candle_core::Error| case.run_error(e))
}

fn known_body(case: &Case, action: &Action) -> Result<Embodiment, VerifyError> {
    embodiment::find(&action.domain_name)
        .ok_or_else(|| case.no_case(format!("the embodiment `{}` is not known", action.domain_name)))
}

fn action_mode(case: &Case, name: &str) -> Result<ActionMode, VerifyError> {
    match name {
        "policy" => Ok(ActionMode::Policy),
        "forward_dynamics" => Ok(ActionMode::ForwardDynamics),
        "inverse_dynamics" => Ok(ActionMode::InverseDynamics),
        other => Err(case.no_case(format!("the action mode `{other}` is not known"))),
    }
}

/// Height and width that the prompt speaks of: the run's, or the canvas of an action run.
fn size(case: &Case, mode: &Mode, start: &Start<'_>) -> Result<(usize, usize), VerifyError> {
    match start {
        Start::Action(action) => {
            let (_, _, _, height, width) = action.frames.dims5().map_err(|e| case.run_error(e))?;
            canvas(action.tier, height, width)
                .ok_or_else(|| case.no_case(format!("the size class {} is not known", action.tier)))
        }
        _ => Ok((mode.height.unwrap_or(720), mode.width.unwrap_or(1280))),
    }
}

/// Makes the text of a prompt, compares its ids and lets the understanding tower read them.
fn read_prompt(
    case: &mut Case,
    understanding: &Understanding,
    tokenizer: &TextTokenizer,
    mode: &Mode,
    facts: Facts,
    (prefix, negative): (&str, bool),
) -> Result<PromptMemory, VerifyError> {
    let (argument, stored) =
        if negative { ("negative_prompt", "negative_ids") } else { ("prompt", "prompt_ids") };
    let plain: String = case.required(argument)?;
    let text = match &mode.action {
        Some(_) if negative => plain,
        Some(action) => prompt::action_caption(&plain, ViewPoint::find(&action.view_point), facts),
        None => prompt::described(&plain, facts, negative),
    };
    let system = mode.use_system_prompt.unwrap_or(true);
    let ids = prompt::ids(tokenizer, &text, system, facts.frames == 1).map_err(|e| case.prompt_error(e))?;
    let numbers: Vec<f64> = ids.iter().map(|id| f64::from(*id)).collect();
    case.compare_numbers(&format!("{prefix}{stored}"), &numbers, bars::EXACT)?;
    let ids = Tensor::from_slice(&ids, ids.len(), case.device()).map_err(|e| case.run_error(e))?;
    understanding.read(&ids).map_err(|e| case.run_error(e))
}
