//! The virtual world: determinism, camera, behaviours, words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forerun::world::behaviour::Driver;
use forerun::world::{
    Behaviour, EpisodeSettings, JOINT_LIMITS, Look, Preset, RecordSettings, SceneDistribution, SceneSpec,
    TaskName, World, WorldError, arm, episode, generate_episode, project_point, record, render_state,
    simulate_episode,
};
use std::sync::atomic::{AtomicBool, Ordering};

fn settings(behaviour: Behaviour, task: Option<TaskName>) -> EpisodeSettings {
    let pushes = task.is_none_or(|t| t.direction().is_some());
    let preset = if pushes { Preset::Push } else { Preset::All };
    let scenes = SceneDistribution { task, preset, ..Default::default() };
    EpisodeSettings { behaviour, scenes, size: 64, frames: None }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ *b as u64).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn the_same_actions_give_the_same_bytes() {
    let run = || {
        let spec = SceneDistribution { preset: Preset::All, ..Default::default() }.sample(11, true);
        let mut world = World::new(&spec).unwrap();
        let mut driver = Driver::new(Behaviour::Play, &world, 11);
        for _ in 0..40 {
            let action = driver.act(&world);
            world.step(&action);
        }
        (fnv(&world.render(96, 96).data), world.state(), world.poses())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_frame_is_drawn_again_from_its_labels_and_scene_file() {
    let mut s = settings(Behaviour::Expert, Some(TaskName::PushLeft));
    s.frames = Some(12);
    let e = generate_episode(&s, 5).unwrap();
    let text = serde_json::to_string(&e.scene).unwrap();
    let scene: SceneSpec = serde_json::from_str(&text).unwrap();
    assert_eq!(scene, e.scene);
    let last = e.frames.len() - 1;
    let poses = &e.labels[last].objects[..scene.objects.len()];
    assert_eq!(render_state(&scene, &e.states[last], poses, 64, 64), e.frames[last]);
}

#[test]
fn experts_succeed() {
    let mut report = Vec::new();
    for task in TaskName::TASKS {
        let won = (0..5)
            .filter(|&seed| {
                let e = simulate_episode(&settings(Behaviour::Expert, Some(task)), 300 + seed).unwrap();
                e.labels.last().unwrap().judgement.success
            })
            .count();
        report.push((task.as_str(), won));
    }
    let total: usize = report.iter().map(|r| r.1).sum();
    assert!(report.iter().all(|r| r.1 >= 3) && total >= 41, "of 5 each: {report:?}");
}

#[test]
fn actions_stay_within_limits_and_the_arm_follows_them() {
    for (behaviour, seed) in [(Behaviour::Play, 1), (Behaviour::Noisy, 2), (Behaviour::Expert, 3)] {
        let e = simulate_episode(&settings(behaviour, None), seed).unwrap();
        for a in &e.actions {
            for (v, l) in a.iter().zip(&JOINT_LIMITS) {
                assert!(v.is_finite() && *v >= l[0] && *v <= l[1], "{v} outside {l:?}");
            }
        }
        let (mut sum, mut n) = (0.0, 0);
        for t in 0..e.states.len() - 1 {
            if !e.labels[t].contact && !e.labels[t + 1].contact {
                sum += (0..5).map(|j| (e.states[t + 1][j] - e.actions[t][j]).abs()).fold(0.0f32, f32::max);
                n += 1;
            }
        }
        assert!(n > 0 && sum / (n as f32) < 1.0, "{behaviour:?}: mean tracking error {} deg", sum / n as f32);
    }
}

#[test]
fn idle_keeps_things_still() {
    let e = simulate_episode(&settings(Behaviour::Idle, None), 4).unwrap();
    let (first, last) = (&e.labels[0], e.labels.last().unwrap());
    for (a, b) in first.objects.iter().zip(&last.objects) {
        assert!((a.position - b.position).len() < 2e-4);
    }
    for (a, b) in e.states[0].iter().zip(e.states.last().unwrap()) {
        assert!((a - b).abs() < 0.05);
    }
}

#[test]
fn play_moves_things_in_most_windows() {
    let (mut windows, mut moved) = (0, 0);
    for seed in 0..6 {
        let e = simulate_episode(&settings(Behaviour::Play, None), seed).unwrap();
        let at =
            |t: usize, i: usize| project_point(&e.scene, e.labels[t].objects[i].position, 100, 100).unwrap();
        for t in 0..e.states.len() - 10 {
            windows += 1;
            let far = |i: usize| {
                let (a, b) = (at(t, i), at(t + 10, i));
                ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt() >= 2.0
            };
            moved += usize::from((0..e.scene.objects.len()).any(far));
        }
    }
    assert!(moved * 2 > windows, "{moved} of {windows}");
}

/// Middle of the pixels in which red stands out: the labelled colour of the usual cube.
fn red_centroid(frame: &forerun::Frame) -> Option<[f32; 2]> {
    let (mut x, mut y, mut n) = (0.0, 0.0, 0.0);
    for (i, p) in frame.data.chunks_exact(3).enumerate() {
        let [r, g, b] = [p[0] as f32, p[1] as f32, p[2] as f32];
        if r > 2.2 * g && r > 2.2 * b && r > 50.0 {
            x += (i % frame.width) as f32 + 0.5;
            y += (i / frame.width) as f32 + 0.5;
            n += 1.0;
        }
    }
    (n > 30.0).then(|| [x / n, y / n])
}

#[test]
fn projection_agrees_with_the_picture_and_objects_are_large() {
    let mut seen = 0;
    for seed in 0..60 {
        let spec = SceneDistribution::default().sample(seed, true);
        let red = spec.objects.iter().position(|o| o.colour.en() == "red");
        let (Some(red), 1) = (red, spec.objects.len()) else { continue };
        let mut world = World::new(&spec).unwrap();
        let frame = world.render(128, 128);
        let poses = world.poses();
        // The arm must not hide it.
        let away = render_state(&spec, &[90.0, -60.0, 40.0, 60.0, 0.0, 0.0], &poses, 128, 128);
        let (Some(c), Some(p)) = (red_centroid(&away), project_point(&spec, poses[red].position, 128, 128))
        else {
            panic!("seed {seed}: no red pixels");
        };
        let off = ((c[0] - p[0]).powi(2) + (c[1] - p[1]).powi(2)).sqrt();
        assert!(off < 2.0, "seed {seed}: {c:?} but projected {p:?}");
        let pixels =
            away.data.chunks_exact(3).filter(|p| p[0] as f32 > 2.2 * p[1] as f32 && p[0] > 50).count();
        assert!(pixels > 160, "seed {seed}: only {pixels} red pixels");
        assert_eq!((frame.width, frame.height), (128, 128));
        seen += 1;
        if seen == 8 {
            break;
        }
    }
    assert_eq!(seen, 8);
}

#[test]
fn every_task_has_phrasings_in_both_languages() {
    for task in TaskName::TASKS {
        let spec = SceneDistribution { preset: Preset::All, task: Some(task), ..Default::default() }
            .sample(1, false);
        let phrases = spec.task.phrasings(&spec);
        let chinese =
            phrases.iter().filter(|p| p.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))).count();
        assert!(chinese >= 4 && phrases.len() - chinese >= 4, "{task:?}");
        assert!(phrases.iter().all(|p| !p.contains('{')) && phrases.contains(&spec.task.text));
        assert!(!task.rule().is_empty());
        assert_eq!(task.as_str().parse::<TaskName>().unwrap(), task);
    }
    let spec = SceneDistribution { task: Some(TaskName::PushLeft), ..Default::default() }.sample(0, false);
    let phrases = spec.task.phrasings(&spec);
    assert!(phrases.contains(&"push the red cube to the left".to_string()));
    assert!(phrases.contains(&"把紅色方塊推到左邊".to_string()));
}

#[test]
fn looks_differ_and_numbers_are_one_domain() {
    let draw = |look: Look, seed: u64| SceneDistribution { look, ..Default::default() }.sample(seed, true);
    assert_eq!(draw("7".parse().unwrap(), 1).table, draw(Look::Seeded(7), 2).table);
    assert_ne!(draw(Look::Seeded(7), 1).table, draw(Look::Seeded(8), 1).table);
    assert_ne!(draw(Look::Rich, 1).table, draw(Look::Rich, 2).table);
    assert!("purple".parse::<Look>().is_err());
}

#[test]
fn broken_scenes_are_refused_with_a_reason() {
    let good = SceneDistribution::default().sample(0, false);
    let mut far = good.clone();
    far.objects[0].pose.position.x = f32::NAN;
    let mut many = good.clone();
    many.objects = vec![good.objects[0].clone(); 4];
    let mut newer = good.clone();
    newer.format += 1;
    let mut task = good.clone();
    task.task.object = 9;
    for bad in [far, many, newer, task] {
        assert!(World::new(&bad).unwrap_err().to_string().contains("cannot be built"));
    }
    let mut world = World::new(&good).unwrap();
    let before = world.state();
    world.step(&[f32::NAN; 6]);
    assert!(world.state().iter().zip(before).all(|(a, b)| (a - b).abs() < 0.05));
    let size = EpisodeSettings { size: 20, ..Default::default() };
    assert!(episode::generate_episode(&size, 0).is_err());
}

#[test]
fn physics_and_camera_agree_on_where_the_arm_is() {
    let spec = SceneDistribution::default().sample(3, true);
    let mut world = World::new(&spec).unwrap();
    let mut driver = Driver::new(Behaviour::Play, &world, 3);
    for _ in 0..30 {
        let action = driver.act(&world);
        world.step(&action);
    }
    for (i, link) in arm::forward(&world.state()).iter().enumerate() {
        assert!((world.link_pose(i).unwrap().position - link.p).len() < 1e-5);
    }
}

fn tree(root: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(tree(&path));
        } else {
            out.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    out.sort();
    out
}

#[test]
fn a_recording_is_the_same_for_any_number_of_threads_and_survives_cancelling() {
    let folder = tempfile::tempdir().unwrap();
    let episode = EpisodeSettings { size: 64, frames: Some(6), ..Default::default() };
    let settings = |threads| RecordSettings { episode: episode.clone(), episodes: 5, seed: 9, threads };
    let go = AtomicBool::new(false);
    let make = |name: &str, threads| {
        let out = folder.path().join(name);
        let total = record(&settings(threads), &out, |_| {}, &go).unwrap();
        assert_eq!((total.episodes, total.frames), (5, 30));
        tree(&out)
            .into_iter()
            .map(|(p, b)| (p.strip_prefix(&out).unwrap().to_path_buf(), b))
            .collect::<Vec<_>>()
    };
    assert!(make("one", 1) == make("three", 3), "thread count changed the dataset");

    let out = folder.path().join("stopped");
    let stopped = record(&settings(2), &out, |p| go.store(p.episodes >= 2, Ordering::Relaxed), &go);
    assert!(matches!(stopped, Err(WorldError::Cancelled)));
    let dataset = forerun::dataset::Dataset::open(&out).unwrap();
    assert!(dataset.episodes().len() >= 2);
}
