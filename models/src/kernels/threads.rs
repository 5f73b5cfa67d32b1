//! How many threads a kernel may use: a setting of the calling thread.
//!
//! With one thread everything stays on the caller (the trainer runs one worker per core, each with its own
//! micro-batch). With more, independent blocks of the result go to helper threads that spin for a moment between jobs,
//! so that a hand-over costs microseconds.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::precision;

thread_local! {
    /// 0: not set, use all cores.
    static THREADS: Cell<usize> = const { Cell::new(0) };
    /// Set while this thread runs a block, so that a kernel inside a kernel stays on its thread.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Number of threads that kernels called from this thread may use.
pub fn current() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    match THREADS.get() {
        0 => *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)),
        n => n,
    }
}

struct Restore(usize);

impl Drop for Restore {
    fn drop(&mut self) {
        THREADS.set(self.0);
    }
}

/// Runs `f` with kernels limited to `n` threads (0: all cores) on this thread.
pub fn with<R>(n: usize, f: impl FnOnce() -> R) -> R {
    let _restore = Restore(THREADS.replace(n));
    f()
}

/// Sets the number of threads for kernels called from this thread from now on (0: all cores).
pub fn set(n: usize) {
    THREADS.set(n);
}

/// Runs `f(block)` for every block below `blocks`, each once, on up to [`current`] threads.
///
/// `work` is the size of the whole job in elementary operations; small jobs stay on the caller.
pub(crate) fn for_each(blocks: usize, work: usize, f: impl Fn(usize) + Sync) {
    /// Below this a hand-over costs more than it gains: a few microseconds of one core.
    const SMALL: usize = 40_000;
    let threads = current();
    if threads <= 1 || blocks <= 1 || work < SMALL || BUSY.get() {
        (0..blocks).for_each(f);
        return;
    }
    let next = AtomicUsize::new(0);
    // The wish for products belongs to a thread; products inside a block follow the caller's, whoever runs it.
    let wish = precision::current();
    super::pool::run(threads - 1, &|| {
        let _busy = Busy(BUSY.replace(true));
        precision::with(wish, || {
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= blocks {
                    break;
                }
                f(block);
            }
        });
    });
}

struct Busy(bool);

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(self.0);
    }
}

/// A slice whose disjoint parts several threads write.
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    _owner: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: only `part` hands out memory, and its callers promise disjoint ranges.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), _owner: std::marker::PhantomData }
    }

    /// Elements `from .. from + len`.
    ///
    /// # Safety
    /// No two living parts may overlap.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, from: usize, len: usize) -> &mut [f32] {
        assert!(from <= self.len && len <= self.len - from, "a block outside its slice");
        // SAFETY: in bounds as asserted; the caller keeps parts disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_the_callers_precision_on_every_thread() {
        use super::super::Precision;
        for wish in [Precision::F32, Precision::Bf16] {
            precision::with(wish, || {
                let wanted = precision::current();
                for _ in 0..50 {
                    with(4, || {
                        for_each(64, usize::MAX, |_| {
                            assert_eq!(precision::current(), wanted);
                            std::hint::black_box((0..2000).sum::<u64>());
                        });
                    });
                }
            });
        }
    }

    #[test]
    fn every_block_runs_once() {
        for n in [1, 2, 3] {
            let counts: Vec<AtomicUsize> = (0..37).map(|_| AtomicUsize::new(0)).collect();
            with(n, || {
                for_each(37, usize::MAX, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                })
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn a_kernel_inside_a_kernel_does_not_hang() {
        let sum = AtomicUsize::new(0);
        with(2, || {
            for_each(4, usize::MAX, |_| {
                for_each(4, usize::MAX, |i| {
                    sum.fetch_add(i, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(sum.into_inner(), 24);
    }

    #[test]
    fn the_setting_is_restored() {
        set(3);
        with(1, || assert_eq!(current(), 1));
        assert_eq!(current(), 3);
        set(0);
    }
}
