//! The number format inside matrix products: a setting of the calling thread.

use std::cell::Cell;

use super::{Level, level};

/// What the factors of a matrix product are rounded to; sums are f32 in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Full f32.
    F32,
    /// bf16 factors (8 bits of mantissa), twice as fast where the processor has AVX512-BF16.
    Bf16,
}

impl Precision {
    /// A short name for records.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

thread_local! {
    static WANTED: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// The format that products on this thread use: the wanted one, or f32 where the processor has no bf16 products.
pub fn current() -> Precision {
    if level() < Level::Avx512Bf16 { Precision::F32 } else { WANTED.get() }
}

struct Restore(Precision);

impl Drop for Restore {
    fn drop(&mut self) {
        WANTED.set(self.0);
    }
}

/// Runs `f` with this wish for products on this thread.
pub fn with<R>(wanted: Precision, f: impl FnOnce() -> R) -> R {
    let _restore = Restore(WANTED.replace(wanted));
    f()
}

/// Runs `f` with this wish, on a graphics card too: with [`Precision::Bf16`] products on CUDA may round their factors to
/// TF32 (10 bits of mantissa) meanwhile. There the wish is the whole process's, so it is for work that has the card for
/// itself, as training has.
pub fn with_cards<R>(wanted: Precision, device: &candle_core::Device, f: impl FnOnce() -> R) -> R {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            candle_core::cuda::set_gemm_reduced_precision_f32(self.0);
        }
    }
    let _back = (device.is_cuda() && wanted == Precision::Bf16).then(|| {
        let before = Back(candle_core::cuda::gemm_reduced_precision_f32());
        candle_core::cuda::set_gemm_reduced_precision_f32(true);
        before
    });
    with(wanted, f)
}

/// Sets the wish for products called from this thread from now on.
pub fn set(wanted: Precision) {
    WANTED.set(wanted);
}
