//! Published models (a publisher's folder with `model_index.json`) as models of the engine.

use std::path::Path;

use candle_core::Device;
use forerun_models::published::{
    ClipSettings, Family, OWN_SETTINGS_FILE, Published, PublishedError, PublishedFolder, need,
};
use forerun_models::{Channel, Contract, Frame};
use serde::{Deserialize, Serialize};

use super::backend::{Futures, HistoryFrame, Stream, WorldModel};
use super::hashes;
use super::protocol::ModelInfo;
use crate::failure::Failure;
use crate::machine::Machine;

pub use forerun_models::published::is_published;

/// Memory that must stay free beside a model.
const SPARE: u64 = 256 << 20;

/// A robot body that a model can be told to move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BodyInfo {
    /// Name in the published table.
    pub name: String,
    /// Its channels, in the network's order.
    pub channels: Vec<Channel>,
}

/// What lists tell of a model that makes whole clips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipInfo {
    /// Class of its pipeline, as its publisher calls it.
    pub class: String,
    /// What a run uses when nothing is chosen.
    pub settings: ClipSettings,
    /// Bodies that it can be told to move.
    pub bodies: Vec<BodyInfo>,
    /// Whether it needs a frame to start from, and whether it can start from frames.
    pub frames: (bool, bool),
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of memory that a run of one chunk needs with these settings.
    pub memory: u64,
    /// The same with everything that saves memory.
    pub memory_least: u64,
    /// Whether the right to use it ends when a guardrail is bypassed.
    pub guardrail_clause: bool,
    /// Whether a person has read its terms here.
    pub licence_read: bool,
    /// The contract when nothing is chosen.
    pub base: Contract,
}

impl ClipInfo {
    /// The contract under other choices: size, rate, body. A body that the model does not know changes nothing.
    pub fn contract(&self, wanted: &ClipSettings) -> Contract {
        let settings = wanted.over(&self.settings);
        let mut contract = self.base.clone();
        let with_body = wanted.body.is_some() && self.settings.body != wanted.body;
        let size = |own: Option<usize>, body: usize, standard: Option<usize>| match (own, with_body) {
            (Some(own), _) => own,
            (None, true) => body,
            (None, false) => standard.unwrap_or(body),
        };
        contract.frame.width = size(wanted.width, 320, self.settings.width);
        contract.frame.height = size(wanted.height, 192, self.settings.height);
        contract.frame.rate_hz = match (wanted.rate_hz, with_body) {
            (Some(rate), _) => rate,
            (None, true) => 5.0,
            (None, false) => self.settings.rate_hz.unwrap_or(contract.frame.rate_hz),
        };
        if let Some(body) = &settings.body
            && let Some(known) = self.bodies.iter().find(|b| b.name == *body)
        {
            contract.actions.clone_from(&known.channels);
            contract.embodiment.clone_from(body);
            contract.frame.history = 1;
        }
        contract
    }
}

/// A published model in the engine.
pub struct ClipModel {
    /// The model.
    pub published: Published,
    name: String,
    contract: Contract,
}

impl ClipModel {
    /// The contract under these choices.
    ///
    /// # Errors
    /// They do not fit the model.
    pub fn contract_with(&self, wanted: &ClipSettings) -> Result<Contract, Failure> {
        self.published.folder().contract(&self.name, wanted).map_err(explain)
    }
}

/// Whether a folder is one of ours that points to a publisher's folder elsewhere.
pub fn is_reference(folder: &Path) -> bool {
    folder.join(OWN_SETTINGS_FILE).is_file()
}

/// Opens a published model on a device. Weights are read when they are needed first.
///
/// # Errors
/// A file is missing or damaged, or the pipeline is not known here.
pub fn load(folder: &Path, device: &Device) -> Result<ClipModel, Failure> {
    let opened = PublishedFolder::open(folder).map_err(explain)?;
    let name = name(folder);
    let contract = opened.contract(&name, &ClipSettings::default()).map_err(explain)?;
    let sha256 = hashes::of_files(&opened.folder, &opened.files().map_err(explain)?)?;
    let published = Published::new(opened, device, sha256).map_err(explain)?;
    let published = match super::prompts::store() {
        Some(store) => published.with_store(store),
        None => published,
    };
    Ok(ClipModel { published, name, contract })
}

/// What lists show of a published model. Large files are hashed when the model is used first, not here: the hash is
/// empty until then.
///
/// # Errors
/// A file is missing or damaged, or the pipeline is not known here.
pub fn describe(folder: &Path) -> Result<ModelInfo, Failure> {
    let opened = PublishedFolder::open(folder).map_err(explain)?;
    let name = name(folder);
    let wanted = ClipSettings::default();
    let contract = opened.contract(&name, &wanted).map_err(explain)?;
    let files = opened.files().map_err(explain)?;
    let bytes = files.iter().filter_map(|f| Some(opened.folder.join(f).metadata().ok()?.len())).sum();
    let settings = opened.settings(&wanted);
    let chunk = settings.chunk.unwrap_or(1).saturating_sub(1);
    // Tiles remember more of the past than a whole picture does: they do not help with every clip.
    let saving = |tile| ClipSettings {
        memory: forerun_models::published::MemoryMode {
            offload: Some(true),
            tile,
            linear: Some(forerun_models::common::Storage::Q4K),
            ..Default::default()
        },
        ..Default::default()
    };
    let peak =
        |wanted: &ClipSettings| need(&opened, wanted, 1, chunk).map(|need| need.peak()).map_err(explain);
    let memory = peak(&wanted)?;
    let clip = ClipInfo {
        class: opened.class.clone(),
        bodies: opened
            .bodies()
            .into_iter()
            .map(|body| BodyInfo { name: body.name, channels: body.channels })
            .collect(),
        frames: opened.frames_needed(),
        bytes,
        memory,
        memory_least: memory.min(peak(&saving(None))?).min(peak(&saving(Some(32)))?),
        guardrail_clause: opened.family.licence().has_guardrail_clause(),
        licence_read: crate::hub::licence::accepted(opened.family.licence()),
        base: contract.clone(),
        settings,
    };
    Ok(ModelInfo {
        name,
        folder: folder.to_path_buf(),
        sha256: hashes::known(&opened.folder, &files).unwrap_or_default(),
        parameters: opened.parameters().map_err(explain)?,
        contract,
        clip: Some(clip),
    })
}

fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    whole.file_name().map_or_else(|| "published".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Says before anything is read whether memory suffices. On a graphics card nothing is known beforehand.
///
/// # Errors
/// It does not; the text says what would help.
pub fn check_memory(
    model: &ClipModel,
    wanted: &ClipSettings,
    given: usize,
    steps: usize,
    device: &str,
) -> Result<u64, Failure> {
    let folder = model.published.folder();
    let needed = need(folder, wanted, given, steps).map_err(explain)?.peak();
    let free = Machine::look().memory.1;
    if device != "cpu" || free == 0 || needed + SPARE <= free {
        return Ok(needed);
    }
    let memory = folder.memory(wanted);
    let plain = memory.linear.unwrap_or_default() == forerun_models::common::Storage::Plain;
    let helps = [
        (!memory.offloads(), "--offload (text encoder and autoencoder leave memory between their uses)"),
        (memory.tiles().is_none(), "--tile 32 (decode in tiles)"),
        (plain, "--linear q8_0 or q4_k (fewer bits a weight)"),
        (true, "a smaller --size or fewer --steps"),
    ];
    let helps: Vec<&str> = helps.into_iter().filter(|(open, _)| *open).map(|(_, text)| text).collect();
    Err(Failure::new(
        format!("This needs {} of memory, you have {}.", gigabytes(needed + SPARE), gigabytes(free)),
        format!("What saves memory: {}.", helps.join(", ")),
    ))
}

/// `3.2 GB`.
pub fn gigabytes(bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes < 0.095 { format!("{:.0} MB", bytes as f64 / 1e6) } else { format!("{gigabytes:.1} GB") }
}

/// What an error of a published model means to a person.
pub fn explain(error: PublishedError) -> Failure {
    let text = error.to_string();
    let text = text.trim_end_matches('.');
    let advice = match &error {
        PublishedError::Candle(_) | PublishedError::Pipeline(_) if text.contains("out of memory") => {
            "Ask for less at once: a smaller size, fewer steps, --offload, --tile 32 or --linear q8_0."
        }
        _ => "",
    };
    Failure::new(format!("{text}."), advice)
}

fn whole_clips(name: &str) -> Failure {
    Failure::new(
        format!("{name} makes whole clips, not one frame after another."),
        "Use it on the World screen or with `forerun imagine`; scores and policies need a model that goes frame by frame.",
    )
}

impl WorldModel for ClipModel {
    fn contract(&self) -> &Contract {
        &self.contract
    }

    fn sha256(&self) -> &str {
        self.published.sha256()
    }

    fn parameters(&self) -> u64 {
        self.published.parameters()
    }

    fn start<'a>(&'a self, _: Vec<Stream>, _: usize) -> Result<Box<dyn Futures + 'a>, Failure> {
        Err(whole_clips(&self.name))
    }

    fn residual(&self, _: &[HistoryFrame], _: &Frame) -> Result<f32, Failure> {
        Err(whole_clips(&self.name))
    }

    fn clip(&self) -> Option<&ClipModel> {
        Some(self)
    }
}

/// Whether a contract is that of a model that makes whole clips.
pub fn makes_clips(contract: &Contract) -> bool {
    Family::of_name(&contract.family).is_some()
}
