//! Cameras whose pictures come to the agent: one thread each, which never delays the control loop.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::super::clock::{Clock, Time};
use super::super::driver::Eye;
use super::super::file::{CameraFile, RobotFile};
use super::super::safety::camera::Look;
use super::protocol::Tell;
use crate::Frame;

/// Largest picture that travels in one message: its base64 must fit beside the rest.
const LARGEST: usize = 700_000;

#[derive(Debug)]
struct Shot {
    frame: Frame,
    taken: Time,
    told: bool,
}

#[derive(Debug)]
struct Slot {
    name: String,
    newest: Arc<Mutex<Option<Shot>>>,
}

/// The newest picture of every camera.
#[derive(Debug, Default)]
pub(super) struct Pictures(Vec<Slot>);

impl Pictures {
    /// Starts a thread for every camera that has a source. The threads end with this value.
    pub fn start(robot: &RobotFile, eye: Option<Eye>, clock: &Arc<dyn Clock>) -> Self {
        let mut slots = Vec::new();
        for camera in &robot.cameras {
            let see: Box<dyn FnMut() -> Option<Frame> + Send> = match camera.source.as_deref() {
                Some("tabletop") => match eye.clone() {
                    Some(eye) => {
                        let camera = camera.clone();
                        Box::new(move || eye(&camera))
                    }
                    None => continue,
                },
                Some(source) if source.starts_with("file:") => {
                    let mut file = PictureFile::new(source.trim_start_matches("file:"));
                    Box::new(move || file.newest())
                }
                #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
                Some(source) if source.starts_with("v4l2:") => {
                    let mut video = Video::new(source.trim_start_matches("v4l2:"), camera);
                    Box::new(move || video.newest())
                }
                _ => continue,
            };
            let newest = Arc::new(Mutex::new(None));
            let slot = Slot { name: camera.name.clone(), newest: Arc::clone(&newest) };
            let (for_thread, clock, camera) = (Arc::downgrade(&newest), Arc::clone(clock), camera.clone());
            std::thread::spawn(move || take(&for_thread, &clock, &camera, see));
            slots.push(slot);
        }
        Self(slots)
    }

    /// Looks at pictures that came since the last time.
    pub fn news(&self) -> Vec<(String, Look)> {
        let mut news = Vec::new();
        for slot in &self.0 {
            // A thread that is just putting a picture there will have put it there at the next tick.
            if let Ok(mut newest) = slot.newest.try_lock()
                && let Some(shot) = newest.as_mut().filter(|s| !s.told)
            {
                shot.told = true;
                news.push((slot.name.clone(), Look::of(&shot.frame.data, shot.taken)));
            }
        }
        news
    }

    /// Whether no camera gives pictures.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest picture of a camera, as a message.
    pub fn newest(&self, camera: Option<&str>) -> Option<Tell> {
        let slot = self.0.iter().find(|s| camera.is_none_or(|c| c == s.name))?;
        let newest = slot.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let shot = newest.as_ref()?;
        let frame = smaller(&shot.frame);
        Some(Tell::Picture {
            camera: slot.name.clone(),
            taken: shot.taken.as_secs_f64(),
            width: frame.width,
            height: frame.height,
            rgb: to_base64(&frame.data),
        })
    }
}

fn take(
    slot: &Weak<Mutex<Option<Shot>>>,
    clock: &Arc<dyn Clock>,
    camera: &CameraFile,
    mut see: Box<dyn FnMut() -> Option<Frame> + Send>,
) {
    let period = Duration::from_secs_f64(1.0 / camera.fps.clamp(0.1, 1000.0));
    loop {
        let began = std::time::Instant::now();
        let taken = clock.now();
        let frame = see();
        let Some(slot) = slot.upgrade() else { return };
        if let Some(frame) = frame {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shot { frame, taken, told: false });
        }
        drop(slot);
        std::thread::sleep(period.saturating_sub(began.elapsed()).max(Duration::from_millis(1)));
    }
}

/// Every n-th pixel, so that the picture fits into a message.
fn smaller(frame: &Frame) -> Frame {
    let step = (1..).find(|n| frame.data.len() / (n * n) <= LARGEST).unwrap_or(1);
    if step == 1 {
        return frame.clone();
    }
    let (width, height) = (frame.width / step, frame.height / step);
    let mut out = Frame::filled(width, height, [0; 3]);
    for (y, row) in out.data.chunks_exact_mut(width.max(1) * 3).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let at = (y * step * frame.width + x * step) * 3;
            if let Some(from) = frame.data.get(at..at + 3) {
                pixel.copy_from_slice(from);
            }
        }
    }
    out
}

/// A picture that another program writes again and again.
struct PictureFile {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
}

impl PictureFile {
    fn new(path: &str) -> Self {
        Self { path: Path::new(path).to_path_buf(), seen: None }
    }

    /// The picture, when the file has changed since the last time.
    fn newest(&mut self) -> Option<Frame> {
        let meta = std::fs::metadata(&self.path).ok()?;
        let now = (meta.modified().ok()?, meta.len());
        if self.seen == Some(now) {
            return None;
        }
        let frame = crate::media::read_picture(&self.path).ok()?;
        self.seen = Some(now);
        Some(frame)
    }
}

/// A camera of this machine. One that is unplugged is opened again when it is back.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
struct Video {
    path: PathBuf,
    wanted: CameraFile,
    camera: Option<super::v4l2::Camera>,
    tried: Option<std::time::Instant>,
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
impl Video {
    fn new(path: &str, wanted: &CameraFile) -> Self {
        Self { path: Path::new(path).to_path_buf(), wanted: wanted.clone(), camera: None, tried: None }
    }

    fn newest(&mut self) -> Option<Frame> {
        let w = &self.wanted;
        let Some(camera) = &mut self.camera else {
            if self.tried.is_some_and(|t| t.elapsed() < Duration::from_secs(2)) {
                return None;
            }
            self.tried = Some(std::time::Instant::now());
            match super::v4l2::Camera::open(&self.path, w.width, w.height, w.fps) {
                Ok(camera) => self.camera = Some(camera),
                Err(e) => eprintln!("the camera {} ({}) does not open: {e}", w.name, self.path.display()),
            }
            return None;
        };
        match camera.newest(Duration::from_secs_f64(2.0 / w.fps.clamp(0.5, 1000.0))) {
            Ok(frame) => frame,
            Err(e) => {
                eprintln!("the camera {} is gone: {e}", w.name);
                self.camera = None;
                None
            }
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as base64 (RFC 4648).
pub(super) fn to_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for k in 0..4 {
            let digit = DIGITS.get((word >> (18 - 6 * k) & 63) as usize).copied().unwrap_or(b'=');
            out.push(if k <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Bytes of base64; `None` for anything else.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if text.len() % 4 != 0 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for (i, four) in text.chunks_exact(4).enumerate() {
        let last = (i + 1) * 4 == text.len();
        let pads = four.iter().rev().take_while(|b| **b == b'=').count();
        if pads > if last { 2 } else { 0 } {
            return None;
        }
        let mut word = 0u32;
        for b in four.iter().take(4 - pads) {
            let digit = match b {
                b'A'..=b'Z' => b - b'A',
                b'a'..=b'z' => b - b'a' + 26,
                b'0'..=b'9' => b - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(digit);
        }
        word <<= 6 * pads;
        out.extend(word.to_be_bytes().iter().skip(1).take(3 - pads));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::robot::clock::SystemClock;

    #[test]
    fn base64_goes_there_and_back() {
        assert_eq!(to_base64(b"Man"), "TWFu");
        assert_eq!(to_base64(b"M"), "TQ==");
        for n in 0..70usize {
            let bytes: Vec<u8> = (0..n).map(|i| (i * 83 + n) as u8).collect();
            assert_eq!(from_base64(&to_base64(&bytes)).unwrap(), bytes);
        }
        for bad in ["A", "AA=A", "====", "AA==AAAA", "AA!A"] {
            assert_eq!(from_base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_that_another_program_writes_is_a_camera() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("front.png");
        let mut robot = RobotFile::so101("arm");
        robot.cameras.push(CameraFile {
            name: "front".into(),
            fps: 100.0,
            width: 32,
            height: 16,
            required: true,
            source: Some(format!("file:{}", path.display())),
        });
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let pictures = Pictures::start(&robot, None, &clock);
        assert!(pictures.newest(None).is_none());
        crate::media::write_png(&path, &Frame::filled(32, 16, [10, 200, 30])).unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while pictures.newest(Some("front")).is_none() {
            assert!(std::time::Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
        let Some(Tell::Picture { width: 32, height: 16, rgb, .. }) = pictures.newest(None) else { panic!() };
        assert_eq!(from_base64(&rgb).unwrap()[..3], [10, 200, 30]);
        assert_eq!(pictures.news().len(), 1);
        assert!(pictures.news().is_empty(), "a picture is told once");
        assert!(pictures.newest(Some("back")).is_none());
    }

    #[test]
    fn large_pictures_are_made_smaller() {
        let frame = Frame::filled(1280, 720, [1, 2, 3]);
        let small = smaller(&frame);
        assert!(small.data.len() <= LARGEST && small.data.len() == small.width * small.height * 3);
        assert_eq!(smaller(&Frame::filled(128, 128, [0; 3])).width, 128);
    }
}
