//! What is trained, whichever the method: a whole network, or a frozen one with adapters.

use candle_core::Device;
use forerun_models::dreamer::adapt::Weights;
use forerun_models::dreamer::lora::Lora;
use forerun_models::dreamer::{Config, Network};
use forerun_models::nn::Params;
use forerun_models::optim::Stepper;

use super::settings::{Method, PostSettings};
use crate::train::TrainError;
use crate::train::batch::Learner;

enum Kind {
    Whole(Box<Network>),
    Adapted(Box<Lora>),
}

/// A network that learns, with its optimiser.
pub(super) struct Learning {
    kind: Kind,
    /// The optimiser over what is trained.
    pub stepper: Stepper,
}

impl Learning {
    /// Starts from these weights, on `device`.
    ///
    /// # Errors
    /// Weights that do not fit the configuration.
    pub fn new(
        settings: &PostSettings,
        config: &Config,
        weights: &Weights,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let optimiser = settings.train.optimiser.clone();
        if settings.method == Method::Lora {
            let lora =
                Lora::new(config, weights, settings.rank, settings.targets, settings.train.seed, device)?;
            let stepper = Stepper::new(lora.params(), optimiser)?;
            return Ok(Self { kind: Kind::Adapted(Box::new(lora)), stepper });
        }
        let mut params = Params::new(settings.train.seed, device);
        for (name, tensor) in weights {
            params.insert(name, tensor.detach())?;
        }
        let network = Network::new(config, &mut params, device)?;
        let stepper = Stepper::new(&params, optimiser)?;
        Ok(Self { kind: Kind::Whole(Box::new(network)), stepper })
    }

    /// For the batches.
    pub fn learner(&self) -> Learner<'_> {
        match &self.kind {
            Kind::Whole(network) => Learner::Whole(network),
            Kind::Adapted(lora) => Learner::Adapted(lora),
        }
    }

    /// The averaged weights as an ordinary model's.
    ///
    /// # Errors
    /// Device errors.
    pub fn weights(&self) -> Result<Weights, TrainError> {
        let averages: Weights = self.stepper.averages()?.into_iter().collect();
        Ok(match &self.kind {
            Kind::Whole(_) => averages,
            Kind::Adapted(lora) => lora.merged(&averages)?,
        })
    }
}
