//! Choices for models that make whole clips, as arguments.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forerun::engine::protocol::ClipSettings;
use forerun::models::common::Storage;
use forerun::models::cosmos::Reference;
use forerun::models::published::{AdapterChoice, MemoryMode, Numbers};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReferenceName {
    Diffusers,
    Nvidia,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NumbersName {
    F32,
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LinearName {
    Plain,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_k")]
    Q4K,
}

/// What can be chosen. What is left out is the model's own choice, then its publisher's.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Models that make whole clips")]
// A group of the same name as that of the command which these are flattened into would be one too many.
#[group(skip)]
pub(super) struct Arguments {
    /// Size of the frames, WIDTHxHEIGHT in multiples of 16
    #[arg(long, value_parser = size, value_name = "WxH")]
    size: Option<(usize, usize)>,
    /// Frames a second
    #[arg(long, value_parser = rate)]
    rate: Option<f32>,
    /// Frames that the network makes at one time, given ones included
    #[arg(long)]
    chunk: Option<usize>,
    /// Denoising steps
    #[arg(long)]
    denoise: Option<usize>,
    /// How closely to follow the prompt
    #[arg(long)]
    guidance: Option<f64>,
    /// What to steer away from
    #[arg(long)]
    negative: Option<String>,
    /// Robot body, for models of many bodies (`forerun models info` lists them)
    #[arg(long)]
    body: Option<String>,
    /// Where the camera looks from: ego_view, third_person_view, wrist_view or concat_view
    #[arg(long)]
    view: Option<String>,
    /// With --body: read the actions that lead through the given frames, instead of imagining what follows
    #[arg(long)]
    inverse: bool,
    /// The robot's present state, for policies; numbers with commas between them, in the order of its contract
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    state: Vec<f32>,
    /// Whose numbers are reproduced where the two differ
    #[arg(long)]
    reference: Option<ReferenceName>,
    /// Strength of a control clip
    #[arg(long)]
    control_scale: Option<f64>,
    /// A LoRA adapter to merge; FILE or FILE=STRENGTH, may be repeated
    #[arg(long, value_name = "FILE[=STRENGTH]")]
    adapter: Vec<String>,
    /// Numbers to compute with
    #[arg(long)]
    numbers: Option<NumbersName>,
    /// Text encoder and autoencoder leave memory between their uses
    #[arg(long)]
    offload: bool,
    /// Decode in squares of this many latents a side
    #[arg(long)]
    tile: Option<usize>,
    /// How the weights of large layers are kept
    #[arg(long)]
    linear: Option<LinearName>,
}

fn size(text: &str) -> Result<(usize, usize), String> {
    let (width, height) =
        text.split_once(['x', 'X']).ok_or("write it as WIDTHxHEIGHT, for example 640x352")?;
    let side = |text: &str| match text.trim().parse::<usize>() {
        Ok(n) if n > 0 && n <= 8192 => Ok(n),
        _ => Err(format!("{text} is no number of pixels")),
    };
    Ok((side(width)?, side(height)?))
}

fn rate(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err(format!("{text} is no rate")),
    }
}

impl Arguments {
    /// As settings of a job.
    pub(super) fn settings(self) -> ClipSettings {
        let adapters = self.adapter.iter().map(|text| {
            let (path, strength) = match text.rsplit_once('=') {
                Some((path, strength)) => match strength.parse::<f64>() {
                    Ok(strength) => (path, strength),
                    Err(_) => (text.as_str(), 1.0),
                },
                None => (text.as_str(), 1.0),
            };
            let path = PathBuf::from(path);
            AdapterChoice { path: std::path::absolute(&path).unwrap_or(path), strength }
        });
        ClipSettings {
            width: self.size.map(|(width, _)| width),
            height: self.size.map(|(_, height)| height),
            rate_hz: self.rate,
            chunk: self.chunk,
            denoise: self.denoise,
            guidance: self.guidance,
            negative: self.negative,
            body: self.body,
            view: self.view,
            state: (!self.state.is_empty()).then_some(self.state),
            inverse: self.inverse.then_some(true),
            reference: self.reference.map(|name| match name {
                ReferenceName::Diffusers => Reference::Diffusers,
                ReferenceName::Nvidia => Reference::Nvidia,
            }),
            control_scale: self.control_scale,
            adapters: adapters.collect(),
            memory: MemoryMode {
                numbers: self.numbers.map(|name| match name {
                    NumbersName::F32 => Numbers::F32,
                    NumbersName::Bf16 => Numbers::Bf16,
                }),
                offload: self.offload.then_some(true),
                tile: self.tile,
                linear: self.linear.map(|name| match name {
                    LinearName::Plain => Storage::Plain,
                    LinearName::Q8_0 => Storage::Q8_0,
                    LinearName::Q4K => Storage::Q4K,
                }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers() {
        assert_eq!(size("640x352"), Ok((640, 352)));
        for wrong in ["640", "x", "0x16", "ax3", "16x99999"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_chosen_is_nothing_and_an_adapter_has_a_strength() {
        assert!(Arguments::default().settings().is_empty());
        let chosen =
            Arguments { adapter: vec!["/a/b=0.5".into(), "/c".into()], ..Arguments::default() }.settings();
        let strengths: Vec<_> =
            chosen.adapters.iter().map(|a| (a.path.display().to_string(), a.strength)).collect();
        assert_eq!(strengths, [("/a/b".to_owned(), 0.5), ("/c".to_owned(), 1.0)]);
    }
}
