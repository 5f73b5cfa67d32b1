//! What the camera shows besides colours: distance, which body, edges. Clips of these are what a control network
//! (Transfer) makes other pictures of: the same movements in another world.

use serde::{Deserialize, Serialize};

use super::prim::{OBJECT_BODY, Prim, arm_prims, object_prims};
use super::render::Renderer;
use crate::Frame;
use crate::world::WorldError;
use crate::world::arm::{self, JOINTS};
use crate::world::math::{Pose, V3};

/// What a picture of the virtual world shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    /// Colours.
    #[default]
    Rgb,
    /// Nearness: white is near, black is the farthest place of the table, linear in 1 / distance as depth networks give
    /// it. The scale belongs to the scene and not to the frame, so that nothing flickers.
    Depth,
    /// One colour for each body, without light.
    Segments,
    /// White where one surface ends and another begins.
    Edges,
}

impl Picture {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rgb, Self::Depth, Self::Segments, Self::Edges];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rgb => "rgb",
            Self::Depth => "depth",
            Self::Segments => "segments",
            Self::Edges => "edges",
        }
    }
}

impl std::str::FromStr for Picture {
    type Err = WorldError;
    fn from_str(s: &str) -> Result<Self, WorldError> {
        Self::ALL.into_iter().find(|picture| picture.as_str() == s).ok_or_else(|| {
            WorldError::BadSetting(format!(
                "`{s}` is not a kind of picture: use rgb, depth, segments or edges"
            ))
        })
    }
}

/// Colours of bodies: the table, what stands still, then the arm's links and the objects.
const TABLE: [u8; 3] = [24, 24, 32];
const STILL: [u8; 3] = [96, 96, 96];
const LINKS: [[u8; 3]; 7] = [
    [255, 225, 25],
    [245, 130, 48],
    [170, 110, 40],
    [220, 190, 255],
    [240, 50, 230],
    [145, 30, 180],
    [128, 128, 0],
];
const OBJECTS: [[u8; 3]; 3] = [[230, 25, 75], [60, 180, 75], [0, 130, 200]];

/// What one pixel shows.
#[derive(Clone, Copy, PartialEq)]
struct Seen {
    /// Distance along the camera's axis, metres.
    z: f32,
    /// Body and face; 0 = the table, 1 = what stands still.
    surface: u32,
    body: Option<u16>,
}

impl Renderer {
    /// A picture of the given kind of the arm at `joints` (degrees, gripper 0..100) and the objects at `objects`.
    pub fn picture(&mut self, picture: Picture, joints: &[f32; JOINTS], objects: &[Pose]) -> Frame {
        if picture == Picture::Rgb {
            return self.render(joints, objects);
        }
        let joints = arm::clamp_joints(joints, &self.spec.start);
        let mut prims = Vec::with_capacity(24);
        arm_prims(&joints, &self.paints, true, &mut prims);
        object_prims(&self.spec, objects, &self.paints, &mut prims);
        let origins: Vec<V3> = prims.iter().map(|p| p.local_point(self.camera.eye)).collect();
        let seen: Vec<Seen> =
            (0..self.width * self.height).map(|at| self.seen(&prims, &origins, at)).collect();
        let (near, far) = self.range();
        let data = seen.iter().enumerate().flat_map(|(at, pixel)| match picture {
            Picture::Rgb | Picture::Depth => {
                let nearness = (1.0 / pixel.z.max(1e-3) - 1.0 / far) / (1.0 / near - 1.0 / far);
                [(nearness.clamp(0.0, 1.0) * 255.0).round() as u8; 3]
            }
            Picture::Segments => match (pixel.body, pixel.surface) {
                (Some(body), _) if body >= OBJECT_BODY => colour(&OBJECTS, body - OBJECT_BODY),
                (Some(body), _) => colour(&LINKS, body),
                (None, 0) => TABLE,
                (None, _) => STILL,
            },
            Picture::Edges => {
                let (x, y) = (at % self.width, at / self.width);
                let other = |at: usize| seen.get(at).is_some_and(|o| o.surface != pixel.surface);
                let edge =
                    (x + 1 < self.width && other(at + 1)) || (y + 1 < self.height && other(at + self.width));
                [if edge { 255 } else { 0 }; 3]
            }
        });
        Frame { width: self.width, height: self.height, data: data.collect() }
    }

    fn seen(&self, prims: &[Prim], origins: &[V3], at: usize) -> Seen {
        let (x, y) = ((at % self.width) as f32 + 0.5, (at / self.width) as f32 + 0.5);
        let dir = self.camera.ray(x, y, self.width as f32, self.height as f32);
        let still = self.background.stills.get(at);
        // Rays have length 1 along the camera's axis: a hit's place on its ray is its distance.
        let (mut z, mut surface) = match still {
            None => (f32::MAX, 0),
            Some(still) => {
                let z = (still.p - self.camera.eye).dot(self.camera.forward);
                (z, u32::from(still.depth != u32::MAX))
            }
        };
        let mut body = None;
        for (k, (prim, origin)) in prims.iter().zip(origins).enumerate() {
            if let Some(hit) = prim.hit(*origin, dir, z) {
                z = hit.t;
                surface = 2 + k as u32 * 8 + u32::from(hit.face);
                body = Some(prim.body);
            }
        }
        Seen { z, surface, body }
    }

    /// The distances that are white and black: half of the way to the nearest place of the background, and the farthest.
    fn range(&self) -> (f32, f32) {
        let distances =
            self.background.stills.iter().map(|s| (s.p - self.camera.eye).dot(self.camera.forward));
        let (near, far) = distances
            .filter(|z| z.is_finite() && *z > 1e-3 && *z < 1e3)
            .fold((f32::MAX, 0.0f32), |(near, far), z| (near.min(z), far.max(z)));
        let near = if near < f32::MAX { near * 0.5 } else { 0.1 };
        (near, far.max(near * 2.0))
    }
}

fn colour(colours: &[[u8; 3]], index: u16) -> [u8; 3] {
    colours.get(usize::from(index) % colours.len().max(1)).copied().unwrap_or(STILL)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::world::{Look, drawn_scene};

    fn pictures() -> [Frame; 4] {
        let scene = drawn_scene(Look::Plain, 5);
        let mut renderer = Renderer::new(&scene, 96, 96);
        Picture::ALL.map(|p| renderer.picture(p, &scene.start, &scene.start_poses()))
    }

    #[test]
    fn distance_grows_up_the_picture_and_things_are_nearer_than_the_table_behind_them() {
        let [rgb, depth, segments, _] = pictures();
        assert_eq!(rgb.data.len(), depth.data.len());
        let row = |y: usize| -> Vec<u8> { (0..96).map(|x| depth.data[(y * 96 + x) * 3]).collect() };
        let mean = |row: Vec<u8>| row.iter().map(|v| f64::from(*v)).sum::<f64>() / 96.0;
        assert!(mean(row(95)) > mean(row(0)) + 20.0, "{} {}", mean(row(95)), mean(row(0)));
        // In the column of an object's lowest pixel its middle is nearer than a straight line of table would be.
        let object = segments.data.chunks_exact(3).position(|p| OBJECTS.iter().any(|o| o == p)).unwrap();
        assert!(depth.data[object * 3] > depth.data[(object - 2 * 96) * 3]);
        assert!(depth.data.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]));
    }

    #[test]
    fn bodies_have_colours_of_their_own_and_edges_run_between_them() {
        let [_, _, segments, edges] = pictures();
        let mut colours: Vec<&[u8]> = segments.data.chunks_exact(3).collect();
        colours.sort_unstable();
        colours.dedup();
        assert!(colours.len() >= 4, "{colours:?}");
        let white = edges.data.chunks_exact(3).filter(|p| p[0] == 255).count();
        assert!((50..96 * 96 / 4).contains(&white), "{white}");
        let at = |x: usize, y: usize| (y * 96 + x) * 3;
        for y in 0..95 {
            for x in 0..95 {
                let differs =
                    segments.data[at(x, y)..at(x, y) + 3] != segments.data[at(x + 1, y)..at(x + 1, y) + 3];
                assert!(!differs || edges.data[at(x, y)] == 255, "between bodies there is an edge");
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for picture in Picture::ALL {
            assert_eq!(picture.as_str().parse::<Picture>().unwrap(), picture);
        }
        assert!("heat".parse::<Picture>().unwrap_err().to_string().contains("depth"));
    }
}
