//! Tasks: what to do, in words, and when it is done.

use super::math::{Pose, V3, v3, wrap};
use super::scene::{SceneSpec, Shape};
use super::words;
use super::{WorldError, camera::Camera};
use serde::{Deserialize, Serialize};

/// A direction as the camera sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the left of the picture.
    Left,
    /// To the right of the picture.
    Right,
    /// Away from the camera.
    Away,
    /// Toward the camera.
    Toward,
}

impl Direction {
    /// All four.
    pub const ALL: [Direction; 4] = [Direction::Left, Direction::Right, Direction::Away, Direction::Toward];

    /// Unit vector on the table.
    pub fn on_table(self, camera: &Camera) -> V3 {
        match self {
            Direction::Left => -camera.right_on_table(),
            Direction::Right => camera.right_on_table(),
            Direction::Away => camera.away_on_table(),
            Direction::Toward => -camera.away_on_table(),
        }
    }
}

/// Names of the tasks, as the command line knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskName {
    /// Nothing special: move things around.
    Play,
    /// Push to the left.
    PushLeft,
    /// Push to the right.
    PushRight,
    /// Push away from the camera.
    PushAway,
    /// Push toward the camera.
    PushToward,
    /// Push onto the goal area.
    PushOnto,
    /// Turn the T.
    Turn,
    /// Pick and place into the bowl.
    Place,
    /// Stack one on another.
    Stack,
    /// Knock over.
    Knock,
}

impl TaskName {
    /// All but play.
    pub const TASKS: [TaskName; 9] = [
        TaskName::PushLeft,
        TaskName::PushRight,
        TaskName::PushAway,
        TaskName::PushToward,
        TaskName::PushOnto,
        TaskName::Turn,
        TaskName::Place,
        TaskName::Stack,
        TaskName::Knock,
    ];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskName::Play => "play",
            TaskName::PushLeft => "push-left",
            TaskName::PushRight => "push-right",
            TaskName::PushAway => "push-away",
            TaskName::PushToward => "push-toward",
            TaskName::PushOnto => "push-onto",
            TaskName::Turn => "turn",
            TaskName::Place => "place",
            TaskName::Stack => "stack",
            TaskName::Knock => "knock",
        }
    }

    /// The direction of a plain push.
    pub fn direction(self) -> Option<Direction> {
        match self {
            TaskName::PushLeft => Some(Direction::Left),
            TaskName::PushRight => Some(Direction::Right),
            TaskName::PushAway => Some(Direction::Away),
            TaskName::PushToward => Some(Direction::Toward),
            _ => None,
        }
    }

    /// When the task is done, in words.
    pub fn rule(self) -> &'static str {
        match self {
            TaskName::Play => "no goal",
            TaskName::PushLeft | TaskName::PushRight | TaskName::PushAway | TaskName::PushToward => {
                "the object has moved at least 5 cm within 45 degrees of the asked direction (as the camera sees it) and rests"
            }
            TaskName::PushOnto => {
                "the object's centre is inside the goal area and the object rests on the table"
            }
            TaskName::Turn => "the T has turned by at least 45 degrees, lies flat and rests",
            TaskName::Place => {
                "the object's centre is inside the bowl, below its rim + 1 cm, and the object rests"
            }
            TaskName::Stack => {
                "the object rests on top of the other one, its centre within 2 cm of the other's, the gripper not touching it"
            }
            TaskName::Knock => "the object's axis has tilted by at least 60 degrees and the object rests",
        }
    }
}

impl std::str::FromStr for TaskName {
    type Err = WorldError;
    fn from_str(s: &str) -> Result<Self, WorldError> {
        std::iter::once(TaskName::Play)
            .chain(TaskName::TASKS)
            .find(|t| t.as_str() == s)
            .ok_or_else(|| WorldError::BadTask(s.to_string()))
    }
}

/// The task of an episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Which task.
    pub name: TaskName,
    /// Index of the object it is about.
    pub object: usize,
    /// Index of the second object (stacking).
    #[serde(default)]
    pub other: Option<usize>,
    /// The phrase of this episode.
    pub text: String,
}

/// How far an episode's task is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judgement {
    /// 0 (start) to 1 (done).
    pub progress: f32,
    /// The success rule holds now.
    pub success: bool,
}

impl TaskSpec {
    /// Whether its indices exist.
    ///
    /// # Errors
    /// [`WorldError::BadScene`].
    pub fn check(&self, objects: usize) -> Result<(), WorldError> {
        let missing =
            |i: usize| Err(WorldError::BadScene(format!("the task is about object {i} of {objects}")));
        if self.name != TaskName::Play && self.object >= objects {
            return missing(self.object);
        }
        match (self.name, self.other) {
            (TaskName::Stack, None) => Err(WorldError::BadScene("stacking needs a second object".into())),
            (_, Some(i)) if i >= objects => missing(i),
            _ => Ok(()),
        }
    }

    /// All phrasings of this task in English and Traditional Chinese.
    pub fn phrasings(&self, scene: &SceneSpec) -> Vec<String> {
        words::phrasings(
            self.name,
            scene.objects.get(self.object),
            self.other.and_then(|i| scene.objects.get(i)),
        )
    }

    /// Judges the present state. `resting` = the object moves slower than 1 cm/s, `touched` = the gripper
    /// touches it.
    pub fn judge(&self, scene: &SceneSpec, poses: &[Pose], resting: bool, touched: bool) -> Judgement {
        let (Some(spec), Some(now)) = (scene.objects.get(self.object), poses.get(self.object)) else {
            return Judgement::default();
        };
        let (p0, p) = (spec.pose.position, now.position);
        let moved = (p - p0).flat();
        let on_table = (p.z - spec.shape.half_height()).abs() < 0.006;
        match self.name {
            TaskName::Play => Judgement::default(),
            TaskName::PushLeft | TaskName::PushRight | TaskName::PushAway | TaskName::PushToward => {
                let camera = Camera::new(&scene.camera);
                let Some(d) = self.name.direction() else { return Judgement::default() };
                let (progress, done) = pushed(moved, d.on_table(&camera));
                Judgement { progress: progress.clamp(0.0, 1.0), success: done && resting }
            }
            TaskName::PushOnto => {
                let Some(goal) = &scene.goal else { return Judgement::default() };
                let c = v3(goal.center[0], goal.center[1], 0.0);
                let (d0, d) = ((p0.flat() - c).len(), (p.flat() - c).len());
                let need = (d0 - goal.radius).max(0.01);
                Judgement {
                    progress: ((d0 - d) / need).clamp(0.0, 1.0),
                    success: d < goal.radius && resting && on_table,
                }
            }
            TaskName::Turn => {
                let turned = wrap(yaw(now) - yaw(&spec.pose)).abs();
                let flat = now.matrix().z.z > 0.95;
                let bar = 45.0 * super::math::DEG;
                Judgement {
                    progress: (turned / bar).clamp(0.0, 1.0),
                    success: turned >= bar && flat && resting,
                }
            }
            TaskName::Place => {
                let Some(bowl) = &scene.bowl else { return Judgement::default() };
                let c = v3(bowl.center[0], bowl.center[1], 0.0);
                let (d0, d) = ((p0.flat() - c).len(), (p.flat() - c).len());
                let inside = d < bowl.radius - bowl.wall && p.z < bowl.height + 0.01;
                let carried = ((d0 - d) / d0.max(0.01)).clamp(0.0, 1.0) * 0.6;
                let lifted = ((p.z - p0.z) / 0.03).clamp(0.0, 1.0) * 0.3;
                let success = inside && resting && !touched;
                Judgement { progress: if success { 1.0 } else { (carried + lifted).min(0.95) }, success }
            }
            TaskName::Stack => {
                let other = self.other.and_then(|i| Some((scene.objects.get(i)?, poses.get(i)?)));
                let Some((base, under)) = other else { return Judgement::default() };
                let d = (p - under.position).flat().len();
                let d0 = (p0 - base.pose.position).flat().len();
                let rise = p.z - under.position.z;
                let wanted = spec.shape.half_height() + base.shape.half_height();
                let on_top = d < 0.02 && (rise - wanted).abs() < 0.008;
                let carried = ((d0 - d) / d0.max(0.01)).clamp(0.0, 1.0) * 0.6;
                let lifted = ((p.z - p0.z) / wanted).clamp(0.0, 1.0) * 0.3;
                let success = on_top && resting && !touched;
                Judgement { progress: if success { 1.0 } else { (carried + lifted).min(0.95) }, success }
            }
            TaskName::Knock => {
                let tilt = libm::acosf(now.matrix().z.z.clamp(-1.0, 1.0));
                let bar = 60.0 * super::math::DEG;
                Judgement { progress: (tilt / bar).clamp(0.0, 1.0), success: tilt >= bar && resting }
            }
        }
    }
}

/// How far a push goes, metres.
pub const PUSH: f32 = 0.05;

/// The rule of a push but for resting, for a thing that has moved by `moved` where it should go along the unit vector `way` on
/// the table: how far it is (1 = far enough, negative = the other way), and whether it is far and straight enough.
pub fn pushed(moved: V3, way: V3) -> (f32, bool) {
    let along = moved.dot(way);
    let straight = along >= moved.len() * std::f32::consts::FRAC_1_SQRT_2;
    (along / PUSH, moved.len() >= PUSH && along > 0.0 && straight)
}

/// Angle about the vertical of an object's own x axis, radians.
pub fn yaw(pose: &Pose) -> f32 {
    let x = pose.matrix().x;
    libm::atan2f(x.y, x.x)
}

/// Whether a shape can be the object of a task.
pub fn suits(name: TaskName, shape: &Shape) -> bool {
    match name {
        TaskName::Turn => matches!(shape, Shape::Tee { .. }),
        TaskName::Knock => matches!(shape, Shape::Cylinder { half_height, .. } if *half_height > 0.03),
        TaskName::Place | TaskName::Stack => !matches!(shape, Shape::Tee { .. }),
        // A tall thing falls over when it is pushed.
        _ => !matches!(shape, Shape::Cylinder { half_height, .. } if *half_height > 0.03),
    }
}
