//! A gamepad by the joystick interface of Linux (`/dev/input/js0`): eight bytes an event, no library. Elsewhere there is
//! none yet. The numbers of axes and buttons are those of the kernel's driver for Xbox pads, which most others follow.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a gamepad is held. Sticks and the cross go from -1 to 1, right and up are positive; triggers from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pad {
    /// There is one.
    pub connected: bool,
    /// Left stick: right, up.
    pub left: (f32, f32),
    /// Right stick.
    pub right: (f32, f32),
    /// The cross.
    pub cross: (f32, f32),
    /// Right and left trigger.
    pub triggers: (f32, f32),
    /// The right shoulder button is held: the dead-man key.
    pub dead_man: bool,
}

/// Sticks that are let go rest somewhere near the middle.
const DEAD_ZONE: f32 = 0.15;
/// B, Start and the button in the middle.
const STOP_BUTTONS: [u8; 3] = [1, 7, 8];
/// The right shoulder button.
const DEAD_MAN_BUTTON: u8 = 5;

/// One event: value, whether it is the state at the start, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Event {
    value: i16,
    initial: bool,
    about: About,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum About {
    Button(u8),
    Axis(u8),
    Other,
}

impl Event {
    /// `struct js_event`: milliseconds (4), value (2), type (1), number (1).
    fn parse(bytes: [u8; 8]) -> Self {
        let [_, _, _, _, low, high, kind, number] = bytes;
        let about = match kind & 0x7f {
            1 => About::Button(number),
            2 => About::Axis(number),
            _ => About::Other,
        };
        Self { value: i16::from_le_bytes([low, high]), initial: kind & 0x80 != 0, about }
    }
}

impl Pad {
    /// Takes an event; true when Stop was pressed.
    fn take(&mut self, event: Event) -> bool {
        let full = (f32::from(event.value) / 32767.0).clamp(-1.0, 1.0);
        let stick = if full.abs() < DEAD_ZONE { 0.0 } else { full };
        let trigger = (full + 1.0) / 2.0;
        match event.about {
            About::Axis(0) => self.left.0 = stick,
            About::Axis(1) => self.left.1 = -stick,
            About::Axis(2) => self.triggers.1 = if trigger < DEAD_ZONE { 0.0 } else { trigger },
            About::Axis(3) => self.right.0 = stick,
            About::Axis(4) => self.right.1 = -stick,
            About::Axis(5) => self.triggers.0 = if trigger < DEAD_ZONE { 0.0 } else { trigger },
            About::Axis(6) => self.cross.0 = stick,
            About::Axis(7) => self.cross.1 = -stick,
            About::Button(DEAD_MAN_BUTTON) => self.dead_man = event.value != 0,
            About::Button(b) if STOP_BUTTONS.contains(&b) => return event.value != 0 && !event.initial,
            _ => {}
        }
        false
    }
}

/// A thread that reads a gamepad until this is dropped; one that is unplugged is let go, one that comes is taken.
pub struct Gamepad {
    pad: Arc<Mutex<Pad>>,
    end: Arc<AtomicBool>,
}

impl Gamepad {
    /// Reads the gamepad at `device`, or the first of the machine; `stop` is called from the thread for every press of a
    /// Stop button.
    pub fn start(device: Option<PathBuf>, stop: impl Fn() + Send + 'static) -> Self {
        let this = Self { pad: Arc::default(), end: Arc::default() };
        let (pad, end) = (Arc::clone(&this.pad), Arc::clone(&this.end));
        // Without the thread there is no gamepad, which the window then shows.
        let _ = std::thread::Builder::new()
            .name("gamepad".into())
            .spawn(move || read::go_on(device.as_deref(), &pad, &end, &stop));
        this
    }

    /// How it is held now.
    pub fn now(&self) -> Pad {
        *self.pad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gamepad {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

#[cfg(target_os = "linux")]
mod read {
    use std::fs::{File, OpenOptions};
    use std::io::{ErrorKind, Read};
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use super::{Event, Pad};

    const LOOK_FOR_ONE: Duration = Duration::from_millis(1000);
    const TURN: Duration = Duration::from_millis(8);

    fn open(device: Option<&Path>) -> Option<File> {
        let first = || (0..4).map(|n| PathBuf::from(format!("/dev/input/js{n}"))).find(|p| p.exists());
        let path = device.map(Path::to_path_buf).or_else(first)?;
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()
    }

    pub(super) fn go_on(device: Option<&Path>, pad: &Mutex<Pad>, end: &AtomicBool, stop: &dyn Fn()) {
        let set = |new: Pad| *pad.lock().unwrap_or_else(PoisonError::into_inner) = new;
        while !end.load(Ordering::Relaxed) {
            let Some(mut file) = open(device) else {
                std::thread::sleep(LOOK_FOR_ONE);
                continue;
            };
            let mut now = Pad { connected: true, ..Pad::default() };
            set(now);
            while !end.load(Ordering::Relaxed) {
                let mut bytes = [0u8; 8];
                match file.read(&mut bytes) {
                    Ok(8) => {
                        if now.take(Event::parse(bytes)) {
                            stop();
                        }
                        set(now);
                    }
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                        std::thread::sleep(TURN);
                    }
                    // Unplugged: nothing is held any more, the dead-man key least of all.
                    Ok(_) | Err(_) => break,
                }
            }
            set(Pad::default());
            std::thread::sleep(TURN);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod read {
    use super::Pad;

    pub(super) fn go_on(
        _: Option<&std::path::Path>,
        _: &std::sync::Mutex<Pad>,
        _: &std::sync::atomic::AtomicBool,
        _: &dyn Fn(),
    ) {
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::sync::atomic::AtomicUsize;
    use std::time::{Duration, Instant};

    fn bytes(kind: u8, number: u8, value: i16) -> [u8; 8] {
        let [low, high] = value.to_le_bytes();
        [1, 2, 3, 4, low, high, kind, number]
    }

    #[test]
    fn events_are_those_of_the_kernel() {
        let event = Event::parse(bytes(0x82, 1, -32767));
        assert_eq!(event, Event { value: -32767, initial: true, about: About::Axis(1) });
        let mut pad = Pad::default();
        assert!(!pad.take(event));
        assert_eq!(pad.left, (0.0, 1.0), "up is up");
        pad.take(Event::parse(bytes(2, 0, 3000)));
        assert_eq!(pad.left.0, 0.0, "a stick that is let go rests");
        pad.take(Event::parse(bytes(2, 5, -32767)));
        assert_eq!(pad.triggers.0, 0.0);
        pad.take(Event::parse(bytes(2, 5, 32767)));
        assert_eq!(pad.triggers.0, 1.0);
        assert!(!pad.take(Event::parse(bytes(0x81, 1, 1))), "what was held at the start is no press");
        assert!(pad.take(Event::parse(bytes(1, 1, 1))) && !pad.take(Event::parse(bytes(1, 1, 0))));
        assert!(!pad.take(Event::parse(bytes(7, 1, 1))));
    }

    /// The device is a pipe here: it gives what is written to it, and ends when its other end is closed.
    #[test]
    fn a_gamepad_is_read_its_stop_is_told_and_unplugging_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("js0");
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a NUL-terminated path that lives through the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let presses = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&presses);
        // Open at both ends before it is read, so that there is no end of file before the first event.
        let mut plug = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let pad = Gamepad::start(Some(path), move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let until = |what: &str, done: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(20);
            while !done() {
                assert!(Instant::now() < end, "{what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        plug.write_all(&bytes(1, 5, 1)).unwrap();
        plug.write_all(&bytes(2, 0, 32767)).unwrap();
        until("the stick", &|| pad.now().dead_man && pad.now().left.0 > 0.99);
        plug.write_all(&bytes(1, 7, 1)).unwrap();
        until("the stop", &|| presses.load(Ordering::SeqCst) == 1);
        drop(plug);
        until("unplugging", &|| !pad.now().dead_man && pad.now().left.0 == 0.0);
    }
}
