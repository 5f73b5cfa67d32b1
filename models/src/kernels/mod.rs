//! CPU kernels: plain functions on slices, with no idea of tensors or graphs.
//!
//! Each has a portable body that is compiled again for AVX2 + FMA (`multiversion!`) and chosen at run time; the matrix
//! product has paths of its own for AVX2 + FMA and for AVX512-BF16. Results do not depend on the number of threads: work is split along
//! independent outputs only, and every output is summed in one fixed order. They may differ in the last bits between
//! kernel sets, which is why [`name`] goes into records.

#[macro_use]
mod multiversion;

pub mod attend;
pub mod attention;
#[cfg(target_arch = "x86_64")]
mod bf16;
pub mod blend;
pub mod cells;
pub mod channel_norm;
pub mod conv;
pub mod elementwise;
pub mod gemm;
pub mod math;
pub mod matrix;
pub mod memory;
pub mod muon;
pub mod norm;
pub mod optim;
#[cfg(target_arch = "x86_64")]
mod packed_f32;
mod pool;
pub mod precision;
pub mod prepacked;
pub mod squares;
pub mod threads;
pub mod warp;

pub use multiversion::{Level, level};
pub use precision::Precision;

/// Prepares a process that trains or imagines; call it first in `main`, before any thread starts
/// (later the second half does nothing).
///
/// Keeps freed memory ([`memory::keep_freed`]), and keeps candle's own operations on their caller's thread (unless
/// `CANDLE_NUM_THREADS` is set): its pool serves one caller at a time and waits for all its threads, which more than
/// doubles the time of two training workers side by side. The kernels have their own threads ([`threads`]).
pub fn prepare_process() {
    memory::keep_freed();
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() && alone() {
        // SAFETY: no other thread is running that could read the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
}

/// Whether this process surely has one thread only.
fn alone() -> bool {
    if cfg!(target_os = "linux") {
        return std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    }
    // Where the system itself guards its environment, other threads do no harm.
    cfg!(windows)
}

/// Which kernels run on this thread right now, for records: the vector set and the format of matrix products.
pub fn name() -> String {
    format!("{}+{}", level().name(), precision::current().name())
}
