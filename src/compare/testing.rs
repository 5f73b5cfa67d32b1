//! Small sound futures on disk, for the tests of this module.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use forerun_models::Frame;

use crate::engine::protocol::Start;
use crate::engine::record::tests::example;
use crate::engine::record::{FileHash, FrameRecord, FutureRecord, RECORD_FILE, StartFrameRecord};
use crate::{fsx, media};

/// Writes a future of `steps` pictures (and one start picture) whose pixels follow from `level` and the frame's number,
/// changed by `edit`.
pub(super) fn future(
    folder: &Path,
    level: u8,
    steps: usize,
    edit: impl FnOnce(&mut FutureRecord),
) -> PathBuf {
    let put = |file: String, level: u8| {
        let path = folder.join(&file);
        media::write_png(&path, &Frame::filled(8, 8, [level, 0, 0])).unwrap();
        FileHash { file, sha256: fsx::sha256_file(&path).unwrap() }
    };
    let mut record = example();
    record.start.frames = vec![StartFrameRecord {
        file: put("start/0000.png".into(), level),
        source_sha256: String::new(),
        origin: String::new(),
        state: None,
        action: None,
    }];
    record.frames = (1..=steps)
        .map(|k| {
            let file = put(format!("frames/{k:05}.png"), level.wrapping_add(k as u8));
            FrameRecord { file, reading: serde_json::Map::new() }
        })
        .collect();
    record.steps = steps;
    edit(&mut record);
    std::fs::write(folder.join(RECORD_FILE), record.to_bytes().unwrap()).unwrap();
    folder.to_path_buf()
}

/// Writes a branch at frame `at` of the future in `parent`, starting from its very picture.
pub(super) fn branch(
    folder: &Path,
    parent: &Path,
    at: usize,
    edit: impl FnOnce(&mut FutureRecord),
) -> PathBuf {
    let old = FutureRecord::read(parent).unwrap();
    let from = match at.checked_sub(1) {
        Some(i) => &old.frames[i].file,
        None => &old.start.frames[0].file,
    };
    let bytes = std::fs::read(parent.join(&from.file)).unwrap();
    future(folder, 100, 2, |record| {
        std::fs::write(folder.join("start/0000.png"), &bytes).unwrap();
        record.start.frames[0].file.sha256 = from.sha256.clone();
        record.start.source =
            serde_json::to_value(Start::Future { folder: parent.to_path_buf(), at }).unwrap();
        record.made = old.made + 1;
        edit(record);
    })
}
