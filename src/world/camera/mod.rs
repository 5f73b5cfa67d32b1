//! The virtual camera: a small ray caster over primitives on the CPU.
//!
//! Every pixel is a function of scene, joint values and object poses alone, computed with `+ - * / sqrt` and
//! `libm` in a fixed order: the same bytes on every machine and for any number of threads.

mod background;
mod control;
mod paint;
mod prim;
mod render;
mod shadow;

pub use control::Picture;
pub use render::Renderer;

use super::math::{DEG, V3, v3};
use super::scene::CameraSpec;

/// A pinhole camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// Where it is.
    pub eye: V3,
    forward: V3,
    right: V3,
    up: V3,
    tan_half: f32,
}

impl Camera {
    /// The camera of a scene.
    pub fn new(spec: &CameraSpec) -> Self {
        let forward = (spec.target - spec.eye).unit();
        let right = forward.cross(v3(0.0, 0.0, 1.0)).unit();
        let up = right.cross(forward);
        let half = spec.fov * 0.5 * DEG;
        Self { eye: spec.eye, forward, right, up, tan_half: libm::sinf(half) / libm::cosf(half) }
    }

    /// Unit vector on the table that points to the right in the picture.
    pub fn right_on_table(&self) -> V3 {
        self.right.flat().unit()
    }

    /// The camera of the look `plain`, as it is on average.
    pub fn plain() -> Self {
        Self::new(&super::looks::plain_camera())
    }

    /// Unit vector on the table that points away from the camera.
    pub fn away_on_table(&self) -> V3 {
        self.forward.flat().unit()
    }

    /// Direction (not normalised) of the ray through picture coordinates `x` right and `y` down, in pixels of
    /// a `width` x `height` picture; pixel centres are at `.5`.
    #[inline(always)]
    pub(crate) fn ray(&self, x: f32, y: f32, width: f32, height: f32) -> V3 {
        let s = 2.0 * self.tan_half / height;
        self.forward + self.right * ((x - width * 0.5) * s) + self.up * ((height * 0.5 - y) * s)
    }

    /// Where a point of the world appears, `[x, y]` in pixels from the top left corner (pixel centres are at
    /// `.5`); `None` behind the camera. The result may lie outside the picture.
    pub fn project(&self, point: V3, width: usize, height: usize) -> Option<[f32; 2]> {
        let d = point - self.eye;
        let depth = d.dot(self.forward);
        if depth < 1e-3 {
            return None;
        }
        let (w, h) = (width as f32, height as f32);
        let s = h / (2.0 * self.tan_half * depth);
        Some([w * 0.5 + d.dot(self.right) * s, h * 0.5 - d.dot(self.up) * s])
    }

    /// Radius in pixels that a ball of radius `r` at `point` covers at most, for a picture of this height.
    pub(crate) fn reach(&self, point: V3, r: f32, height: usize) -> f32 {
        let depth = (point - self.eye).dot(self.forward) - r;
        if depth < 0.02 { 1e6 } else { r * height as f32 / (2.0 * self.tan_half * depth) * 1.25 + 1.5 }
    }
}
