//! The emulated arm as a serial port in real time: a pseudo-terminal with a link to it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::clock::{Clock, SystemClock, Time};
use super::arm::EmulatedArm;

/// A pseudo-terminal's two ends and the link to it.
struct Port {
    master: OwnedFd,
    /// Kept open, so that the terminal does not hang up when a client closes it.
    _slave: OwnedFd,
    link: PathBuf,
}

impl Port {
    fn open(link: &Path) -> io::Result<Self> {
        // SAFETY: plain calls; `fd` is owned by `master` as soon as it is known to be valid, and the name is copied
        // from a buffer that lives through the call.
        let (master, name) = unsafe {
            let fd = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC | libc::O_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let master = OwnedFd::from_raw_fd(fd);
            let mut name = [0 as libc::c_char; 128];
            if libc::grantpt(fd) != 0
                || libc::unlockpt(fd) != 0
                || libc::ptsname_r(fd, name.as_mut_ptr(), 128) != 0
            {
                return Err(io::Error::last_os_error());
            }
            (master, CStr::from_ptr(name.as_ptr()).to_owned())
        };
        // SAFETY: `name` is NUL-terminated; the new descriptor is owned at once; termios is plain data.
        let slave = unsafe {
            let fd = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let slave = OwnedFd::from_raw_fd(fd);
            let mut t: libc::termios = std::mem::zeroed();
            libc::tcgetattr(fd, &mut t);
            libc::cfmakeraw(&mut t);
            libc::tcsetattr(fd, libc::TCSANOW, &t);
            slave
        };
        let device = name.into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let _ = std::fs::remove_file(link);
        std::os::unix::fs::symlink(device, link)?;
        Ok(Self { master, _slave: slave, link: link.to_path_buf() })
    }

    /// Takes what a client sent, waiting at most 2 ms.
    fn take(&self) -> Vec<u8> {
        let mut buffer = [0u8; 1024];
        let mut fd = libc::pollfd { fd: self.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one local pollfd, and a buffer of the length that is passed.
        let n = unsafe {
            if libc::poll(&mut fd, 1, 2) <= 0 {
                return Vec::new();
            }
            libc::read(self.master.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len())
        };
        usize::try_from(n).ok().and_then(|n| buffer.get(..n)).map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn give(&self, bytes: &[u8]) {
        // SAFETY: `bytes` is valid for its length. A full terminal loses bytes, as a serial line does.
        let _ = unsafe { libc::write(self.master.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.link);
    }
}

/// An emulated arm that answers on a pseudo-terminal until it is dropped.
pub struct PtyArm {
    arm: Arc<Mutex<EmulatedArm>>,
    clock: Arc<SystemClock>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PtyArm {
    /// Starts an arm whose port is found at `link`.
    pub fn start(link: &Path, arm: EmulatedArm) -> io::Result<Self> {
        let port = Port::open(link)?;
        let mut this = Self {
            arm: Arc::new(Mutex::new(arm)),
            clock: Arc::new(SystemClock::default()),
            end: Arc::new(AtomicBool::new(false)),
            thread: None,
        };
        let (arm, clock, end) = (Arc::clone(&this.arm), Arc::clone(&this.clock), Arc::clone(&this.end));
        let link = link.to_path_buf();
        let thread = std::thread::Builder::new().name("emulated arm".into()).spawn(move || {
            // It stands for motors, which do not wait for anybody's processor.
            super::super::agent::priority::before_others();
            let mut port = Some(port);
            while !end.load(Ordering::Relaxed) {
                let plugged = arm.lock().unwrap_or_else(PoisonError::into_inner).plugged;
                match (&port, plugged) {
                    (Some(_), false) => port = None,
                    (None, true) => port = Port::open(&link).ok(),
                    _ => {}
                }
                let Some(port) = &port else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let bytes = port.take();
                let answers = {
                    let mut arm = arm.lock().unwrap_or_else(PoisonError::into_inner);
                    let now = clock.now();
                    arm.advance_to(now);
                    if bytes.is_empty() { Vec::new() } else { arm.receive(now, &bytes) }
                };
                // One sleep for short answers: a thread's wake-up costs more than their time on the wire.
                for (time, answer) in answers {
                    if time > clock.now() + Duration::from_millis(1) {
                        clock.sleep_until(time);
                    }
                    port.give(&answer);
                }
            }
        })?;
        this.thread = Some(thread);
        Ok(this)
    }

    /// The arm, to look at its trace or to break something.
    pub fn arm(&self) -> MutexGuard<'_, EmulatedArm> {
        self.arm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its time.
    pub fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Drop for PtyArm {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
