//! A serial port in raw mode, by the system's own calls.

#[cfg(target_os = "linux")]
pub use unix::SerialPort;

use std::path::{Path, PathBuf};

use super::super::driver::DriverError;
use super::super::file::PortFile;

/// Folder in which Linux lists serial ports by maker, model and serial number.
const BY_ID: &str = "/dev/serial/by-id";

/// Ports that are plugged in: (USB name with serial number, device).
pub fn plugged_in() -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(BY_ID) else {
        return Vec::new();
    };
    let mut ports: Vec<(String, PathBuf)> =
        entries.flatten().filter_map(|e| Some((e.file_name().into_string().ok()?, e.path()))).collect();
    ports.sort();
    ports
}

/// The device of a port as the robot file names it: by USB serial number, else by path.
pub fn find(port: &PortFile) -> Result<PathBuf, DriverError> {
    if let Some(serial) = &port.serial {
        let ports = plugged_in();
        let mut hits = ports.iter().filter(|(name, _)| name.contains(serial.as_str()));
        return match (hits.next(), hits.next()) {
            (Some((_, device)), None) => Ok(device.clone()),
            (Some(_), Some(_)) => Err(DriverError::NotFound {
                port: format!("USB {serial}"),
                why: "more than one adapter has this in its name; write the whole serial number".into(),
            }),
            _ => {
                let seen: Vec<&str> = ports.iter().map(|(name, _)| name.as_str()).collect();
                let seen = if seen.is_empty() { "none".to_string() } else { seen.join(", ") };
                let why = format!("no adapter with this serial number is plugged in (found: {seen})");
                Err(DriverError::NotFound { port: format!("USB {serial}"), why })
            }
        };
    }
    port.path.clone().ok_or_else(|| DriverError::NotFound {
        port: "any port".into(),
        why: "the robot file names neither a USB serial number nor a path".into(),
    })
}

/// Opens a port for this program alone.
#[cfg(target_os = "linux")]
pub fn open(path: &Path, baud: u32) -> Result<SerialPort, DriverError> {
    SerialPort::open(path, baud)
}

/// Serial ports are opened on Linux only so far.
#[cfg(not(target_os = "linux"))]
pub fn open(path: &Path, _baud: u32) -> Result<std::convert::Infallible, DriverError> {
    let why = format!("{}: serial robots are driven on Linux only so far", path.display());
    Err(DriverError::Unsupported(why))
}

#[cfg(target_os = "linux")]
mod unix {
    use std::ffi::CString;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::super::super::driver::DriverError;
    use super::super::line::Line;

    /// An open serial port, locked for this program.
    #[derive(Debug)]
    pub struct SerialPort(OwnedFd);

    fn last_error() -> io::Error {
        io::Error::last_os_error()
    }

    impl SerialPort {
        /// Opens and locks a port, and sets it to raw 8N1 at `baud`.
        pub fn open(path: &Path, baud: u32) -> Result<Self, DriverError> {
            let port = path.display().to_string();
            let failed = |e: io::Error| match e.raw_os_error() {
                Some(libc::EBUSY) => DriverError::Busy { port: port.clone() },
                Some(libc::EACCES | libc::EPERM) => DriverError::NotFound {
                    port: port.clone(),
                    why: "no permission; add yourself to the group dialout and log in again".into(),
                },
                _ => DriverError::NotFound { port: port.clone(), why: e.to_string() },
            };
            let speed = speed_of(baud).ok_or_else(|| DriverError::NotFound {
                port: port.clone(),
                why: format!("{baud} bits a second is no usual rate; 1000000 is right for these servos"),
            })?;
            let name = CString::new(path.as_os_str().as_bytes())
                .map_err(|_| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
            let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
            // SAFETY: `name` is a NUL-terminated string that lives through the call.
            let fd = unsafe { libc::open(name.as_ptr(), flags) };
            if fd < 0 {
                return Err(failed(last_error()));
            }
            // SAFETY: `fd` was just opened, is valid and owned by nobody else.
            let this = Self(unsafe { OwnedFd::from_raw_fd(fd) });
            this.lock().and_then(|()| this.make_raw(speed)).map_err(failed)?;
            Ok(this)
        }

        fn fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }

        /// One owner of the port: an advisory lock for other instances of us, the exclusive flag for everybody else.
        fn lock(&self) -> io::Result<()> {
            // SAFETY: plain calls on a descriptor that is open for the lifetime of `self`.
            unsafe {
                if libc::flock(self.fd(), libc::LOCK_EX | libc::LOCK_NB) != 0 {
                    let e = last_error();
                    let busy = e.raw_os_error() == Some(libc::EWOULDBLOCK);
                    return Err(if busy { io::Error::from_raw_os_error(libc::EBUSY) } else { e });
                }
                if libc::ioctl(self.fd(), libc::TIOCEXCL) != 0 {
                    return Err(last_error());
                }
            }
            Ok(())
        }

        fn make_raw(&self, speed: libc::speed_t) -> io::Result<()> {
            // SAFETY: termios is plain data for which zeros are a valid value; tcgetattr fills it, and the other calls
            // only read or change this local value and the open descriptor.
            unsafe {
                let mut t: libc::termios = std::mem::zeroed();
                if libc::tcgetattr(self.fd(), &mut t) != 0 {
                    return Err(last_error());
                }
                libc::cfmakeraw(&mut t);
                t.c_cflag |= libc::CLOCAL | libc::CREAD;
                t.c_cflag &= !(libc::CSTOPB | libc::PARENB | libc::CRTSCTS);
                t.c_cc[libc::VMIN] = 0;
                t.c_cc[libc::VTIME] = 0;
                if libc::cfsetspeed(&mut t, speed) != 0 || libc::tcsetattr(self.fd(), libc::TCSANOW, &t) != 0
                {
                    return Err(last_error());
                }
                libc::tcflush(self.fd(), libc::TCIOFLUSH);
            }
            Ok(())
        }

        /// Waits for events; `Ok(0)` when the time is over. A hang-up is an error: the cable is out.
        fn poll(&self, events: libc::c_short, wait: Duration) -> io::Result<libc::c_short> {
            let until = Instant::now() + wait;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                let time = libc::timespec {
                    tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(0),
                    tv_nsec: libc::c_long::from(left.subsec_nanos().cast_signed()),
                };
                let mut fd = libc::pollfd { fd: self.fd(), events, revents: 0 };
                // SAFETY: one pollfd and one timespec, both local, live through the call.
                let n = unsafe { libc::ppoll(&mut fd, 1, &time, std::ptr::null()) };
                if n < 0 {
                    let e = last_error();
                    if e.kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    return Err(e);
                }
                if fd.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the port hung up"));
                }
                return Ok(if n == 0 { 0 } else { fd.revents });
            }
        }
    }

    /// The system's code of a rate.
    fn speed_of(baud: u32) -> Option<libc::speed_t> {
        Some(match baud {
            57_600 => libc::B57600,
            115_200 => libc::B115200,
            500_000 => libc::B500000,
            1_000_000 => libc::B1000000,
            2_000_000 => libc::B2000000,
            _ => return None,
        })
    }

    impl Line for SerialPort {
        fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
            // 250 bytes take 2.5 ms on the wire; a port that takes longer is stuck.
            let until = Instant::now() + Duration::from_millis(20);
            while !bytes.is_empty() {
                // SAFETY: `bytes` is valid for `len` bytes through the call.
                let n = unsafe { libc::write(self.fd(), bytes.as_ptr().cast(), bytes.len()) };
                if n > 0 {
                    bytes = bytes.get(n.unsigned_abs()..).unwrap_or_default();
                    continue;
                }
                let e = last_error();
                match e.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock if Instant::now() < until => {
                        self.poll(libc::POLLOUT, Duration::from_millis(5))?;
                    }
                    io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
                    _ => return Err(e),
                }
            }
            Ok(())
        }

        fn receive(&mut self, into: &mut [u8], wait: Duration) -> io::Result<usize> {
            if self.poll(libc::POLLIN, wait)? == 0 {
                return Ok(0);
            }
            // SAFETY: `into` is valid for `len` bytes through the call.
            let n = unsafe { libc::read(self.fd(), into.as_mut_ptr().cast(), into.len()) };
            if n >= 0 {
                return Ok(n.unsigned_abs());
            }
            match last_error() {
                e if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
                e => Err(e),
            }
        }

        fn discard(&mut self) -> io::Result<()> {
            // SAFETY: a plain call on an open descriptor.
            if unsafe { libc::tcflush(self.fd(), libc::TCIFLUSH) } != 0 {
                return Err(last_error());
            }
            Ok(())
        }
    }
}
