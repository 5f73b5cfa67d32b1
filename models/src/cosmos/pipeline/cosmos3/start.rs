//! What a Cosmos 3 run starts from, as latents with marks of what is given.

use candle_core::{Device, Tensor};

use super::super::{Hooks, PipelineError, fit_frames, latent_frames};
use super::embodiment::Embodiment;
use super::resize::{Kernel, resize};
use super::{Cosmos3, Cosmos3Job};

/// What a run starts from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Text alone.
    Text,
    /// One picture of any size, [1, 3, 1, H, W] in 0..255: scaled to cover the clip's size, then cut.
    Picture(&'a Tensor),
    /// A clip of the run's size, [1, 3, n, H, W] in -1..1, whose first frames fill the given number of latent frames.
    Clip(&'a Tensor, usize),
    /// Frames and actions of a robot.
    Action(ActionStart<'a>),
}

/// What is asked in an action run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionMode {
    /// First frame and actions give frames.
    ForwardDynamics,
    /// Frames give the actions between them.
    InverseDynamics,
    /// The first frame (and the text) gives frames and actions.
    Policy,
}

/// Frames and actions of a robot.
#[derive(Clone, Copy)]
pub struct ActionStart<'a> {
    /// What is asked.
    pub mode: ActionMode,
    /// Frames [1, 3, n, H, W] in -1..1, sides multiples of 16.
    pub frames: &'a Tensor,
    /// Actions in the chunk; the clip has one frame more.
    pub chunk: usize,
    /// The robot body.
    pub embodiment: Embodiment,
    /// Actions [n, width of the body] (forward dynamics).
    pub actions: Option<&'a Tensor>,
    /// Size class of the canvas: 256, 480, 704 or 720.
    pub tier: usize,
}

/// Canvases (height, width) per size class, by shape.
const CANVASES: [(usize, [(usize, usize); 5]); 4] = [
    (256, [(256, 256), (256, 320), (320, 256), (192, 320), (320, 192)]),
    (480, [(640, 640), (544, 736), (736, 544), (480, 832), (832, 480)]),
    (704, [(960, 960), (832, 1088), (1088, 832), (704, 1280), (1280, 704)]),
    (720, [(960, 960), (832, 1104), (1104, 832), (720, 1280), (1280, 720)]),
];

/// The canvas (height, width) of a size class whose shape is nearest to a picture's.
pub fn canvas(tier: usize, height: usize, width: usize) -> Option<(usize, usize)> {
    let (_, sizes) = CANVASES.iter().find(|(name, _)| *name == tier)?;
    let shape = height as f64 / width.max(1) as f64;
    let distance = |(h, w): &(usize, usize)| (*h as f64 / *w as f64 - shape).abs();
    sizes.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// Latents to start from and what of them is given.
pub(super) struct Prepared {
    /// [1, C, T, h, w]
    pub vision: Tensor,
    pub vision_given: Vec<bool>,
    /// [C, T]
    pub sound: Option<Tensor>,
    /// [N, action width]
    pub actions: Option<Tensor>,
    pub actions_given: Vec<bool>,
    /// 1 for columns that the embodiment has, [1, action width].
    pub action_columns: Tensor,
    pub domain: usize,
}

impl Prepared {
    pub fn new(model: &Cosmos3, job: &Cosmos3Job<'_>, hooks: &mut Hooks<'_>) -> Result<Self, PipelineError> {
        let (vision, vision_given) = match job.start {
            Start::Action(action) => action_vision(model, &action, hooks)?,
            _ => plain_vision(model, job, hooks)?,
        };
        let sound = match (job.sound, model.generation.config().sound()) {
            (None, _) => None,
            (Some(count), Some(channels)) => Some((hooks.noise)(&[channels, count])?),
            (Some(_), None) => return Err(PipelineError::Input("this network makes no sound".to_owned())),
        };
        let device = vision.device().clone();
        match job.start {
            Start::Action(action) => Self::with_actions(model, &action, vision, vision_given, hooks),
            _ => Ok(Self {
                vision,
                vision_given,
                sound,
                actions: None,
                actions_given: Vec::new(),
                action_columns: Tensor::ones((1, 1), candle_core::DType::F32, &device)?,
                domain: 0,
            }),
        }
    }

    fn with_actions(
        model: &Cosmos3,
        action: &ActionStart<'_>,
        vision: Tensor,
        vision_given: Vec<bool>,
        hooks: &mut Hooks<'_>,
    ) -> Result<Self, PipelineError> {
        let Some(width) = model.generation.config().actions() else {
            return Err(PipelineError::Input("this network takes and makes no actions".to_owned()));
        };
        let body = action.embodiment;
        if body.width > width {
            return Err(PipelineError::Input(format!(
                "{} has {} numbers per action, this network has room for {width}",
                body.name, body.width
            )));
        }
        let given = action.mode == ActionMode::ForwardDynamics;
        let noise = (hooks.noise)(&[action.chunk, width])?;
        let columns: Vec<f32> = (0..width).map(|i| if i < body.width { 1.0 } else { 0.0 }).collect();
        let columns = Tensor::from_vec(columns, (1, width), vision.device())?;
        let rows = if given { given_actions(action, width)? } else { noise };
        Ok(Self {
            vision,
            vision_given,
            sound: None,
            actions: Some(rows.broadcast_mul(&columns)?),
            actions_given: vec![given; action.chunk],
            action_columns: columns,
            domain: body.domain,
        })
    }
}

/// The actions of a forward run, cut or their last one repeated, filled up to the network's width.
fn given_actions(action: &ActionStart<'_>, width: usize) -> Result<Tensor, PipelineError> {
    let Some(rows) = action.actions else {
        return Err(PipelineError::Input("forward dynamics needs actions".to_owned()));
    };
    let (have, size) = rows.dims2()?;
    if have == 0 || size != action.embodiment.width {
        return Err(PipelineError::Input(format!(
            "{have} actions of {size} numbers; {} takes actions of {}",
            action.embodiment.name, action.embodiment.width
        )));
    }
    let rows = if have >= action.chunk {
        rows.narrow(0, 0, action.chunk)?
    } else {
        let last = rows.narrow(0, have - 1, 1)?.repeat((action.chunk - have, 1))?;
        Tensor::cat(&[rows, &last], 0)?
    };
    Ok(rows.pad_with_zeros(1, 0, width - size)?)
}

/// `given · x + (1 - given) · noise` over latent frames.
fn mix(given: &[bool], x: &Tensor, noise: &Tensor) -> Result<Tensor, PipelineError> {
    let marks: Vec<f32> = given.iter().map(|given| if *given { 1.0 } else { 0.0 }).collect();
    let marks = Tensor::from_vec(marks, (1, 1, given.len(), 1, 1), x.device())?;
    Ok(super::super::choose(&marks, x, noise)?)
}

/// Encodes a clip to scaled latents.
fn encode(model: &Cosmos3, video: &Tensor, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
    let mean_latents = hooks.encode(&model.vae, video)?.mean;
    let (mean, std) = model.vae.latent_statistics(&mean_latents)?;
    Ok(mean_latents.broadcast_sub(&mean)?.broadcast_div(&std)?)
}

/// Start of a run without actions.
fn plain_vision(
    model: &Cosmos3,
    job: &Cosmos3Job<'_>,
    hooks: &mut Hooks<'_>,
) -> Result<(Tensor, Vec<bool>), PipelineError> {
    let frames = latent_frames(&model.vae, job.frames);
    let side = model.vae.config().spatial_factor();
    let shape = [1, model.vae.config().z_dim, frames, job.height / side, job.width / side];
    let device = model.generation.device();
    let (video, given) = match job.start {
        Start::Picture(picture) => {
            let picture = cover(&picture.squeeze(2)?, job.height, job.width)?.unsqueeze(2)?;
            // A single picture is not held: its one frame is made anew.
            (Some(fit_frames(&picture, job.frames)?), usize::from(job.frames > 1))
        }
        Start::Clip(clip, latents) => {
            let wanted = (latents.max(1) - 1) * model.vae.config().temporal_factor() + 1;
            let clip = clip.narrow(2, 0, wanted.min(clip.dim(2)?))?;
            (Some(fit_frames(&clip, job.frames)?), latents)
        }
        _ => (None, 0),
    };
    let blank = |device: &Device| {
        Tensor::zeros((1, 3, job.frames, job.height, job.width), candle_core::DType::F32, device)
    };
    let latents = match video {
        Some(video) => Some(encode(model, &video, hooks)?),
        None if job.encode_blank => Some(encode(model, &blank(&device)?, hooks)?),
        None => None,
    };
    let given: Vec<bool> = (0..frames).map(|frame| frame < given).collect();
    let noise = hooks.start(job.noise, &shape)?;
    match latents {
        // Noise that is given stands for the whole start.
        Some(latents) if job.noise.is_none() => Ok((mix(&given, &latents, &noise)?, given)),
        _ => Ok((noise, given)),
    }
}

/// Start of an action run: the frames on a canvas of their size class, encoded, and cut back to what they cover.
fn action_vision(
    model: &Cosmos3,
    action: &ActionStart<'_>,
    hooks: &mut Hooks<'_>,
) -> Result<(Tensor, Vec<bool>), PipelineError> {
    let (_, _, have, height, width) = action.frames.dims5()?;
    let side = model.vae.config().spatial_factor();
    if have == 0 || action.chunk == 0 || height * width == 0 || height % side != 0 || width % side != 0 {
        return Err(PipelineError::Input(format!(
            "{have} frames of {width}x{height} for {} actions: frames must have sides that are multiples of {side}",
            action.chunk
        )));
    }
    let Some((canvas_height, canvas_width)) = canvas(action.tier, height, width) else {
        return Err(PipelineError::Input(format!(
            "size class {}; known are 256, 480, 704 and 720",
            action.tier
        )));
    };
    let frames = fit_frames(action.frames, action.chunk + 1)?;
    // Frames are made smaller to fit, never larger.
    let scale = (canvas_width as f64 / width as f64).min(canvas_height as f64 / height as f64).min(1.0);
    let content = |length: usize| ((scale * length as f64 + 0.5) as usize).max(1);
    let (content_height, content_width) = (content(height), content(width));
    // [1, 3, T, H, W] -> [T, 3, H, W] and back
    let pictures = resize(
        &frames.squeeze(0)?.transpose(0, 1)?.contiguous()?,
        content_height,
        content_width,
        Kernel::Bicubic,
    )?;
    let pictures = extend(&pictures, canvas_height - content_height, canvas_width - content_width)?;
    let video = pictures.transpose(0, 1)?.unsqueeze(0)?.contiguous()?;
    let latents = encode(model, &video, hooks)?;
    let latents = latents
        .narrow(3, 0, (content_height / side).max(1))?
        .narrow(4, 0, (content_width / side).max(1))?
        .contiguous()?;
    let count = latents.dim(2)?;
    let given: Vec<bool> =
        (0..count).map(|frame| frame == 0 || action.mode == ActionMode::InverseDynamics).collect();
    let noise = (hooks.noise)(latents.dims())?;
    Ok((mix(&given, &latents, &noise)?, given))
}

/// Scales pictures [N, 3, H, W] in 0..255 to cover a size, cuts the middle out, rounds, and brings them to -1..1.
fn cover(pictures: &Tensor, height: usize, width: usize) -> Result<Tensor, PipelineError> {
    let (_, _, h, w) = pictures.dims4()?;
    if h == 0 || w == 0 {
        return Err(PipelineError::Input("the picture to start from is empty".to_owned()));
    }
    let scale = (width as f64 / w as f64).max(height as f64 / h as f64);
    let (tall, wide) = ((scale * h as f64).ceil() as usize, (scale * w as f64).ceil() as usize);
    let large = resize(pictures, tall, wide, Kernel::Bilinear)?;
    let middle = |large: usize, small: usize| ((large - small) as f64 / 2.0).round_ties_even() as usize;
    let cut =
        large.narrow(2, middle(tall, height), height)?.narrow(3, middle(wide, width), width)?.contiguous()?;
    let levels = round_ties_even(&cut)?.clamp(0f32, 255f32)?;
    Ok(((levels / 127.5)? - 1.0)?)
}

/// Rounds to the nearest integer, halves to even.
fn round_ties_even(x: &Tensor) -> candle_core::Result<Tensor> {
    let values: Vec<f32> = x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::round_ties_even).collect();
    Tensor::from_vec(values, x.dims(), x.device())
}

/// Extends pictures [N, C, H, W] to the bottom and the right: mirrored, or where the picture is too small for that,
/// with its last row and column.
fn extend(pictures: &Tensor, bottom: usize, right: usize) -> Result<Tensor, PipelineError> {
    let (_, _, height, width) = pictures.dims4()?;
    let repeat = right >= width || bottom >= height;
    let places = |length: usize, more: usize| -> Vec<u32> {
        let source = |i: usize| {
            if i < length {
                i
            } else if repeat {
                length - 1
            } else {
                2 * (length - 1) - i
            }
        };
        (0..length + more).map(|i| source(i) as u32).collect()
    };
    let rows = Tensor::from_vec(places(height, bottom), height + bottom, pictures.device())?;
    let columns = Tensor::from_vec(places(width, right), width + right, pictures.device())?;
    Ok(pictures.index_select(&rows, 2)?.index_select(&columns, 3)?)
}
