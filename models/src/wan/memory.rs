//! What the causal layers remember between the pieces of one clip.

use candle_core::Tensor;

/// State of one layer.
#[derive(Default)]
pub(crate) enum Slot {
    /// Nothing has passed yet.
    #[default]
    Empty,
    /// The first piece has passed, which this layer does not filter over time.
    FirstPassed,
    /// The latest frames, [B, t, C, H, W].
    Frames(Tensor),
}

/// The states of all layers, in the order in which a pass meets them.
#[derive(Default)]
pub(crate) struct Memory {
    slots: Vec<Slot>,
    next: usize,
}

impl Memory {
    /// Starts a new pass over the layers.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// The state of the layer that asks. Layers must ask in the same order in every pass.
    pub fn slot(&mut self) -> &mut Slot {
        let at = self.next;
        self.next += 1;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, Slot::default);
        }
        &mut self.slots[at]
    }
}
