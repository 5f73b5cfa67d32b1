//! Which of two paths the operations take: our fused kernels, or plain candle operations.
//!
//! The kernels run on the processor alone; candle's own operations run on every device that candle knows. The choice is
//! made here and nowhere else, and it can be forced, so that what a graphics card would run is run (and compared) on
//! a machine without one: while [`Path::Stock`] is wished for, a kernel that is reached all the same is an error.

use std::cell::Cell;

use candle_core::{Device, Result};

/// The calling thread's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Kernels on the processor, stock operations everywhere else.
    Auto,
    /// Stock operations everywhere, as on a graphics card.
    Stock,
}

thread_local! {
    static WANTED: Cell<Path> = const { Cell::new(Path::Auto) };
}

/// The wish of this thread.
pub fn current() -> Path {
    WANTED.get()
}

struct Restore(Path);

impl Drop for Restore {
    fn drop(&mut self) {
        WANTED.set(self.0);
    }
}

/// Runs `f` with this wish on this thread. Threads that `f` starts have to be told ([`current`]).
pub fn with<R>(wanted: Path, f: impl FnOnce() -> R) -> R {
    let _restore = Restore(WANTED.replace(wanted));
    f()
}

/// Whether tensors of that device go through our kernels.
pub fn has_kernels(device: &Device) -> bool {
    matches!(device, Device::Cpu) && current() == Path::Auto
}

/// Lets a kernel pass, or fails where stock operations were wished for: something on the way knows only the processor.
pub(crate) fn check_kernel(what: &str) -> Result<()> {
    match current() {
        Path::Auto => Ok(()),
        Path::Stock => candle_core::bail!(
            "{what} was reached where only stock operations may run; this would fail on a graphics card, please report it"
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::nn::ops;
    use candle_core::{Tensor, Var};

    #[test]
    fn a_wish_ends_with_its_call() {
        assert!(has_kernels(&Device::Cpu));
        with(Path::Stock, || assert!(!has_kernels(&Device::Cpu)));
        assert!(has_kernels(&Device::Cpu));
    }

    #[test]
    fn a_kernel_that_is_reached_against_the_wish_is_an_error() {
        let x = Var::from_tensor(&Tensor::new(&[1.0_f32, -2.0], &Device::Cpu).unwrap()).unwrap();
        // A graph of kernels whose backward pass then meets the wish.
        let made = ops::silu(&x).unwrap().sum_all().unwrap();
        let refused = with(Path::Stock, || made.backward()).unwrap_err().to_string();
        assert!(refused.contains("only stock operations"), "{refused}");
        assert!(made.backward().unwrap().get(&x).is_some());
        // From the start on the stock path nothing is in the way.
        let grads = with(Path::Stock, || ops::silu(&x).unwrap().sum_all().unwrap().backward()).unwrap();
        assert!(grads.get(&x).is_some());
    }
}
