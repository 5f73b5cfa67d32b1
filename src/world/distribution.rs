//! Drawing scenes from seeds.

use super::arm::{JOINTS, clamp_joints};
use super::camera::{Camera, Picture};
use super::ik;
use super::looks::Style;
use super::math::{DEG, Pose, V3, v3};
use super::rng::Rng;
use super::scene::{BowlSpec, ColourName, GoalSpec, Look, ObjectSpec, SCENE_FORMAT, SceneSpec, Shape};
use super::task::{TaskName, TaskSpec, suits};
use serde::{Deserialize, Serialize};

/// Which objects and tasks scenes are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// What the shipped model is trained on: mostly one red cube, pushes in four directions.
    #[default]
    Push,
    /// All objects and tasks.
    All,
}

/// A distribution of scenes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneDistribution {
    /// Objects and tasks.
    pub preset: Preset,
    /// Visual domain.
    pub look: Look,
    /// Frames per second.
    pub fps: u32,
    /// Only this task.
    pub task: Option<TaskName>,
    /// What its pictures show.
    #[serde(default)]
    pub picture: Picture,
}

impl Default for SceneDistribution {
    fn default() -> Self {
        Self { preset: Preset::Push, look: Look::Plain, fps: 10, task: None, picture: Picture::Rgb }
    }
}

/// A posture over the middle of the table from which searches start.
pub const READY: [f32; JOINTS] = [0.0, -8.0, 30.0, 62.0, 0.0, 4.0];

/// Half edge of the nominal cube, metres.
const CUBE: f32 = 0.020;

/// Whether the fingertip can work at this place near the table.
pub fn reachable(p: V3) -> bool {
    let r = p.flat().len();
    (0.115..=0.325).contains(&r) && p.x > 0.06 && p.y.abs() < 0.20
}

/// Whether a place is inside the picture with a margin (share of the side).
pub fn in_view(camera: &Camera, p: V3, margin: f32) -> bool {
    camera.project(p, 1000, 1000).is_some_and(|[x, y]| {
        let (a, b) = (margin * 1000.0, (1.0 - margin) * 1000.0);
        (a..b).contains(&x) && (a..b).contains(&y)
    })
}

/// The scene that the window draws for a seed: a fixed distribution, so that look and seed are enough to find it again.
pub fn drawn_scene(look: Look, seed: u64) -> SceneSpec {
    SceneDistribution { look, ..SceneDistribution::default() }.sample(seed, false)
}

impl SceneDistribution {
    /// The scene of a seed; the same seed and settings give the same scene. `play` gives it no task.
    pub fn sample(&self, seed: u64, play: bool) -> SceneSpec {
        let style = Style::draw(self.look, seed);
        let mut rng = Rng::new(seed, 0x5c_e4_e0);
        let name = self.draw_task(play, &mut rng);
        let camera = Camera::new(&style.camera);
        let shapes = self.draw_shapes(name, play, &mut rng);
        let (goal, bowl) = self.draw_fixtures(name, play, &style, &camera, &mut rng);

        let mut objects: Vec<ObjectSpec> = Vec::new();
        for (i, (shape, colour)) in shapes.iter().enumerate() {
            let place = self.draw_place(name, i, shape, &objects, &goal, &bowl, &camera, &mut rng);
            let half = shape.half_height();
            let yaw = if matches!(shape, Shape::Tee { .. }) {
                rng.range(-3.1, 3.1)
            } else {
                rng.range(-0.785, 0.785)
            };
            let volume = match *shape {
                Shape::Cube { half } => 8.0 * half * half * half,
                Shape::Cylinder { radius, half_height } => {
                    std::f32::consts::TAU * radius * radius * half_height
                }
                Shape::Tee { half_width, half_height } => 2.0 * half_height * 28.0 * half_width * half_width,
            };
            objects.push(ObjectSpec {
                shape: *shape,
                colour: *colour,
                rgb: style.paint(*colour, &mut rng),
                pose: Pose::upright(place.at_height(half), yaw),
                mass: volume * 800.0 * rng.range(style.density.0, style.density.1),
                friction: rng.range(style.friction.0, style.friction.1),
            });
        }
        let start = self.draw_start(&objects, &mut rng);
        let mut spec = SceneSpec {
            format: SCENE_FORMAT,
            world: "tabletop".into(),
            seed,
            look: self.look,
            fps: self.fps,
            camera: style.camera,
            light: style.light,
            table: style.table,
            arm: style.arm,
            objects,
            goal,
            bowl,
            start,
            task: TaskSpec {
                name,
                object: 0,
                other: (name == TaskName::Stack).then_some(1),
                text: String::new(),
            },
        };
        let phrases = spec.task.phrasings(&spec);
        // The first phrase of each language is drawn as often as all others together.
        let half = phrases.len() / 2;
        let language = if rng.chance(0.5) { 0 } else { half };
        let index = if rng.chance(0.4) { 0 } else { rng.below(half.max(1)) };
        spec.task.text = phrases.get(language + index).cloned().unwrap_or_default();
        spec
    }

    fn draw_task(&self, play: bool, rng: &mut Rng) -> TaskName {
        let any = rng.below(TaskName::TASKS.len());
        let push = rng.below(4);
        if play {
            return TaskName::Play;
        }
        match (self.task, self.preset) {
            (Some(t), _) => t,
            (None, Preset::Push) => TaskName::TASKS[push],
            (None, Preset::All) => TaskName::TASKS[any],
        }
    }

    fn draw_shapes(&self, name: TaskName, play: bool, rng: &mut Rng) -> Vec<(Shape, ColourName)> {
        let size = rng.range(0.97, 1.04);
        let cube = Shape::Cube { half: CUBE * size };
        let cylinder = Shape::Cylinder { radius: 0.019 * size, half_height: 0.020 * size };
        let tee = Shape::Tee { half_width: 0.011 * size, half_height: 0.013 };
        let tall = Shape::Cylinder { radius: 0.0165, half_height: 0.038 };
        let mut colours = ColourName::ALL.to_vec();
        // Shuffle: the red cube stays special below.
        for i in (1..colours.len()).rev() {
            colours.swap(i, rng.below(i + 1));
        }
        let mut out = Vec::new();
        match self.preset {
            Preset::Push if name != TaskName::Turn && name != TaskName::Knock => {
                if rng.chance(0.7) {
                    out.push((cube, ColourName::Red));
                } else {
                    out.push((if rng.chance(0.5) { cube } else { cylinder }, colours[0]));
                }
                let second = name == TaskName::Stack || rng.chance(0.2);
                if second {
                    let other = if rng.chance(0.6) || name == TaskName::Stack { cube } else { cylinder };
                    let colour =
                        colours.iter().find(|c| **c != out[0].1).copied().unwrap_or(ColourName::Blue);
                    out.push((other, colour));
                }
            }
            _ => {
                let n = match rng.below(10) {
                    0..=4 => 1,
                    5..=7 => 2,
                    _ => 3,
                };
                let n = if name == TaskName::Stack { n.max(2) } else { n };
                for (i, colour) in colours.iter().take(n).enumerate() {
                    let mut shape = match rng.below(if play { 9 } else { 8 }) {
                        0..=3 => cube,
                        4..=5 => cylinder,
                        6 => tall,
                        _ => tee,
                    };
                    if i == 0 && !play && !suits(name, &shape) {
                        shape = match name {
                            TaskName::Turn => tee,
                            TaskName::Knock => tall,
                            _ => cube,
                        };
                    }
                    if i == 1 && name == TaskName::Stack {
                        shape = cube;
                    }
                    // A tall thing is only picked when it is to be knocked over.
                    if i == 0 && matches!(name, TaskName::Place | TaskName::Stack) && shape == tall {
                        shape = cube;
                    }
                    out.push((shape, *colour));
                }
            }
        }
        out
    }

    fn draw_fixtures(
        &self,
        name: TaskName,
        play: bool,
        style: &Style,
        camera: &Camera,
        rng: &mut Rng,
    ) -> (Option<GoalSpec>, Option<BowlSpec>) {
        let all = self.preset == Preset::All;
        let want_goal = name == TaskName::PushOnto || (all && rng.chance(0.3));
        let want_bowl = name == TaskName::Place || (all && play && rng.chance(0.2));
        let mut somewhere = |margin: f32| {
            let mut p = v3(0.22, 0.07, 0.0);
            for _ in 0..64 {
                p = v3(rng.range(0.145, 0.26), rng.range(-0.11, 0.11), 0.0);
                if reachable(p) && p.len() < 0.25 && in_view(camera, p, margin) {
                    break;
                }
            }
            [p.x, p.y]
        };
        let goal = want_goal.then(|| GoalSpec { center: somewhere(0.18), radius: 0.042, rgb: style.goal });
        let bowl = want_bowl.then(|| BowlSpec {
            center: somewhere(0.2),
            radius: 0.05,
            height: 0.03,
            wall: 0.004,
            rgb: style.bowl,
        });
        // The bowl does not stand on the goal.
        match (goal, bowl) {
            (Some(g), Some(b)) if dist(g.center, b.center) < 0.11 => (None, Some(b)),
            other => other,
        }
    }

    fn draw_place(
        &self,
        name: TaskName,
        index: usize,
        shape: &Shape,
        others: &[ObjectSpec],
        goal: &Option<GoalSpec>,
        bowl: &Option<BowlSpec>,
        camera: &Camera,
        rng: &mut Rng,
    ) -> V3 {
        let mut best = v3(0.21, 0.0, 0.0);
        for attempt in 0..200 {
            let p = v3(rng.range(0.14, 0.265), rng.range(-0.11, 0.11), 0.0);
            // Later attempts ask for less.
            let ease = if attempt > 120 { 0.7 } else { 1.0 };
            let clear = others.iter().all(|o| {
                (o.pose.position.flat() - p).len() > (o.shape.footprint() + shape.footprint() + 0.035) * ease
            });
            let off_bowl = bowl
                .is_none_or(|b| dist(b.center, [p.x, p.y]) > (b.radius + shape.footprint() + 0.045) * ease);
            let off_goal = goal.is_none_or(|g| dist(g.center, [p.x, p.y]) > g.radius + 0.035 || index > 0);
            if !(clear && off_bowl && off_goal && reachable(p) && in_view(camera, p, 0.13)) {
                continue;
            }
            // Things are gripped best with a hand that points down.
            if matches!(name, TaskName::Place | TaskName::Stack) && p.len() > 0.24 {
                continue;
            }
            best = p;
            if index > 0 {
                break;
            }
            // A T needs room on all sides.
            if name == TaskName::Turn
                && !((0.17..0.25).contains(&p.x) && p.y.abs() < 0.06 && in_view(camera, p, 0.3))
            {
                continue;
            }
            // Room for the push: the fingers behind, the object's way ahead.
            let ok = match name {
                TaskName::PushOnto => goal.is_some_and(|g| {
                    let c = v3(g.center[0], g.center[1], 0.0);
                    let d = (c - p).unit();
                    reachable(p - d * 0.055) && clear_way(p, d, (c - p).len(), others)
                }),
                _ => match name.direction() {
                    Some(d) => {
                        let d = d.on_table(camera);
                        reachable(p - d * 0.055)
                            && reachable(p + d * 0.075)
                            && in_view(camera, p + d * 0.085, 0.08)
                            && clear_way(p, d, 0.10, others)
                    }
                    None => true,
                },
            };
            if ok {
                break;
            }
        }
        // Things placed later must not block a push either: keep them beside the way.
        if index > 0
            && let (Some(d), Some(first)) = (name.direction(), others.first())
        {
            let d = d.on_table(camera);
            let start = first.pose.position.flat();
            for _ in 0..100 {
                let along = (best - start).dot(d);
                let side = ((best - start) - d * along).len();
                if !(-0.09..=0.16).contains(&along) || side > 0.062 {
                    break;
                }
                let p = v3(rng.range(0.14, 0.265), rng.range(-0.11, 0.11), 0.0);
                let clear = others.iter().all(|o| (o.pose.position.flat() - p).len() > 0.07);
                if clear && reachable(p) && in_view(camera, p, 0.1) {
                    best = p;
                }
            }
        }
        best
    }

    fn draw_start(&self, objects: &[ObjectSpec], rng: &mut Rng) -> [f32; JOINTS] {
        let mut q = READY;
        for _ in 0..40 {
            let tip = v3(rng.range(0.14, 0.27), rng.range(-0.10, 0.10), rng.range(0.05, 0.10));
            let clear = objects.iter().all(|o| {
                let above = tip.z - 2.0 * o.shape.half_height();
                (o.pose.position.flat() - tip.flat()).len() > o.shape.footprint() + 0.035 || above > 0.035
            });
            if !clear || !reachable(tip) {
                continue;
            }
            let mut from = READY;
            from[0] = libm::atan2f(tip.y, tip.x) / DEG;
            let goal = ik::Goal {
                tip,
                pitch: ik::easy_pitch(tip),
                roll: rng.range(-40.0, 40.0),
                gripper: rng.range(0.0, 12.0),
            };
            q = ik::solve(&goal, &from);
            if (super::arm::tip(&q) - tip).len() < 0.006 {
                break;
            }
        }
        clamp_joints(&q, &READY)
    }
}

fn dist(a: [f32; 2], b: [f32; 2]) -> f32 {
    v3(a[0] - b[0], a[1] - b[1], 0.0).len()
}

fn clear_way(p: V3, d: V3, length: f32, others: &[ObjectSpec]) -> bool {
    others.iter().all(|o| {
        let rel = o.pose.position.flat() - p;
        let along = rel.dot(d);
        let side = (rel - d * along).len();
        !(-0.09..=length + 0.06).contains(&along) || side > 0.062
    })
}
