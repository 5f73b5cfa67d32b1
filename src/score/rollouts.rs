//! Futures of many windows at once.

use forerun_models::Frame;

use crate::engine::backend::{Imagined, Stream, WorldModel};
use crate::engine::job::{JobContext, JobEnd};

/// One future to imagine for a score.
pub struct Wish {
    /// Where it starts and what it hears.
    pub stream: Stream,
    /// The action to frame 1, 2, ...; `None` = free. After its end the future goes on freely.
    pub rows: Option<Vec<Vec<f32>>>,
}

/// Imagines `steps` frames of each wish together. Histories are cut to the shortest one.
///
/// # Errors
/// The model fails; cancel.
pub fn imagine(
    context: &JobContext,
    model: &dyn WorldModel,
    wishes: Vec<Wish>,
    steps: usize,
    refine: usize,
    mut seen: impl FnMut(usize, usize, Imagined),
) -> Result<(), JobEnd> {
    let (streams, rows): (Vec<_>, Vec<_>) = wishes.into_iter().map(|w| (w.stream, w.rows)).unzip();
    if streams.is_empty() {
        return Ok(());
    }
    context.check()?;
    let mut rollout = model.start(streams, refine)?;
    for step in 0..steps {
        context.check()?;
        let actions: Vec<_> =
            rows.iter().map(|rows| rows.as_ref().and_then(|rows| rows.get(step)).cloned()).collect();
        for (i, imagined) in rollout.step(&actions)?.into_iter().enumerate() {
            seen(i, step + 1, imagined);
        }
    }
    Ok(())
}

/// As [`imagine`], keeping the pictures: one list a wish, frame 1 first.
///
/// # Errors
/// As [`imagine`].
pub fn pictures(
    context: &JobContext,
    model: &dyn WorldModel,
    wishes: Vec<Wish>,
    steps: usize,
    refine: usize,
) -> Result<Vec<Vec<Frame>>, JobEnd> {
    let mut all: Vec<Vec<Frame>> = wishes.iter().map(|_| Vec::with_capacity(steps)).collect();
    imagine(context, model, wishes, steps, refine, |i, _, imagined| {
        if let Some(frames) = all.get_mut(i) {
            frames.push(imagined.frame);
        }
    })?;
    Ok(all)
}
