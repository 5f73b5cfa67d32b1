//! Tree, gallery, branches, sweep, export and the blind round of the Compare screen, with real files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{SIDE, Window, compare_seeds, contract, level, picture};
use eframe::egui::{Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::{NodeT, Queryable};
use forerun::Frame;
use forerun::engine::protocol::{Event, Reading, Request, Start};
use forerun::engine::record::{
    ActionsRecord, FileHash, FrameRecord, FutureRecord, ModelRef, StartFrameRecord, StartRecord, Timings,
};
use forerun_ui::commands::Command;
use forerun_ui::compare::{Part, Source};

const WIDE: [f32; 2] = [1400.0, 900.0];

/// Writes a future as the engine does.
fn write_future(folder: &Path, seed: u64, prompt: &str, parent: Option<(&Path, usize)>, made: u64) {
    std::fs::create_dir_all(folder.join("frames")).unwrap();
    std::fs::create_dir_all(folder.join("start")).unwrap();
    let put = |file: &str, grey: u8| {
        let frame = Frame::new(SIDE, SIDE, picture(grey)).unwrap();
        let png = forerun::media::encode_png(&frame).unwrap();
        std::fs::write(folder.join(file), &png).unwrap();
        FileHash { file: file.into(), sha256: forerun::fsx::sha256_hex(&png) }
    };
    let source = match parent {
        Some((folder, at)) => Start::Future { folder: folder.to_owned(), at },
        None => Start::Nothing,
    };
    let start = StartFrameRecord {
        file: put("start/0000.png", level(seed, 0)),
        source_sha256: String::new(),
        origin: String::new(),
        state: None,
        action: None,
    };
    let frames = (1..=4)
        .map(|k| FrameRecord {
            file: put(&format!("frames/{k:05}.png"), level(seed, k)),
            reading: Default::default(),
        })
        .collect();
    let record = FutureRecord {
        format: 1,
        kind: "future".into(),
        software: "0.1.0".into(),
        made,
        model: ModelRef { name: "tabletop".into(), sha256: "0123456789abcdef".repeat(4), parameters: 6 },
        contract: contract(),
        sampling: None,
        planned: None,
        prompt: prompt.into(),
        seed,
        steps: 4,
        refine: 4,
        device: "cpu".into(),
        kernels: "portable".into(),
        threads: 1,
        batch: vec![seed],
        start: StartRecord {
            source: serde_json::to_value(source).unwrap(),
            note: String::new(),
            frames: vec![start],
        },
        actions: ActionsRecord { kind: "free".into(), ..Default::default() },
        frames,
        clip: None,
        timings: Timings::default(),
    };
    std::fs::write(folder.join("future.json"), serde_json::to_vec(&record).unwrap()).unwrap();
}

/// A window on the Compare screen of a project with one future and two branches of it.
fn project() -> (Window, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let futures = folder.path().join("futures");
    let root = futures.join("a/seed-1");
    write_future(&root, 1, "push the red cube to the left", None, 1_700_000_000);
    write_future(&futures.join("b/seed-2"), 2, "推到右邊", Some((&root, 2)), 1_700_000_100);
    write_future(&futures.join("c/seed-3"), 3, "push the red cube away", Some((&root, 3)), 1_700_000_200);
    let mut w = Window::in_folder(WIDE, Vec::new(), folder);
    w.answer_start();
    w.app().outbox.command(Command::ShowCompare);
    w.until("the futures were read", |w| w.app().compare.library.entries.len() == 3);
    (w, futures)
}

/// Clicks into a field and types.
fn type_into(w: &mut Window, role: Role, name: &str, text: &str) {
    w.harness.get_by_role_and_label(role, name).click();
    w.steps(2);
    w.harness.get_by_role_and_label(role, name).type_text(text);
    w.steps(2);
}

fn row(name: &str, seed: u64) -> String {
    format!("{name}, seed {seed}")
}

#[test]
fn the_tree_shows_which_future_branched_from_which_and_survives() {
    let (mut w, _) = project();
    w.press(Modifiers::NONE, Key::T);
    assert_eq!(w.app().view.compare.part, Part::Tree);
    let rows = w.app().compare.library.rows.clone();
    assert_eq!(rows.len(), 3);
    assert_eq!((rows[0].parent, rows[1].parent.is_some(), rows[2].parent), (None, true, Some((0, 0))));
    w.harness.get_by_label(&row("推到右邊", 2)).click();
    w.steps(2);
    w.press(Modifiers::NONE, Key::F2);
    w.harness.get_by_role_and_label(Role::TextInput, "New name").type_text("my branch");
    w.steps(2);
    w.press(Modifiers::NONE, Key::Enter);
    w.until("renamed", |w| w.harness.query_by_label(&row("my branch", 2)).is_some());
    w.harness.get_by_label(&row("push the red cube away", 3)).click();
    w.steps(2);
    w.press(Modifiers::NONE, Key::Delete);
    w.until("deleted", |w| w.app().compare.library.rows.len() == 2);
    w.press(Modifiers::COMMAND, Key::Z);
    w.until("brought back", |w| w.app().compare.library.rows.len() == 3);
    w.harness.run_steps(2);
    // Nothing is said to the window that is killed; the next one finds all.
    let folder = w.folder;
    let mut again = Window::in_folder(WIDE, Vec::new(), folder);
    again.answer_start();
    again.app().view.compare.part = Part::Tree;
    again.app().outbox.command(Command::ShowCompare);
    again.until("the name is there again", |w| w.harness.query_by_label(&row("my branch", 2)).is_some());
}

#[test]
fn the_gallery_finds_futures_by_their_words_and_adds_them() {
    let (mut w, futures) = project();
    w.press(Modifiers::NONE, Key::G);
    type_into(&mut w, Role::TextInput, "Search futures", "away");
    w.steps(3);
    w.harness.get_by_label("1 of 3 futures");
    assert!(w.harness.query_by_label(&row("推到右邊", 2)).is_none());
    w.harness.get_by_label(&row("push the red cube away", 3)).click();
    w.steps(2);
    w.harness.get_by_label("Add to panes").click();
    w.steps(3);
    assert!(w.app().compare.has(&futures.join("c/seed-3")));
    let file = futures.join("c/seed-3/frames/00004.png");
    w.until("its picture is read", |w| w.app().compare.thumbs.get(&file).is_some());
    let asked = w.wire.sent().into_iter().find_map(|(r, _)| match r {
        Request::OpenFuture { folder, .. } => Some(folder),
        _ => None,
    });
    assert_eq!(asked, Some(futures.join("c/seed-3")), "the pane opens it");
}

#[test]
fn a_branch_names_the_future_that_it_was_made_from_and_a_click_leads_there() {
    let (mut w, futures) = project();
    for key in [Key::G, Key::T] {
        w.press(Modifiers::NONE, key);
        w.harness.get_by_label(&row("推到右邊", 2)).click();
        w.steps(3);
        assert_eq!(w.app().compare.chosen, Some(futures.join("b/seed-2")));
        let parent = row("push the red cube to the left", 1);
        w.harness.get_by_label(&format!("Made from frame 2 of {parent}")).click();
        w.steps(3);
        assert_eq!(w.app().compare.chosen, Some(futures.join("a/seed-1")));
        assert!(
            w.harness.query_by_label_contains("Made from frame").is_none(),
            "the first one has no parent"
        );
    }
}

#[test]
fn a_future_is_imagined_again_from_its_record_beside_the_first_one() {
    let (mut w, futures) = project();
    w.press(Modifiers::NONE, Key::G);
    w.app().compare.chosen = Some(futures.join("a/seed-1"));
    w.steps(2);
    w.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::R);
    let again = w.wire.sent().into_iter().find_map(|(r, _)| match r {
        Request::Again { job, record, .. } => Some((job, record)),
        _ => None,
    });
    let (job, record) = again.expect("asked for");
    assert_eq!(record, futures.join("a/seed-1"));
    let reading = Reading::default();
    w.wire.tell(
        Event::FutureFrame { job, seed: 1, index: 0, width: SIDE, height: SIDE, reading },
        vec![picture(9)],
    );
    w.done(job);
    w.steps(3);
    let doc = w.app().compare.doc.get().clone();
    let (a, b) = doc.pair().unwrap();
    let (a, b) = (a.source.clone(), b.source.clone());
    assert_ne!(a, b);
    assert_eq!(w.app().runs.find(&b).unwrap().1.ready(), 1);
}

#[test]
fn a_branch_starts_at_the_frame_that_is_shown_and_lies_beside_its_parent() {
    let mut w = compare_seeds(WIDE, 2, 6);
    w.app().transport.apply(forerun_ui::transport::Input::Seek(4), 0.0);
    w.harness.get_by_label("Pane 2: Seed 2").click();
    w.steps(2);
    w.wire.sent();
    w.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::B);
    type_into(&mut w, Role::MultilineTextInput, "Words of the branch", " away");
    let imagine = w.s().world.imagine.clone();
    w.harness.get_by_label(&imagine).click();
    w.steps(3);
    // The parent was in nobody's project yet: it is copied there first.
    let kept = w.folder.path().join("futures");
    let sent = w.wire.sent();
    let (job, copy) = sent
        .iter()
        .find_map(|(r, _)| match r {
            Request::SaveFuture { job, to, .. } => Some((*job, to.clone())),
            _ => None,
        })
        .expect("copied");
    assert!(copy.starts_with(&kept));
    assert!(sent.iter().all(|(r, _)| !matches!(r, Request::Imagine { .. })), "not before the copy is there");
    w.done(job);
    w.steps(3);
    let sent = w.wire.sent();
    let spec = sent.iter().find_map(|(r, _)| match r {
        Request::Imagine { spec, .. } => Some(spec.clone()),
        _ => None,
    });
    let spec = spec.expect("imagined");
    let Start::Future { folder, at } = &spec.start else { panic!("{:?}", spec.start) };
    assert!(*folder == copy && *at == 4);
    w.harness.get_by_label("Pane 2: Seed 2");
    assert!(w.app().compare.has(&copy), "the pane means the copy now");
    assert!(spec.prompt.contains("away") && spec.seeds == [2] && spec.steps == 2);
    assert!(spec.out.as_ref().unwrap().starts_with(&kept), "branches are kept: {:?}", spec.out);
    let pane = w.app().compare.doc.get().panes.last().unwrap().clone();
    assert_eq!(pane.offset, 4, "on the time base of its parent");
}

#[test]
fn a_sweep_fills_its_cells_the_cheapest_first() {
    let mut w = Window::open(WIDE);
    w.app().outbox.command(Command::ShowCompare);
    w.steps(2);
    w.press(Modifiers::NONE, Key::X);
    w.steps(2);
    w.harness.get_by_label("Start the sweep").click();
    w.until("laid out", |w| w.app().compare.sweep.laid.is_some());
    w.steps(2);
    assert_eq!(w.app().compare.sweep.laid.as_ref().unwrap().cells.len(), 12, "seeds 1..4 by refine 1, 2, 4");
    let mut order = Vec::new();
    for _ in 0..12 {
        w.steps(2);
        let found = w.wire.sent().into_iter().find_map(|(r, _)| match r {
            Request::Imagine { job, spec } => Some((job, spec)),
            _ => None,
        });
        let (job, spec) = found.expect("one cell after the other");
        order.push((spec.refine, spec.seeds[0]));
        let event = Event::FutureFrame {
            job,
            seed: spec.seeds[0],
            index: 1,
            width: SIDE,
            height: SIDE,
            reading: Reading::default(),
        };
        w.wire.tell(event, vec![picture(level(spec.seeds[0], spec.refine))]);
        w.finish(job, &spec);
    }
    w.steps(3);
    assert!(order.windows(2).all(|p| p[0].0 <= p[1].0), "{order:?}");
    w.harness.get_by_label("12 of 12 futures are there");
    w.harness.get_by_label("Cell 2, 4");
    w.harness.get_by_label("Compare the sweep").click();
    w.steps(3);
    assert_eq!(w.app().compare.doc.get().panes.len(), 12);
}

#[test]
fn the_gauge_moves_each_channel_by_itself_and_tells_which_one_is_followed() {
    let mut w = Window::open(WIDE);
    w.harness.get_by_label("Scene 1").click();
    w.steps(3);
    w.app().outbox.command(Command::ShowCompare);
    w.steps(2);
    w.press(Modifiers::NONE, Key::X);
    w.wire.sent();
    w.app().outbox.command(Command::MeasureFollowing);
    w.until("the probes are laid out", |w| {
        let follow = &w.app().compare.follow;
        assert_eq!(follow.trouble, None);
        follow.base.is_some()
    });
    for round in 0..3u8 {
        w.steps(2);
        let found = w.wire.sent().into_iter().find_map(|(r, _)| match r {
            Request::Imagine { job, spec } => Some((job, spec)),
            _ => None,
        });
        let (job, spec) = found.expect("one future after the other");
        assert!(spec.out.is_none() && spec.seeds.len() == 1, "nothing is written, one noise for all");
        for index in 0..=spec.steps {
            // The first channel changes the picture, the second does not.
            let grey = if round == 1 { 200 } else { 40 };
            let (seed, reading) = (spec.seeds[0], Reading::default());
            let event = Event::FutureFrame { job, seed, index, width: SIDE, height: SIDE, reading };
            w.wire.tell(event, vec![picture(grey)]);
        }
        w.finish(job, &spec);
    }
    w.steps(3);
    w.harness.get_by_label("tabletop follows: 50 %");
    w.harness.get_by_label("shoulder_pan.pos: 100 %");
    w.harness.get_by_label("gripper.pos: 0 %");
}

#[test]
fn an_axis_that_cannot_be_read_says_so() {
    let mut w = Window::open(WIDE);
    w.app().outbox.command(Command::ShowCompare);
    w.steps(2);
    w.press(Modifiers::NONE, Key::X);
    type_into(&mut w, Role::TextInput, "Values, Left to right", " nonsense");
    w.app().outbox.command(Command::StartSweep);
    w.steps(3);
    w.harness.get_by_label_contains("cannot be read");
    assert!(w.app().compare.sweep.laid.is_none());
}

/// A window with three futures whose save dialogs lead into a folder.
fn with_exports() -> (Window, PathBuf) {
    let out = tempfile::tempdir().unwrap().keep();
    let mut w = Window::cold(WIDE, vec![out.clone()]);
    w.answer_start();
    w.run_seeds(3, 6);
    w.app().outbox.command(Command::CompareRun);
    w.steps(3);
    (w, out)
}

#[test]
fn clips_pictures_and_numbers_are_exported() {
    let (mut w, out) = with_exports();
    w.until("measured", |w| !w.app().compare.measured.set.is_empty());
    for (kind, file, begins) in [
        ("Clip (MP4)", "compare.mp4", &b"\0\0\0"[..]),
        ("GIF", "compare.gif", b"GIF89a"),
        ("Sheet (PNG)", "compare.png", b"\x89PNG"),
        ("Film strip (PNG)", "strip.png", b"\x89PNG"),
        ("Numbers (CSV)", "numbers.csv", b"frame,"),
        ("Numbers (JSON)", "numbers.json", b"{"),
    ] {
        w.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::E);
        w.harness.get_by_label(kind).click();
        w.steps(2);
        w.harness.get_by_label("Choose where…").click();
        let path = out.join(file);
        w.until(file, |w| w.app().compare.exporting.is_none() && path.exists());
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(begins) && bytes.len() > 60, "{kind}: {} bytes", bytes.len());
    }
    let csv = std::fs::read_to_string(out.join("numbers.csv")).unwrap();
    assert!(csv.contains("Whole set spread [/255]"), "{csv}");
    assert_eq!(csv.lines().count(), 8, "a head and seven frames");
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn the_blind_round_hides_names_and_stores_votes() {
    let mut w = compare_seeds(WIDE, 3, 4);
    w.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::V);
    w.harness.get_by_label("Which one is better?");
    assert!(w.harness.query_by_label_contains("Seed").is_none(), "no names");
    w.harness.run();
    for key in [Key::J, Key::K] {
        w.press(Modifiers::NONE, key);
    }
    w.harness.get_by_label("No difference").click();
    w.until("the result", |w| w.harness.query_by_label("The votes").is_some());
    let file = w.folder.path().join("futures/votes.json");
    let votes: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(votes["votes"].as_array().unwrap().len(), 3);
    w.press(Modifiers::NONE, Key::Escape);
    assert!(w.app().compare.blind.is_none());
}

#[test]
fn every_part_has_named_widgets_and_known_letters_in_both_languages() {
    for size in [WIDE, [720.0, 480.0]] {
        let (mut w, _) = project();
        w.harness.set_size(size.into());
        for language in forerun_ui::i18n::Language::ALL {
            w.app().view.language = language;
            for part in [Part::Panes, Part::Tree, Part::Sweep, Part::Gallery] {
                w.app().view.compare.part = part;
                w.steps(12);
            }
        }
    }
}

/// A future on disk that started in the drawn scene 7 and was driven by numbers.
fn driven_future(folder: &Path, seed: u64, pan: f32) -> FutureRecord {
    use forerun::world::JOINT_NAMES;
    write_future(folder, seed, "", None, 1_700_000_000);
    let mut record = FutureRecord::read(folder).unwrap();
    let world = Some(forerun::engine::protocol::WorldScene { look: "plain".into(), seed: 7 });
    let start = Start::Blobs { sizes: vec![(SIDE, SIDE)], states: Vec::new(), world };
    record.start.source = serde_json::to_value(start).unwrap();
    let joints = forerun::world::drawn_scene(forerun::world::Look::Plain, 7).start_joints();
    let row = |k: usize| {
        let moved = |(i, v): (usize, f32)| if i == 0 { v + pan * (k + 1) as f32 } else { v };
        joints.into_iter().enumerate().map(moved).collect::<Vec<f32>>()
    };
    record.actions = ActionsRecord {
        kind: "track".into(),
        channels: JOINT_NAMES.iter().map(|n| (*n).to_owned()).collect(),
        rows: (0..4).map(row).collect(),
    };
    std::fs::write(folder.join("future.json"), record.to_bytes().unwrap()).unwrap();
    record
}

/// Answers every future that was asked for as the engine would: by its files.
fn open_asked(w: &mut Window) {
    for (request, _) in w.wire.sent() {
        let Request::OpenFuture { job, folder } = request else { continue };
        let open = forerun::compare::open::OpenFuture::read(&folder).unwrap();
        for (index, frame) in open.frames.iter().enumerate() {
            let (seed, width, height) = (open.record.seed, frame.width, frame.height);
            let reading = Reading::default();
            let event = Event::FutureFrame { job, seed, index, width, height, reading };
            w.wire.tell(event, vec![frame.data.clone()]);
        }
        let record = serde_json::to_value(&open.record).unwrap();
        w.wire.tell(
            Event::FutureDone { job, seed: open.record.seed, folder: Some(folder), record },
            Vec::new(),
        );
        w.done(job);
    }
}

#[test]
fn the_virtual_world_runs_beside_a_future_and_is_its_truth() {
    use forerun::compare::live::{LiveWorld, WorldPlan};
    use forerun::compare::metrics::{Metric, Seen, measure};
    use forerun::compare::truth::Truth;

    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("futures/a/seed-1");
    let two = folder.path().join("futures/a/seed-2");
    let record = driven_future(&one, 1, 6.0);
    let record_2 = driven_future(&two, 2, -6.0);
    let mut w = Window::in_folder(WIDE, Vec::new(), folder);
    w.answer_start();
    w.app().outbox.command(Command::ShowCompare);
    let sources =
        [(&one, 1), (&two, 2)].map(|(folder, seed)| Source::Future { folder: folder.clone(), seed });
    w.app().compare.doc.edit("test", |doc| doc.apply(forerun_ui::compare::Edit::Add(sources.into())));
    w.until("the futures were opened", |w| {
        open_asked(w);
        w.harness.query_by_label("Pane 2: Seed 2").is_some() && w.app().transport.available() == 5
    });
    w.harness.get_by_label("Pane 1: Seed 1").click();
    w.steps(2);
    w.press(Modifiers::NONE, Key::W);
    w.until("the world ran", |w| {
        w.harness.query_by_label("Pane 3: Virtual world").is_some()
            && w.app().compare.opening.is_empty()
            && w.app().compare.measured.panes.iter().any(|(.., strips)| !strips.is_empty())
            && !w.app().compare.measuring
    });
    w.steps(2);

    // Frame by frame what the library's world does with the same numbers.
    let mut live = LiveWorld::new(WorldPlan::of(&record).unwrap()).unwrap();
    let world: Vec<_> = std::iter::from_fn(|| live.advance().unwrap()).collect();
    assert_eq!(world.len(), 5);
    let pane = w.app().compare.doc.get().panes[2].clone();
    let shown: Vec<Frame> =
        w.app().runs.find(&pane.source).unwrap().1.frames().iter().map(|f| (**f).clone()).collect();
    assert_eq!(shown, world.iter().map(|l| l.frame.clone()).collect::<Vec<_>>());
    assert!(w.harness.query_by_label_contains("physics, numbers of seed 1").is_some());

    // Seed 1 is measured against it; seed 2 goes another way, and against a world of its own.
    let measured = w.app().compare.measured.clone();
    let against: Vec<_> = measured.against.iter().map(|(_, a)| *a).collect();
    assert_eq!(against, [forerun_ui::compare::numbers::Against::World; 2]);
    w.harness.get_by_label("against the virtual world");
    let psnr = |record: &FutureRecord, seed: u64| {
        let mut live = LiveWorld::new(WorldPlan::of(record).unwrap()).unwrap();
        let world = std::iter::from_fn(|| live.advance().unwrap());
        let frames = world.map(|l| std::sync::Arc::new(l.frame)).collect();
        let truth = Truth::from_frames(frames, Vec::new());
        let seen = Frame::new(SIDE, SIDE, picture(level(seed, 3))).unwrap();
        let numbers = measure(Seen { frame: &seen, reading: &[] }, &truth, 3);
        numbers.iter().find(|(m, _)| *m == Metric::Psnr).unwrap().1
    };
    let (wanted, other) = (psnr(&record, 1), psnr(&record_2, 2));
    let lines = measured.lines(&Metric::Psnr);
    assert!((lines[0].1[3].unwrap() - wanted).abs() < 1e-9);
    assert!((lines[1].1[3].unwrap() - other).abs() < 1e-9);

    // The strip under the pane carries the number of the frame that is shown; a click on it goes to a frame.
    w.app().view.compare.metric = "psnr".into();
    w.app().transport.apply(forerun_ui::transport::Input::Seek(3), 0.0);
    w.steps(2);
    let strip = w.harness.get_by_role_and_label(Role::Slider, "PSNR of pane 1");
    let value = strip.accesskit_node().numeric_value().unwrap();
    assert!((value - wanted).abs() < 1e-6, "{value}, not {wanted}");
    let rect = strip.rect();
    let at = eframe::egui::pos2(rect.left() + 5.0, rect.center().y);
    w.harness.drag_at(at);
    w.steps(1);
    w.harness.drop_at(at);
    w.steps(2);
    assert_eq!(w.app().transport.frame(), 0);
    assert!(w.harness.query_by_label("PSNR of pane 3").is_none(), "the truth is not measured against itself");

    // The pane is there again after a restart.
    w.app().close();
    let mut again = Window::in_folder(WIDE, Vec::new(), w.folder);
    again.answer_start();
    again.until("the world ran again", |w| {
        open_asked(w);
        w.app().runs.find(&pane.source).is_some_and(|(_, f)| f.ready() == 5)
    });
}

#[test]
fn a_future_from_nowhere_has_no_world_and_its_pane_says_why() {
    let (mut w, _) = project();
    w.press(Modifiers::NONE, Key::G);
    w.harness.get_by_label(&row("push the red cube to the left", 1)).click();
    w.steps(2);
    w.press(Modifiers::NONE, Key::Enter);
    w.press(Modifiers::NONE, Key::V);
    w.until("opened", |w| {
        open_asked(w);
        w.app().transport.available() == 5
    });
    w.harness.get_by_label("Virtual world beside it").click();
    w.until("refused", |w| !w.app().compare.missing.is_empty());
    let why = w.app().compare.missing.values().next().unwrap().clone();
    assert!(why.contains("does not start in the virtual world"), "{why}");
    w.harness.get_by_label("Pane 2: Virtual world");
}

#[test]
fn a_world_that_could_not_run_says_why_and_runs_when_it_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("futures/a/seed-1");
    let record = driven_future(&one, 1, 4.0);
    // As if another program had the folder: the future itself is in memory, its record cannot be read.
    let mut w = Window::in_folder(WIDE, Vec::new(), folder);
    w.answer_start();
    w.app().outbox.command(Command::ShowCompare);
    let source = Source::World { folder: one.clone(), seed: 1 };
    std::fs::write(one.join("future.json"), b"{").unwrap();
    w.app().compare.doc.edit("test", |doc| doc.apply(forerun_ui::compare::Edit::Add(vec![source.clone()])));
    for by_mouse in [true, false] {
        w.until("it is said why", |w| w.app().compare.missing.contains_key(&source));
        w.steps(2);
        let why = w.app().compare.missing[&source].clone();
        w.harness.get_by_role_and_label(Role::Label, why.trim());
        assert!(w.app().runs.find(&source).is_none(), "no pane waits for frames that never come");
        if by_mouse {
            w.harness.get_by_role_and_label(Role::Button, "Try again: Virtual world").click();
            w.until("it was tried", |w| w.app().compare.opening.contains(&source));
        } else {
            std::fs::write(one.join("future.json"), record.to_bytes().unwrap()).unwrap();
            w.press(Modifiers::NONE, Key::R);
        }
    }
    w.until("the world ran", |w| w.app().runs.find(&source).is_some_and(|(_, f)| f.ready() == 5));
    assert!(w.app().compare.missing.is_empty());
    assert!(w.harness.query_by_label("Try again: Virtual world").is_none());
}

#[test]
fn frames_beyond_the_limit_are_let_go_of_and_come_back_when_their_time_comes() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("futures/a/seed-1");
    driven_future(&one, 1, 2.0);
    let mut w = Window::in_folder(WIDE, Vec::new(), folder);
    w.answer_start();
    w.app().outbox.command(Command::ShowCompare);
    let source = Source::Future { folder: one, seed: 1 };
    let add = source.clone();
    w.app().compare.doc.edit("test", |doc| doc.apply(forerun_ui::compare::Edit::Add(vec![add])));
    w.until("opened", |w| {
        open_asked(w);
        w.app().transport.available() == 5
    });
    // As if memory were full: only the frame under the playhead stays.
    w.app().runs.release(1, |_, _| Some(0));
    let one_frame = SIDE * SIDE * 3;
    assert_eq!(w.app().runs.bytes(), one_frame);
    for index in [3, 1] {
        w.app().transport.apply(forerun_ui::transport::Input::Seek(index), 0.0);
        w.until("the frame is back", |w| {
            let id = w.app().compare.doc.get().panes[0].id;
            let slot = forerun_ui::widgets::pane::Slot::Compare(id, false);
            w.app().textures.shown(&slot).is_some_and(|f| f.data == picture(level(1, index)))
        });
    }
    assert_eq!(w.app().transport.available(), 5, "nothing was lost");
    w.harness.get_by_label("Frames 1 of 512 MB");
}
