#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn pane(label: &str, level: u8, count: usize) -> SheetPane {
    let frames = (0..count).map(|k| Arc::new(Frame::filled(16, 12, [level, 10 * k as u8, 0])));
    SheetPane {
        label: label.into(),
        note: "seed 7, 推".into(),
        pictures: frames.map(Picture::Here).collect(),
    }
}

fn panes() -> Vec<SheetPane> {
    vec![pane("one", 200, 4), pane("紅色", 120, 2), pane("a name that is longer than its pane by far", 40, 4)]
}

fn count(frame: &Frame, rgb: [u8; 3]) -> usize {
    frame.data.chunks_exact(3).filter(|p| *p == rgb).count()
}

fn go(_: usize, _: usize) -> bool {
    true
}

#[test]
fn every_pane_is_there_pixel_by_pixel_with_its_label() {
    let look = SheetLook { scale: 3, ..SheetLook::default() };
    let sheet = grid(&panes(), 1, &look).unwrap();
    // 16 x 12 pixels as squares of 3 x 3.
    assert_eq!(count(&sheet, [200, 10, 0]), 16 * 12 * 9);
    assert_eq!(count(&sheet, [120, 10, 0]), 16 * 12 * 9);
    assert_eq!(count(&sheet, [40, 10, 0]), 16 * 12 * 9);
    // Words are there: without them, the sheet is of other pixels.
    let silent: Vec<SheetPane> =
        panes().into_iter().map(|p| SheetPane { label: String::new(), ..p }).collect();
    let quiet = grid(&silent, 1, &look).unwrap();
    let ink = sheet.data.iter().zip(&quiet.data).filter(|(a, b)| a != b).count();
    assert!(ink > 300, "{ink}");
    // A long label stays within its pane: the gap to its right has the ground's colour.
    let ground = [22, 24, 28];
    let right = GAP + 96;
    assert!((0..sheet.height).all(|y| (right..right + GAP).all(|x| {
        let label_of_title = y < line_height(14.0) + GAP;
        label_of_title || sheet.pixel(x, y) == Some(ground)
    })));
    let light = grid(&panes(), 1, &SheetLook { light: true, ..look }).unwrap();
    assert_eq!(light.pixel(0, 0), Some([255; 3]));
}

#[test]
fn a_pane_that_has_ended_shows_its_last_picture_dimmed() {
    let sheet = grid(&panes(), 3, &SheetLook { scale: 1, ..SheetLook::default() }).unwrap();
    assert_eq!(count(&sheet, [200, 30, 0]), 16 * 12);
    assert_eq!(count(&sheet, [120, 10, 0]), 0);
    assert_eq!(count(&sheet, [71, 17, 14]), 16 * 12); // half way to the ground 22, 24, 28
}

#[test]
fn a_strip_has_a_row_a_future_and_a_column_a_frame() {
    let look = SheetLook { scale: 1, title: "strip".into(), ..SheetLook::default() };
    let sheet = strip(&panes()[..1], &[0, 2, 3], &look).unwrap();
    let columns: Vec<usize> = [[200, 0, 0], [200, 20, 0], [200, 30, 0]]
        .into_iter()
        .map(|rgb| {
            (0..sheet.width).find(|x| (0..sheet.height).any(|y| sheet.pixel(*x, y) == Some(rgb))).unwrap()
        })
        .collect();
    assert_eq!(columns, [GAP, 2 * GAP + 96, 3 * GAP + 2 * 96]);
    assert!(strip(&panes(), &[], &look).is_err() && strip(&[], &[0], &look).is_err());
}

#[test]
fn clips_and_pictures_are_read_back_by_our_own_demuxer() {
    let dir = tempfile::tempdir().unwrap();
    let look = SheetLook { scale: 2, title: "two futures".into(), ..SheetLook::default() };
    let mut steps = Vec::new();
    let mp4 = dir.path().join("out/sheet.mp4");
    let written = export(&mp4, SheetFile::Mp4, &panes(), &look, 10.0, &mut |done, all| {
        steps.push((done, all));
        true
    })
    .unwrap();
    assert_eq!((written.frames, steps), (4, vec![(0, 4), (1, 4), (2, 4), (3, 4)]));
    let (frames, fps) = media::read_clip(&mp4).unwrap();
    assert_eq!((frames.len(), fps), (4, 10.0));
    let wanted = grid(&panes(), 2, &look).unwrap();
    // H.264 with halved colours: nearly the same picture.
    let apart: u64 = wanted.data.iter().zip(&frames[2].data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(apart / (wanted.data.len() as u64) < 8, "{}", apart / wanted.data.len() as u64);

    let gif = dir.path().join("sheet.gif");
    export(&gif, SheetFile::Gif, &panes(), &look, 10.0, &mut go).unwrap();
    assert_eq!(media::read_clip(&gif).unwrap().0.len(), 4);

    let png = dir.path().join("sheet.png");
    let one = export(&png, SheetFile::Png { index: 2 }, &panes(), &look, 10.0, &mut go).unwrap();
    assert_eq!(media::read_picture(&png).unwrap(), wanted);
    assert_eq!(one.size, (wanted.width, wanted.height));

    let folder = dir.path().join("pictures");
    export(&folder, SheetFile::Sequence, &panes(), &look, 10.0, &mut go).unwrap();
    assert_eq!(media::read_picture(&folder.join("00002.png")).unwrap(), wanted);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
    let again = export(&folder, SheetFile::Sequence, &panes(), &look, 10.0, &mut go);
    assert!(again.unwrap_err().text().contains("there already"));
}

#[test]
fn what_is_stopped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (name, kind) in [("a.mp4", SheetFile::Mp4), ("a.gif", SheetFile::Gif), ("a", SheetFile::Sequence)] {
        let stopped =
            export(&dir.path().join(name), kind, &panes(), &SheetLook::default(), 10.0, &mut |done, _| {
                done < 2
            });
        assert!(stopped.unwrap_err().text().contains("stopped"), "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_lost_picture_is_named_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("0.png");
    media::write_png(&good, &Frame::filled(16, 16, [1; 3])).unwrap();
    let lost = dir.path().join("lost.png");
    let pane = SheetPane {
        label: "x".into(),
        note: String::new(),
        pictures: vec![Picture::File(good), Picture::File(lost)],
    };
    let out = dir.path().join("a.mp4");
    let failure = export(&out, SheetFile::Mp4, &[pane], &SheetLook::default(), 10.0, &mut go).unwrap_err();
    assert!(failure.text().contains("lost.png"), "{}", failure.text());
    assert!(!out.exists());
    let empty = SheetPane { label: "x".into(), note: String::new(), pictures: vec![] };
    assert!(grid(&[empty], 0, &SheetLook::default()).unwrap_err().text().contains("no pictures"));
}

#[test]
fn a_sheet_that_would_be_too_large_is_drawn_smaller_or_refused() {
    let big = |n: usize| -> Vec<SheetPane> {
        let frame = Arc::new(Frame::filled(512, 512, [9; 3]));
        (0..n)
            .map(|_| SheetPane {
                label: "x".into(),
                note: String::new(),
                pictures: vec![Picture::Here(frame.clone())],
            })
            .collect()
    };
    let look = SheetLook { scale: 16, ..SheetLook::default() };
    let plan = plan_grid(&big(9), &look).unwrap().fit(fits_clip).unwrap();
    assert_eq!(plan.scale, 1);
    let refused = plan_grid(&big(64), &look).unwrap().fit(fits_clip);
    assert!(refused.err().unwrap().text().contains("too large"));
    // As a picture, all 64 fit.
    assert!(plan_grid(&big(64), &look).unwrap().fit(fits_picture).is_ok());
}
