//! The autoencoder as pipelines use it: perhaps in memory only while it works.

use candle_core::{Result, Tensor};

use super::{KlConfig, KlCosmos};
use crate::common::Place;

/// A CV8x8x8 autoencoder and its place.
pub struct KlPlace {
    config: KlConfig,
    network: Place<KlCosmos>,
}

impl KlPlace {
    /// From its place.
    pub fn new(config: KlConfig, network: Place<KlCosmos>) -> Self {
        Self { config, network }
    }

    /// Its configuration.
    pub fn config(&self) -> &KlConfig {
        &self.config
    }

    /// [`KlCosmos::encode`].
    ///
    /// # Errors
    /// It cannot be read, or not take the clip.
    pub fn encode(&self, video: &Tensor) -> Result<Tensor> {
        self.network.get()?.encode(video)
    }

    /// [`KlCosmos::decode`].
    ///
    /// # Errors
    /// It cannot be read, or not take the latents.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.network.get()?.decode(latents)
    }

    /// [`KlConfig::latent_statistics`].
    ///
    /// # Errors
    /// The clip is longer than the autoencoder was made for.
    pub fn latent_statistics(&self, like: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
        self.config.latent_statistics(like)
    }
}

impl From<KlCosmos> for KlPlace {
    fn from(network: KlCosmos) -> Self {
        Self::new(network.config().clone(), network.into())
    }
}
