//! The starter scenes fit the words that go with them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forerun::world::{ColourName, SceneDistribution, Shape};
use forerun_ui::scenes::SEEDS;

/// One red cube and nothing else, so that "push the red cube to the left" says which.
fn fits(seed: u64) -> bool {
    let scene = SceneDistribution::default().sample(seed, false);
    let [object] = scene.objects.as_slice() else { return false };
    object.colour == ColourName::Red && matches!(object.shape, Shape::Cube { .. })
}

#[test]
fn every_starter_scene_shows_one_red_cube() {
    let better: Vec<u64> = (1..2000).filter(|seed| fits(*seed)).take(24).collect();
    let wrong: Vec<u64> = SEEDS.into_iter().filter(|seed| !fits(*seed)).collect();
    assert!(wrong.is_empty(), "scenes {wrong:?} show something else; these would do: {better:?}");
}
