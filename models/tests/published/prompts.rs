//! Words that were read once need no text encoder again, and change nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use candle_core::Tensor;
use forerun_models::Frame;
use forerun_models::published::{ClipSettings, MemoryMode, Numbers, PromptStore, Published};
use forerun_models::testing::published::Tiny;

use crate::support::{distance, edit, folder, frames, open, run, settings};

#[derive(Default)]
struct Shelf(Mutex<HashMap<String, Vec<u8>>>);

impl PromptStore for Shelf {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }
}

fn made(model: &Published, given: usize, settings: &ClipSettings) -> Vec<Frame> {
    run(model, &frames(given), 4, 1, settings).unwrap().frames
}

fn with(folder: &Path, shelf: &Arc<Shelf>) -> Published {
    open(folder).unwrap().with_store(shelf.clone())
}

#[test]
fn what_a_text_encoder_made_is_kept_projected_and_used_instead_of_it() {
    for (kind, given, width) in [(Tiny::Predict2, 1, 32), (Tiny::Predict25, 1, 32), (Tiny::Transfer25, 5, 32)]
    {
        let dir = folder(kind);
        let guided = ClipSettings { guidance: Some(4.0), negative: Some("blur".into()), ..settings() };
        let plain = made(&open(dir.path()).unwrap(), given, &guided);
        let shelf = Arc::new(Shelf::default());
        assert!(made(&with(dir.path(), &shelf), given, &guided) == plain, "{kind:?}");
        {
            let kept = shelf.0.lock().unwrap();
            assert_eq!(kept.len(), 2, "{kind:?}: the prompt and the negative one");
            // 512 tokens of the projected width, in f32, for each network that reads them; not of the text encoder's.
            let readers = if kind == Tiny::Transfer25 { 2 } else { 1 };
            let most = readers * 512 * width * 4 + 1000;
            assert!(kept.values().all(|bytes| bytes.len() < most), "{kind:?}");
        }
        // From now on the text encoder says something else; nobody asks it about words that are known.
        edit(&dir.path().join("text_encoder/model.safetensors"), |tensors| {
            for tensor in tensors.values_mut() {
                *tensor = (tensor.clone() * 0.3).unwrap();
            }
        });
        assert!(made(&with(dir.path(), &shelf), given, &guided) == plain, "{kind:?}: from the store");
        assert!(
            distance(&made(&open(dir.path()).unwrap(), given, &guided), &plain) > 0.0,
            "{kind:?}: without it"
        );
        // Other numbers are other embeddings, and half a store is none.
        let half = ClipSettings {
            memory: MemoryMode { numbers: Some(Numbers::Bf16), ..MemoryMode::default() },
            ..guided.clone()
        };
        made(&with(dir.path(), &shelf), given, &half);
        assert_eq!(shelf.0.lock().unwrap().len(), 4, "{kind:?}");
        let other = ClipSettings { negative: Some("dark night".into()), ..guided.clone() };
        assert!(distance(&made(&with(dir.path(), &shelf), given, &other), &plain) > 0.0, "{kind:?}");
    }
}

#[test]
fn a_store_that_gives_nonsense_is_not_believed() {
    let dir = folder(Tiny::Predict25);
    let plain = made(&open(dir.path()).unwrap(), 1, &settings());
    let shelf = Arc::new(Shelf::default());
    made(&with(dir.path(), &shelf), 1, &settings());
    let tensor = |shape: &[usize]| {
        let zeros = Tensor::zeros(shape, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        safetensors::serialize([("0", &zeros)], None).unwrap()
    };
    for wrong in [b"no tensors".to_vec(), Vec::new(), tensor(&[1, 7, 32]), tensor(&[512, 32])] {
        shelf.0.lock().unwrap().values_mut().for_each(|bytes| bytes.clone_from(&wrong));
        assert!(made(&with(dir.path(), &shelf), 1, &settings()) == plain);
    }
}
