//! Where a network is between its uses: in memory, or on disk only.

use std::sync::Arc;

use candle_core::Result;

/// A network that is in memory all the time, or read anew for every use and forgotten after it.
pub enum Place<N> {
    /// In memory.
    Here(Arc<N>),
    /// Read when it is used. Reading takes time; between uses it takes no memory.
    OnDemand(Box<dyn Fn() -> Result<N> + Send + Sync>),
}

impl<N> Place<N> {
    /// The network, for one use.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self) -> Result<Arc<N>> {
        match self {
            Self::Here(network) => Ok(network.clone()),
            Self::OnDemand(read) => read().map(Arc::new),
        }
    }
}

impl<N> From<N> for Place<N> {
    fn from(network: N) -> Self {
        Self::Here(Arc::new(network))
    }
}
