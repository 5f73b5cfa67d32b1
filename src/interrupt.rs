//! Ctrl-C and a polite kill: the running job is cancelled, cleans up, and the program ends.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether the person asked the program to stop since [`listen`] was called.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The flag behind [`requested`], for libraries that poll one.
pub fn flag() -> &'static AtomicBool {
    &INTERRUPTED
}

/// From now on the first interrupt only sets [`requested`]; the second one ends the program as usual.
#[cfg(unix)]
pub fn listen() {
    extern "C" fn note(signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
        // SAFETY: signal() is async-signal-safe; the default action makes the next one end the program.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic and calls signal(), both async-signal-safe.
        unsafe { libc::signal(signal, note as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Without signals, an interrupt ends the program at once; what it was writing has a temporary name.
#[cfg(not(unix))]
pub fn listen() {}
