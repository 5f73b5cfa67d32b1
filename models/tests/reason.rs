//! Answers are written token by token with remembered keys and values: the same scores as reading everything anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use forerun_models::Frame;
use forerun_models::checkpoint::{Checkpoint, read_json};
use forerun_models::reason::{Patches, ReasonConfig, Reasoner, Taste, answer, look_at};

fn open(case: &str) -> (ReasonConfig, Reasoner) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(case);
    let config: ReasonConfig = read_json(&folder.join("config.json")).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let model = Reasoner::new(&config, checkpoint.builder(DType::F32, &Device::Cpu)).unwrap();
    (config, model)
}

fn frames(count: usize) -> Vec<Frame> {
    let frame = |t: usize| {
        let data = (0..24 * 16).flat_map(|i: usize| [(i % 24 * 9 + t * 20) as u8, (i / 24 * 15) as u8, 77]);
        Frame::new(24, 16, data.collect()).unwrap()
    };
    (0..count).map(frame).collect()
}

/// A question about a clip: words, as many places as the clip has tokens, words.
fn question(config: &ReasonConfig, frames: usize, tokens: usize) -> Vec<u32> {
    let per_frame = tokens / frames;
    let mut ids = vec![3, 4];
    for _ in 0..frames {
        // Qwen3-VL has words between the frames of a clip, Qwen2.5-VL has none.
        ids.extend(std::iter::repeat_n(config.video_token_id, per_frame));
        if config.model_type == "qwen3_vl" {
            ids.push(5);
        }
    }
    ids.extend([6, 7, 8]);
    ids
}

#[test]
fn remembered_keys_and_values_change_no_score() {
    for case in ["reason1", "reason2"] {
        let (config, model) = open(case);
        let clip = look_at(&config, &frames(4), 1000, &Device::Cpu).unwrap();
        let merge = config.vision_config.spatial_merge_size;
        let tokens = clip.grid.frames * (clip.grid.rows / merge) * (clip.grid.columns / merge);
        let mut ids = question(&config, clip.grid.frames, tokens);
        let grids = [clip.grid];
        let patches = || Some(Patches { values: &clip.values, grids: &grids });
        let mut answering = model.begin(&ids, None, patches()).unwrap();
        for next in [9, 2, 11, 30] {
            let whole = model.logits(&ids, None, patches()).unwrap();
            let last = whole.narrow(1, ids.len() - 1, 1).unwrap().flatten_all().unwrap();
            let worst = (&last - answering.scores()).unwrap().abs().unwrap().max_all().unwrap();
            assert!(worst.to_scalar::<f32>().unwrap() < 1e-4, "{case}");
            answering.write(next).unwrap();
            ids.push(next);
        }
        // What is seen matters.
        let other =
            look_at(&config, &vec![Frame::filled(24, 16, [255, 0, 0]); 4], 1000, &Device::Cpu).unwrap();
        let other = model
            .begin(
                &question(&config, clip.grid.frames, tokens),
                None,
                Some(Patches { values: &other.values, grids: &grids }),
            )
            .unwrap();
        let first = model.begin(&question(&config, clip.grid.frames, tokens), None, patches()).unwrap();
        let apart = (first.scores() - other.scores()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() > 1e-4, "{case}");
    }
}

#[test]
fn answers_end_where_they_should_and_repeat_with_their_seed() {
    let (_, model) = open("reason2");
    // A question whose answer has no token that stands for a picture.
    let greedily = |first: u32| {
        let mut answering = model.begin(&[first, 4, 5], None, None).unwrap();
        answer(&mut answering, Taste::Greedy, 8, &[], &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let first = (0..36).find(|first| greedily(*first).iter().all(|id| *id < 38)).unwrap();
    let write = |taste: Taste, longest: usize, ends: &[u32]| {
        let mut answering = model.begin(&[first, 4, 5], None, None).unwrap();
        answer(&mut answering, taste, longest, ends, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let greedy = write(Taste::Greedy, 8, &[]);
    assert_eq!((greedy.len(), &greedy), (8, &write(Taste::Greedy, 8, &[])));
    let ids = [vec![first, 4, 5], greedy.clone()].concat();
    let scores: Tensor = model.logits(&ids, None, None).unwrap();
    let best = scores.argmax(D::Minus1).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
    assert_eq!(best[2..10], greedy[..]);
    assert_eq!(write(Taste::Greedy, 8, &greedy[..1]), Vec::<u32>::new());
    let taste = |seed| Taste::TopP { temperature: 2.0, top_p: 0.95, seed };
    assert_eq!(write(taste(1), 12, &[]), write(taste(1), 12, &[]));
    assert_ne!(write(taste(1), 12, &[]), write(taste(2), 12, &[]));
    let mut stopped = 0;
    let mut answering = model.begin(&[3], None, None).unwrap();
    let some = answer(&mut answering, Taste::Greedy, 9, &[], &mut |_| {
        stopped += 1;
        if stopped == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(some.unwrap().len(), 3);
}
