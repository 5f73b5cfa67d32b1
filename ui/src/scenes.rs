//! Starter scenes: real frames of the virtual world with words that fit them, so that a newcomer sees a future within
//! two clicks.

use std::sync::Arc;

use forerun::Frame;

use crate::i18n::Scenes as Words;

/// Seeds of the starter scenes; each shows one red cube in another place.
pub const SEEDS: [u64; 6] = [5, 12, 3, 23, 34, 36];

/// A starter scene.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Seed of the virtual world.
    pub seed: u64,
    /// Its picture, once the engine has drawn it.
    pub frame: Option<Arc<Frame>>,
    /// State of the arm by channel name.
    pub state: Vec<(String, f32)>,
}

/// All starter scenes, not drawn yet.
pub fn all() -> Vec<Scene> {
    SEEDS.iter().map(|seed| Scene { seed: *seed, frame: None, state: Vec::new() }).collect()
}

/// The words that go with the scene of this number.
pub fn prompt(words: &Words, number: usize) -> &str {
    match number % 4 {
        0 => &words.left,
        1 => &words.right,
        2 => &words.away,
        _ => &words.toward,
    }
}

/// All words that a newcomer can try.
pub fn prompts(words: &Words) -> [&str; 4] {
    [&words.left, &words.right, &words.away, &words.toward]
}
