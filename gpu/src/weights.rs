//! A network's numbers on a card.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use forerun_models::dreamer::{Config, ModelError, Network, OnCard, Passes, Weights};
use forerun_models::nn::ops::{RopeTable, rope_axial_2d};
use wgpu::util::DeviceExt;

use crate::card::Card;
use crate::program::Program;
use crate::session::Session;

/// Weights and kernels of one network on one card.
pub(crate) struct Uploaded {
    pub(crate) card: Arc<Card>,
    pub(crate) config: Config,
    pub(crate) program: Program,
    buffers: BTreeMap<String, wgpu::Buffer>,
    /// Cosines and sines of each token of a frame.
    pub(crate) places: wgpu::Buffer,
    /// What is bound where a kernel's variant takes nothing.
    pub(crate) nothing: wgpu::Buffer,
}

/// Weights that only the conditioning uses, which stays on the processor.
const AT_HOME: [&str; 8] =
    ["action", "relative", "state", "level", "step_size", "embodiment", "words", "head"];

impl Uploaded {
    pub(crate) fn new(card: Arc<Card>, config: &Config, weights: &Weights) -> Result<Self, ModelError> {
        let mut buffers = BTreeMap::new();
        for (name, tensor) in weights {
            if AT_HOME.iter().any(|home| name.starts_with(home)) {
                continue;
            }
            buffers.insert(name.clone(), upload(&card, name, &numbers(tensor)?)?);
        }
        let (rows, columns) = config.grid();
        let half = config.width / config.heads / 2;
        let table = rope_axial_2d(rows, columns, config.registers, half, config.rope_base);
        let places = upload(&card, "places", &rotary_rows(&table))?;
        let nothing = upload(&card, "nothing", &[0.0; 4])?;
        let program = Program::new(&card, config);
        card.trouble.check()?;
        Ok(Self { card, config: config.clone(), program, buffers, places, nothing })
    }

    /// The weights of that name.
    pub(crate) fn buffer(&self, name: &str) -> Result<&wgpu::Buffer, ModelError> {
        self.buffers.get(name).ok_or_else(|| ModelError::Card(format!("the weights `{name}` are missing")))
    }
}

/// Each row's cosines, then its sines.
pub(crate) fn rotary_rows(table: &RopeTable) -> Vec<f32> {
    let half = table.half_dim().max(1);
    let rows = table.cos().chunks(half).zip(table.sin().chunks(half));
    rows.flat_map(|(cos, sin)| cos.iter().chain(sin).copied()).collect()
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
}

fn upload(card: &Card, name: &str, numbers: &[f32]) -> Result<wgpu::Buffer, ModelError> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    if bytes.len() as u64 > card.most_bytes() {
        return Err(ModelError::Card(format!(
            "the weights `{name}` have {} MB, it takes {} MB in one piece",
            bytes.len() >> 20,
            card.most_bytes() >> 20
        )));
    }
    Ok(card.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some(name),
        contents: &bytes,
        usage: wgpu::BufferUsages::STORAGE,
    }))
}

impl OnCard for Uploaded {
    fn start<'a>(
        &'a self,
        network: &'a Network,
        text: Tensor,
        futures: usize,
    ) -> Result<Box<dyn Passes + 'a>, ModelError> {
        Ok(Box::new(Session::new(self, network, text, futures)?))
    }
}
