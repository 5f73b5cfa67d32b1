//! Networks into memory and out of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;

use super::PublishedError;
use super::folder::{Autoencoder, Network, PublishedFolder, TEXT_UNUSED};
use super::preview::Projection;
use super::settings::{AdapterChoice, ClipSettings, MemoryMode, Numbers};
use crate::checkpoint::{Adapter, Checkpoint, read_json};
use crate::common::{Place, Storage, with_storage};
use crate::cosmos::Reference;
use crate::cosmos::dit::{Control1, Control1Config, ControlConfig, ControlNet, Dit, DitConfig};
use crate::cosmos::kl::{KlConfig, KlCosmos, KlPlace};
use crate::cosmos::mot::{Generation, PromptMemory, Understanding};
use crate::cosmos::pipeline::Prompts;
use crate::cosmos::pipeline::cosmos3::Cosmos3;
use crate::cosmos::pipeline::predict1::Predict1;
use crate::cosmos::pipeline::predict2::Predict2;
use crate::cosmos::pipeline::predict25::Predict25;
use crate::cosmos::pipeline::prompt;
use crate::cosmos::pipeline::transfer1::Transfer1;
use crate::cosmos::pipeline::transfer25::Transfer25;
use crate::sampler::UniPcConfig;
use crate::text::{QwenConfig, QwenText, T5Config, T5Encoder, TextTokenizer};
use crate::wan::{Wan, WanConfig, WanPlace};

/// Tokens that a prompt of Predict and Transfer is filled up to.
pub(super) const PROMPT_TOKENS: usize = 512;

/// Networks of a run, ready to denoise.
pub(super) enum Engine {
    Predict1(Predict1),
    Predict2(Predict2),
    Predict25(Predict25),
    Transfer1(Transfer1),
    Transfer25(Transfer25),
    Cosmos3(Cosmos3),
}

/// What a run reads its words with.
enum TextEncoder {
    T5(TextTokenizer, T5Encoder),
    Reason1(TextTokenizer, QwenText),
    Tower(Understanding),
}

/// Words as networks read them.
#[derive(Clone)]
pub(super) enum Words {
    /// One for each network that reads them, the transformer first.
    Embedded(Vec<Prompts>),
    Read {
        prompt: Arc<PromptMemory>,
        negative: Option<Arc<PromptMemory>>,
    },
}

/// What decides which networks are in memory and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    reference: Reference,
    pub adapters: Vec<AdapterChoice>,
    pub memory: MemoryMode,
    /// Settings that change the noise schedule.
    picture: bool,
}

impl Key {
    pub fn of(settings: &ClipSettings, picture: bool) -> Self {
        Self {
            reference: settings.reference.unwrap_or_default(),
            adapters: settings.adapters.clone(),
            memory: settings.memory,
            picture,
        }
    }
}

#[derive(Default)]
pub(super) struct Kept {
    pub key: Option<Key>,
    engine: Option<Arc<Engine>>,
    encoder: Option<Arc<TextEncoder>>,
    pub words: Option<((String, Option<String>), Words)>,
    projection: Option<Arc<Projection>>,
}

/// Keeps what text encoders made of words, so that the same words need no text encoder again. What it loses or
/// damages is made anew.
pub trait PromptStore: Send + Sync {
    /// What was kept under a name, whole or not at all.
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    /// Keeps something under a name.
    fn put(&self, name: &str, bytes: &[u8]);
}

/// A published model, ready to run. Networks are read when they are needed first.
pub struct Published {
    pub(super) folder: PublishedFolder,
    pub(super) device: Device,
    pub(super) sha256: String,
    parameters: u64,
    pub(super) store: Option<Arc<dyn PromptStore>>,
    kept: Mutex<Kept>,
}

impl Published {
    /// The model of a folder on a device. `sha256` names its files in records.
    ///
    /// # Errors
    /// A weight file is missing or damaged.
    pub fn new(folder: PublishedFolder, device: &Device, sha256: String) -> Result<Self, PublishedError> {
        let parameters = folder.parameters()?;
        Ok(Self { folder, device: device.clone(), sha256, parameters, store: None, kept: Mutex::default() })
    }

    /// The same with a place where prompts are kept.
    pub fn with_store(self, store: Arc<dyn PromptStore>) -> Self {
        Self { store: Some(store), ..self }
    }

    /// What its folder holds.
    pub fn folder(&self) -> &PublishedFolder {
        &self.folder
    }

    /// Hash over all its files.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Number of its weights.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was read under other choices.
    pub(super) fn choose(&self, settings: &ClipSettings, picture: bool) {
        let key = Key::of(settings, picture);
        let mut kept = self.kept();
        if kept.key.as_ref() != Some(&key) {
            let projection = kept.projection.take();
            *kept = Kept { key: Some(key), projection, ..Kept::default() };
        }
    }

    /// Reads the words. What was read last is remembered, so that futures that differ in their seeds read once.
    pub(super) fn words(
        &self,
        settings: &ClipSettings,
        prompt: &str,
        negative: Option<&str>,
        ids: impl Fn(&TextTokenizer, &str, bool) -> Result<Vec<u32>, PublishedError>,
    ) -> Result<Words, PublishedError> {
        let key = (prompt.to_owned(), negative.map(str::to_owned));
        if let Some((_, words)) = self.kept().words.as_ref().filter(|(known, _)| *known == key) {
            return Ok(words.clone());
        }
        if !self.folder.text {
            return self.no_words();
        }
        if let Some(words) = self.stored(settings, prompt, negative) {
            self.kept().words = Some((key, words.clone()));
            return Ok(words);
        }
        if settings.memory.offloads() {
            // The transformer makes room for the text encoder.
            self.kept().engine = None;
        }
        let known = self.kept().encoder.clone();
        let encoder = match known {
            Some(encoder) => encoder,
            None => Arc::new(self.text_encoder(settings)?),
        };
        let words = match &*encoder {
            TextEncoder::T5(tokenizer, encoder) => {
                let read = |text: &str| prompt::t5(tokenizer, encoder, text, PROMPT_TOKENS, &self.device);
                Words::Embedded(vec![Prompts {
                    positive: read(prompt)?.embeds,
                    negative: negative.map(read).transpose()?.map(|read| read.embeds),
                    projected: false,
                }])
            }
            TextEncoder::Reason1(tokenizer, encoder) => {
                let read =
                    |text: &str| prompt::reason1(tokenizer, encoder, text, PROMPT_TOKENS, &self.device);
                Words::Embedded(vec![Prompts {
                    positive: read(prompt)?.embeds,
                    negative: negative.map(read).transpose()?.map(|read| read.embeds),
                    projected: false,
                }])
            }
            TextEncoder::Tower(tower) => {
                let tokenizer = self.tokenizer()?;
                let read = |text: &str, negative: bool| -> Result<Arc<PromptMemory>, PublishedError> {
                    let ids = ids(&tokenizer, text, negative)?;
                    let ids = Tensor::from_slice(&ids, ids.len(), &self.device)?;
                    Ok(Arc::new(tower.read(&ids)?))
                };
                Words::Read {
                    prompt: read(prompt, false)?,
                    negative: negative.map(|text| read(text, true)).transpose()?,
                }
            }
        };
        let mut kept = self.kept();
        kept.words = Some((key, words.clone()));
        if !settings.memory.offloads() {
            kept.encoder = Some(encoder);
        }
        Ok(words)
    }

    fn tokenizer(&self) -> Result<TextTokenizer, PublishedError> {
        let name = match self.folder.network {
            Network::Towers(_) => "text_tokenizer",
            Network::Dit(_) => "tokenizer",
        };
        Ok(TextTokenizer::open(&self.folder.folder.join(name))?)
    }

    /// Silence, for networks that are driven by actions alone and come without a text encoder.
    fn no_words(&self) -> Result<Words, PublishedError> {
        let Network::Dit(config) = &self.folder.network else {
            return Err(PublishedError::Input("This model has no text encoder.".to_owned()));
        };
        let width = match config.use_crossattn_projection {
            true => config.crossattn_proj_in_channels,
            false => config.text_embed_dim,
        };
        let positive = Tensor::zeros((1, PROMPT_TOKENS, width), DType::F32, &self.device)?;
        Ok(Words::Embedded(vec![Prompts { positive, negative: None, projected: false }]))
    }

    fn text_encoder(&self, settings: &ClipSettings) -> Result<TextEncoder, PublishedError> {
        let reading = Reading::new(self, settings, false)?;
        let folder = self.folder.folder.join("text_encoder");
        match &self.folder.network {
            Network::Towers(config) => {
                let folder = self.folder.folder.join("transformer");
                // The output layer of the language model and the norm before it answer questions; nobody asks here.
                let unused = |name: &str| {
                    is_generation(name) || name.starts_with("lm_head.") || name.starts_with("norm.")
                };
                let tower = reading.network(&folder, unused, |vb| Understanding::new(config, vb))?;
                Ok(TextEncoder::Tower(tower))
            }
            Network::Dit(_) => {
                let file = folder.join("config.json");
                let value: serde_json::Value = read_json(&file)?;
                let is_t5 = value.get("model_type").and_then(|v| v.as_str()) == Some("t5");
                let tokenizer = self.tokenizer()?;
                let unread = |name: &str| TEXT_UNUSED.iter().any(|part| name.starts_with(part));
                if is_t5 {
                    let config: T5Config = read_json(&file)?;
                    let encoder = reading.network(&folder, unread, |vb| T5Encoder::new(&config, vb))?;
                    return Ok(TextEncoder::T5(tokenizer, encoder));
                }
                let config = QwenConfig::from_json(value).map_err(|e| {
                    PublishedError::Input(format!(
                        "{}: {e}. Get this file from its publisher again.",
                        file.display()
                    ))
                })?;
                let encoder = reading.network(&folder, unread, |vb| QwenText::new(&config, vb))?;
                Ok(TextEncoder::Reason1(tokenizer, encoder))
            }
        }
    }

    /// The networks that denoise.
    pub(super) fn engine(&self, settings: &ClipSettings) -> Result<Arc<Engine>, PublishedError> {
        if let Some(engine) = &self.kept().engine {
            return Ok(engine.clone());
        }
        let engine = Arc::new(self.read_engine(settings)?);
        self.kept().engine = Some(engine.clone());
        Ok(engine)
    }

    fn read_engine(&self, settings: &ClipSettings) -> Result<Engine, PublishedError> {
        let reading = Reading::new(self, settings, true)?;
        let folder = &self.folder.folder;
        let reference = settings.reference.unwrap_or_default();
        match (&self.folder.network, &self.folder.autoencoder) {
            (Network::Dit(config), Autoencoder::Kl(kl)) if self.folder.family == super::Family::Transfer1 => {
                let control = folder.join("controlnet");
                let own = self.control1(config)?;
                // The branch is saved with the head of the transformer that it is a copy of.
                let head = |name: &str| name.starts_with("norm_out.") || name.starts_with("proj_out.");
                let plain = Reading::new(self, settings, false)?;
                let control = plain.network(&control, head, |vb| Control1::new(&own, reference, vb))?;
                Ok(Engine::Transfer1(Transfer1 {
                    dit: reading.dit(folder, config, reference)?,
                    control,
                    vae: self.kl(kl, settings)?,
                }))
            }
            (Network::Dit(config), Autoencoder::Kl(kl)) => Ok(Engine::Predict1(Predict1 {
                dit: reading.dit(folder, config, reference)?,
                vae: self.kl(kl, settings)?,
                schedule: read_json(&folder.join("scheduler/scheduler_config.json"))?,
            })),
            (Network::Towers(config), Autoencoder::Wan(wan)) => {
                // What belongs to the tower that reads is checked when that one is read.
                let unused = |name: &str| !is_generation(name);
                let own = folder.join("transformer");
                let generation = reading.network(&own, unused, |vb| Generation::new(config, vb))?;
                Ok(Engine::Cosmos3(Cosmos3 {
                    generation,
                    vae: self.wan(wan, settings)?,
                    schedule: self.schedule(settings)?,
                }))
            }
            (Network::Dit(config), Autoencoder::Wan(wan)) => {
                let dit = reading.dit(folder, config, reference)?;
                let vae = self.wan(wan, settings)?;
                Ok(match self.folder.family {
                    super::Family::Predict2 | super::Family::Policy => {
                        Engine::Predict2(Predict2 { dit, vae })
                    }
                    super::Family::Transfer25 => {
                        let control = folder.join("controlnet");
                        let own: ControlConfig = read_json(&control.join("config.json"))?;
                        let plain = Reading { adapters: Vec::new(), ..reading };
                        let control =
                            plain.network(&control, |_| false, |vb| ControlNet::new(&own, reference, vb))?;
                        Engine::Transfer25(Transfer25 {
                            dit,
                            control,
                            vae,
                            schedule: self.schedule(settings)?,
                            picture_tokens: picture_tokens(&folder.join("transformer/config.json")),
                        })
                    }
                    _ => Engine::Predict25(Predict25 { dit, vae, schedule: self.schedule(settings)? }),
                })
            }
            (Network::Towers(_), Autoencoder::Kl(_)) => Err(PublishedError::Input(
                "Cosmos 3 runs with a Wan autoencoder, this folder holds another one.".to_owned(),
            )),
        }
    }

    /// The control branch of Transfer1: its file, or the transformer's sizes with the published numbers of blocks and
    /// channels.
    fn control1(&self, config: &DitConfig) -> Result<Control1Config, PublishedError> {
        let file = self.folder.folder.join("controlnet/config.json");
        if file.is_file() {
            return Ok(read_json(&file)?);
        }
        Ok(Control1Config { dit: config.clone(), num_control_blocks: 3, hint_channels: 128 })
    }

    /// The noise schedule: the folder's, or what NVIDIA's own code takes.
    fn schedule(&self, settings: &ClipSettings) -> Result<UniPcConfig, PublishedError> {
        let mut schedule: UniPcConfig =
            read_json(&self.folder.folder.join("scheduler/scheduler_config.json"))?;
        if settings.reference == Some(Reference::Nvidia) {
            schedule.use_karras_sigmas = false;
            schedule.use_flow_sigmas = true;
            // The ends of its table of a thousand levels in f32.
            schedule.ramp = Some((f64::from(0.999_f32), 0.0));
            schedule.flow_shift = match self.folder.family {
                super::Family::Cosmos3 if self.kept().key.as_ref().is_some_and(|key| key.picture) => 3.0,
                super::Family::Cosmos3 => 10.0,
                _ => 5.0,
            };
        }
        Ok(schedule)
    }

    fn wan(&self, config: &WanConfig, settings: &ClipSettings) -> Result<WanPlace, PublishedError> {
        let (folder, device) = (self.folder.folder.join("vae"), self.device.clone());
        let own = config.clone();
        let read = move || read_plain(&folder, &device, |vb| Wan::new(&own, vb));
        let place = placed(read, settings)?;
        Ok(WanPlace::new(config.clone(), place, settings.memory.tiles()))
    }

    fn kl(&self, config: &KlConfig, settings: &ClipSettings) -> Result<KlPlace, PublishedError> {
        let (folder, device) = (self.folder.folder.join("vae"), self.device.clone());
        let own = config.clone();
        let read = move || read_plain(&folder, &device, |vb| KlCosmos::new(&own, vb));
        Ok(KlPlace::new(config.clone(), placed(read, settings)?))
    }

    /// How latents become small pictures; learned once.
    pub(super) fn projection(
        &self,
        fit: impl FnOnce() -> candle_core::Result<Projection>,
    ) -> Result<Arc<Projection>, PublishedError> {
        if let Some(projection) = &self.kept().projection {
            return Ok(projection.clone());
        }
        let projection = Arc::new(fit()?);
        self.kept().projection = Some(projection.clone());
        Ok(projection)
    }
}

/// An autoencoder in memory now, or on demand; a wrong file is told at once either way.
fn placed<N>(
    read: impl Fn() -> candle_core::Result<N> + Send + Sync + 'static,
    settings: &ClipSettings,
) -> Result<Place<N>, PublishedError> {
    Ok(if settings.memory.offloads() { Place::OnDemand(Box::new(read)) } else { read()?.into() })
}

/// A network in f32, for what must not lose precision.
fn read_plain<N>(
    folder: &Path,
    device: &Device,
    make: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<N>,
) -> candle_core::Result<N> {
    let checkpoint = Checkpoint::open(folder).map_err(|e| candle_core::Error::Msg(e.to_string()))?;
    let network = make(checkpoint.builder(DType::F32, device))?;
    checkpoint.finish(&[]).map_err(|e| candle_core::Error::Msg(e.to_string()))?;
    Ok(network)
}

/// `img_context_num_tokens` of a transformer's configuration; 256 in the published ones.
fn picture_tokens(file: &Path) -> usize {
    #[derive(Deserialize)]
    struct Tokens {
        img_context_num_tokens: usize,
    }
    read_json::<Tokens>(file).map_or(256, |tokens| tokens.img_context_num_tokens)
}

/// How networks are read under the choices of a run.
struct Reading<'a> {
    device: &'a Device,
    dtype: DType,
    storage: Storage,
    adapters: Vec<(PathBuf, f64)>,
}

impl<'a> Reading<'a> {
    fn new(model: &'a Published, settings: &ClipSettings, adapted: bool) -> Result<Self, PublishedError> {
        let adapters = settings.adapters.iter().filter(|_| adapted);
        Ok(Self {
            device: &model.device,
            dtype: match settings.memory.numbers.unwrap_or_default() {
                Numbers::F32 => DType::F32,
                Numbers::Bf16 => DType::BF16,
            },
            storage: settings.memory.linear.unwrap_or_default(),
            adapters: adapters.map(|a| (a.path.clone(), a.strength)).collect(),
        })
    }

    fn open(&self, folder: &Path) -> Result<Checkpoint, PublishedError> {
        let adapters = self.adapters.iter().map(|(path, strength)| Ok((Adapter::open(path)?, *strength)));
        let adapters = adapters.collect::<Result<Vec<_>, PublishedError>>()?;
        Ok(Checkpoint::open(folder)?.with_adapters(adapters))
    }

    fn network<N>(
        &self,
        folder: &Path,
        unused: impl Fn(&str) -> bool,
        make: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<N>,
    ) -> Result<N, PublishedError> {
        let checkpoint = self.open(folder)?;
        // Quantised layers compute in f32.
        let dtype = if self.storage == Storage::Plain { self.dtype } else { DType::F32 };
        let network = with_storage(self.storage, || make(checkpoint.builder(dtype, self.device)))?;
        checkpoint.finish_except(unused)?;
        Ok(network)
    }

    fn dit(&self, folder: &Path, config: &DitConfig, reference: Reference) -> Result<Dit, PublishedError> {
        self.network(&folder.join("transformer"), |_| false, |vb| Dit::new(config, reference, vb))
    }
}

/// Whether a tensor of Cosmos 3 belongs to the tower that denoises. Layers hold both towers.
pub(super) fn is_generation(name: &str) -> bool {
    let edges = ["norm_moe_gen.", "proj_in.", "proj_out.", "time_embedder.", "audio_", "action_"];
    let layers = ["_moe_gen.", ".add_", ".norm_added_", ".to_add_out."];
    edges.iter().any(|edge| name.starts_with(edge)) || layers.iter().any(|part| name.contains(part))
}
