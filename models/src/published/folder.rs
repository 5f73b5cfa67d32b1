//! What a publisher's folder holds, without reading a weight.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bodies::{self, Body};
use super::family::Family;
use super::policy::PolicyFacts;
use super::settings::ClipSettings;
use super::{MemoryMode, PublishedError};
use crate::checkpoint::{Checkpoint, CheckpointError, read_json};
use crate::contract::{CONTRACT_FORMAT, Channel, Contract, FrameSpec};
use crate::cosmos::dit::{DitConfig, infer};
use crate::cosmos::kl::KlConfig;
use crate::cosmos::mot::MotConfig;
use crate::wan::WanConfig;

/// The file by which a publisher's folder is known.
pub const INDEX_FILE: &str = "model_index.json";
/// Our own file beside it (or alone, pointing to a publisher's folder elsewhere).
pub const OWN_SETTINGS_FILE: &str = "forerun.json";

/// Whether a folder is a published model: a publisher's own, or one of ours that points to such a folder.
pub fn is_published(folder: &Path) -> bool {
    folder.join(INDEX_FILE).is_file() || folder.join(OWN_SETTINGS_FILE).is_file()
}

/// Our file: where the weights are, and what was chosen once and for all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct OwnSettings {
    format: u32,
    /// The publisher's folder, when it is elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<PathBuf>,
    settings: ClipSettings,
}

#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class: String,
}

/// The autoencoder's configuration.
#[derive(Clone, Debug)]
pub enum Autoencoder {
    /// Wan 2.1 or 2.2.
    Wan(WanConfig),
    /// CV8x8x8.
    Kl(KlConfig),
}

impl Autoencoder {
    /// Pixels per latent along each side, and frames per latent frame.
    pub fn factors(&self) -> (usize, usize) {
        match self {
            Self::Wan(config) => (config.spatial_factor(), config.temporal_factor()),
            Self::Kl(config) => (config.spatial_compression_ratio, config.temporal_compression_ratio),
        }
    }
}

/// The transformer's configuration.
#[derive(Clone, Debug)]
pub enum Network {
    /// The diffusion transformer of Predict and Transfer.
    Dit(DitConfig),
    /// The two towers of Cosmos 3.
    Towers(MotConfig),
}

/// A published model on disk.
#[derive(Clone, Debug)]
pub struct PublishedFolder {
    /// The publisher's folder.
    pub folder: PathBuf,
    /// Class of its pipeline.
    pub class: String,
    /// Its family.
    pub family: Family,
    /// Its transformer.
    pub network: Network,
    /// Its autoencoder.
    pub autoencoder: Autoencoder,
    /// Whether there is a text encoder (for Cosmos 3 it is one of the towers).
    pub text: bool,
    /// What a policy was made for.
    pub policy: Option<PolicyFacts>,
    /// What was chosen for this folder.
    own: ClipSettings,
}

impl PublishedFolder {
    /// Reads the folder's descriptions.
    ///
    /// # Errors
    /// A description is missing, damaged, or of a pipeline that this version does not run.
    pub fn open(folder: &Path) -> Result<Self, PublishedError> {
        let own_file = folder.join(OWN_SETTINGS_FILE);
        let own: OwnSettings =
            if own_file.is_file() { read_json(&own_file)? } else { OwnSettings::default() };
        if own.format > 1 {
            return Err(PublishedError::Input(format!(
                "{} has format {}, this version reads up to 1. Update Forerun to use this model.",
                own_file.display(),
                own.format
            )));
        }
        let folder = own.weights.unwrap_or_else(|| folder.to_path_buf());
        let index: Index = read_json(&folder.join(INDEX_FILE))?;
        let family = Family::of_class(&index.class).ok_or_else(|| PublishedError::Class {
            folder: folder.clone(),
            class: index.class.clone(),
            known: "Predict1, Predict2, Predict2.5, Transfer1, Transfer2.5, Cosmos 3 and Cosmos Policy"
                .to_owned(),
        })?;
        let transformer = folder.join("transformer");
        let network = match family {
            Family::Cosmos3 => Network::Towers(read_json(&transformer.join("config.json"))?),
            _ => Network::Dit(dit_config(&transformer)?),
        };
        let vae = folder.join("vae");
        let autoencoder = match family {
            Family::Predict1 | Family::Transfer1 if !vae.join("config.json").is_file() => {
                Autoencoder::Kl(KlConfig::default())
            }
            Family::Predict1 | Family::Transfer1 => Autoencoder::Kl(read_json(&vae.join("config.json"))?),
            // The published Wan 2.1 needs no configuration beside its weights.
            _ if !vae.join("config.json").is_file() => Autoencoder::Wan(WanConfig::default()),
            _ => Autoencoder::Wan(read_json(&vae.join("config.json"))?),
        };
        let text = family == Family::Cosmos3 || folder.join("text_encoder").is_dir();
        let mut own = own.settings;
        for adapter in &mut own.adapters {
            adapter.path = folder.join(&adapter.path);
        }
        let policy = (family == Family::Policy).then(|| PolicyFacts::open(&folder)).transpose()?;
        Ok(Self { folder, class: index.class, family, network, autoencoder, text, policy, own })
    }

    /// Heads of attention of the text encoder; as many as the largest published one has, where none are told.
    pub(super) fn text_heads(&self) -> usize {
        self.text_number(&["num_heads", "num_attention_heads"]).unwrap_or(128)
    }

    /// Width between the layers of its feed-forward part; that of Cosmos-Reason1 where none is told.
    pub(super) fn text_inner(&self) -> usize {
        self.text_number(&["d_ff", "intermediate_size"]).unwrap_or(18_944)
    }

    fn text_number(&self, keys: &[&str]) -> Option<usize> {
        let config: serde_json::Value =
            read_json(&self.folder.join("text_encoder").join("config.json")).ok()?;
        let within = config.get("text_config").unwrap_or(&config);
        let number = keys.iter().find_map(|key| within.get(*key)?.as_u64())?;
        usize::try_from(number).ok()
    }

    /// Writes our own file into `folder`: a model of the name that the folder has, whose weights stay at `weights`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn refer(folder: &Path, weights: &Path, settings: &ClipSettings) -> std::io::Result<()> {
        let own = OwnSettings { format: 1, weights: Some(weights.to_path_buf()), settings: settings.clone() };
        let text = serde_json::to_string_pretty(&own).map_err(std::io::Error::other)?;
        std::fs::write(folder.join(OWN_SETTINGS_FILE), text)
    }

    /// Numbers per arm action of an action-conditioned Predict network, and actions per call.
    pub fn arm(&self) -> Option<(usize, usize)> {
        match &self.network {
            Network::Dit(config) => config.action().map(|action| (action.size, action.number)),
            Network::Towers(_) => None,
        }
    }

    /// The robot bodies that it can be told to move.
    pub fn bodies(&self) -> Vec<Body> {
        match &self.network {
            Network::Towers(config) => config
                .actions()
                .map(|width| bodies::bodies(width, config.num_embodiment_domains))
                .unwrap_or_default(),
            Network::Dit(_) => Vec::new(),
        }
    }

    /// Networks that read the words, each through a projection of its own.
    pub(super) fn readers(&self) -> usize {
        if self.family == Family::Transfer25 { 2 } else { 1 }
    }

    /// Whether it makes single pictures from words.
    pub fn picture_only(&self) -> bool {
        self.class == "Cosmos2TextToImagePipeline"
    }

    /// Whether it cannot start without a frame, and whether it can start from frames at all.
    pub fn frames_needed(&self) -> (bool, bool) {
        match (self.family, &self.network) {
            (Family::Predict1 | Family::Predict2, Network::Dit(config)) => {
                let takes = config.in_channels == 17;
                (takes, takes)
            }
            (Family::Transfer1 | Family::Transfer25 | Family::Policy, _) => (true, true),
            (Family::Predict25, _) => (self.arm().is_some(), true),
            _ => (false, true),
        }
    }

    /// What a run uses: what was wanted, else what was chosen for this folder, else the publisher's.
    pub fn settings(&self, wanted: &ClipSettings) -> ClipSettings {
        let chosen = wanted.over(&self.own);
        let mut base = self.family.defaults(self.arm().is_some(), self.picture_only());
        if let Some((_, number)) = self.arm() {
            base.chunk = Some(number + 1);
        }
        if chosen.body.is_some() {
            base = ClipSettings {
                width: Some(320),
                height: Some(192),
                rate_hz: Some(5.0),
                chunk: Some(17),
                denoise: Some(30),
                guidance: Some(1.0),
                ..base
            };
        }
        chosen.over(&base)
    }

    /// The contract under these choices, for a model called `name`.
    ///
    /// # Errors
    /// A body that the network does not know, or a size that makes no frame.
    pub fn contract(&self, name: &str, wanted: &ClipSettings) -> Result<Contract, PublishedError> {
        let settings = self.settings(wanted);
        let actions = self.channels(&settings)?;
        let (_, time) = self.autoencoder.factors();
        let (_, takes_frames) = self.frames_needed();
        let history = match self.family {
            // The whole control clip is what it starts from.
            family if family.is_control() => 4096,
            // The clip whose actions are wanted.
            Family::Cosmos3 if settings.inverse == Some(true) => settings.chunk.unwrap_or(17),
            // One picture of each camera.
            Family::Policy => self.policy.as_ref().map_or(1, |policy| policy.cameras.len()),
            _ if !actions.is_empty() || !takes_frames => 1,
            _ => time + 1,
        };
        let contract = Contract {
            format: CONTRACT_FORMAT,
            name: name.to_owned(),
            family: self.family.name().to_owned(),
            frame: FrameSpec {
                width: settings.width.unwrap_or(1280),
                height: settings.height.unwrap_or(704),
                rate_hz: settings.rate_hz.unwrap_or(16.0),
                history,
                fit: Default::default(),
            },
            actions,
            state: self.policy.as_ref().map(|policy| policy.state.clone()).unwrap_or_default(),
            text: self.text && self.arm().is_none(),
            knows: String::new(),
            embodiment: settings.body.clone().unwrap_or_default(),
            licence: self.family.licence().name().to_owned(),
            familiar_residual: None,
            vocabulary: Vec::new(),
        };
        match contract.problem() {
            None => Ok(contract),
            Some(problem) => {
                Err(PublishedError::Input(format!("{problem} cannot be made. Choose another size or rate.")))
            }
        }
    }

    fn channels(&self, settings: &ClipSettings) -> Result<Vec<Channel>, PublishedError> {
        if let Some((size, _)) = self.arm() {
            return Ok(bodies::arm(size));
        }
        let Some(wanted) = &settings.body else { return Ok(Vec::new()) };
        let known = self.bodies();
        if let Some(body) = known.iter().find(|body| body.name == *wanted) {
            return Ok(body.channels.clone());
        }
        let names: Vec<&str> = known.iter().map(|body| body.name.as_str()).collect();
        let choice = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(PublishedError::Input(format!("This model has no body called {wanted}. It knows: {choice}.")))
    }

    /// Folders with weights and what of them is not read.
    pub(super) fn weight_folders(&self) -> Vec<(&'static str, &'static [&'static str])> {
        let mut parts: Vec<(&str, &[&str])> = vec![("transformer", &[])];
        parts.push(("vae", &[]));
        for (name, unused) in [("controlnet", &[] as &[&str]), ("text_encoder", &TEXT_UNUSED as &[&str])] {
            if self.folder.join(name).is_dir() {
                parts.push((name, unused));
            }
        }
        parts
    }

    /// Number of weights that it runs, from the headers of its files alone.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn parameters(&self) -> Result<u64, PublishedError> {
        let mut sum = 0;
        for (part, unused) in self.weight_folders() {
            let checkpoint = Checkpoint::open(&self.folder.join(part))?;
            let used = checkpoint.names().filter(|n| !unused.iter().any(|u| n.starts_with(u)));
            sum += used
                .filter_map(|n| checkpoint.shape(n))
                .map(|s| s.iter().product::<usize>() as u64)
                .sum::<u64>();
        }
        Ok(sum)
    }

    /// All files that decide what the model makes, relative to [`PublishedFolder::folder`], sorted: weights,
    /// configurations, tokenizers.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn files(&self) -> Result<Vec<PathBuf>, PublishedError> {
        let mut files = vec![PathBuf::from(INDEX_FILE)];
        for part in
            ["controlnet", "scheduler", "text_encoder", "text_tokenizer", "tokenizer", "transformer", "vae"]
        {
            let folder = self.folder.join(part);
            if !folder.is_dir() {
                continue;
            }
            let failed = |source| CheckpointError::Read { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.path().is_file() {
                    files.push(Path::new(part).join(entry.file_name()));
                }
            }
        }
        if self.family == Family::Policy {
            for entry in std::fs::read_dir(&self.folder)
                .map_err(|source| CheckpointError::Read { path: self.folder.clone(), source })?
                .flatten()
            {
                let name = PathBuf::from(entry.file_name());
                if name.extension().is_some_and(|e| e == "json") && !files.contains(&name) {
                    files.push(name);
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// How memory is used under these choices.
    pub fn memory(&self, wanted: &ClipSettings) -> MemoryMode {
        self.settings(wanted).memory
    }
}

/// What of a vision-language model is not read where it only encodes prompts.
pub(super) const TEXT_UNUSED: [&str; 3] = ["visual.", "model.visual.", "lm_head."];

/// The transformer's configuration: its file, or what the shapes of a `.pt` file tell.
fn dit_config(folder: &Path) -> Result<DitConfig, PublishedError> {
    let file = folder.join("config.json");
    if file.is_file() {
        return Ok(read_json(&file)?);
    }
    infer(&Checkpoint::open(folder)?).ok_or_else(|| {
        PublishedError::Input(format!(
            "{} has no config.json, and its weights are no Cosmos transformer. Choose the folder that its publisher made.",
            folder.display()
        ))
    })
}
