//! Single networks.

use candle_core::{D, Tensor};
use serde::Deserialize;

use super::bars::{AUTOENCODER, Bar, EXACT, LOGITS, NETWORK, TEXT};
use super::case::Case;
use super::{VerifyError, build};
use crate::cosmos::Reference;
use crate::cosmos::audio::{AudioCodec, AudioConfig};
use crate::cosmos::dit::{ControlConfig, ControlInput, ControlNet, Dit, DitConfig, DitInput};
use crate::cosmos::kl::{KlConfig, KlCosmos};
use crate::cosmos::policy_frames as frames;
use crate::reason::{PatchGrid, Patches, ReasonConfig, Reasoner};
use crate::text::{QwenConfig, QwenText, T5Config, T5Encoder};
use crate::wan::{Wan, WanConfig};

/// The class that a `config.json` is for: diffusers writes one, transformers the other.
#[derive(Deserialize)]
struct Class {
    #[serde(rename = "_class_name")]
    diffusers: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
}

/// A folder with one model.
pub(super) fn single(case: &mut Case) -> Result<(), VerifyError> {
    let class: Class = case.config("", "config.json")?;
    let name = class.diffusers.or(class.architectures.into_iter().next()).unwrap_or_default();
    match name.as_str() {
        "CosmosTransformer3DModel" => transformer(case),
        "Cosmos3OmniTransformer" => super::cosmos3::network(case),
        "AutoencoderKLWan" => wan(case),
        "AutoencoderKLCosmos" => kl_cosmos(case),
        "Cosmos3AVAEAudioTokenizer" => audio(case),
        "T5EncoderModel" => t5(case),
        "Qwen2_5_VLForConditionalGeneration" if case.has("prompt_embeds") => qwen_text(case),
        "Qwen2_5_VLForConditionalGeneration" | "Qwen3VLForConditionalGeneration" => reasoner(case),
        _ => Err(case.unsupported(&format!("the model class `{name}`"))),
    }
}

fn transformer(case: &mut Case) -> Result<(), VerifyError> {
    let config: DitConfig = case.config("", "config.json")?;
    let folder = case.folder().to_path_buf();
    let dit = build(case, &folder, &[], |vb| Dit::new(&config, Reference::Diffusers, vb))?;
    let latents = case.input("hidden_states")?;
    let (timestep, text) = (case.input("timestep")?, case.input("encoder_hidden_states")?);
    let (condition, padding) = (case.optional("condition_mask")?, case.optional("padding_mask")?);
    let actions = case.optional("action")?;
    let sample = dit
        .forward(&DitInput {
            condition_mask: condition.as_ref(),
            padding_mask: padding.as_ref(),
            fps: case.argument("fps")?,
            actions: actions.as_ref(),
            ..DitInput::new(&latents, &timestep, &text)
        })
        .map_err(|e| case.run_error(e))?;
    case.compare("sample", &sample, NETWORK)
}

/// A control network and the transformer that it steers.
pub(super) fn transfer(case: &mut Case) -> Result<(), VerifyError> {
    let control_config: ControlConfig = case.config("controlnet", "config.json")?;
    let config: DitConfig = case.config("transformer", "config.json")?;
    let folder = case.folder().to_path_buf();
    let reference = Reference::Diffusers;
    let control =
        build(case, &folder.join("controlnet"), &[], |vb| ControlNet::new(&control_config, reference, vb))?;
    let dit = build(case, &folder.join("transformer"), &[], |vb| Dit::new(&config, reference, vb))?;
    let (latents, controls) = (case.input("latents")?, case.input("controls_latents")?);
    let (timestep, text, picture) =
        (case.input("timestep")?, case.input("text")?, case.input("img_context")?);
    let (condition, padding) = (case.input("condition_mask")?, case.input("padding_mask")?);
    let scales: Vec<f64> = case.required("conditioning_scale")?;
    let residuals = control
        .forward(&ControlInput {
            control: &controls,
            latents: &latents,
            timestep: &timestep,
            text: &text,
            text_is_projected: false,
            picture: Some(&picture),
            condition_mask: &condition,
            padding_mask: Some(&padding),
            scales: &scales,
        })
        .map_err(|e| case.run_error(e))?;
    for (i, residual) in residuals.iter().enumerate() {
        case.compare(&format!("control_block.{i}"), residual, NETWORK)?;
    }
    let sample = dit
        .forward(&DitInput {
            picture: Some(&picture),
            condition_mask: Some(&condition),
            padding_mask: Some(&padding),
            control: Some(&residuals),
            ..DitInput::new(&latents, &timestep, &text)
        })
        .map_err(|e| case.run_error(e))?;
    case.compare("sample", &sample, NETWORK)
}

fn wan(case: &mut Case) -> Result<(), VerifyError> {
    let config: WanConfig = case.config("", "config.json")?;
    let folder = case.folder().to_path_buf();
    let wan = build(case, &folder, &[], |vb| Wan::new(&config, vb))?;
    let encode = |video: &Tensor| wan.encode(video).map(|posterior| (posterior.mean, Some(posterior.logvar)));
    autoencoder(case, encode, |latents| wan.decode(latents))
}

fn audio(case: &mut Case) -> Result<(), VerifyError> {
    let config: AudioConfig = case.config("", "config.json")?;
    let folder = case.folder().to_path_buf();
    let codec = build(case, &folder, &[], |vb| AudioCodec::new(&config, vb))?;
    let encoded = codec.encode(&case.input("waveform")?).map_err(|e| case.run_error(e))?;
    case.compare("encoded_mean", &encoded, NETWORK)?;
    let decoded = codec.decode(&case.input("latents")?).map_err(|e| case.run_error(e))?;
    case.compare("decoded", &decoded, NETWORK)
}

fn kl_cosmos(case: &mut Case) -> Result<(), VerifyError> {
    let config: KlConfig = case.config("", "config.json")?;
    let folder = case.folder().to_path_buf();
    let vae = build(case, &folder, &[], |vb| KlCosmos::new(&config, vb))?;
    autoencoder(case, |video| vae.encode(video).map(|mean| (mean, None)), |latents| vae.decode(latents))
}

/// The tensors that every autoencoder case has; `encode` gives mean and, if there is one, log variance.
fn autoencoder(
    case: &mut Case,
    encode: impl Fn(&Tensor) -> candle_core::Result<(Tensor, Option<Tensor>)>,
    decode: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<(), VerifyError> {
    let (video, latents) = (case.input("video")?, case.input("latents")?);
    let run = || -> candle_core::Result<_> {
        let (encoded, one) = (encode(&video)?, encode(&video.narrow(2, 0, 1)?)?);
        Ok((encoded, one.0, decode(&latents)?, decode(&latents.narrow(2, 0, 1)?)?))
    };
    let ((mean, logvar), encoded_one, decoded, decoded_one) = run().map_err(|e| case.run_error(e))?;
    case.compare("encoded_mean", &mean, AUTOENCODER)?;
    if let (Some(logvar), true) = (logvar, case.has("encoded_logvar")) {
        case.compare("encoded_logvar", &logvar, AUTOENCODER)?;
    }
    case.compare("encoded_one", &encoded_one, AUTOENCODER)?;
    case.compare("decoded", &decoded, AUTOENCODER)?;
    case.compare("decoded_one", &decoded_one, AUTOENCODER)
}

fn t5(case: &mut Case) -> Result<(), VerifyError> {
    let config: T5Config = case.config("", "config.json")?;
    let folder = case.folder().to_path_buf();
    let encoder = build(case, &folder, &[], |vb| T5Encoder::new(&config, vb))?;
    let (ids, mask) = (case.input("input_ids")?, case.input("attention_mask")?);
    let hidden = encoder.forward(&ids, &mask).map_err(|e| case.run_error(e))?;
    case.compare("last_hidden_state", &hidden, TEXT)?;
    let embeds = encoder.prompt_embeds(&ids, &mask).map_err(|e| case.run_error(e))?;
    case.compare("prompt_embeds", &embeds, TEXT)
}

fn qwen_text(case: &mut Case) -> Result<(), VerifyError> {
    let value: serde_json::Value = case.config("", "config.json")?;
    let config = QwenConfig::from_json(value).map_err(|e| case.no_case(format!("config.json: {e}")))?;
    let folder = case.folder().to_path_buf();
    let tower =
        build(case, &folder, &["visual.", "model.visual.", "lm_head."], |vb| QwenText::new(&config, vb))?;
    let ids = case.input("input_ids")?;
    let states = tower.hidden_states(&ids).map_err(|e| case.run_error(e))?;
    for (i, state) in states.iter().enumerate() {
        case.compare(&format!("hidden.{i}"), state, TEXT)?;
    }
    let embeds = QwenText::side_by_side(&states).map_err(|e| case.run_error(e))?;
    case.compare("prompt_embeds", &embeds, TEXT)
}

/// Cosmos Policy's vectors in latent frames.
pub(super) fn policy_frames(case: &mut Case) -> Result<(), VerifyError> {
    const BAR: Bar = NETWORK;
    let (action_frame, proprio_frame): (usize, usize) =
        (case.required("action_frame")?, case.required("proprio_frame")?);
    let (latents, noisy) = (case.input("latents")?, case.input("noisy")?);
    let (action, proprio) = (case.input("action")?, case.input("proprio")?);
    let run = || -> candle_core::Result<_> {
        let written =
            frames::write(&frames::write(&latents, &action, action_frame)?, &proprio, proprio_frame)?;
        let action_read = frames::read(&noisy, action.dims().get(1..).unwrap_or_default(), action_frame)?;
        let proprio_read = frames::read(&noisy, proprio.dims().get(1..).unwrap_or_default(), proprio_frame)?;
        Ok((written, action_read, proprio_read))
    };
    let (written, action_read, proprio_read) = run().map_err(|e| case.run_error(e))?;
    case.compare("written", &written, BAR)?;
    case.compare("action_read", &action_read, BAR)?;
    case.compare("proprio_read", &proprio_read, BAR)
}

/// Cosmos-Reason: pictures, clips and words to next-token scores.
fn reasoner(case: &mut Case) -> Result<(), VerifyError> {
    let config: ReasonConfig = case.config("", "config.json")?;
    let folder = case.folder().to_path_buf();
    let model = build(case, &folder, &[], |vb| Reasoner::new(&config, vb))?;
    let ids: Vec<u32> = integers(case, "input_ids")?.into_iter().map(|id| id as u32).collect();
    let kinds: Vec<f64> = model.kinds(&ids).into_iter().map(f64::from).collect();
    let kinds = Tensor::from_slice(&kinds, (1, kinds.len()), case.device()).map_err(|e| case.run_error(e))?;
    case.compare("mm_token_type_ids", &kinds, EXACT)?;
    let pictures = patches(case, "pixel_values", "image_grid_thw")?;
    let clips = patches(case, "pixel_values_videos", "video_grid_thw")?;
    let logits = model
        .logits(
            &ids,
            pictures.as_ref().map(|(values, grids)| Patches { values, grids }),
            clips.as_ref().map(|(values, grids)| Patches { values, grids }),
        )
        .map_err(|e| case.run_error(e))?;
    case.compare("logits", &logits, LOGITS)?;
    let best = |scores: &Tensor| scores.argmax(D::Minus1)?.flatten_all()?.to_vec1::<u32>();
    let (ours, theirs) = (best(&logits), best(&case.input("logits")?));
    let (ours, theirs) = (ours.map_err(|e| case.run_error(e))?, theirs.map_err(|e| case.run_error(e))?);
    case.expect("argmax", ours == theirs);
    Ok(())
}

/// Stored integers.
fn integers(case: &Case, name: &str) -> Result<Vec<i64>, VerifyError> {
    case.input(name)?.flatten_all().and_then(|t| t.to_vec1::<i64>()).map_err(|e| case.run_error(e))
}

/// Stored patches and their grids, if the case has them.
fn patches(case: &Case, values: &str, grids: &str) -> Result<Option<(Tensor, Vec<PatchGrid>)>, VerifyError> {
    let Some(values) = case.optional(values)? else { return Ok(None) };
    let numbers = integers(case, grids)?;
    if numbers.iter().any(|n| !(1..=65536).contains(n)) {
        return Err(case.no_case(format!("`{grids}` holds numbers that are no patch counts")));
    }
    let grids = numbers
        .chunks_exact(3)
        .map(|grid| PatchGrid { frames: grid[0] as usize, rows: grid[1] as usize, columns: grid[2] as usize })
        .collect();
    Ok(Some((values, grids)))
}
