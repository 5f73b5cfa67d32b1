//! The autoencoder as pipelines use it: perhaps in memory only while it works, perhaps in tiles.

use candle_core::{Result, Tensor};

use super::{Decoded, Posterior, Wan, WanConfig};
use crate::common::Place;

/// A Wan autoencoder, its place and how it decodes.
pub struct WanPlace {
    config: WanConfig,
    network: Place<Wan>,
    tile: Option<usize>,
}

impl WanPlace {
    /// From its place. With `tile`, clips are decoded in squares of that many latents a side
    /// ([`Wan::decode_pieces`]).
    pub fn new(config: WanConfig, network: Place<Wan>, tile: Option<usize>) -> Self {
        Self { config, network, tile }
    }

    /// Its configuration.
    pub fn config(&self) -> &WanConfig {
        &self.config
    }

    /// [`Wan::encode`].
    ///
    /// # Errors
    /// It cannot be read, or not take the clip.
    pub fn encode(&self, video: &Tensor) -> Result<Posterior> {
        self.network.get()?.encode(video)
    }

    /// [`Wan::decode_pieces`].
    ///
    /// # Errors
    /// It cannot be read, or not take the latents; whatever `take` returns.
    pub fn decode_pieces(&self, latents: &Tensor, take: impl FnMut(Decoded) -> Result<()>) -> Result<()> {
        self.network.get()?.decode_pieces(latents, self.tile, take)
    }

    /// [`WanConfig::latent_statistics`].
    ///
    /// # Errors
    /// The configuration has other numbers of channels.
    pub fn latent_statistics(&self, like: &Tensor) -> Result<(Tensor, Tensor)> {
        self.config.latent_statistics(like)
    }
}

impl From<Wan> for WanPlace {
    fn from(wan: Wan) -> Self {
        Self::new(wan.config().clone(), wan.into(), None)
    }
}
