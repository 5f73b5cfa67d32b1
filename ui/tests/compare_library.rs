//! Tree, gallery, branches, sweep, export and the blind round of the Compare screen, with real files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{SIDE, Window, compare_seeds, contract, level, picture};
use eframe::egui::{Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::Queryable;
use forerun::Frame;
use forerun::engine::protocol::{Event, Reading, Request, Start};
use forerun::engine::record::{
    ActionsRecord, FileHash, FrameRecord, FutureRecord, ModelRef, StartFrameRecord, StartRecord, Timings,
};
use forerun_ui::commands::Command;
use forerun_ui::compare::Part;

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
    let sent = w.wire.sent();
    let spec = sent.iter().find_map(|(r, _)| match r {
        Request::Imagine { spec, .. } => Some(spec.clone()),
        _ => None,
    });
    let spec = spec.expect("imagined");
    let Start::Future { folder, at } = &spec.start else { panic!("{:?}", spec.start) };
    assert!(folder.ends_with("seed-2") && *at == 4);
    assert!(spec.prompt.contains("away") && spec.seeds == [2] && spec.steps == 2);
    let kept = w.folder.path().join("futures");
    assert!(spec.out.as_ref().unwrap().starts_with(&kept), "branches are kept: {:?}", spec.out);
    assert!(sent.iter().any(|(r, _)| matches!(r, Request::SaveFuture { to, .. } if to.starts_with(&kept))));
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
