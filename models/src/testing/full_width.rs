//! Published configurations at their full width and a reduced depth, with random weights: what one block, one
//! autoencoder and one text layer of the real size take in time and memory, without the real weights.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use serde_json::{Value, json};

use super::published::Maker;
use crate::random::{Random, stream_of};

/// Which published network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Predict1 7B, frames to clip.
    Predict1Small,
    /// Predict1 14B, frames to clip.
    Predict1Large,
    /// Predict2 2B, frames to clip.
    Predict2Small,
    /// Predict2 14B, frames to clip.
    Predict2Large,
    /// Predict2 2B, a frame and twelve arm actions to frames.
    Predict2Arm,
    /// Cosmos Policy for two cameras.
    Policy,
    /// Predict2.5 2B.
    Predict25Small,
    /// Predict2.5 14B.
    Predict25Large,
    /// Transfer1 7B with one control branch.
    Transfer1,
    /// Transfer2.5 2B with one control branch.
    Transfer25,
    /// Cosmos 3 Edge.
    Cosmos3Edge,
    /// Cosmos 3 Nano.
    Cosmos3Nano,
    /// Cosmos 3 Super.
    Cosmos3Super,
}

impl Published {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Predict1Small,
        Self::Predict1Large,
        Self::Predict2Small,
        Self::Predict2Large,
        Self::Predict2Arm,
        Self::Policy,
        Self::Predict25Small,
        Self::Predict25Large,
        Self::Transfer1,
        Self::Transfer25,
        Self::Cosmos3Edge,
        Self::Cosmos3Nano,
        Self::Cosmos3Super,
    ];

    /// Its name and the layers that the published network has.
    pub fn name(self) -> (&'static str, usize) {
        match self {
            Self::Predict1Small => ("Predict1 7B", 28),
            Self::Predict1Large => ("Predict1 14B", 36),
            Self::Predict2Small => ("Predict2 2B", 28),
            Self::Predict2Large => ("Predict2 14B", 36),
            Self::Predict2Arm => ("Predict2 2B, arm actions", 28),
            Self::Policy => ("Cosmos Policy 2B", 28),
            Self::Predict25Small => ("Predict2.5 2B", 28),
            Self::Predict25Large => ("Predict2.5 14B", 36),
            Self::Transfer1 => ("Transfer1 7B", 28),
            Self::Transfer25 => ("Transfer2.5 2B", 28),
            Self::Cosmos3Edge => ("Cosmos 3 Edge", 28),
            Self::Cosmos3Nano => ("Cosmos 3 Nano", 36),
            Self::Cosmos3Super => ("Cosmos 3 Super", 64),
        }
    }

    fn heads(self) -> usize {
        match self {
            Self::Predict1Small | Self::Transfer1 => 32,
            Self::Predict1Large | Self::Predict2Large | Self::Predict25Large => 40,
            _ => 16,
        }
    }

    fn rope(self) -> [f64; 3] {
        match self {
            Self::Predict1Small | Self::Transfer1 => [2.0, 1.0, 1.0],
            Self::Predict1Large => [2.0, 2.0, 2.0],
            Self::Predict2Large => [20.0 / 24.0, 2.0, 2.0],
            _ => [1.0, 3.0, 3.0],
        }
    }
}

/// Writes such a model with `layers` layers in transformer and text encoder into `folder`, in bf16 as publishers do.
///
/// # Errors
/// The folder cannot be written.
pub fn full_width(kind: Published, folder: &Path, seed: u64, layers: usize) -> Result<()> {
    let make = Maker { folder, seed, write: stream };
    let heads = kind.heads();
    let dit = |more: Value| {
        let mut config = json!({
            "_class_name": "CosmosTransformer3DModel", "in_channels": 17, "num_attention_heads": heads,
            "num_layers": layers, "rope_scale": kind.rope(), "extra_pos_embed_type": null,
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        config
    };
    // All layers of the text encoder lie side by side in what 2.5 reads; here there are fewer of them.
    let projected = json!({
        "use_crossattn_projection": true, "crossattn_proj_in_channels": 3584 * layers,
    });
    match kind {
        Published::Predict1Small | Published::Predict1Large | Published::Transfer1 => {
            let config = dit(json!({ "extra_pos_embed_type": "learnable" }));
            make.dit(&config)?;
            if kind == Published::Transfer1 {
                make.index("CosmosTransfer1Pipeline")?;
                let mut config = config;
                config["num_control_blocks"] = layers.min(3).into();
                config["hint_channels"] = 128.into();
                make.control1(&config)?;
            } else {
                make.index("CosmosVideoToWorldPipeline")?;
            }
            make.kl_with(&json!({ "_class_name": "AutoencoderKLCosmos" }))?;
            make.t5_with(&t5(layers))?;
            make.edm_schedule()
        }
        Published::Predict2Small | Published::Predict2Large | Published::Predict2Arm | Published::Policy => {
            if kind == Published::Policy {
                make.index("CosmosPolicyPipeline")?;
                make.libero()?;
            } else {
                make.index("Cosmos2VideoToWorldPipeline")?;
            }
            match kind {
                Published::Predict2Arm => make.dit(&dit(json!({
                    "action_dim": 7, "num_action_per_chunk": 12, "action_layout": "chunk",
                })))?,
                _ => {
                    make.t5_with(&t5(layers))?;
                    make.dit(&dit(json!({})))?;
                }
            }
            make.wan_with(&json!({ "_class_name": "AutoencoderKLWan" }))
        }
        Published::Predict25Small | Published::Predict25Large | Published::Transfer25 => {
            let transfer = kind == Published::Transfer25;
            let mut more = projected;
            if transfer {
                more["controlnet_block_every_n"] = 7.into();
                more["img_context_dim_in"] = 1152.into();
                make.control(&json!({
                    "_class_name": "CosmosControlNetModel", "n_controlnet_blocks": layers.div_ceil(7),
                    "model_channels": 128 * heads, "num_attention_heads": heads, "rope_scale": kind.rope(),
                    "img_context_dim_in": 1152, "use_crossattn_projection": true,
                    "crossattn_proj_in_channels": 3584 * layers,
                }))?;
            }
            let class = if transfer { "Cosmos2_5_TransferPipeline" } else { "Cosmos2_5_PredictBasePipeline" };
            make.index(class)?;
            make.dit(&dit(more))?;
            make.wan_with(&json!({ "_class_name": "AutoencoderKLWan" }))?;
            make.reason1_with(json!({
                "model_type": "qwen2_5_vl",
                "text_config": {
                    "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944,
                    "num_hidden_layers": layers, "num_attention_heads": 28, "num_key_value_heads": 4,
                    "rms_norm_eps": 1e-6, "rope_parameters": { "rope_theta": 1_000_000.0 },
                },
            }))?;
            make.flow_schedule()
        }
        Published::Cosmos3Edge | Published::Cosmos3Nano | Published::Cosmos3Super => {
            make.index("Cosmos3OmniPipeline")?;
            let own = match kind {
                Published::Cosmos3Edge => json!({
                    "hidden_size": 2048, "intermediate_size": 9216, "num_attention_heads": 16, "vocab_size": 131_072,
                    "hidden_act": "relu2", "rope_theta": 1e8, "rms_norm_eps": 1e-5, "qk_norm_for_text": false,
                    "use_und_k_norm_for_gen": true,
                }),
                Published::Cosmos3Super => json!({
                    "hidden_size": 5120, "intermediate_size": 25_600, "num_attention_heads": 64,
                }),
                _ => json!({}),
            };
            let mut config = json!({
                "_class_name": "Cosmos3OmniTransformer", "num_hidden_layers": layers, "rope_axes_dim": [24, 20, 20],
                "action_gen": true, "action_dim": 64,
            });
            if let (Some(config), Value::Object(own)) = (config.as_object_mut(), own) {
                config.extend(own);
            }
            make.towers_with(&config)?;
            make.wan_with(&json!({
                "_class_name": "AutoencoderKLWan", "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48,
                "is_residual": true, "in_channels": 12, "out_channels": 12, "patch_size": 2,
                "latents_mean": vec![0.0; 48], "latents_std": vec![1.0; 48],
            }))?;
            make.flow_schedule()?;
            make.tokenizer("pipe_predict25", "text_tokenizer")
        }
    }
}

fn t5(layers: usize) -> Value {
    json!({
        "model_type": "t5", "vocab_size": 32_128, "d_model": 1024, "d_kv": 128, "d_ff": 65_536, "num_layers": layers,
        "num_heads": 128, "relative_attention_num_buckets": 32, "feed_forward_proj": "relu",
        "layer_norm_epsilon": 1e-6,
    })
}

/// Notes what a network asks for. What it gets are zeros, of which the system makes no pages before they are touched.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<BTreeMap<String, Vec<usize>>>>);

impl SimpleBackend for Asked {
    fn get(&self, s: Shape, name: &str, _: candle_nn::Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert(name.to_owned(), s.dims().to_vec());
        Tensor::zeros(s, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was asked for without a shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Numbers that are drawn once; every tensor takes them from a place of its own on.
const DRAWN: usize = (1 << 20) + 7;

/// Writes random weights one tensor after the other, so that no more than one is in memory.
pub(super) fn stream(
    file: &Path,
    seed: u64,
    build: &dyn Fn(VarBuilder<'static>) -> Result<()>,
) -> Result<()> {
    let asked = Asked::default();
    build(VarBuilder::from_backend(Box::new(asked.clone()), DType::F32, Device::Cpu))?;
    let asked = asked.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut header = serde_json::Map::new();
    let mut place = 0;
    for (name, shape) in &asked {
        let end = place + 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "BF16", "shape": shape, "data_offsets": [place, end] }));
        place = end;
    }
    let mut header = Value::Object(header).to_string();
    // Data begins at a multiple of eight.
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let mut drawn = vec![0f32; DRAWN];
    Random::new(seed, 0, 0).fill_normal(0, &mut drawn);
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for (name, shape) in &asked {
        let (scale, mean) = spread(name, shape);
        let from = (stream_of(name) % DRAWN as u64) as usize;
        let numbers = drawn.iter().cycle().skip(from).take(shape.iter().product());
        let mut bytes = Vec::with_capacity(1 << 16);
        for number in numbers {
            bytes.extend_from_slice(&half::bf16::from_f32(mean + scale * number).to_le_bytes());
            if bytes.len() >= 1 << 16 {
                out.write_all(&bytes)?;
                bytes.clear();
            }
        }
        out.write_all(&bytes)?;
    }
    out.flush()?;
    Ok(())
}

/// Spread and middle of a tensor's random numbers, so that activations stay of the size of their inputs.
pub(super) fn spread(name: &str, shape: &[usize]) -> (f32, f32) {
    let inputs: usize = shape.iter().skip(1).product::<usize>().max(1);
    let is_norm = name.ends_with("gamma") || (name.ends_with("weight") && shape.len() == 1);
    match () {
        () if is_norm => (0.1, 1.0),
        () if name.ends_with("bias") => (0.05, 0.0),
        () => (1.0 / (inputs as f32).sqrt(), 0.0),
    }
}
