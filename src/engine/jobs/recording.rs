//! Datasets of the virtual world.

use crate::engine::job::{JobContext, JobEnd};
use crate::engine::protocol::{Event, RecordSpec};
use crate::failure::Failure;
use crate::fsx;
use crate::world::record::{RecordSettings, record as record_world};
use crate::world::{Behaviour, EpisodeSettings, SceneDistribution, WorldError};

/// Records episodes into a new dataset.
///
/// # Errors
/// Settings out of range, a folder that cannot be written. Cancelled, it keeps the episodes that are whole.
pub fn record(context: &JobContext, spec: &RecordSpec) -> Result<String, JobEnd> {
    if spec.world != "tabletop" {
        let message = format!("There is no virtual world called {}.", spec.world);
        return Err(Failure::new(message, "Use tabletop.").into());
    }
    let behaviour: Behaviour = spec.behaviour.parse().map_err(explain)?;
    let look = spec.look.parse().map_err(explain)?;
    let settings = RecordSettings {
        episode: EpisodeSettings {
            behaviour,
            scenes: SceneDistribution {
                look,
                fps: spec.fps,
                picture: spec.picture,
                ..SceneDistribution::default()
            },
            size: spec.size,
            frames: None,
        },
        episodes: spec.episodes,
        seed: spec.seed,
        threads: 0,
    };
    let total = spec.episodes as u64;
    context.progress(0, total, "recording episodes");
    let told = |p: crate::world::record::RecordProgress| {
        context.progress(p.episodes as u64, total, "recording episodes");
    };
    let began = std::time::Instant::now();
    let fresh = !spec.out.exists();
    let made = match record_world(&settings, &spec.out, told, context.cancel.flag()) {
        Ok(made) => made,
        Err(error) => {
            // Folders without an episode are of no use to anybody.
            if fresh {
                fsx::prune_empty(&spec.out);
            }
            return Err(match error {
                WorldError::Cancelled => JobEnd::Cancelled,
                error => explain(error).into(),
            });
        }
    };
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    let value = serde_json::json!({
        "episodes": made.episodes, "frames": made.frames, "successes": made.successes,
        "frames_per_second": made.frames as f64 / seconds,
    });
    context.send(Event::Report { job: context.job, value }, Vec::new());
    Ok(format!(
        "{} episodes, {} frames, {} successes, {:.0} frames a second, in {}",
        made.episodes,
        made.frames,
        made.successes,
        made.frames as f64 / seconds,
        spec.out.display()
    ))
}

fn explain(error: WorldError) -> Failure {
    Failure::new(format!("{}.", error.to_string().trim_end_matches('.')), "")
}
