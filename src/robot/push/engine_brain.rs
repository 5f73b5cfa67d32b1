//! A policy in an engine's process as a brain: whoever moves a robot with it runs no network itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forerun_models::Contract;

use super::pilot::Brain;
use crate::Frame;
use crate::engine::EngineClient;
use crate::engine::protocol::{Event, Request};
use crate::engine::specs::PlanSpec;
use crate::failure::Failure;

/// How long a plan may take; the first one loads the policy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A policy that thinks in an engine of its own.
pub struct EngineBrain {
    engine: EngineClient,
    policy: PathBuf,
    contract: Contract,
    prompt: Option<String>,
    /// The next picture is the start of a task.
    begins: bool,
}

impl EngineBrain {
    /// The policy of this folder, told this, in this engine.
    ///
    /// # Errors
    /// A folder without a sound contract.
    pub fn new(engine: EngineClient, policy: &Path, prompt: Option<String>) -> Result<Self, Failure> {
        let contract = Contract::load(policy).map_err(Failure::from_error)?;
        Ok(Self { engine, policy: policy.to_path_buf(), contract, prompt, begins: true })
    }

    /// Waits for the rows of a plan.
    fn rows(&self, job: u64) -> Result<Vec<Vec<f64>>, String> {
        let end = Instant::now() + PATIENCE;
        let mut rows = None;
        while Instant::now() < end {
            let Some(packet) = self.engine.recv_timeout(Duration::from_millis(50)) else { continue };
            match packet.message {
                Event::Report { job: of, value } if of == job => {
                    // JSON has no word for a number that is none: null is one, and the agent calls it a fault.
                    let said: Option<Vec<Vec<Option<f64>>>> =
                        serde_json::from_value(value["rows"].clone()).ok();
                    let whole =
                        |row: Vec<Option<f64>>| row.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect();
                    rows = said.map(|rows| rows.into_iter().map(whole).collect());
                }
                Event::Done { job: of, .. } if of == job => {
                    return rows.ok_or_else(|| "its engine told no actions".into());
                }
                Event::Failed { job: of, message, .. } if of == job => return Err(message),
                Event::Cancelled { job: of } if of == job => return Err("its plan was stopped".into()),
                Event::EngineGone { reason, restarting: false } => return Err(reason),
                _ => {}
            }
        }
        self.engine.send(Request::Cancel { job }, Vec::new());
        Err("its engine does not answer".into())
    }
}

impl Brain for EngineBrain {
    fn channels(&self) -> Vec<String> {
        self.contract.actions.iter().map(|c| c.name.clone()).collect()
    }

    fn state(&self) -> Vec<String> {
        self.contract.state.iter().map(|c| c.name.clone()).collect()
    }

    fn period(&self) -> f64 {
        1.0 / f64::from(self.contract.frame.rate_hz.max(0.1))
    }

    fn begin(&mut self) {
        self.begins = true;
    }

    fn chunk(&mut self, seen: &Frame, state: &[f32]) -> Result<Vec<Vec<f64>>, String> {
        let job = self.engine.next_job();
        let spec = PlanSpec {
            policy: self.policy.clone(),
            begin: self.begins,
            prompt: self.prompt.clone(),
            state: state.to_vec(),
            width: seen.width,
            height: seen.height,
        };
        self.engine.send(Request::Plan { job, spec }, vec![seen.data.clone()]);
        let rows = self.rows(job)?;
        self.begins = false;
        Ok(rows)
    }
}
