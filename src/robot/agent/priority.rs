//! A control loop that must not wait behind ordinary work asks the system for a place before it. What is refused is gone
//! without: the watchdogs see to lateness either way.

/// Priority among real-time threads: below the system's own.
#[cfg(target_os = "linux")]
const PRIORITY: libc::c_int = 10;

/// Asks that this thread runs before ordinary ones; threads and processes that it starts are ordinary again. Needs a right
/// that not everybody has (`ulimit -r`); false when it was refused.
#[cfg(target_os = "linux")]
pub(in super::super) fn before_others() -> bool {
    // SAFETY: plain data for which zeros are a valid value; the call reads it and changes this thread's scheduling only.
    unsafe {
        let mut wanted: libc::sched_param = std::mem::zeroed();
        wanted.sched_priority = PRIORITY;
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &wanted) == 0
    }
}

/// Elsewhere nothing is asked for yet.
#[cfg(not(target_os = "linux"))]
pub(in super::super) fn before_others() -> bool {
    false
}
