//! What is wrong is said clearly, and nothing is left behind.

use std::path::PathBuf;

use forerun::engine::protocol::{Actions, Request, Start};

use crate::support::{Bench, joints, row};

/// Runs a wish with one thing changed; it must fail with all words and leave no output.
fn refused(bench: &Bench, words: &[&str], change: impl FnOnce(&mut forerun::engine::protocol::ImagineSpec)) {
    let mut spec = bench.spec(2, &[1]);
    change(&mut spec);
    let text = bench.fails(|job| Request::Imagine { job, spec });
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert!(bench.names("out").is_empty(), "{text}: {:?}", bench.names("out"));
}

fn files(path: PathBuf) -> Start {
    Start::Files { paths: vec![path], at: None }
}

#[test]
fn pictures() {
    let bench = Bench::new();
    refused(&bench, &["nope.png"], |s| s.start = files(bench.path("nope.png")));
    std::fs::write(bench.path("text.png"), "hello, I am a text").unwrap();
    refused(&bench, &["text.png"], |s| s.start = files(bench.path("text.png")));
    let whole = std::fs::read(bench.picture("whole.png")).unwrap();
    std::fs::write(bench.path("cut.png"), &whole[..whole.len() / 2]).unwrap();
    refused(&bench, &["cut.png"], |s| s.start = files(bench.path("cut.png")));
    std::fs::write(bench.path("empty.png"), "").unwrap();
    refused(&bench, &["empty.png"], |s| s.start = files(bench.path("empty.png")));
    // A header that promises 60,000 x 60,000 pixels, with its checksum.
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let crc = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(bench.path("huge.png"), huge).unwrap();
    refused(&bench, &["huge.png", "too large"], |s| s.start = files(bench.path("huge.png")));
    refused(&bench, &["no frame 7"], |s| {
        s.start = Start::Files { paths: vec![bench.path("whole.png"), bench.path("whole.png")], at: Some(7) };
    });
    refused(&bench, &["No picture"], |s| s.start = Start::Files { paths: vec![], at: None });
    refused(&bench, &["1 pictures were announced and 0 sent"], |s| {
        s.start = Start::Blobs { sizes: vec![(4, 4)], states: vec![], world: None };
    });
}

/// CRC-32 as PNG chunks end with (polynomial 0xedb88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn actions() {
    let bench = Bench::new();
    let track = |channels: Vec<String>, rows: Vec<Vec<f32>>| Actions::Track { channels, rows };
    let mut missing = joints();
    missing.pop();
    refused(&bench, &["lacks the channel gripper.pos"], |s| {
        s.actions = track(missing, vec![vec![0.0; 5]; 2]);
    });
    let mut extra = joints();
    extra.push("tail.pos".into());
    refused(&bench, &["tail.pos", "does not know"], |s| s.actions = track(extra, vec![vec![0.0; 7]; 2]));
    let mut bad = row(0.0);
    bad[2] = f32::NAN;
    refused(&bench, &["elbow_flex.pos at step 2", "not a number"], |s| {
        s.actions = track(joints(), vec![row(0.0), bad]);
    });
    let mut far = row(0.0);
    far[5] = 250.0;
    refused(&bench, &["250 for gripper.pos at step 1", "0 to 100 %"], |s| {
        s.actions = track(joints(), vec![far, row(0.0)]);
    });
    refused(&bench, &["1 steps, but 2"], |s| s.actions = track(joints(), vec![row(0.0)]));
    refused(&bench, &["cannot be held"], |s| s.actions = Actions::Hold);
    std::fs::write(bench.path("x.parquet"), b"PAR1 and then it was killed").unwrap();
    refused(&bench, &["x.parquet", "footer"], |s| s.actions = Actions::File(bench.path("x.parquet")));
    refused(&bench, &["nowhere"], |s| {
        s.actions = Actions::Episode { dataset: bench.path("nowhere"), episode: 0 };
    });
}

#[test]
fn models() {
    let bench = Bench::new();
    refused(&bench, &["nonesuch"], |s| s.model = "nonesuch".into());
    let spoil = |name: &str, file: &str, content: &dyn Fn(Vec<u8>) -> Option<Vec<u8>>| {
        let folder = bench.path(name);
        forerun::models::testing::random_model(&folder, 7).unwrap();
        let path = folder.join(file);
        match content(std::fs::read(&path).unwrap()) {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        folder.to_string_lossy().into_owned()
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{from} is not in {text}");
            Some(text.replacen(from, to, 1).into_bytes())
        }
    };
    let model = spoil("no-contract", "contract.json", &|_| None);
    refused(&bench, &["contract.json"], |s| s.model = model);
    let model = spoil("newer", "contract.json", &replace("\"format\": 1", "\"format\": 99"));
    refused(&bench, &["99", "Update Forerun"], |s| s.model = model);
    let model = spoil("family", "contract.json", &replace("\"dreamer\"", "\"seer\""));
    refused(&bench, &["seer"], |s| s.model = model);
    let model = spoil("sizes", "contract.json", &replace("\"width\": 32", "\"width\": 64"));
    refused(&bench, &["contract.json"], |s| s.model = model);
    let model = spoil("shapes", "config.json", &replace("\"layers\": 2", "\"layers\": 3"));
    refused(&bench, &["model.safetensors"], |s| s.model = model);
    let model = spoil("no-weights", "model.safetensors", &|_| None);
    refused(&bench, &["model.safetensors"], |s| s.model = model);
    let model = spoil("cut", "model.safetensors", &|b| Some(b[..b.len() / 2].to_vec()));
    refused(&bench, &["model.safetensors"], |s| s.model = model);
}

#[test]
fn numbers() {
    let bench = Bench::new();
    refused(&bench, &["0 frames"], |s| s.steps = 0);
    refused(&bench, &["refinement of 9"], |s| s.refine = 9);
    refused(&bench, &["seeds"], |s| s.seeds = vec![]);
    refused(&bench, &["2 seeds were given, 1 different"], |s| s.seeds = vec![3, 3]);
    refused(&bench, &["no device called toaster"], |s| s.device = "toaster".into());
}

#[cfg(unix)]
#[test]
fn folders() {
    let bench = Bench::new();
    std::fs::write(bench.path("taken"), "a file").unwrap();
    refused(&bench, &["taken"], |s| s.out = Some(bench.path("taken/out")));
    refused(&bench, &["taken"], |s| s.out = Some(bench.path("taken")));
    // Not even the owner of everything can make files there.
    refused(&bench, &["/proc/forerun"], |s| s.out = Some("/proc/forerun".into()));
    assert_eq!(std::fs::read(bench.path("taken")).unwrap(), b"a file");
}
