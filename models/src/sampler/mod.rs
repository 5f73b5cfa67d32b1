//! Noise schedules and solvers of the published diffusion models.
//!
//! Each solver is made for a number of steps, tells its noise levels (`sigmas`) and what the network is told
//! (`timesteps`), and turns a network output into the next sample. They draw no noise themselves.

mod adams_bashforth;
mod edm_euler;
mod flow_euler;
mod schedule;
mod unipc;

pub use adams_bashforth::AdamsBashforth2;
pub use edm_euler::{EdmConfig, EdmEuler};
pub use flow_euler::{FlowEuler, FlowEulerConfig};
pub use schedule::{FinalSigma, karras_sigmas};
pub use unipc::{UniPc, UniPcConfig};

/// A noise schedule that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    /// Too few or too many steps.
    #[error("{steps} denoising steps cannot be scheduled; choose between 1 and 1000")]
    Steps {
        /// What was asked for.
        steps: usize,
    },
    /// A setting of `scheduler_config.json` that is not implemented here.
    #[error(
        "scheduler setting `{setting}` = {value} is not supported; the published Cosmos pipelines use {known}"
    )]
    Setting {
        /// Its name in `scheduler_config.json`.
        setting: &'static str,
        /// Its value there.
        value: String,
        /// What is known.
        known: &'static str,
    },
}

/// Refuses step counts that make no schedule.
fn check_steps(steps: usize) -> Result<(), SamplerError> {
    if (1..=1000).contains(&steps) { Ok(()) } else { Err(SamplerError::Steps { steps }) }
}
