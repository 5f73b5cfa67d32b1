//! Episodes of the virtual world as training data.

use crate::world::{self, Labels, SceneSpec};

use super::Episode;

/// What the heads should read off a frame with these labels: one set of values for each colour that is there, in
/// metres, with yes-or-no values as 0 and 1.
pub fn readings_of(scene: &SceneSpec, labels: &Labels) -> Vec<(String, f32)> {
    let flag = |yes: bool| if yes { 1.0 } else { 0.0 };
    let mut values = Vec::new();
    for ((object, pose), present) in scene.objects.iter().zip(&labels.objects).zip(labels.present) {
        if present {
            let colour = object.colour.en();
            values.push((format!("{colour}.present"), 1.0));
            for (axis, value) in ["x", "y", "z"].iter().zip(pose.to_array()) {
                values.push((format!("{colour}.{axis}"), value));
            }
        }
    }
    for (axis, value) in ["x", "y", "z"].iter().zip(labels.gripper.to_array()) {
        values.push((format!("gripper.{axis}"), value));
    }
    values.push(("contact".into(), flag(labels.contact)));
    values.push(("success".into(), flag(labels.judgement.success)));
    values.push(("progress".into(), labels.judgement.progress));
    values
}

/// A finished episode of the virtual world as training data; `told` says whether it does what its words say.
pub fn episode_of(episode: world::Episode, told: bool, weight: f32) -> Episode {
    let readings = episode.labels.iter().map(|labels| readings_of(&episode.scene, labels)).collect();
    Episode {
        readings,
        state: episode.states.iter().map(|row| row.to_vec()).collect(),
        action: episode.actions.iter().map(|row| row.to_vec()).collect(),
        prompt: Some(episode.task).filter(|task| !task.is_empty()),
        told,
        embodiment: 0,
        weight,
        frames: episode.frames,
    }
}
