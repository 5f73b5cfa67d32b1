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

/// Sets the wish for products called from this thread from now on.
pub fn set(wanted: Precision) {
    WANTED.set(wanted);
}
