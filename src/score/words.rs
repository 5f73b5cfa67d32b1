//! Do words move the right thing the right way? From held-out starts and a prompt alone, does the red cube end up
//! further left or right: by its colour in the pixels, and by the model's own pose head.

use forerun_models::Frame;
use serde_json::{Value, json};

use super::blob;
use super::rollouts::{Wish, imagine};
use super::skill::MOVED;
use super::windows::{Place, Source};
use crate::engine::backend::{Stream, WorldModel};
use crate::engine::job::{JobContext, JobEnd};
use crate::world::math::v3;
use crate::world::{ColourName, SceneSpec, project_point};

/// Prompts and the way along the picture's x axis that each asks for.
pub const PROMPTS: [(&str, f32); 4] = [
    ("push the red cube to the left", -1.0),
    ("push the red cube to the right", 1.0),
    ("把紅色方塊推到左邊", -1.0),
    ("把紅色方塊推到右邊", 1.0),
];
/// Frames that a prompt has to do its work: the world's own experts need under six seconds.
const STEPS: usize = 60;
/// Futures at once.
const BATCH: usize = 8;

struct Start {
    place: Place,
    scene: SceneSpec,
    rgb: [u8; 3],
    x: f32,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    starts: usize,
    pixels: usize,
    head: usize,
    stood: usize,
    lost: usize,
}

/// Judges all prompts on up to `count` starts (the first frames of episodes that show a red object).
///
/// # Errors
/// Pictures cannot be read, the model fails; cancel.
pub fn judge(
    context: &JobContext,
    model: &dyn WorldModel,
    source: &Source,
    count: usize,
    refine: usize,
    seed: u64,
) -> Result<Value, JobEnd> {
    if !model.contract().text {
        return Ok(Value::Null);
    }
    let starts = starts(context, source, count)?;
    if starts.is_empty() {
        return Ok(Value::Null);
    }
    let total = (starts.len() * PROMPTS.len()) as u64;
    let mut done = 0;
    let mut report = serde_json::Map::new();
    for (prompt, way) in PROMPTS {
        let mut tally = Tally::default();
        for batch in starts.chunks(BATCH) {
            context.progress(done, total, "listening to words");
            judge_batch(context, model, source, batch, (prompt, way), refine, seed, &mut tally)?;
            done += batch.len() as u64;
        }
        let share = |n: usize| n as f64 / tally.starts.max(1) as f64;
        report.insert(
            prompt.into(),
            json!({
                "starts": tally.starts, "pixels": share(tally.pixels), "head": share(tally.head),
                "stood": share(tally.stood), "lost": share(tally.lost),
            }),
        );
    }
    Ok(Value::Object(report))
}

fn starts(context: &JobContext, source: &Source, count: usize) -> Result<Vec<Start>, JobEnd> {
    let mut starts = Vec::new();
    for &(episode, length) in &source.episodes {
        if starts.len() >= count {
            break;
        }
        context.check()?;
        if length < 2 {
            continue;
        }
        let place = Place { episode, start: 0, length: 1 };
        let window = source.load(place)?;
        let Some(scene) = &window.scene else { continue };
        let red = scene.spec.objects.iter().find(|o| o.colour == ColourName::Red);
        let Some((red, frame)) = red.zip(window.start()) else { continue };
        if let Some(found) = blob::find(frame, red.rgb) {
            starts.push(Start { place, scene: scene.spec.clone(), rgb: red.rgb, x: found.x });
        }
    }
    Ok(starts)
}

fn judge_batch(
    context: &JobContext,
    model: &dyn WorldModel,
    source: &Source,
    batch: &[Start],
    (prompt, way): (&str, f32),
    refine: usize,
    seed: u64,
    tally: &mut Tally,
) -> Result<(), JobEnd> {
    let mut wishes = Vec::new();
    for (i, start) in batch.iter().enumerate() {
        let history = source.load(start.place)?.history;
        let stream = Stream { seed: seed + i as u64, prompt: Some(prompt.into()), history };
        wishes.push(Wish { stream, rows: None });
    }
    let mut first: Vec<Option<f32>> = vec![None; batch.len()];
    let mut last: Vec<Option<(Frame, Option<f32>)>> = vec![None; batch.len()];
    imagine(context, model, wishes, STEPS, refine, |i, step, imagined| {
        let Some(start) = batch.get(i) else { return };
        let (w, h) = (imagined.frame.width, imagined.frame.height);
        let head = head_x(&imagined.reading, &start.scene, w, h);
        if step == 1
            && let Some(first) = first.get_mut(i)
        {
            *first = head;
        }
        if step == STEPS
            && let Some(last) = last.get_mut(i)
        {
            *last = Some((imagined.frame, head));
        }
    })?;
    for ((start, first), last) in batch.iter().zip(first).zip(last) {
        let Some((frame, head)) = last else { continue };
        tally.starts += 1;
        let least = MOVED * frame.width as f32;
        match blob::find(&frame, start.rgb) {
            None => tally.lost += 1,
            Some(found) if (found.x - start.x).abs() < least => tally.stood += 1,
            Some(found) => tally.pixels += usize::from((found.x - start.x) * way >= least),
        }
        if let Some((first, head)) = first.zip(head) {
            tally.head += usize::from((head - first) * way >= least);
        }
    }
    Ok(())
}

/// Where the pose head sees the red object, as a picture column.
fn head_x(reading: &[(String, f32)], scene: &SceneSpec, width: usize, height: usize) -> Option<f32> {
    let value = |name: &str| reading.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    let at = v3(value("red.x")?, value("red.y")?, value("red.z")?);
    project_point(scene, at, width, height).map(|[x, _]| x)
}
