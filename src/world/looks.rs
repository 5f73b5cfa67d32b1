//! Looks: drawing colours, light, camera and physical constants from a seed.

use super::math::{DEG, V3, mix, v3};
use super::rng::Rng;
use super::scene::{ArmSpec, CameraSpec, ColourName, LightSpec, Look, Pattern, TableSpec};

/// Everything about an episode that a look decides.
pub(crate) struct Style {
    pub camera: CameraSpec,
    pub light: LightSpec,
    pub table: TableSpec,
    pub arm: ArmSpec,
    pub goal: [u8; 3],
    pub bowl: [u8; 3],
    /// How far object paints may be from their names' own, 0..1.
    tint: f32,
    /// Range of object friction and of the density relative to plain.
    pub friction: (f32, f32),
    pub density: (f32, f32),
}

/// Distance of the plain camera from the middle of the workspace, metres.
const DISTANCE: f32 = 0.53;
const AZIMUTH: f32 = 24.0;
const ELEVATION: f32 = 43.0;
const FOV: f32 = 34.0;

fn camera(azimuth: f32, elevation: f32, distance: f32, target: V3, fov: f32) -> CameraSpec {
    let (a, e) = (azimuth * DEG, elevation * DEG);
    let out = v3(libm::cosf(e) * libm::cosf(a), libm::cosf(e) * libm::sinf(a), libm::sinf(e));
    CameraSpec { eye: target + out * distance, target, fov }
}

/// The camera of the look `plain`, as it is on average.
pub(crate) fn plain_camera() -> CameraSpec {
    camera(AZIMUTH, ELEVATION, DISTANCE, v3(0.170, 0.006, 0.022), FOV)
}

fn jitter(rgb: [u8; 3], amount: f32, rng: &mut Rng) -> [u8; 3] {
    rgb.map(|c| (c as f32 + rng.range(-amount, amount)).clamp(0.0, 255.0) as u8)
}

/// A colour from hue (0..360), saturation and value (0..1).
fn hsv(h: f32, s: f32, v: f32) -> [u8; 3] {
    let f = |n: f32| {
        let k = (n + h / 60.0) - 6.0 * ((n + h / 60.0) / 6.0).floor();
        let x = v - v * s * k.min(4.0 - k).clamp(0.0, 1.0);
        (x * 255.0 + 0.5) as u8
    };
    [f(5.0), f(3.0), f(1.0)]
}

impl Style {
    /// The style of one episode. Numbered looks keep one domain and add plain's jitter per episode.
    pub fn draw(look: Look, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0x57_59_4c);
        match look {
            Look::Plain => Self::plain(&mut rng),
            Look::Rich => Self::rich(&mut rng, 1.0),
            Look::Seeded(n) => {
                let mut domain = Rng::new(n, 0xd0_4a);
                let far = domain.range(0.35, 0.85);
                let mut style = Self::rich(&mut domain, far);
                let t = &mut style.camera;
                let nudge = v3(rng.range(-0.003, 0.003), rng.range(-0.003, 0.003), 0.0);
                t.eye += nudge;
                t.target += nudge;
                style.light.lamp = style.light.lamp * rng.range(0.95, 1.05);
                style
            }
        }
    }

    fn plain(rng: &mut Rng) -> Self {
        let target = v3(0.170 + rng.range(-0.003, 0.003), 0.006 + rng.range(-0.003, 0.003), 0.022);
        let warmth = rng.range(-0.03, 0.03);
        let power = rng.range(0.93, 1.07);
        Self {
            camera: camera(
                AZIMUTH + rng.range(-1.0, 1.0),
                ELEVATION + rng.range(-0.8, 0.8),
                DISTANCE * rng.range(0.99, 1.01),
                target,
                FOV,
            ),
            light: LightSpec {
                direction: v3(0.30 + rng.range(-0.05, 0.05), -0.55 + rng.range(-0.05, 0.05), 0.95),
                lamp: v3(0.92 + warmth, 0.88, 0.80 - warmth) * power,
                ambient: v3(0.40, 0.42, 0.45),
                softness: 0.055,
            },
            table: TableSpec {
                rgb: jitter([213, 189, 161], 4.0, rng),
                rgb2: [190, 160, 128],
                pattern: Pattern::Plain,
                friction: 0.45,
            },
            arm: ArmSpec { body: [226, 224, 219], accent: [236, 140, 62], dark: [52, 55, 62] },
            goal: [246, 242, 232],
            bowl: [232, 232, 236],
            tint: 0.02,
            friction: (0.42, 0.52),
            density: (0.9, 1.1),
        }
    }

    /// A far domain; `far` 0..1 says how far from plain.
    fn rich(rng: &mut Rng, far: f32) -> Self {
        let mut style = Self::plain(rng);
        let around = |rng: &mut Rng, plain: f32, a: f32, b: f32| mix(plain, rng.range(a, b), far);
        let target = v3(around(rng, 0.170, 0.165, 0.195), around(rng, 0.0, -0.02, 0.02), 0.022);
        style.camera = camera(
            around(rng, AZIMUTH, -45.0, 45.0),
            around(rng, ELEVATION, 34.0, 60.0),
            around(rng, DISTANCE, 0.48, 0.62),
            target,
            around(rng, FOV, 31.0, 38.0),
        );
        let sun = rng.range(0.0, 360.0) * DEG;
        let tilt = around(rng, 0.6, 0.3, 1.1);
        let tone = rng.range(-1.0, 1.0) * far;
        style.light = LightSpec {
            direction: v3(tilt * libm::cosf(sun), tilt * libm::sinf(sun), 1.0),
            lamp: v3(0.88 + 0.14 * tone, 0.88, 0.86 - 0.16 * tone) * around(rng, 1.0, 0.6, 1.25),
            ambient: v3(0.38 - 0.06 * tone, 0.38, 0.39 + 0.07 * tone) * around(rng, 1.0, 0.55, 1.3),
            softness: around(rng, 0.055, 0.015, 0.14),
        };
        let hue = rng.range(0.0, 360.0);
        let base = hsv(hue, rng.range(0.03, 0.32) * far, around(rng, 0.8, 0.35, 0.92));
        let second = base.map(|c| (c as f32 * rng.range(0.72, 0.92)) as u8);
        let pattern = match rng.below(6) {
            0 => Pattern::Plain,
            1 | 2 => Pattern::Wood { board: rng.range(0.05, 0.11) },
            3 => Pattern::Checks { size: rng.range(0.03, 0.06) },
            4 => Pattern::Stripes { period: rng.range(0.03, 0.08), angle: rng.range(0.0, 3.1) },
            _ => Pattern::Cloud { size: rng.range(0.02, 0.07) },
        };
        style.table = TableSpec { rgb: base, rgb2: second, pattern, friction: around(rng, 0.45, 0.25, 0.7) };
        let grey = rng.range(0.15, 0.95);
        style.arm = ArmSpec {
            body: hsv(rng.range(0.0, 360.0), 0.12 * far, grey),
            accent: hsv(rng.range(15.0, 45.0), 0.6, rng.range(0.5, 0.95)),
            dark: hsv(
                rng.range(0.0, 360.0),
                0.1,
                if grey > 0.5 { rng.range(0.12, 0.3) } else { rng.range(0.55, 0.8) },
            ),
        };
        style.goal = if base[0] > 150 { [250, 250, 250] } else { [210, 210, 214] };
        style.bowl = hsv(rng.range(0.0, 360.0), 0.1, rng.range(0.3, 0.95));
        style.tint = 0.12 * far;
        style.friction = (mix(0.42, 0.25, far), mix(0.52, 0.8, far));
        style.density = (mix(0.9, 0.5, far), mix(1.1, 2.0, far));
        style
    }

    /// The paint of an object of this colour in this style.
    pub fn paint(&self, colour: ColourName, rng: &mut Rng) -> [u8; 3] {
        jitter(colour.rgb(), self.tint * 120.0, rng)
    }
}
