//! Bundles: what is refused, and that a kill at any moment leaves the old or the new one whole.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use forerun::robot::bundle::manifest::BundleJoint;
use forerun::robot::bundle::{BundleError, Manifest, SigningKey, Store, read, write};
use forerun::robot::emulator::EmulatedArm;
use forerun::robot::numbers::Unit;

fn manifest(name: &str) -> Manifest {
    let robot = EmulatedArm::new(1).robot_file("arm");
    Manifest {
        format: 1,
        name: name.into(),
        embodiment: "so101".into(),
        joints: robot
            .joints
            .iter()
            .map(|j| BundleJoint {
                name: j.name.clone(),
                unit: j.unit,
                homing_offset: j.calibration.map(|c| c.homing_offset),
                data: Some((-40.0, 40.0)),
            })
            .collect(),
        rate_hz: 10.0,
        cameras: vec![],
        normalisation: serde_json::Value::Null,
        lineage: serde_json::json!({"dataset": "test"}),
        software: "test".into(),
        members: vec![],
    }
}

fn files(seed: u8, size: usize) -> BTreeMap<String, Vec<u8>> {
    let weights = (0..size).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    [("config.json".to_string(), b"{}".to_vec()), ("weights/model.safetensors".to_string(), weights)].into()
}

struct Bench {
    dir: tempfile::TempDir,
    key: SigningKey,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::open_or_create(&dir.path().join("key")).unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        store.trust(&key.public()).unwrap();
        Self { dir, key, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pack(&self, name: &str, seed: u8, size: usize) -> (PathBuf, String) {
        let path = self.path(name);
        let bundle = write(&path, manifest(name), &files(seed, size), &self.key).unwrap();
        (path, bundle.id)
    }
}

#[test]
fn a_bundle_is_read_as_it_was_packed_and_ordinary_tar_lists_it() {
    let b = Bench::new();
    let (path, id) = b.pack("a.bundle", 1, 100_000);
    let mut got: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let bundle = read(&path, &[b.key.public()], |name, piece| {
        got.entry(name.into()).or_default().extend(piece);
        Ok(())
    })
    .unwrap();
    assert_eq!((bundle.id, bundle.manifest.members.len()), (id, 2));
    for (name, data) in files(1, 100_000) {
        assert_eq!(got[&name], data);
    }
    // The same key file gives the same key; it is for its owner alone.
    assert_eq!(SigningKey::open_or_create(&b.path("key")).unwrap().public(), b.key.public());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(b.path("key")).unwrap().permissions());
    assert_eq!(mode & 0o077, 0);
    if let Ok(out) = Command::new("tar").arg("tf").arg(&path).output() {
        let list = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(
            list.lines().eq(["manifest.json", "signature.json", "config.json", "weights/model.safetensors"]),
            "{list}"
        );
    }
}

#[test]
fn every_flipped_byte_that_matters_is_refused() {
    let b = Bench::new();
    let (path, _) = b.pack("a.bundle", 1, 3000);
    let good = std::fs::read(&path).unwrap();
    let bad = b.path("bad.bundle");
    let trusted = [b.key.public()];
    let mut refused = 0;
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&bad, &bytes).unwrap();
        let mut got: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let outcome = read(&bad, &trusted, |name, piece| {
            got.entry(name.into()).or_default().extend(piece);
            Ok(())
        });
        match outcome {
            Err(_) => refused += 1,
            // Bytes that carry nothing (padding) may change; the contents may not.
            Ok(_) => assert!(files(1, 3000).iter().all(|(name, data)| got[name] == *data), "byte {at}"),
        }
    }
    assert!(refused > 500, "{refused}");
    for length in [0, 100, 512, 1500, good.len() / 2, good.len() - 1024] {
        std::fs::write(&bad, &good[..length]).unwrap();
        let error = read(&bad, &trusted, |_, _| Ok(())).unwrap_err();
        assert!(matches!(error, BundleError::Damaged(_)), "{length}: {error}");
    }
}

#[test]
fn strangers_foreign_robots_and_pickles_are_refused_with_words_that_help() {
    let b = Bench::new();
    let (path, _) = b.pack("a.bundle", 1, 100);
    let stranger = Store::open(&b.path("elsewhere")).unwrap();
    let error = stranger.install(&path).unwrap_err();
    assert!(error.to_string().contains("not trusted"), "{error}");
    assert!(stranger.current().is_none());
    stranger.trust(&b.key.public()).unwrap();
    stranger.install(&path).unwrap();

    let robot = EmulatedArm::new(1).robot_file("arm");
    let check = |change: &dyn Fn(&mut Manifest)| {
        let mut m = manifest("x");
        change(&mut m);
        m.check(&robot).map_err(|e| e.to_string())
    };
    assert_eq!(check(&|_| {}), Ok(vec![]));
    let cases: [(&dyn Fn(&mut Manifest), &str); 6] = [
        (&|m| m.joints[1].unit = Unit::Percent, "shoulder_lift is in % in the bundle"),
        (&|m| m.joints[0].name = "waist".into(), "no joint waist"),
        (&|m| drop(m.joints.pop()), "does not command gripper"),
        (&|m| m.embodiment = "koch".into(), "koch"),
        (&|m| m.rate_hz = 500.0, "500 actions a second"),
        (&|m| m.joints.push(m.joints[0].clone()), "twice"),
    ];
    for (change, words) in cases {
        let error = check(change).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let warnings =
        check(&|m| m.joints[2].homing_offset = m.joints[2].homing_offset.map(|o| o + 100)).unwrap();
    assert!(warnings[0].contains("elbow_flex"), "{warnings:?}");
    let mut pickle = files(1, 10);
    pickle.insert("model.pkl".into(), vec![1]);
    let error = write(&b.path("p.bundle"), manifest("p"), &pickle, &b.key).unwrap_err();
    assert!(error.to_string().contains("never pickles"), "{error}");
}

#[test]
fn the_last_five_are_kept_and_one_goes_back() {
    let b = Bench::new();
    let mut ids = Vec::new();
    for k in 0..7u8 {
        let (path, id) = b.pack(&format!("{k}.bundle"), k, 1000);
        b.store.install(&path).unwrap();
        ids.push(id);
    }
    assert_eq!(b.store.history(), ids[2..]);
    assert_eq!(b.store.current().unwrap().0, ids[6]);
    assert!(!b.path("store").join(&ids[0]).exists());
    assert_eq!(b.store.roll_back().unwrap(), ids[5]);
    assert_eq!(b.store.current().unwrap().0, ids[5]);
    // A damaged one is passed over.
    std::fs::write(b.path("store").join(&ids[4]).join("config.json"), "[]").unwrap();
    assert_eq!(b.store.roll_back().unwrap(), ids[3]);
    b.store.roll_back().unwrap();
    assert!(matches!(b.store.roll_back(), Err(BundleError::NothingBefore)));
    // Installing the damaged one again heals it.
    b.store.install(&b.path("4.bundle")).unwrap();
    b.store.verify(&ids[4]).unwrap();
    // Two faults within the first minute: back to the one before.
    let (now, _) = b.store.current().unwrap();
    assert_eq!(b.store.note_fault(10.0).unwrap(), None);
    assert_eq!(b.store.note_fault(900.0).unwrap(), None);
    let back = b.store.note_fault(30.0).unwrap().unwrap();
    assert_ne!(back, now);
    assert_eq!(b.store.current().unwrap().0, back);
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "run by the test below"]
fn child_that_installs() {
    let store = Store::open(Path::new(&std::env::var("FORERUN_TEST_STORE").unwrap())).unwrap();
    let bundles = std::env::var("FORERUN_TEST_BUNDLES").unwrap();
    println!("ready");
    loop {
        for bundle in bundles.split(':') {
            store.install(Path::new(bundle)).unwrap();
            println!("installed");
        }
    }
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_bundle() {
    let b = Bench::new();
    let all: Vec<(PathBuf, String)> = (0..7u8).map(|k| b.pack(&format!("{k}.bundle"), k, 400_000)).collect();
    b.store.install(&all[0].0).unwrap();
    let started = std::time::Instant::now();
    b.store.install(&all[1].0).unwrap();
    let one = u64::try_from(started.elapsed().as_micros()).unwrap().max(1000);
    let bundles = all.iter().map(|(p, _)| p.to_str().unwrap()).collect::<Vec<_>>().join(":");
    let mut random = 88_172_645_463_325_252u64;
    let mut seen = std::collections::BTreeSet::new();
    // Fewer where nobody asks for all of them: each is a process.
    let rounds = if std::env::var_os("FORERUN_TEST_LONG").is_some() { 200 } else { 60 };
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_installs", "--ignored", "--nocapture"])
            .env("FORERUN_TEST_STORE", b.path("store"))
            .env("FORERUN_TEST_BUNDLES", &bundles)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Wait until it is at work, then kill it at a random moment.
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0, "the child ended");
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // A few whole ones first, then a moment within the next one or two, however slow the machine is.
        for _ in 0..random % 4 {
            std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        }
        std::thread::sleep(Duration::from_micros((random >> 8) % (2 * one)));
        child.kill().unwrap();
        child.wait().unwrap();
        let (id, folder) = b.store.current().unwrap();
        b.store.verify(&id).unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert!(folder.join("weights/model.safetensors").exists());
        assert!(b.store.history().contains(&id), "round {round}");
        seen.insert(id);
    }
    assert!(seen.len() > 1, "the kills all came too early");
    // Nothing of the killed ones stays for ever.
    b.store.install(&all[3].0).unwrap();
    let left = std::fs::read_dir(b.path("store")).unwrap().flatten();
    assert!(left.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with("unfinished")));
}
