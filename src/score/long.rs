//! Do long futures stay sharp and keep their objects?

use forerun_models::Frame;
use serde_json::{Value, json};

use super::blob;
use super::pixels::sharpness;
use super::rollouts::{Wish, imagine};
use super::windows::{Place, Source};
use crate::engine::backend::{Stream, WorldModel};
use crate::engine::job::{JobContext, JobEnd};

/// Futures at once.
const BATCH: usize = 8;
/// Frames at the end that are looked at: the arm may hide an object for a moment.
const LAST: usize = 20;
/// An object is there when one of the last frames shows at least this share of the area it had.
const AREA: f32 = 0.4;

/// What a long future looked like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Persistence {
    /// Sharpness of the last frames over that of the true ones; 1 = as sharp as the truth.
    pub sharpness: f64,
    /// Objects that were visible at the start.
    pub objects: usize,
    /// Of those, how many are still there at the end.
    pub kept: usize,
}

/// Looks at the last frames of a future. `truth` are real frames of the same scene, `start` the first of them,
/// `colours` those of the objects.
pub fn look(start: &Frame, truth: &[Frame], last: &[Frame], colours: &[[u8; 3]]) -> Persistence {
    let mean = |frames: &[Frame]| frames.iter().map(sharpness).sum::<f64>() / frames.len().max(1) as f64;
    let visible: Vec<_> =
        colours.iter().filter_map(|rgb| Some((*rgb, blob::find(start, *rgb)?.area))).collect();
    let there = |rgb: [u8; 3], area: usize| {
        last.iter().filter_map(|f| blob::find(f, rgb)).any(|b| b.area as f32 >= AREA * area as f32)
    };
    Persistence {
        sharpness: mean(last) / mean(truth).max(1e-9),
        objects: visible.len(),
        kept: visible.iter().filter(|(rgb, area)| there(*rgb, *area)).count(),
    }
}

/// Imagines `steps` frames in a row from the first frame of up to `count` episodes: driven by the episode's actions
/// as long as they last, then free.
///
/// # Errors
/// Pictures cannot be read, the model fails; cancel.
pub fn judge(
    context: &JobContext,
    model: &dyn WorldModel,
    source: &Source,
    steps: usize,
    count: usize,
    refine: usize,
    seed: u64,
) -> Result<Value, JobEnd> {
    let chosen: Vec<_> = source.episodes.iter().filter(|(_, length)| *length > 1).take(count).collect();
    let total = (chosen.len() * steps) as u64;
    let mut done = 0u64;
    let mut all = Vec::new();
    for batch in chosen.chunks(BATCH) {
        let mut wishes = Vec::new();
        let mut windows = Vec::new();
        for (i, &&(episode, length)) in batch.iter().enumerate() {
            let window = source.load(Place { episode, start: 0, length: (length - 1).min(steps) })?;
            let stream = Stream { seed: seed + i as u64, prompt: None, history: window.history.clone() };
            wishes.push(Wish { stream, rows: window.rows.clone() });
            windows.push(window);
        }
        let mut last: Vec<Vec<Frame>> = vec![Vec::new(); batch.len()];
        imagine(context, model, wishes, steps, refine, |i, step, imagined| {
            if step + LAST > steps
                && let Some(last) = last.get_mut(i)
            {
                last.push(imagined.frame);
            }
            done += 1;
            context.progress(done, total, "imagining long futures");
        })?;
        for (window, last) in windows.iter().zip(&last) {
            let Some(start) = window.start() else { continue };
            let colours: Vec<_> =
                window.scene.iter().flat_map(|s| s.spec.objects.iter().map(|o| o.rgb)).collect();
            all.push(look(start, &window.truth, last, &colours));
        }
    }
    if all.is_empty() {
        return Ok(Value::Null);
    }
    let mut ratios: Vec<f32> = all.iter().map(|p| p.sharpness as f32).collect();
    ratios.sort_by(f32::total_cmp);
    let with_objects: Vec<_> = all.iter().filter(|p| p.objects > 0).collect();
    let kept = with_objects.iter().filter(|p| p.kept == p.objects).count();
    Ok(json!({
        "steps": steps,
        "rollouts": all.len(),
        "sharpness": super::skill::median(&ratios),
        "sharpness_low": ratios.first(),
        "sharpness_high": ratios.last(),
        "objects_kept": (!with_objects.is_empty()).then(|| kept as f64 / with_objects.len() as f64),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn scene(object: bool) -> Frame {
        let mut frame = Frame::filled(40, 40, [120, 120, 120]);
        for y in 10..20 {
            for x in 10..20 {
                if object {
                    frame.data[(y * 40 + x) * 3..][..3].copy_from_slice(&[200, 20, 20]);
                }
            }
        }
        frame
    }

    #[test]
    fn a_lost_object_and_a_blurred_picture_are_noticed() {
        let (with, without) = (scene(true), scene(false));
        let red = [[200, 20, 20]];
        let same = look(&with, &[with.clone()], &[with.clone()], &red);
        assert_eq!(same, Persistence { sharpness: 1.0, objects: 1, kept: 1 });
        let gone = look(&with, &[with.clone()], &[without.clone(), without.clone()], &red);
        assert_eq!((gone.objects, gone.kept), (1, 0));
        assert!(gone.sharpness < 0.01);
        // Hidden in one frame, seen in another.
        assert_eq!(look(&with, &[with.clone()], &[without.clone(), with.clone()], &red).kept, 1);
        assert_eq!(look(&without, &[with.clone()], &[with], &red).objects, 0);
    }
}
