//! Helper threads for kernels: they spin for a moment after a job, then sleep.
//!
//! A job is a closure that everybody who joins runs once; it hands out its own blocks. The caller takes part, and when
//! it finds no more blocks it closes the job: helpers that the system has not woken by then are not waited for, so a
//! busy machine costs parallelism, never a stall. candle's own pool waits for every thread of the pool, which made two
//! training workers more than twice as slow as one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;

/// Turns of waiting before a helper sleeps: a fraction of a millisecond, longer than the gap between two kernels.
const SPINS: u32 = 100_000;
/// Turns between two hints to the processor that this thread only waits. Virtual machines take a thread that gives such
/// hints in a row off its core for a while ("pause filter"), which is far longer than a kernel; hints that lie apart do not
/// count.
const HINT_EVERY: u32 = 128;
/// Set in the state once nobody may join any more; below it is the number that joined, above the job's number.
const CLOSED: u64 = 1 << 31;

type Job<'a> = &'a (dyn Fn() + Sync);

struct Pool {
    /// Held by the thread whose job is running.
    caller: Mutex<()>,
    state: AtomicU64,
    /// How many may join the job.
    limit: AtomicU64,
    /// Points to a [`Job`] on the caller's stack; valid for those who joined until the caller has counted them all.
    job: AtomicPtr<()>,
    done: AtomicU64,
    panicked: AtomicBool,
    helpers: OnceLock<Vec<Thread>>,
    asleep: Vec<AtomicBool>,
}

/// The pool, with one helper per core but one.
fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    static START: std::sync::Once = std::sync::Once::new();
    // Asked once: the answer is read from a dozen files of the system, which takes longer than most kernels.
    let others = || 1..std::thread::available_parallelism().map_or(1, usize::from);
    let pool = POOL.get_or_init(|| Pool {
        caller: Mutex::new(()),
        state: AtomicU64::new(CLOSED),
        limit: AtomicU64::new(0),
        job: AtomicPtr::new(std::ptr::null_mut()),
        done: AtomicU64::new(0),
        panicked: AtomicBool::new(false),
        helpers: OnceLock::new(),
        asleep: others().map(|_| AtomicBool::new(false)).collect(),
    });
    START.call_once(|| {
        // A system without room for another thread leaves the pool smaller.
        let start = |i: usize| {
            let named = std::thread::Builder::new().name(format!("kernels-{i}"));
            named.spawn(move || pool.help(i)).ok().map(|handle| handle.thread().clone())
        };
        let _ = pool.helpers.set((0..pool.asleep.len()).map_while(start).collect());
    });
    pool
}

/// Runs `job` on this thread and on up to `helpers` others at the same time; returns when all have returned.
///
/// When another thread's job is running, this one runs alone.
///
/// # Panics
/// When the job panics, here or on a helper.
pub(super) fn run(helpers: usize, job: Job<'_>) {
    let pool = pool();
    match pool.caller.try_lock() {
        Ok(_caller) if helpers > 0 => pool.run(helpers, job),
        _ => job(),
    }
}

/// One turn of waiting.
fn wait(turn: u32) {
    if turn.is_multiple_of(HINT_EVERY) {
        std::hint::spin_loop();
    }
}

impl Pool {
    fn run(&self, helpers: usize, job: Job<'_>) {
        let number = (self.state.load(SeqCst) >> 32).wrapping_add(1) & u64::from(u32::MAX);
        self.done.store(0, SeqCst);
        self.panicked.store(false, SeqCst);
        self.limit.store(helpers as u64, SeqCst);
        self.job.store((&raw const job).cast_mut().cast(), SeqCst);
        self.state.store(number << 32, SeqCst);
        for (thread, asleep) in self.helpers.get().into_iter().flatten().zip(&self.asleep).take(helpers) {
            if asleep.swap(false, SeqCst) {
                thread.unpark();
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(job));
        // From here on nobody joins; those who did still use the job.
        let joined = self.state.fetch_or(CLOSED, SeqCst) & (CLOSED - 1);
        let mut turns = 0_u32;
        while self.done.load(SeqCst) < joined {
            turns += 1;
            if turns < SPINS { wait(turns) } else { std::thread::yield_now() }
        }
        if let Err(payload) = mine {
            resume_unwind(payload);
        }
        assert!(!self.panicked.load(SeqCst), "a kernel failed on a helper thread");
    }

    fn help(&self, me: usize) {
        let mut seen = 0;
        let mut turns = 0;
        loop {
            let state = self.state.load(SeqCst);
            let full = state & (CLOSED - 1) >= self.limit.load(SeqCst);
            if state >> 32 == seen || state & CLOSED != 0 || full {
                turns += 1;
                if turns < SPINS {
                    wait(turns);
                    continue;
                }
                self.asleep.get(me).inspect(|asleep| asleep.store(true, SeqCst));
                // A job that was opened before we said that we sleep would not wake us: look once more.
                if self.state.load(SeqCst) == state {
                    std::thread::park();
                }
                self.asleep.get(me).inspect(|asleep| asleep.store(false, SeqCst));
                turns = 0;
                continue;
            }
            if self.state.compare_exchange(state, state + 1, SeqCst, SeqCst).is_err() {
                continue;
            }
            seen = state >> 32;
            turns = 0;
            // SAFETY: we joined while the job was open, so its caller waits for us before the reference ends.
            let job: Job<'_> = unsafe { *self.job.load(SeqCst).cast_const().cast::<Job<'_>>() };
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                self.panicked.store(true, SeqCst);
            }
            self.done.fetch_add(1, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Sums 0..n by blocks, on whoever joins.
    fn sum(n: usize) -> usize {
        let (next, total) = (AtomicUsize::new(0), AtomicUsize::new(0));
        run(8, &|| {
            loop {
                let i = next.fetch_add(1, SeqCst);
                if i >= n {
                    break;
                }
                total.fetch_add(i, SeqCst);
            }
        });
        total.into_inner()
    }

    #[test]
    fn many_jobs_from_many_callers_are_whole() {
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for n in 0..2000 {
                        assert_eq!(sum(n % 50), (n % 50) * (n % 50).saturating_sub(1) / 2);
                        if n % 500 == 0 {
                            // Long enough for helpers to fall asleep.
                            std::thread::sleep(std::time::Duration::from_millis(20));
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let failed = catch_unwind(|| run(8, &|| panic!("expected by the test")));
        assert!(failed.is_err());
        assert_eq!(sum(100), 4950);
    }
}
