//! Graphics cards: which there are, and one of them opened.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use forerun_models::dreamer::{Accelerator, Config, ModelError, OnCard, Weights};

use crate::weights::Uploaded;

/// A card as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardInfo {
    /// What its driver calls it, with the way it is reached: `NVIDIA H200 (Vulkan)`.
    pub name: String,
    /// It is a driver that computes on the processor: good for tests, slower than our own kernels.
    pub software: bool,
}

/// What went wrong on a card since it was last asked. Failures arrive apart from the call that caused them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(what);
    }

    /// Fails if something was noted, and forgets it.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(what) => Err(ModelError::Card(what)),
            None => Ok(()),
        }
    }
}

/// An opened card.
#[derive(Debug)]
pub struct Card {
    info: CardInfo,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) trouble: Trouble,
}

/// Drivers that wgpu finds, real cards first and fast ones before frugal ones; each with what lists show of it.
fn adapters() -> &'static [(CardInfo, wgpu::Adapter)] {
    static FOUND: OnceLock<Vec<(CardInfo, wgpu::Adapter)>> = OnceLock::new();
    FOUND.get_or_init(|| {
        // Without a display: cards that only compute are as good.
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let mut found: Vec<(u8, CardInfo, wgpu::Adapter)> =
            pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
                .into_iter()
                .map(|adapter| {
                    let info = adapter.get_info();
                    let rank = match info.device_type {
                        wgpu::DeviceType::DiscreteGpu => 0,
                        wgpu::DeviceType::IntegratedGpu => 1,
                        wgpu::DeviceType::VirtualGpu => 2,
                        wgpu::DeviceType::Other => 3,
                        wgpu::DeviceType::Cpu => 4,
                    };
                    let name = format!("{} ({:?})", info.name.trim(), info.backend);
                    (rank, CardInfo { name, software: rank == 4 }, adapter)
                })
                .collect();
        found.sort_by_key(|(rank, ..)| *rank);
        found.into_iter().map(|(_, info, adapter)| (info, adapter)).collect()
    })
}

/// The cards of this machine; a card's place in the list is its number.
pub fn cards() -> Vec<CardInfo> {
    adapters().iter().map(|(info, _)| info.clone()).collect()
}

/// Opens card `number`.
///
/// # Errors
/// When there is no such card, or its driver refuses.
pub fn open(number: usize) -> Result<Card, ModelError> {
    let Some((info, adapter)) = adapters().get(number) else {
        return Err(ModelError::Card(match cards().len() {
            0 => "this machine has no driver for Vulkan, Metal or Direct3D 12".into(),
            n => format!("this machine has {n} of them, counted from 0"),
        }));
    };
    let wanted = wgpu::DeviceDescriptor {
        label: Some("forerun"),
        // All that it can: a batch of futures needs large buffers.
        required_limits: adapter.limits(),
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&wanted))
        .map_err(|e| ModelError::Card(format!("{} could not be opened: {e}", info.name)))?;
    let trouble = Trouble::default();
    let noted = trouble.clone();
    // Without a listener of our own an error would end the program.
    device
        .on_uncaptured_error(Arc::new(move |error: wgpu::Error| noted.note(in_one_line(&error.to_string()))));
    let noted = trouble.clone();
    device.set_device_lost_callback(move |reason, text| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            noted.note(format!("its driver lost it: {}", in_one_line(&text)));
        }
    });
    Ok(Card { info: info.clone(), device, queue, trouble })
}

fn in_one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).take(8).collect::<Vec<_>>().join(" ")
}

impl Card {
    /// What lists show of it.
    pub fn info(&self) -> &CardInfo {
        &self.info
    }

    /// Largest buffer that a kernel can use, in bytes.
    pub(crate) fn most_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_buffer_size.min(limits.max_storage_buffer_binding_size)
    }
}

impl Accelerator for Card {
    fn name(&self) -> &str {
        &self.info.name
    }

    fn upload(self: Arc<Self>, config: &Config, weights: &Weights) -> Result<Box<dyn OnCard>, ModelError> {
        Ok(Box::new(Uploaded::new(self, config, weights)?))
    }
}
