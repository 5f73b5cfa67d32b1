//! CPU kernels: plain functions on slices, with no idea of tensors or graphs.
//!
//! Each has a portable body that is compiled again for AVX2 + FMA (`multiversion!`) and chosen at run time; the matrix
//! product has an AVX512-BF16 path besides. Results do not depend on the number of threads: work is split along
//! independent outputs only, and every output is summed in one fixed order. They may differ in the last bits between
//! kernel sets, which is why [`name`] goes into records.

#[macro_use]
mod multiversion;

pub mod attention;
#[cfg(target_arch = "x86_64")]
mod bf16;
pub mod elementwise;
pub mod gemm;
pub mod math;
pub mod matrix;
pub mod memory;
pub mod muon;
pub mod norm;
pub mod optim;
pub mod precision;
pub mod threads;

pub use multiversion::{Level, level};
pub use precision::Precision;

/// Which kernels run on this thread right now, for records: the vector set and the format of matrix products.
pub fn name() -> String {
    format!("{}+{}", level().name(), precision::current().name())
}
