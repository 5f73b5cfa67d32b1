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

/// Where no desktop runs, Mesa's layer that asks the desktop which card it prefers would complain on stderr whenever cards are
/// looked for; it is left out there. To be called first in `main`, while there is one thread.
pub fn keep_drivers_quiet() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this runs before any other thread exists, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Lets this process imagine on the devices `wgpu`, `wgpu:1`, ...
pub fn register() {
    device::register(Box::new(Cards));
}
