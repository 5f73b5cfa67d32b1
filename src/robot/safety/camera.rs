//! Watchdog over the cameras that a policy looks through: late, frozen or dark pictures hold the arm.

use std::time::Duration;

use super::super::clock::Time;
use super::super::file::CameraFile;
use super::trip::Trip;

/// What is reported of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// When it was taken, on the agent's clock.
    pub taken: Time,
    /// Mean of its bytes, 0..=255.
    pub mean: f64,
    /// Standard deviation of its bytes.
    pub deviation: f64,
    /// A hash of its bytes.
    pub hash: u64,
}

impl Look {
    /// Looks at a picture's bytes (any layout). Every 7th byte is enough for the statistics; the hash takes all.
    pub fn of(bytes: &[u8], taken: Time) -> Self {
        let (mut n, mut sum, mut squares) = (0.0f64, 0.0f64, 0.0f64);
        for b in bytes.iter().step_by(7) {
            let v = f64::from(*b);
            n += 1.0;
            sum += v;
            squares += v * v;
        }
        let mean = if n > 0.0 { sum / n } else { 0.0 };
        let variance = if n > 0.0 { (squares / n - mean * mean).max(0.0) } else { 0.0 };
        // FNV-1a over whole words: only equality matters.
        let hash = bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325u64, |h, c| {
            let word = c.iter().fold(0u64, |w, b| (w << 8) | u64::from(*b));
            (h ^ word).wrapping_mul(0x0100_0000_01b3)
        });
        Self { taken, mean, deviation: variance.sqrt(), hash }
    }
}

#[derive(Clone, Debug)]
struct Camera {
    file: CameraFile,
    last: Option<Look>,
    repeats: u32,
}

/// Watchdog over all cameras of a robot.
#[derive(Clone, Debug)]
pub struct CameraWatch(Vec<Camera>);

/// So many identical pictures in a row are a frozen camera.
const FROZEN_AFTER: u32 = 10;

impl CameraWatch {
    /// Watches the cameras that runs need.
    pub fn new(cameras: &[CameraFile]) -> Self {
        let required = cameras.iter().filter(|c| c.required);
        Self(required.map(|c| Camera { file: c.clone(), last: None, repeats: 0 }).collect())
    }

    /// Takes the report of one picture; false for a camera that the robot file does not name.
    pub fn saw(&mut self, name: &str, look: Look) -> bool {
        let Some(camera) = self.0.iter_mut().find(|c| c.file.name == name) else {
            return false;
        };
        let same = camera.last.is_some_and(|l| l.hash == look.hash);
        camera.repeats = if same { camera.repeats.saturating_add(1) } else { 0 };
        camera.last = Some(look);
        true
    }

    /// What is wrong with the cameras now.
    pub fn check(&self, now: Time) -> Option<Trip> {
        self.0.iter().find_map(|c| {
            let trip = |why: String| Some(Trip::Camera { camera: c.file.name.clone(), why });
            let Some(look) = c.last else {
                return trip("no picture yet; check its cable and its number".into());
            };
            let age = now.saturating_sub(look.taken);
            let most = Duration::from_secs_f64(2.0 / c.file.fps.max(0.1));
            if age > most {
                return trip(format!("its last picture is {} ms old", age.as_millis()));
            }
            if c.repeats + 1 >= FROZEN_AFTER {
                return trip(format!("the last {} pictures are identical: it is frozen", c.repeats + 1));
            }
            if look.mean < 3.0 || look.deviation < 2.0 {
                return trip("its picture is dark or of one colour; is the cap on, or the light off?".into());
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn watch() -> CameraWatch {
        let file = |name: &str, required| CameraFile {
            name: name.into(),
            fps: 10.0,
            width: 8,
            height: 8,
            required,
            source: None,
        };
        CameraWatch::new(&[file("front", true), file("extra", false)])
    }

    fn picture(seed: u8) -> Vec<u8> {
        (0..192u32).map(|i| (i as u8).wrapping_mul(37).wrapping_add(seed)).collect()
    }

    #[test]
    fn late_frozen_dark_and_missing_pictures_trip() {
        let ms = Duration::from_millis;
        let mut w = watch();
        assert!(w.check(ms(0)).unwrap().to_string().contains("no picture"));
        assert!(w.saw("front", Look::of(&picture(1), ms(1000))));
        assert!(!w.saw("nobody", Look::of(&picture(1), ms(1000))));
        assert_eq!(w.check(ms(1200)), None);
        assert!(w.check(ms(1201)).unwrap().to_string().contains("old"));
        for k in 0..9u64 {
            assert_eq!(w.check(ms(1000 + k * 100)), None, "{k}");
            w.saw("front", Look::of(&picture(1), ms(1100 + k * 100)));
        }
        assert!(w.check(ms(1900)).unwrap().to_string().contains("frozen"));
        w.saw("front", Look::of(&picture(2), ms(2000)));
        assert_eq!(w.check(ms(2000)), None);
        w.saw("front", Look::of(&[1; 192], ms(2100)));
        assert!(w.check(ms(2100)).unwrap().to_string().contains("dark"));
    }
}
