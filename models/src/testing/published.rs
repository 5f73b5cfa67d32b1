//! Tiny published models with random weights, laid out as publishers lay out theirs: for tests that run the whole way
//! from files to frames.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use serde_json::{Value, json};

use super::full_width::spread;
use crate::cosmos::Reference;
use crate::cosmos::dit::{Control1, Control1Config, ControlConfig, ControlNet, Dit, DitConfig};
use crate::cosmos::kl::{KlConfig, KlCosmos};
use crate::cosmos::mot::{Generation, MotConfig, Understanding};
use crate::random::{Random, stream_of};
use crate::text::{QwenConfig, QwenText, T5Config, T5Encoder};
use crate::wan::{Wan, WanConfig};

/// Which tiny model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiny {
    /// Text with frames to clip.
    Predict1,
    /// Text with frames to clip.
    Predict2,
    /// A frame with twelve arm actions to frames; no text encoder.
    Predict2Arm,
    /// Text, text with frames to clip.
    Predict25,
    /// A control clip to frames, with Predict1's networks.
    Transfer1,
    /// A control clip to frames.
    Transfer25,
    /// Text, frames, and actions of bodies up to ten numbers.
    Cosmos3,
    /// Pictures of two cameras and a state of nine numbers to sixteen actions of seven numbers.
    Policy,
}

/// Writes a tiny model into `folder`. Sides of its frames are multiples of 16. `heads` of 16 numbers are the width of
/// its transformer.
///
/// # Errors
/// The folder cannot be written.
pub fn tiny(kind: Tiny, folder: &Path, seed: u64, heads: usize) -> Result<()> {
    let width = 16 * heads;
    let make = Maker { folder, seed, write: whole };
    let class = match kind {
        Tiny::Predict1 => "CosmosVideoToWorldPipeline",
        Tiny::Predict2 | Tiny::Predict2Arm => "Cosmos2VideoToWorldPipeline",
        Tiny::Predict25 => "Cosmos2_5_PredictBasePipeline",
        Tiny::Transfer1 => "CosmosTransfer1Pipeline",
        Tiny::Transfer25 => "Cosmos2_5_TransferPipeline",
        Tiny::Cosmos3 => "Cosmos3OmniPipeline",
        Tiny::Policy => "CosmosPolicyPipeline",
    };
    make.index(class)?;
    match kind {
        Tiny::Predict1 | Tiny::Transfer1 => {
            let mut config = json!({
                "_class_name": "CosmosTransformer3DModel", "in_channels": 17, "num_attention_heads": heads,
                "attention_head_dim": 16, "num_layers": 2, "mlp_ratio": 2.0, "text_embed_dim": 32,
                "adaln_lora_dim": 8, "max_size": [16, 32, 32], "rope_scale": [2.0, 1.0, 1.0],
            });
            make.dit(&config)?;
            if kind == Tiny::Transfer1 {
                config["num_control_blocks"] = 1.into();
                config["hint_channels"] = 20.into();
                make.control1(&config)?;
            }
            make.kl()?;
            make.t5()?;
            make.edm_schedule()?;
        }
        Tiny::Predict2 | Tiny::Predict2Arm | Tiny::Policy => {
            let mut config = json!({
                "_class_name": "CosmosTransformer3DModel", "in_channels": 17, "num_attention_heads": heads,
                "attention_head_dim": 16, "num_layers": 2, "mlp_ratio": 2.0, "text_embed_dim": 32,
                "adaln_lora_dim": 8, "max_size": [16, 32, 32], "rope_scale": [1.0, 3.0, 3.0],
                "extra_pos_embed_type": null,
            });
            if kind == Tiny::Predict2Arm {
                config["action_dim"] = 7.into();
                config["num_action_per_chunk"] = 12.into();
                config["action_layout"] = "chunk".into();
            } else {
                make.t5()?;
            }
            if kind == Tiny::Policy {
                make.libero()?;
            }
            make.dit(&config)?;
            make.wan(false, 16)?;
        }
        Tiny::Predict25 | Tiny::Transfer25 => {
            let transfer = kind == Tiny::Transfer25;
            let mut config = json!({
                "_class_name": "CosmosTransformer3DModel", "in_channels": 17, "num_attention_heads": heads,
                "attention_head_dim": 16, "num_layers": 2, "mlp_ratio": 2.0, "text_embed_dim": 32,
                "adaln_lora_dim": 8, "max_size": [16, 32, 32], "rope_scale": [1.0, 3.0, 3.0],
                "extra_pos_embed_type": null, "use_crossattn_projection": true, "crossattn_proj_in_channels": 64,
                "encoder_hidden_states_channels": 32,
            });
            if transfer {
                config["controlnet_block_every_n"] = 2.into();
                config["img_context_dim_in"] = 6.into();
                config["img_context_dim_out"] = width.into();
                config["img_context_num_tokens"] = 3.into();
                make.control(&json!({
                    "_class_name": "CosmosControlNetModel", "n_controlnet_blocks": 1, "in_channels": 24,
                    "latent_channels": 18, "model_channels": width, "num_attention_heads": heads,
                    "attention_head_dim": 16, "mlp_ratio": 2.0, "text_embed_dim": 32, "adaln_lora_dim": 8,
                    "rope_scale": [1.0, 3.0, 3.0], "extra_pos_embed_type": null, "img_context_dim_in": 6,
                    "img_context_dim_out": width, "use_crossattn_projection": true, "crossattn_proj_in_channels": 64,
                    "encoder_hidden_states_channels": 32,
                }))?;
            }
            make.dit(&config)?;
            make.wan(false, 16)?;
            make.reason1()?;
            make.flow_schedule()?;
        }
        Tiny::Cosmos3 => {
            make.towers(heads)?;
            make.wan(true, 6)?;
            make.flow_schedule()?;
            make.tokenizer("pipe_predict25", "text_tokenizer")?;
        }
    }
    Ok(())
}

/// Random weights for every tensor that a network asks for.
///
/// # Errors
/// The network cannot be built.
pub fn random_weights(
    seed: u64,
    build: impl Fn(VarBuilder<'static>) -> Result<()>,
) -> Result<HashMap<String, Tensor>> {
    let map = VarMap::new();
    build(VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
    let asked: Vec<(String, Vec<usize>)> = match map.data().lock() {
        Ok(data) => data.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect(),
        Err(_) => Vec::new(),
    };
    let mut weights = HashMap::new();
    for (name, shape) in asked {
        let count: usize = shape.iter().product();
        let mut values = vec![0f32; count];
        Random::new(seed, stream_of(&name), 0).fill_normal(0, &mut values);
        let (scale, mean) = spread(&name, &shape);
        for value in &mut values {
            *value = mean + *value * scale;
        }
        weights.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Ok(weights)
}

/// Writes a file with random weights for everything that a network asks for.
pub(super) type Write = fn(&Path, u64, &dyn Fn(VarBuilder<'static>) -> Result<()>) -> Result<()>;

/// All weights in memory, then in the file.
fn whole(file: &Path, seed: u64, build: &dyn Fn(VarBuilder<'static>) -> Result<()>) -> Result<()> {
    candle_core::safetensors::save(&random_weights(seed, build)?, file)
}

/// Writes the parts of a publisher's folder.
pub(super) struct Maker<'a> {
    pub folder: &'a Path,
    pub seed: u64,
    pub write: Write,
}

impl Maker<'_> {
    pub fn index(&self, class: &str) -> Result<()> {
        self.json("model_index.json", &json!({ "_class_name": class }))
    }

    fn json(&self, file: &str, value: &Value) -> Result<()> {
        let path = self.folder.join(file);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, value.to_string())?;
        Ok(())
    }

    fn weights(&self, file: &str, build: impl Fn(VarBuilder<'static>) -> Result<()>) -> Result<()> {
        (self.write)(&self.folder.join(file), self.seed ^ stream_of(file), &build)
    }

    fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
        serde_json::from_value(value.clone()).map_err(candle_core::Error::wrap)
    }

    pub fn dit(&self, config: &Value) -> Result<()> {
        self.json("transformer/config.json", config)?;
        let own: DitConfig = Self::read(config)?;
        self.weights("transformer/diffusion_pytorch_model.safetensors", |vb| {
            Dit::new(&own, Reference::Diffusers, vb).map(drop)
        })
    }

    pub fn control(&self, config: &Value) -> Result<()> {
        self.json("controlnet/config.json", config)?;
        let own: ControlConfig = Self::read(config)?;
        self.weights("controlnet/diffusion_pytorch_model.safetensors", |vb| {
            ControlNet::new(&own, Reference::Diffusers, vb).map(drop)
        })
    }

    pub fn control1(&self, config: &Value) -> Result<()> {
        self.json("controlnet/config.json", config)?;
        let own: Control1Config = Self::read(config)?;
        self.weights("controlnet/diffusion_pytorch_model.safetensors", |vb| {
            Control1::new(&own, Reference::Diffusers, vb).map(drop)
        })
    }

    fn wan(&self, second: bool, channels: usize) -> Result<()> {
        let config = json!({
            "_class_name": "AutoencoderKLWan", "base_dim": 4, "z_dim": channels, "dim_mult": [1, 2, 2, 2],
            "num_res_blocks": 1, "temperal_downsample": [false, true, true],
            "latents_mean": vec![0.0; channels], "latents_std": vec![1.0; channels],
            "is_residual": second, "in_channels": if second { 12 } else { 3 },
            "out_channels": if second { 12 } else { 3 }, "patch_size": if second { json!(2) } else { Value::Null },
            "decoder_base_dim": if second { json!(4) } else { Value::Null },
        });
        self.wan_with(&config)
    }

    pub fn wan_with(&self, config: &Value) -> Result<()> {
        self.json("vae/config.json", config)?;
        let own: WanConfig = Self::read(config)?;
        self.weights("vae/diffusion_pytorch_model.safetensors", |vb| Wan::new(&own, vb).map(drop))
    }

    fn kl(&self) -> Result<()> {
        let config = json!({
            "_class_name": "AutoencoderKLCosmos", "latent_channels": 16, "encoder_block_out_channels": [4, 4, 4, 6],
            "decode_block_out_channels": [4, 4, 4, 6], "attention_resolutions": [32], "resolution": 64, "num_layers": 1,
            "patch_size": 2, "spatial_compression_ratio": 4, "temporal_compression_ratio": 4,
        });
        self.kl_with(&config)
    }

    pub fn kl_with(&self, config: &Value) -> Result<()> {
        self.json("vae/config.json", config)?;
        let own: KlConfig = Self::read(config)?;
        self.weights("vae/diffusion_pytorch_model.safetensors", |vb| KlCosmos::new(&own, vb).map(drop))
    }

    fn t5(&self) -> Result<()> {
        let config = json!({
            "model_type": "t5", "vocab_size": 60, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 2,
            "relative_attention_num_buckets": 8, "relative_attention_max_distance": 20, "feed_forward_proj": "relu",
            "layer_norm_epsilon": 1e-6,
        });
        self.t5_with(&config)
    }

    pub fn t5_with(&self, config: &Value) -> Result<()> {
        self.json("text_encoder/config.json", config)?;
        let own: T5Config = Self::read(config)?;
        self.weights("text_encoder/model.safetensors", |vb| T5Encoder::new(&own, vb).map(drop))?;
        self.tokenizer("pipe_predict2", "tokenizer")
    }

    fn reason1(&self) -> Result<()> {
        let config = json!({
            "model_type": "qwen2_5_vl",
            "text_config": {
                "vocab_size": 290, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
                "rope_parameters": { "rope_theta": 1_000_000.0 },
            },
        });
        self.reason1_with(config)
    }

    pub fn reason1_with(&self, config: Value) -> Result<()> {
        self.json("text_encoder/config.json", &config)?;
        let own = QwenConfig::from_json(config).map_err(candle_core::Error::wrap)?;
        self.weights("text_encoder/model.safetensors", |vb| QwenText::new(&own, vb).map(drop))?;
        self.tokenizer("pipe_predict25", "tokenizer")
    }

    fn towers(&self, heads: usize) -> Result<()> {
        let config = json!({
            "_class_name": "Cosmos3OmniTransformer", "head_dim": 8, "hidden_size": 16 * heads,
            "intermediate_size": 32 * heads, "latent_channel": 6, "latent_patch_size": 2,
            "num_attention_heads": 2 * heads, "num_key_value_heads": heads, "num_hidden_layers": 2,
            "rope_axes_dim": [2, 1, 1], "vocab_size": 290, "action_gen": true, "action_dim": 10,
            "num_embodiment_domains": 9,
        });
        self.towers_with(&config)
    }

    pub fn towers_with(&self, config: &Value) -> Result<()> {
        self.json("transformer/config.json", config)?;
        let own: MotConfig = Self::read(config)?;
        self.weights("transformer/diffusion_pytorch_model.safetensors", |vb| {
            Understanding::new(&own, vb.clone())?;
            Generation::new(&own, vb).map(drop)
        })
    }

    /// The statistics of a policy's data: seven actions in -1..1, nine numbers of a state in -2..2.
    pub fn libero(&self) -> Result<()> {
        self.json(
            "libero_dataset_statistics.json",
            &json!({
                "actions_min": vec![-1.0; 7], "actions_max": vec![1.0; 7],
                "proprio_min": vec![-2.0; 9], "proprio_max": vec![2.0; 9],
            }),
        )
    }

    pub fn edm_schedule(&self) -> Result<()> {
        self.json(
            "scheduler/scheduler_config.json",
            &json!({
                "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "sigma_schedule": "karras", "rho": 7.0,
                "num_train_timesteps": 1000, "prediction_type": "epsilon", "final_sigmas_type": "sigma_min",
            }),
        )
    }

    pub fn flow_schedule(&self) -> Result<()> {
        self.json(
            "scheduler/scheduler_config.json",
            &json!({
                "_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": true,
                "use_karras_sigmas": true, "sigma_min": 0.01, "sigma_max": 200.0, "solver_order": 2,
                "solver_type": "bh2", "final_sigmas_type": "zero", "num_train_timesteps": 1000,
            }),
        )
    }

    /// Tokenizers are those of the committed reference cases.
    pub fn tokenizer(&self, case: &str, name: &str) -> Result<()> {
        let from: PathBuf =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(case).join("tokenizer");
        let to = self.folder.join(name);
        std::fs::create_dir_all(&to)?;
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(from.join(file), to.join(file))?;
        }
        Ok(())
    }
}

/// Writes a tiny reasoner of the Qwen3-VL shape into `folder`.
///
/// # Errors
/// The folder cannot be written.
pub fn tiny_reasoner(folder: &Path, seed: u64) -> Result<()> {
    let make = Maker { folder, seed, write: whole };
    let config = json!({
        "model_type": "qwen3_vl", "image_token_id": 280, "video_token_id": 281,
        "text_config": {
            "head_dim": 8, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2,
            "num_hidden_layers": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "vocab_size": 290,
            "rope_parameters": { "rope_theta": 5_000_000.0, "mrope_section": [2, 1, 1] },
        },
        "vision_config": {
            "depth": 2, "hidden_size": 8, "in_channels": 3, "intermediate_size": 12, "num_heads": 1,
            "num_position_embeddings": 25, "out_hidden_size": 32, "patch_size": 4, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "deepstack_visual_indexes": [0],
        },
    });
    make.json("config.json", &config)?;
    let own: crate::reason::ReasonConfig = Maker::read(&config)?;
    make.weights("model.safetensors", |vb| crate::reason::Reasoner::new(&own, vb).map(drop))?;
    make.tokenizer("pipe_predict25", "")
}
