//! What a scene is made of: everything needed to run an episode again and to draw any frame of it from
//! joint values and object poses.

use super::arm::{self, JOINTS};
use super::math::{Pose, V3};
use super::task::TaskSpec;
use super::{MAX_OBJECTS, WorldError};
use serde::{Deserialize, Serialize};

/// Version of [`SceneSpec`] that this program writes.
pub const SCENE_FORMAT: u32 = 1;

/// A visual (and physical) domain of the virtual world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Look {
    /// What the shipped model is trained on: one warm table, mild jitter.
    #[default]
    Plain,
    /// A far domain: other colours, textures, light, camera pose, friction and mass in every episode.
    Rich,
    /// One fixed domain between the two, chosen by the number.
    Seeded(u64),
}

impl std::str::FromStr for Look {
    type Err = WorldError;
    fn from_str(s: &str) -> Result<Self, WorldError> {
        match s {
            "plain" => Ok(Look::Plain),
            "rich" => Ok(Look::Rich),
            n => n.parse().map(Look::Seeded).map_err(|_| WorldError::BadLook(s.to_string())),
        }
    }
}

impl std::fmt::Display for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Look::Plain => f.write_str("plain"),
            Look::Rich => f.write_str("rich"),
            Look::Seeded(n) => write!(f, "{n}"),
        }
    }
}

/// Colours that objects can have, with their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColourName {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Yellow.
    Yellow,
    /// Purple.
    Purple,
    /// Cyan.
    Cyan,
}

impl ColourName {
    /// All of them.
    pub const ALL: [ColourName; 6] = [
        ColourName::Red,
        ColourName::Green,
        ColourName::Blue,
        ColourName::Yellow,
        ColourName::Purple,
        ColourName::Cyan,
    ];

    /// The English word.
    pub fn en(self) -> &'static str {
        match self {
            ColourName::Red => "red",
            ColourName::Green => "green",
            ColourName::Blue => "blue",
            ColourName::Yellow => "yellow",
            ColourName::Purple => "purple",
            ColourName::Cyan => "cyan",
        }
    }

    /// The Traditional Chinese word.
    pub fn zh(self) -> &'static str {
        match self {
            ColourName::Red => "紅色",
            ColourName::Green => "綠色",
            ColourName::Blue => "藍色",
            ColourName::Yellow => "黃色",
            ColourName::Purple => "紫色",
            ColourName::Cyan => "青色",
        }
    }

    /// The paint, sRGB 0..255.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            ColourName::Red => [217, 41, 41],
            ColourName::Green => [46, 158, 68],
            ColourName::Blue => [38, 92, 214],
            ColourName::Yellow => [245, 200, 20],
            ColourName::Purple => [132, 60, 190],
            ColourName::Cyan => [20, 170, 190],
        }
    }
}

/// Shape of an object; sizes are half extents or radii in metres.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shape {
    /// A cube of this half edge.
    Cube {
        /// Half edge.
        half: f32,
    },
    /// An upright cylinder (axis along its own z).
    Cylinder {
        /// Radius.
        radius: f32,
        /// Half height.
        half_height: f32,
    },
    /// A flat T: a bar along its own x, a stem toward its own -y.
    Tee {
        /// Half width of bar and stem.
        half_width: f32,
        /// Half height.
        half_height: f32,
    },
}

/// The two boxes of a T, `(centre, half extents)` in the object's frame, which sits at its centre of mass.
pub fn tee_boxes(half_width: f32, half_height: f32) -> [(V3, V3); 2] {
    let w = half_width;
    // Bar 8 w x 2 w, stem 2 w x 6 w below it: centre of mass 12/7 w under the bar's middle.
    let up = w * (4.0 * 6.0 / 14.0);
    [
        (V3 { x: 0.0, y: up, z: 0.0 }, V3 { x: 4.0 * w, y: w, z: half_height }),
        (V3 { x: 0.0, y: up - 4.0 * w, z: 0.0 }, V3 { x: w, y: 3.0 * w, z: half_height }),
    ]
}

impl Shape {
    /// Half height when it stands as spawned, metres.
    pub fn half_height(&self) -> f32 {
        match *self {
            Shape::Cube { half } => half,
            Shape::Cylinder { half_height, .. } | Shape::Tee { half_height, .. } => half_height,
        }
    }

    /// Distance from the centre to the surface, seen from above, roughly (metres).
    pub fn footprint(&self) -> f32 {
        match *self {
            Shape::Cube { half } => half * 1.15,
            Shape::Cylinder { radius, .. } => radius,
            Shape::Tee { half_width, .. } => half_width * 3.6,
        }
    }

    fn extents_ok(&self) -> bool {
        let ok = |v: f32| v.is_finite() && (0.004..=0.1).contains(&v);
        match *self {
            Shape::Cube { half } => ok(half),
            Shape::Cylinder { radius, half_height } => ok(radius) && ok(half_height),
            Shape::Tee { half_width, half_height } => ok(half_width) && ok(half_height),
        }
    }
}

/// One movable object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectSpec {
    /// Shape and size.
    pub shape: Shape,
    /// Colour by name, as the task's words use it.
    pub colour: ColourName,
    /// Paint as drawn, sRGB 0..255 (in `plain` within a few counts of the name's own).
    pub rgb: [u8; 3],
    /// Where it starts.
    pub pose: Pose,
    /// Mass, kg.
    pub mass: f32,
    /// Coulomb friction coefficient.
    pub friction: f32,
}

/// The camera.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraSpec {
    /// Where it is, metres.
    pub eye: V3,
    /// What it looks at, metres.
    pub target: V3,
    /// Vertical field of view, degrees.
    pub fov: f32,
}

/// The light: one far lamp with a soft edge, and light from all around.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LightSpec {
    /// Toward the lamp (any length).
    pub direction: V3,
    /// Linear RGB of the lamp.
    pub lamp: V3,
    /// Linear RGB of the surroundings.
    pub ambient: V3,
    /// Half angle of the lamp, radians: how fast shadows grow soft.
    pub softness: f32,
}

/// Pattern painted on the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Pattern {
    /// One colour.
    Plain,
    /// Boards with grain along x.
    Wood {
        /// Board width, metres.
        board: f32,
    },
    /// A checkerboard.
    Checks {
        /// Edge of a field, metres.
        size: f32,
    },
    /// Stripes along a direction.
    Stripes {
        /// Period, metres.
        period: f32,
        /// Angle from x, radians.
        angle: f32,
    },
    /// Cloudy blotches.
    Cloud {
        /// Size of a blotch, metres.
        size: f32,
    },
}

/// The table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableSpec {
    /// Main colour, sRGB.
    pub rgb: [u8; 3],
    /// Second colour of the pattern, sRGB.
    pub rgb2: [u8; 3],
    /// Pattern.
    pub pattern: Pattern,
    /// Coulomb friction coefficient.
    pub friction: f32,
}

/// Colours of the arm, sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmSpec {
    /// Printed parts.
    pub body: [u8; 3],
    /// Accents.
    pub accent: [u8; 3],
    /// Servos, joints, fingers.
    pub dark: [u8; 3],
}

/// A round mark on the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalSpec {
    /// Centre on the table `[x, y]`, metres.
    pub center: [f32; 2],
    /// Radius, metres.
    pub radius: f32,
    /// Colour, sRGB.
    pub rgb: [u8; 3],
}

/// A bowl that stands on the table and does not move.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BowlSpec {
    /// Centre on the table `[x, y]`, metres.
    pub center: [f32; 2],
    /// Outer radius, metres.
    pub radius: f32,
    /// Height, metres.
    pub height: f32,
    /// Thickness of wall and floor, metres.
    pub wall: f32,
    /// Colour, sRGB.
    pub rgb: [u8; 3],
}

/// Everything that makes an episode again (with its actions) or draws any of its frames (with joint values
/// and object poses).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneSpec {
    /// [`SCENE_FORMAT`].
    pub format: u32,
    /// Always `tabletop`.
    pub world: String,
    /// Seed it was drawn from.
    pub seed: u64,
    /// Look it was drawn with.
    pub look: Look,
    /// Control and camera rate, frames per second (a divisor of 240).
    pub fps: u32,
    /// Camera.
    pub camera: CameraSpec,
    /// Light.
    pub light: LightSpec,
    /// Table.
    pub table: TableSpec,
    /// Colours of the arm.
    pub arm: ArmSpec,
    /// One to three movable objects.
    pub objects: Vec<ObjectSpec>,
    /// Goal area.
    #[serde(default)]
    pub goal: Option<GoalSpec>,
    /// Bowl.
    #[serde(default)]
    pub bowl: Option<BowlSpec>,
    /// Joint values at the start, degrees and gripper units.
    pub start: [f32; JOINTS],
    /// What to do.
    pub task: TaskSpec,
}

impl SceneSpec {
    /// Checks everything that a file could have wrong.
    ///
    /// # Errors
    /// [`WorldError::BadScene`] with what is wrong.
    pub fn check(&self) -> Result<(), WorldError> {
        let bad = |why: String| Err(WorldError::BadScene(why));
        if self.format > SCENE_FORMAT {
            return bad(format!("format {} is newer than this program knows ({SCENE_FORMAT})", self.format));
        }
        if self.objects.len() > MAX_OBJECTS {
            return bad(format!("{} objects; the world holds at most {MAX_OBJECTS}", self.objects.len()));
        }
        if !(1..=240).contains(&self.fps) || 240 % self.fps != 0 {
            return bad(format!("{} frames per second; it must divide 240", self.fps));
        }
        for (i, o) in self.objects.iter().enumerate() {
            if !o.shape.extents_ok() {
                return bad(format!("object {i} has a size outside 4 mm to 10 cm"));
            }
            if !o.pose.is_finite() || o.pose.position.len() > 10.0 {
                return bad(format!("object {i} has no finite pose"));
            }
            if !(1e-3..=10.0).contains(&o.mass) || !(0.0..=5.0).contains(&o.friction) {
                return bad(format!("object {i} has mass {} kg, friction {}", o.mass, o.friction));
            }
        }
        let (eye, target) = (self.camera.eye, self.camera.target);
        let view = target - eye;
        if !eye.is_finite()
            || !target.is_finite()
            || view.flat().len() < 1e-3
            || !(5.0..=120.0).contains(&self.camera.fov)
        {
            return bad("the camera looks straight down or nowhere".into());
        }
        if !self.light.direction.is_finite() || self.light.direction.unit().z < 0.05 {
            return bad("the lamp is below the table".into());
        }
        if self.start.iter().any(|v| !v.is_finite()) {
            return bad("the start joints are not numbers".into());
        }
        if let Some(b) = &self.bowl
            && !(b.radius > b.wall
                && b.wall > 0.0005
                && b.height > b.wall
                && b.radius < 0.3
                && b.height < 0.3)
        {
            return bad("the bowl has impossible sizes".into());
        }
        self.task.check(self.objects.len())
    }

    /// Joint values at the start, within limits.
    pub fn start_joints(&self) -> [f32; JOINTS] {
        arm::clamp_joints(&self.start, &[0.0; JOINTS])
    }

    /// The poses in which the objects start.
    pub fn start_poses(&self) -> Vec<Pose> {
        self.objects.iter().map(|o| o.pose).collect()
    }
}
