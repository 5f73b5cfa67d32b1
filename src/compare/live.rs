//! The virtual world in the place of the model: the same start, the same numbers, and physics says what comes next.
//!
//! A recording shows what happened under the recorded actions. The world shows what would have happened under any
//! others, so a branch has a truth, too.

use forerun_models::{ChannelMode, Contract, Frame};
use serde_json::{Map, Value};

use crate::dataset::Dataset;
use crate::engine::episode::named;
use crate::engine::fit::fit;
use crate::engine::protocol::{Start, WorldScene};
use crate::engine::record::{FutureRecord, STATE_PREFIX, locate};
use crate::failure::Failure;
use crate::world::{JOINT_NAMES, JOINTS, Labels, Look, SceneSpec, World, drawn_scene};

/// Most branches one after another that are followed back to a scene.
const GENERATIONS: usize = 64;

/// What moves the arm of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// The numbers that drove the future.
    Numbers,
    /// The future had words only: the arm goes where the model imagined it, and physics does the rest.
    Imagined,
    /// Neither is known: the arm holds still.
    Held,
}

/// One step of a future for the arm. What is not a number holds its joint.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Move {
    /// Degrees, gripper 0..100.
    values: [f32; JOINTS],
    /// Which of them are changes from the present value.
    relative: [bool; JOINTS],
    /// Steps of the world that it holds for.
    every: usize,
}

/// Everything that the world needs to run beside a future.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldPlan {
    /// The scene.
    pub scene: SceneSpec,
    /// What moves the arm.
    pub drive: Drive,
    before: Vec<Move>,
    moves: Vec<Move>,
    width: usize,
    height: usize,
}

/// One frame of the world.
#[derive(Clone, Debug)]
pub struct LiveFrame {
    /// The picture, fitted to the model as recorded ones are.
    pub frame: Frame,
    /// Labels by the names of the model's read-outs: `red.x`, `gripper.z`, `contact` (metres; 0 or 1).
    pub labels: Vec<(String, f32)>,
    /// Joint values by channel name.
    pub state: Vec<(String, f32)>,
}

/// The world under the numbers of a future, frame by frame.
#[derive(Debug)]
pub struct LiveWorld {
    world: World,
    plan: WorldPlan,
    at: usize,
}

impl WorldPlan {
    /// The plan for a future: its scene is the one that its recorded or drawn start (or that of the future that it
    /// branched from) was made of.
    ///
    /// # Errors
    /// It starts from nothing that the virtual world made, or drives another body.
    pub fn of(record: &FutureRecord) -> Result<Self, Failure> {
        Self::through(record, GENERATIONS)
    }

    fn through(record: &FutureRecord, generations: usize) -> Result<Self, Failure> {
        let rate = record.contract.frame.rate_hz;
        let source: Start = serde_json::from_value(record.start.source.clone()).unwrap_or(Start::Nothing);
        let (scene, before) = match source {
            Start::Episode { dataset, episode, at } => recorded(&dataset, episode, at)?,
            Start::Blobs { world: Some(WorldScene { look, seed }), .. } => {
                let look: Look = look.parse().map_err(Failure::from_error)?;
                (drawn_scene(look, seed), Vec::new())
            }
            Start::Future { folder, at } if generations > 0 => {
                let parent = FutureRecord::read(&locate(&folder).0)?;
                let parent = Self::through(&parent, generations - 1)?;
                let shared = parent.moves.iter().take(at).copied();
                (parent.scene, parent.before.into_iter().chain(shared).collect())
            }
            _ => {
                return Err(Failure::new(
                    "This future does not start in the virtual world.",
                    "Start from a scene, or from an episode that the virtual world recorded.",
                ));
            }
        };
        let every = (scene.fps as f32 / rate.max(1e-3)).round().max(1.0) as usize;
        let (drive, moves) = moves(record, every)?;
        let (width, height) = (record.contract.frame.width, record.contract.frame.height);
        Ok(Self { scene, drive, before, moves, width, height })
    }

    /// Number of steps of the future.
    pub fn steps(&self) -> usize {
        self.moves.len()
    }

    /// Names and colours of the objects, as [`super::truth::Truth::colours`] has them.
    pub fn colours(&self) -> Vec<(String, [u8; 3])> {
        self.scene.objects.iter().map(|o| (o.colour.en().to_owned(), o.rgb)).collect()
    }
}

/// Whether the world does the same beside both futures: one pane of it is the truth of both.
pub fn same_world(a: &FutureRecord, b: &FutureRecord) -> bool {
    let driven_alike = if a.actions.rows.is_empty() { a.frames == b.frames } else { a.actions == b.actions };
    a.start.source == b.start.source && a.contract.frame == b.contract.frame && driven_alike
}

/// The scene of a recorded episode, and the recorded targets up to frame `at`.
fn recorded(dataset: &std::path::Path, episode: usize, at: usize) -> Result<(SceneSpec, Vec<Move>), Failure> {
    let set = Dataset::open(dataset).map_err(Failure::from_error)?;
    let numbers = set.episode(episode).map_err(Failure::from_error)?;
    let scene = set
        .scene(episode)
        .and_then(|scene| serde_json::from_value::<SceneSpec>(scene.clone()).ok())
        .ok_or_else(|| {
            Failure::new(
                format!("Episode {episode} of {} was not made by the virtual world.", dataset.display()),
                "Compare with the recording itself instead.",
            )
        })?;
    let before = (0..at)
        .map(|i| {
            let row = named(numbers.actions(), i);
            Move { values: joints(|name| find(&row, name)), relative: [false; JOINTS], every: 1 }
        })
        .collect();
    Ok((scene, before))
}

fn find(named: &[(String, f32)], name: &str) -> Option<f32> {
    named.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
}

fn joints(value: impl Fn(&str) -> Option<f32>) -> [f32; JOINTS] {
    JOINT_NAMES.map(|name| value(name).unwrap_or(f32::NAN))
}

/// The future's steps as moves of the arm.
fn moves(record: &FutureRecord, every: usize) -> Result<(Drive, Vec<Move>), Failure> {
    let channels = &record.actions.channels;
    if record.actions.rows.is_empty() {
        let reading = |map: &Map<String, Value>, name: &str| {
            map.get(&format!("{STATE_PREFIX}{name}")).and_then(Value::as_f64).map(|v| v as f32)
        };
        let read = |name: &str| record.frames.iter().any(|f| reading(&f.reading, name).is_some());
        let drive = if JOINT_NAMES.into_iter().any(read) { Drive::Imagined } else { Drive::Held };
        let moves = record.frames.iter().map(|frame| Move {
            values: joints(|name| reading(&frame.reading, name)),
            relative: [false; JOINTS],
            every,
        });
        return Ok((drive, moves.collect()));
    }
    if !JOINT_NAMES.iter().any(|name| channels.iter().any(|c| c == name)) {
        return Err(Failure::new(
            "This future drives another body than the virtual world's arm.",
            format!("The arm has the channels {}.", JOINT_NAMES.join(", ")),
        ));
    }
    let relative = JOINT_NAMES.map(|name| mode_of(&record.contract, name) == ChannelMode::Relative);
    let moves = record.actions.rows.iter().map(|row| {
        let value = |name: &str| {
            let column = channels.iter().position(|c| c == name)?;
            let factor =
                if unit_of(&record.contract, name) == "rad" { 180.0 / std::f32::consts::PI } else { 1.0 };
            row.get(column).map(|v| v * factor)
        };
        Move { values: joints(value), relative, every }
    });
    Ok((Drive::Numbers, moves.collect()))
}

fn mode_of(contract: &Contract, name: &str) -> ChannelMode {
    contract.actions.iter().find(|c| c.name == name).map_or(ChannelMode::Absolute, |c| c.mode)
}

fn unit_of<'a>(contract: &'a Contract, name: &str) -> &'a str {
    contract.actions.iter().find(|c| c.name == name).map_or("", |c| c.unit.as_str())
}

impl LiveWorld {
    /// Builds the scene and brings it to frame 0 of the future.
    ///
    /// # Errors
    /// The scene cannot be built.
    pub fn new(plan: WorldPlan) -> Result<Self, Failure> {
        let world = World::new(&plan.scene).map_err(Failure::from_error)?;
        let mut live = Self { world, plan, at: 0 };
        for step in std::mem::take(&mut live.plan.before) {
            live.go(&step);
        }
        Ok(live)
    }

    fn go(&mut self, step: &Move) {
        let now = self.world.state();
        let mut target = step.values;
        for ((value, relative), now) in target.iter_mut().zip(step.relative).zip(now) {
            if relative {
                *value += now;
            }
        }
        for _ in 0..step.every {
            self.world.step(&target);
        }
    }

    /// The next frame, the start first; `None` behind the last step.
    ///
    /// # Errors
    /// A picture cannot be fitted to the model.
    pub fn advance(&mut self) -> Result<Option<LiveFrame>, Failure> {
        if self.at > self.plan.moves.len() {
            return Ok(None);
        }
        if let Some(step) = self.at.checked_sub(1).and_then(|i| self.plan.moves.get(i)).copied() {
            self.go(&step);
        }
        self.at += 1;
        let (width, height) = (self.plan.width, self.plan.height);
        // The camera's pictures are square, as recorded ones are; another shape is fitted in the same way.
        let side = width.max(height);
        let frame = fit(&self.world.render(side, side), width, height)?.frame;
        let labels = readings(&self.plan.scene, &self.world.labels());
        let state = JOINT_NAMES.iter().map(|n| (*n).to_owned()).zip(self.world.state()).collect();
        Ok(Some(LiveFrame { frame, labels, state }))
    }
}

/// Labels of the world by the names that the model's heads use.
fn readings(scene: &SceneSpec, labels: &Labels) -> Vec<(String, f32)> {
    let mut out = Vec::new();
    for ((object, pose), present) in scene.objects.iter().zip(&labels.objects).zip(labels.present) {
        if present {
            let name = object.colour.en();
            out.push((format!("{name}.present"), 1.0));
            let p = pose.position;
            out.extend([("x", p.x), ("y", p.y), ("z", p.z)].map(|(axis, v)| (format!("{name}.{axis}"), v)));
        }
    }
    let p = labels.gripper.position;
    out.extend([("x", p.x), ("y", p.y), ("z", p.z)].map(|(axis, v)| (format!("gripper.{axis}"), v)));
    out.push(("contact".into(), f32::from(u8::from(labels.contact))));
    out.push(("success".into(), f32::from(u8::from(labels.judgement.success))));
    out.push(("progress".into(), labels.judgement.progress));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::record::{RECORD_FILE, tests::example};
    use crate::world::record::{RecordSettings, record as record_world};
    use crate::world::{Behaviour, EpisodeSettings};
    use std::sync::atomic::AtomicBool;

    fn channel(name: &str) -> forerun_models::Channel {
        forerun_models::Channel {
            name: name.into(),
            unit: "deg".into(),
            min: -110.0,
            max: 110.0,
            mode: ChannelMode::Absolute,
            mean: 0.0,
            std: 1.0,
        }
    }

    fn driven(start: Start, rows: Vec<Vec<f32>>) -> FutureRecord {
        let mut record = example();
        record.contract.frame.width = 64;
        record.contract.frame.height = 64;
        record.contract.actions = JOINT_NAMES.iter().map(|n| channel(n)).collect();
        record.start.source = serde_json::to_value(start).unwrap();
        record.steps = rows.len();
        record.actions.channels = JOINT_NAMES.iter().map(|n| (*n).to_owned()).collect();
        record.actions.rows = rows;
        record
    }

    fn run(record: &FutureRecord) -> Vec<LiveFrame> {
        let mut live = LiveWorld::new(WorldPlan::of(record).unwrap()).unwrap();
        std::iter::from_fn(|| live.advance().unwrap()).collect()
    }

    #[test]
    fn the_world_does_again_what_was_recorded_bit_for_bit_and_a_branch_goes_on_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("set");
        let episode = EpisodeSettings {
            behaviour: Behaviour::Expert,
            size: 64,
            frames: Some(12),
            ..EpisodeSettings::default()
        };
        let settings = RecordSettings { episode, episodes: 1, seed: 3, threads: 1 };
        record_world(&settings, &out, |_| {}, &AtomicBool::new(false)).unwrap();
        let set = Dataset::open(&out).unwrap();
        let numbers = set.episode(0).unwrap();
        let row = |i: usize| numbers.actions().unwrap().row(i).to_vec();
        let state = |i: usize| numbers.state().unwrap().row(i).to_vec();

        let start = Start::Episode { dataset: out, episode: 0, at: 4 };
        let record = driven(start, (4..10).map(row).collect());
        let frames = run(&record);
        assert_eq!(frames.len(), 7, "the start and six steps");
        for (k, frame) in frames.iter().enumerate() {
            let joints: Vec<f32> = frame.state.iter().map(|(_, v)| *v).collect();
            assert_eq!(joints, state(4 + k), "frame {k}");
            assert!(frame.labels.iter().any(|(n, _)| n == "gripper.x"));
            assert_eq!((frame.frame.width, frame.frame.height), (64, 64));
        }

        // A branch at frame 2 that goes the same way is in the same place; one that goes another way is not.
        let folder = dir.path().join("parent");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(RECORD_FILE), record.to_bytes().unwrap()).unwrap();
        let same = driven(Start::Future { folder: folder.clone(), at: 2 }, (6..9).map(row).collect());
        let branch = run(&same);
        assert_eq!(branch[3].frame, frames[5].frame);
        let mut elsewhere = row(6);
        elsewhere[0] += 30.0;
        let other = driven(Start::Future { folder, at: 2 }, vec![elsewhere; 3]);
        let other_frames = run(&other);
        assert_eq!(other_frames[0].frame, frames[2].frame);
        assert_ne!(other_frames[3].frame, frames[5].frame);
        assert!(!same_world(&same, &other) && same_world(&same, &same.clone()));
    }

    #[test]
    fn a_drawn_scene_is_the_start_and_words_alone_move_the_arm_as_it_was_imagined() {
        let world = Some(WorldScene { look: "plain".into(), seed: 7 });
        let start = Start::Blobs { sizes: vec![(64, 64)], states: Vec::new(), world };
        let mut record = driven(start, vec![vec![0.0; JOINTS]]);
        record.actions = Default::default();
        let scene = drawn_scene(Look::Plain, 7);
        let pan = scene.start_joints()[0];
        for k in 1..=3 {
            let mut frame =
                crate::engine::record::FrameRecord { file: Default::default(), reading: Map::new() };
            frame.reading.insert("state.shoulder_pan.pos".into(), (pan + 4.0 * k as f32).into());
            record.frames.push(frame);
        }
        let plan = WorldPlan::of(&record).unwrap();
        assert_eq!((plan.drive, plan.steps(), plan.scene.seed), (Drive::Imagined, 3, scene.seed));
        assert_eq!(plan.colours().len(), scene.objects.len());
        let frames = run(&record);
        let moved = frames[3].state[0].1 - frames[0].state[0].1;
        assert!((moved - 12.0).abs() < 1.0, "{moved} degrees of 12");
        let others = frames[3].state[2].1 - frames[0].state[2].1;
        assert!(others.abs() < 0.5, "what was not imagined holds: {others}");
        record.frames.iter_mut().for_each(|f| f.reading.clear());
        assert_eq!(WorldPlan::of(&record).unwrap().drive, Drive::Held);
    }

    #[test]
    fn what_the_world_did_not_make_is_refused_in_words() {
        let record = driven(Start::Nothing, vec![vec![0.0; JOINTS]]);
        assert!(WorldPlan::of(&record).unwrap_err().text().contains("virtual world"));
        let world = Some(WorldScene { look: "plain".into(), seed: 7 });
        let start = Start::Blobs { sizes: vec![(64, 64)], states: Vec::new(), world };
        let mut record = driven(start, vec![vec![0.0; JOINTS]]);
        record.actions.channels = vec!["wheel".into()];
        record.actions.rows = vec![vec![1.0]];
        assert!(WorldPlan::of(&record).unwrap_err().text().contains("another body"));
    }
}
