//! One chunk: one run of a pipeline.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::noise::Noise;
use super::parts::{Engine, Published, Words};
use super::policy::PolicyFacts;
use super::preview::{Projection, card};
use super::run::{ClipJob, ClipMade, ClipMoment, Plan, Planned, arm_rows};
use super::settings::ClipSettings;
use super::{Family, PublishedError};
use crate::cosmos::Reference;
use crate::cosmos::kl::KlPlace;
use crate::cosmos::pipeline::cosmos3::prompt::{Facts, ViewPoint, action_caption, described, ids};
use crate::cosmos::pipeline::cosmos3::{ActionMode, ActionStart, Cosmos3, Cosmos3Job, canvas, embodiment};
use crate::cosmos::pipeline::policy::{PolicyJob, PolicyLayout};
use crate::cosmos::pipeline::predict1::Predict1Job;
use crate::cosmos::pipeline::predict2::Predict2Job;
use crate::cosmos::pipeline::predict25::Predict25Job;
use crate::cosmos::pipeline::transfer1::Transfer1Job;
use crate::cosmos::pipeline::transfer25::Transfer25Job;
use crate::cosmos::pipeline::{
    Hooks, Moment, PipelineError, Rounding, cosmos3, from_bytes, predict25, to_bytes,
};
use crate::frame::Frame;
use crate::text::TextTokenizer;

/// Noise level that Predict2 and Predict2.5 are told for given frames.
const GIVEN_LEVEL: f64 = 1e-4;
/// The same for frames that Transfer2.5 takes over from the chunk before, in the diffusers library; NVIDIA's code tells
/// the network nothing special about them.
const TAKEN_OVER_LEVEL: f64 = 0.1;
/// Noise on given frames in Predict1.
const AUGMENT: f64 = 0.001;
/// Spread of the data that Predict1's noise levels are counted in.
const PREDICT1_DATA: f64 = 0.5;

/// What one run is to make.
pub(super) struct Chunk<'a> {
    pub settings: &'a ClipSettings,
    pub prompt: &'a str,
    /// Frames to start from; for a control model the whole control clip.
    pub given: &'a [Frame],
    /// Rows from this chunk's first step on.
    pub actions: Option<&'a [Vec<f32>]>,
    /// Frames that are still wanted.
    pub wanted: usize,
    pub plan: Plan,
    pub number: usize,
    pub seed: u64,
    /// Denoising steps of the chunks before, and of all.
    pub steps_before: usize,
    pub steps_total: usize,
    /// Frames of the future that exist already.
    pub first: usize,
}

/// What it made: the frames behind the given ones.
pub(super) struct ChunkMade {
    pub frames: Vec<Frame>,
    pub actions: Option<Vec<Vec<f32>>>,
}

type Watch<'a> = &'a mut dyn FnMut(ClipMoment<'_>) -> ControlFlow<()>;

fn tell(watch: Watch<'_>, moment: ClipMoment<'_>) -> Result<(), PublishedError> {
    if watch(moment).is_break() { Err(PublishedError::Stopped) } else { Ok(()) }
}

impl Published {
    /// Asks a policy: one run for all cameras.
    pub(super) fn act(
        &self,
        policy: &PolicyFacts,
        settings: &ClipSettings,
        job: &ClipJob<'_>,
        watch: Watch<'_>,
    ) -> Result<ClipMade, PublishedError> {
        let state = policy.scaled_state(settings.state.as_deref().or(job.state), self.device())?;
        self.choose(settings, false);
        tell(watch, ClipMoment::Stage("reading the words"))?;
        let words = self.words(settings, job.prompt, None, |_, _, _| Err(no_words()))?;
        tell(watch, ClipMoment::Stage("loading the model"))?;
        let engine = self.engine(settings)?;
        let words = self.projected(words, &engine)?;
        let (Engine::Predict2(model), Words::Embedded(prompts)) = (&*engine, &words) else {
            return Err(no_words());
        };
        let prompts = prompts.first().ok_or_else(no_words)?;
        tell(watch, ClipMoment::Stage("looking at the start"))?;
        let projection = self.projection(|| fit(&engine, self.device()))?;
        let views = to_tensor(job.given, self.device())?;
        let layout = PolicyLayout { views: job.given.len(), state: state.is_some() };
        let steps = settings.denoise.unwrap_or(5);
        let mut noise = Noise::new(job.seed, 0, self.device());
        let mut draw = |shape: &[usize]| noise.draw(shape);
        let mut sigmas: Vec<f32> = Vec::new();
        let mut see = |moment: Moment<'_>| match moment {
            Moment::Schedule { sigmas: levels, .. } => {
                sigmas = levels.to_vec();
                watch(ClipMoment::Pulse)
            }
            Moment::Step { step, latents, .. } => {
                // The last step's latents are clean.
                let level =
                    if step + 1 == steps { 0.0 } else { sigmas.get(step + 1).copied().unwrap_or(0.0) };
                let pictures = (latents / f64::from(level).hypot(1.0)).and_then(|l| projection.pictures(&l));
                let previews = pictures.map(|pictures| {
                    let after = pictures.into_iter().skip(layout.first_view_after()).take(layout.views);
                    after.enumerate().map(|(view, picture)| (view..view + 1, picture)).collect()
                });
                // A preview that cannot be made is no reason to stop.
                let previews = previews.unwrap_or_default();
                watch(ClipMoment::Step { done: step + 1, total: steps, previews })
            }
            Moment::DecoderInput(_) => watch(ClipMoment::Stage("decoding")),
            _ => watch(ClipMoment::Pulse),
        };
        let asked = PolicyJob {
            text: &prompts.positive,
            views: &views,
            state: state.as_ref(),
            chunk: policy.chunk,
            action: policy.actions.len(),
            steps,
            start: None,
        };
        let made = model.act(&asked, &mut Hooks { noise: &mut draw, watch: &mut see })?;
        let frames = to_frames(&made.views, Rounding::Cut)?;
        tell(watch, ClipMoment::Frames(0, &frames))?;
        let planned = Planned {
            rows: policy.actions_of(&made.actions)?,
            state: made.state.map(|state| policy.state_of(&state)).transpose()?,
            value: made.value as f32,
        };
        Ok(ClipMade { frames, actions: None, planned: Some(planned) })
    }

    /// Runs one chunk.
    pub(super) fn chunk(&self, chunk: &Chunk<'_>, watch: Watch<'_>) -> Result<ChunkMade, PublishedError> {
        let settings = chunk.settings;
        let folder = self.folder();
        let (width, height) = (settings.width.unwrap_or(0), settings.height.unwrap_or(0));
        let arm = folder.arm();
        let frames = match arm {
            Some(_) => chunk.plan.chunk,
            // The given frames are the clip.
            None if settings.inverse == Some(true) => chunk.plan.length(1, chunk.wanted),
            None => chunk.plan.length(chunk.given.len(), chunk.wanted),
        };
        self.choose(settings, frames == 1);
        let guidance = settings.guidance.unwrap_or(1.0);
        let negative = settings.negative.as_deref().unwrap_or_default();
        let guided = if folder.family == Family::Cosmos3 { guidance != 1.0 } else { guidance > 1.0 };
        let prompt = if arm.is_some() { "" } else { chunk.prompt };
        let is_action = settings.body.is_some();
        let facts = Facts { frames, fps: f64::from(settings.rate_hz.unwrap_or(16.0)), height, width };
        let (facts, tier) = match is_action {
            true => action_canvas(facts)?,
            false => (facts, 0),
        };
        let view = view_point(settings)?;
        tell(watch, ClipMoment::Stage("reading the words"))?;
        let text = |plain: &str, negative: bool| match (folder.family, is_action) {
            (Family::Cosmos3, true) if negative => plain.to_owned(),
            (Family::Cosmos3, true) => action_caption(plain, view, facts),
            (Family::Cosmos3, false) => described(plain, facts, negative),
            _ => plain.to_owned(),
        };
        let make_ids = |tokenizer: &TextTokenizer, text: &str, _: bool| {
            Ok(ids(tokenizer, text, !is_action, frames == 1)?)
        };
        let away = guided.then(|| text(negative, true));
        let words = self.words(settings, &text(prompt, false), away.as_deref(), make_ids)?;
        tell(watch, ClipMoment::Stage("loading the model"))?;
        let engine = self.engine(settings)?;
        let words = self.projected(words, &engine)?;
        tell(watch, ClipMoment::Stage("looking at the start"))?;
        let projection = self.projection(|| fit(&engine, self.device()))?;

        let mut noise = Noise::new(chunk.seed, chunk.number, self.device());
        let mut draw = |shape: &[usize]| noise.draw(shape);
        let mut seen = Watcher {
            watch,
            chunk,
            projection,
            engine: &engine,
            sigmas: Vec::new(),
            step: 0,
            frames,
            given: given_in_clip(folder.family, chunk),
        };
        let mut see = |moment: Moment<'_>| seen.see(&moment);
        let mut hooks = Hooks { noise: &mut draw, watch: &mut see };
        let steps = settings.denoise.unwrap_or(35);
        let clip = match chunk.given.is_empty() {
            true => None,
            false => Some(to_tensor(chunk.given, self.device())?),
        };
        let actions = match arm {
            None => None,
            Some((size, number)) => {
                let rows = arm_rows(chunk.actions.unwrap_or_default(), number, size);
                Some(Tensor::from_vec(rows, (1, number, size), self.device())?)
            }
        };
        let prompts = || match &words {
            Words::Embedded(prompts) => prompts.first().ok_or_else(no_words),
            Words::Read { .. } => Err(no_words()),
        };
        let skip = given_in_clip(folder.family, chunk);
        let (video, rounding, chosen) = match &*engine {
            Engine::Predict1(model) => {
                let job = Predict1Job {
                    prompts: prompts()?,
                    given: clip.as_ref(),
                    height,
                    width,
                    frames,
                    fps: facts.fps,
                    steps,
                    guidance,
                    augment_sigma: AUGMENT,
                    start: None,
                };
                (model.run(&job, &mut hooks)?, Rounding::Cut, None)
            }
            Engine::Predict2(model) => {
                let job = Predict2Job {
                    prompts: prompts()?,
                    given: clip.as_ref(),
                    height,
                    width,
                    frames,
                    fps: Some(facts.fps),
                    steps,
                    guidance,
                    sigma_conditioning: GIVEN_LEVEL,
                    actions: actions.as_ref(),
                    start: None,
                };
                (model.run(&job, &mut hooks)?, Rounding::Cut, None)
            }
            Engine::Predict25(model) => {
                let start = match &clip {
                    None => predict25::Start::Text,
                    Some(clip) if chunk.given.len() > 1 => predict25::Start::Clip(clip, 2),
                    Some(clip) => predict25::Start::Picture(clip),
                };
                let job = Predict25Job {
                    prompts: prompts()?,
                    start,
                    height,
                    width,
                    frames,
                    steps,
                    guidance,
                    conditional_timestep: GIVEN_LEVEL,
                    actions: actions.as_ref(),
                    noise: None,
                };
                (model.run(&job, &mut hooks)?, Rounding::Nearest, None)
            }
            Engine::Transfer25(model) => {
                let Some(control) = &clip else {
                    return Err(PublishedError::Input("There is no control clip.".to_owned()));
                };
                let job = Transfer25Job {
                    prompts: prompts()?,
                    control_prompts: match &words {
                        Words::Embedded(all) => all.last().ok_or_else(no_words)?,
                        Words::Read { .. } => return Err(no_words()),
                    },
                    control,
                    chunk_frames: chunk.plan.chunk,
                    overlap_frames: 1,
                    steps,
                    guidance,
                    control_scale: settings.control_scale.unwrap_or(1.0),
                    conditional_timestep: match settings.reference.unwrap_or_default() {
                        Reference::Diffusers => Some(TAKEN_OVER_LEVEL),
                        Reference::Nvidia => None,
                    },
                    noise: None,
                };
                (model.run(&job, &mut hooks)?, Rounding::Cut, None)
            }
            Engine::Transfer1(model) => {
                let Some(control) = &clip else {
                    return Err(PublishedError::Input("There is no control clip.".to_owned()));
                };
                let job = Transfer1Job {
                    prompts: prompts()?,
                    control,
                    chunk_frames: chunk.plan.chunk,
                    overlap_frames: 1,
                    fps: facts.fps,
                    steps,
                    guidance,
                    control_scale: settings.control_scale.unwrap_or(1.0),
                    noise: None,
                };
                (model.run(&job, &mut hooks)?, Rounding::Cut, None)
            }
            Engine::Cosmos3(model) => {
                let Words::Read { prompt, negative } = &words else {
                    return Err(no_words());
                };
                let rows = action_tensor(chunk, self.device())?;
                let picture = picture_levels(chunk.given, self.device())?;
                let start =
                    cosmos3_start(chunk, clip.as_ref(), picture.as_ref(), rows.as_ref(), frames, tier)?;
                let job = Cosmos3Job {
                    prompt,
                    negative: negative.as_deref(),
                    start,
                    height,
                    width,
                    frames,
                    fps: facts.fps,
                    steps,
                    guidance,
                    sound: None,
                    noise: None,
                    encode_blank: false,
                };
                let made = run_cosmos3(model, &job, &mut hooks)?;
                (made.0, Rounding::Nearest, made.1)
            }
        };
        let all = to_frames(&video, rounding)?;
        Ok(ChunkMade { frames: all.into_iter().skip(skip).collect(), actions: chosen })
    }
}

fn no_words() -> PublishedError {
    PublishedError::Input("The words were read by another model.".to_owned())
}

/// Frames at the beginning of a chunk's clip that were given. Where actions are read from frames, the frames come back.
fn given_in_clip(family: Family, chunk: &Chunk<'_>) -> usize {
    match family {
        family if family.is_control() => 0,
        _ if chunk.settings.inverse == Some(true) => 1,
        _ => chunk.given.len(),
    }
}

/// Sees the moments of a pipeline and passes on what a person can see.
struct Watcher<'w, 'c> {
    watch: Watch<'w>,
    chunk: &'c Chunk<'c>,
    projection: Arc<Projection>,
    engine: &'c Engine,
    sigmas: Vec<f32>,
    step: usize,
    frames: usize,
    given: usize,
}

impl Watcher<'_, '_> {
    fn see(&mut self, moment: &Moment<'_>) -> ControlFlow<()> {
        match moment {
            Moment::Schedule { sigmas, .. } => {
                self.sigmas = sigmas.to_vec();
                (self.watch)(ClipMoment::Pulse)
            }
            Moment::Step { chunk, step, latents, .. } => {
                self.step += 1;
                // A preview that cannot be made is no reason to stop.
                let previews = self.previews(*chunk, *step, latents).unwrap_or_default();
                let done = self.chunk.steps_before + self.step;
                (self.watch)(ClipMoment::Step { done, total: self.chunk.steps_total.max(done), previews })
            }
            Moment::DecoderInput(_) => (self.watch)(ClipMoment::Stage("decoding")),
            _ => (self.watch)(ClipMoment::Pulse),
        }
    }

    /// Small pictures and the frames of the future that they stand for.
    fn previews(
        &self,
        part: usize,
        step: usize,
        latents: &Tensor,
    ) -> candle_core::Result<Vec<(Range<usize>, Frame)>> {
        let level = f64::from(self.sigmas.get(step + 1).copied().unwrap_or(0.0));
        // Latents of the older families grow with the noise: brought back to the size of clean ones.
        let latents = match self.engine {
            Engine::Predict1(_) | Engine::Transfer1(_) => (latents / level.hypot(PREDICT1_DATA))?,
            Engine::Predict2(_) => (latents / level.hypot(1.0))?,
            _ => latents.clone(),
        };
        let time = self.chunk.plan.time;
        // A control clip's parts overlap by one frame.
        let offset = part * self.chunk.plan.chunk.saturating_sub(1);
        let pictures = self.projection.pictures(&latents)?;
        Ok(pictures
            .into_iter()
            .enumerate()
            .filter_map(|(i, picture)| {
                let range = if i == 0 { 0..1 } else { (i - 1) * time + 1..i * time + 1 };
                let place = |frame: usize| (frame + offset).saturating_sub(self.given) + self.chunk.first;
                let from = range.start.max(self.given.saturating_sub(offset));
                let most = self.frames.max(self.chunk.plan.chunk);
                let to = range.end.min(most);
                let end = place(to).min(self.chunk.first + self.chunk.wanted);
                (from < to && place(from) < end).then(|| (place(from)..end, picture))
            })
            .collect())
    }
}

/// Learns how latents become colours, from the model's own autoencoder.
fn fit(engine: &Engine, device: &Device) -> candle_core::Result<Projection> {
    let wan = match engine {
        Engine::Predict1(model) => return fit_kl(&model.vae, device),
        Engine::Transfer1(model) => return fit_kl(&model.vae, device),
        Engine::Predict2(model) => &model.vae,
        Engine::Predict25(model) => &model.vae,
        Engine::Transfer25(model) => &model.vae,
        Engine::Cosmos3(model) => &model.vae,
    };
    let latents = wan.encode(&card(wan.config().spatial_factor(), device)?)?.mean;
    let (mean, std) = wan.latent_statistics(&latents)?;
    Projection::fit(&latents.broadcast_sub(&mean)?.broadcast_div(&std)?)
}

fn fit_kl(vae: &KlPlace, device: &Device) -> candle_core::Result<Projection> {
    let card = card(vae.config().spatial_compression_ratio, device)?;
    let latents = vae.encode(&card)?;
    let normed = match vae.latent_statistics(&latents)? {
        Some((mean, std)) => latents.broadcast_sub(&mean)?.broadcast_div(&std)?,
        None => latents,
    };
    Projection::fit(&normed)
}

/// What a Cosmos 3 run starts from.
fn cosmos3_start<'a>(
    chunk: &Chunk<'_>,
    clip: Option<&'a Tensor>,
    picture: Option<&'a Tensor>,
    rows: Option<&'a Tensor>,
    frames: usize,
    tier: usize,
) -> Result<cosmos3::Start<'a>, PublishedError> {
    match (&chunk.settings.body, clip, picture) {
        (Some(name), Some(clip), _) => {
            let body = embodiment::find(name)
                .ok_or_else(|| PublishedError::Input(format!("There is no body called {name}.")))?;
            Ok(cosmos3::Start::Action(ActionStart {
                mode: match chunk.settings.inverse {
                    Some(true) => ActionMode::InverseDynamics,
                    _ if rows.is_some() => ActionMode::ForwardDynamics,
                    _ => ActionMode::Policy,
                },
                frames: clip,
                chunk: frames - 1,
                embodiment: body,
                actions: rows,
                tier,
            }))
        }
        (None, Some(clip), _) if chunk.given.len() > 1 => Ok(cosmos3::Start::Clip(clip, 2)),
        (None, Some(_), Some(picture)) => Ok(cosmos3::Start::Picture(picture)),
        _ => Ok(cosmos3::Start::Text),
    }
}

fn run_cosmos3(
    model: &Cosmos3,
    job: &Cosmos3Job<'_>,
    hooks: &mut Hooks<'_>,
) -> Result<(Tensor, Option<Vec<Vec<f32>>>), PipelineError> {
    let made = model.run(job, hooks)?;
    let actions = made.actions.map(|rows| rows.to_dtype(DType::F32)?.to_vec2::<f32>()).transpose()?;
    Ok((made.video, actions))
}

/// The given actions as a tensor, if there are any.
fn action_tensor(chunk: &Chunk<'_>, device: &Device) -> Result<Option<Tensor>, PublishedError> {
    let Some(rows) = chunk.actions.filter(|rows| !rows.is_empty()) else { return Ok(None) };
    let width = rows.first().map_or(0, Vec::len);
    let values: Vec<f32> = rows.iter().flatten().copied().collect();
    Ok(Some(Tensor::from_vec(values, (rows.len(), width), device)?))
}

/// The size class whose canvas holds the frames, and what the prompt says about it.
fn action_canvas(facts: Facts) -> Result<(Facts, usize), PublishedError> {
    let fits = |tier: usize| {
        canvas(tier, facts.height, facts.width).filter(|(h, w)| *h >= facts.height && *w >= facts.width)
    };
    let found = [256, 480, 704, 720].into_iter().find_map(|tier| Some((tier, fits(tier)?)));
    match found {
        Some((tier, (height, width))) => Ok((Facts { height, width, ..facts }, tier)),
        None => Err(PublishedError::Input(format!(
            "Frames of {} x {} are too large for a robot's future. Choose at most 1280 x 720, for example 320 x 192.",
            facts.width, facts.height
        ))),
    }
}

fn view_point(settings: &ClipSettings) -> Result<Option<ViewPoint>, PublishedError> {
    let Some(name) = settings.view.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    ViewPoint::find(name).map(Some).ok_or_else(|| {
        PublishedError::Input(format!(
            "There is no view called {name}. Known are: ego_view, third_person_view, wrist_view, concat_view."
        ))
    })
}

/// Frames as bytes, [T, H, W, 3].
fn bytes(frames: &[Frame], device: &Device) -> candle_core::Result<Tensor> {
    let (width, height) = frames.first().map_or((0, 0), |f| (f.width, f.height));
    let data: Vec<u8> = frames.iter().flat_map(|f| f.data.iter().copied()).collect();
    Tensor::from_vec(data, (frames.len(), height, width, 3), device)
}

/// Frames as a clip [1, 3, T, H, W] in -1..1.
fn to_tensor(frames: &[Frame], device: &Device) -> candle_core::Result<Tensor> {
    from_bytes(&bytes(frames, device)?)?.affine(2.0, -1.0)
}

/// The last frame as a picture [1, 3, 1, H, W] in 0..255.
fn picture_levels(frames: &[Frame], device: &Device) -> candle_core::Result<Option<Tensor>> {
    let Some(last) = frames.last() else { return Ok(None) };
    let levels = bytes(std::slice::from_ref(last), device)?.to_dtype(DType::F32)?;
    levels.permute((3, 0, 1, 2))?.unsqueeze(0)?.contiguous().map(Some)
}

/// A clip [1, 3, T, H, W] in -1..1 as frames.
fn to_frames(video: &Tensor, rounding: Rounding) -> Result<Vec<Frame>, PublishedError> {
    let (_, _, frames, height, width) = video.dims5()?;
    let data = to_bytes(video, rounding)?.flatten_all()?.to_vec1::<u8>()?;
    let size = (height * width * 3).max(1);
    let frames: Vec<Frame> =
        data.chunks_exact(size).take(frames).filter_map(|d| Frame::new(width, height, d.to_vec())).collect();
    Ok(frames)
}
