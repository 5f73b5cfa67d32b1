//! The graphics cards that our own shaders run on, brought to the engine.

use std::sync::Arc;

use forerun::engine::device;
use forerun::models::dreamer::Accelerator;

struct Cards;

impl device::Cards for Cards {
    fn fast(&self) -> usize {
        // Drivers that compute on the processor come last; our kernels there are faster.
        forerun_gpu::cards().iter().filter(|card| !card.software).count()
    }

    fn open(&self, number: usize) -> Result<Arc<dyn Accelerator>, String> {
        let card = forerun_gpu::open(number).map_err(|e| e.to_string())?;
        Ok(Arc::new(card))
    }
}

/// Lets this process imagine on the devices `wgpu`, `wgpu:1`, ...
pub fn register() {
    device::register(Box::new(Cards));
}
