//! All futures of a project: what they are, where they come from, and finding one again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::date::date_and_time;
use crate::engine::protocol::Start;
use crate::engine::record::{FutureRecord, RECORD_FILE};
use crate::failure::Failure;

/// Folders below `futures/` that are looked into: `futures/RUN/seed-S`, and a little more for people who sort.
const DEPTH: usize = 5;
/// Most futures of a project that are listed.
const MOST: usize = 20_000;

/// Where a branch started.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeFrom {
    /// Folder of the parent, as the record says it (it may have been moved or be gone).
    pub folder: PathBuf,
    /// Frame of the parent: 0 is its last start frame, 1 its first imagined one.
    pub at: usize,
}

/// One future.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its folder.
    pub folder: PathBuf,
    /// Its folder below the project's `futures/`, with `/`.
    pub name: String,
    /// Words; may be empty.
    pub prompt: String,
    /// Name of the model.
    pub model: String,
    /// First eight letters of the hash of its weights.
    pub model_hash: String,
    /// Seconds since 1970 when it was made.
    pub made: u64,
    /// Seed of its noise.
    pub seed: u64,
    /// Denoising steps a frame.
    pub refine: usize,
    /// Imagined frames.
    pub steps: usize,
    /// Width and height of its pictures.
    pub size: (usize, usize),
    /// Frames a second.
    pub rate_hz: f32,
    /// The future that it branched from.
    pub parent: Option<MadeFrom>,
    /// sha256 of the picture file that it starts from; finds the parent when folders have moved.
    pub start_sha256: Option<String>,
    /// sha256 of the picture file of frame 1, 2, ...
    pub frame_sha256: Vec<String>,
    /// The picture it starts from; `None` when the start was imagined.
    pub start: Option<PathBuf>,
    /// Its first imagined picture.
    pub first: PathBuf,
    /// Its last picture.
    pub last: PathBuf,
    /// The clip.
    pub clip: Option<PathBuf>,
}

impl Entry {
    /// When it was made, `2026-11-23 12:30` (UTC).
    pub fn date(&self) -> String {
        date_and_time(self.made)
    }

    /// Picture of frame `k`: 0 is the start, 1 the first imagined one. `None` outside the future.
    pub fn picture(&self, k: usize) -> Option<PathBuf> {
        match k {
            0 => self.start.clone(),
            k if k <= self.steps => Some(self.folder.join(format!("frames/{k:05}.png"))),
            _ => None,
        }
    }
}

/// A folder with a record that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The folder.
    pub folder: PathBuf,
    /// What is wrong and what to do.
    pub reason: Failure,
}

/// When and how long a record file was.
type Stamp = (Option<SystemTime>, u64);

/// The futures of a project. Reading again ([`Gallery::refresh`]) opens only records that are new or have changed.
#[derive(Clone, Debug, Default)]
pub struct Gallery {
    root: PathBuf,
    /// Newest first; of one second, by name.
    entries: Vec<Entry>,
    broken: Vec<Broken>,
    known: HashMap<PathBuf, (Stamp, Result<Entry, Failure>)>,
}

impl Gallery {
    /// Looks at all futures below `futures` (a project's folder of that name). Reads the disk: not for the window's
    /// thread. A folder that is not there has no futures.
    pub fn scan(futures: &Path) -> Self {
        let mut gallery = Self { root: futures.to_path_buf(), ..Self::default() };
        gallery.refresh();
        gallery
    }

    /// Looks again; true when anything is different.
    pub fn refresh(&mut self) -> bool {
        let mut found = Vec::new();
        collect(&self.root, DEPTH, &mut found);
        found.sort();
        let mut known = HashMap::with_capacity(found.len());
        for folder in found {
            let stamp = stamp_of(&folder.join(RECORD_FILE));
            let entry = match self.known.remove(&folder) {
                Some((old, Ok(entry))) if old == stamp && entry.last.is_file() => Ok(entry),
                _ => read(&self.root, &folder),
            };
            known.insert(folder, (stamp, entry));
        }
        self.known = known;
        let mut entries: Vec<Entry> = self.known.values().filter_map(|(_, e)| e.clone().ok()).collect();
        entries.sort_by(|a, b| b.made.cmp(&a.made).then_with(|| a.name.cmp(&b.name)));
        let mut broken: Vec<Broken> = self
            .known
            .iter()
            .filter_map(|(folder, (_, e))| {
                let reason = e.as_ref().err()?.clone();
                Some(Broken { folder: folder.clone(), reason })
            })
            .collect();
        broken.sort_by(|a, b| a.folder.cmp(&b.folder));
        let changed = entries != self.entries || broken != self.broken;
        (self.entries, self.broken) = (entries, broken);
        changed
    }

    /// The folder that was looked at.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Sound futures, newest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Futures that cannot be used.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// The entry of a folder.
    pub fn entry(&self, folder: &Path) -> Option<&Entry> {
        self.entries.iter().find(|e| e.folder == folder)
    }

    /// Entries that a search finds, newest first.
    pub fn search(&self, query: &Query) -> Vec<&Entry> {
        self.entries.iter().filter(|entry| query.finds(entry)).collect()
    }

    /// The future that `entry` branched from and the frame, when it is in this gallery: by its folder, or, where that
    /// has moved, by the very picture that the branch starts from.
    pub fn parent_of(&self, entry: &Entry) -> Option<(&Entry, usize)> {
        let from = entry.parent.as_ref()?;
        // Spelled in another way (through a link, say), it still is the folder of that name below the same root; no link
        // is followed below it.
        let root = self.root.canonicalize().ok();
        let wanted = from.folder.canonicalize().ok();
        let name =
            wanted.zip(root).and_then(|(folder, root)| Some(name_below(folder.strip_prefix(&root).ok()?)));
        let by_folder =
            self.entries.iter().find(|e| e.folder == from.folder || Some(&e.name) == name.as_ref());
        if let Some(parent) = by_folder.filter(|p| p.folder != entry.folder && from.at <= p.steps) {
            return Some((parent, from.at));
        }
        let start = entry.start_sha256.as_ref()?;
        let holds = |e: &Entry| match from.at.checked_sub(1) {
            Some(i) => e.frame_sha256.get(i) == Some(start),
            None => e.start_sha256.as_ref() == Some(start) && e.made <= entry.made,
        };
        let parent = self.entries.iter().find(|e| e.folder != entry.folder && holds(e))?;
        Some((parent, from.at))
    }
}

/// Folders with a record, hidden ones and links left out.
fn collect(folder: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if hidden || out.len() >= MOST || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let path = entry.path();
        if path.join(RECORD_FILE).is_file() {
            out.push(path);
        } else if depth > 1 {
            collect(&path, depth - 1, out);
        }
    }
}

fn stamp_of(file: &Path) -> Stamp {
    std::fs::metadata(file).map_or((None, 0), |m| (m.modified().ok(), m.len()))
}

/// A path with `/` between its parts, on every system.
pub(super) fn name_below(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// The last part of a model's folder, or its name.
pub fn model_name(name: &str) -> String {
    Path::new(name).file_name().map_or_else(|| name.to_owned(), |n| n.to_string_lossy().into_owned())
}

/// One future's folder as an entry.
///
/// # Errors
/// Its record is damaged or newer, or pictures that it names are missing.
pub fn read(root: &Path, folder: &Path) -> Result<Entry, Failure> {
    let record = FutureRecord::read(folder)?;
    let incomplete = |what: String| {
        Failure::new(
            format!("The future in {} is not whole: {what}.", folder.display()),
            "Imagine it again from its record, or delete the folder.",
        )
    };
    let inside = |file: &str| -> Result<PathBuf, Failure> {
        let relative = Path::new(file);
        let plain = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let path = folder.join(relative);
        // A record from elsewhere must not name files outside its folder.
        if file.is_empty() || !plain || !path.is_file() {
            return Err(incomplete(format!("{file} is missing")));
        }
        Ok(path)
    };
    let (Some(first), Some(last)) = (record.frames.first(), record.frames.last()) else {
        return Err(incomplete("it has no frames".into()));
    };
    let parent = match serde_json::from_value(record.start.source.clone()) {
        Ok(Start::Future { folder, at }) => {
            Some(MadeFrom { folder: crate::engine::record::locate(&folder).0, at })
        }
        _ => None,
    };
    let start = record.start.frames.last();
    Ok(Entry {
        name: name_below(folder.strip_prefix(root).unwrap_or(folder)),
        prompt: record.prompt.clone(),
        model: model_name(&record.model.name),
        model_hash: record.model.sha256.chars().take(8).collect(),
        made: record.made,
        seed: record.seed,
        refine: record.refine,
        steps: record.frames.len(),
        size: (record.contract.frame.width, record.contract.frame.height),
        rate_hz: record.contract.frame.rate_hz,
        parent,
        start_sha256: start.map(|s| s.file.sha256.clone()),
        frame_sha256: record.frames.iter().map(|f| f.file.sha256.clone()).collect(),
        start: start.map(|s| inside(&s.file.file)).transpose()?,
        first: inside(&first.file.file)?,
        last: inside(&last.file.file)?,
        clip: record.clip.as_ref().and_then(|c| inside(&c.file).ok()),
        folder: folder.to_path_buf(),
    })
}

/// What a person types to find a future: words that must all occur (in the prompt, name, model, hash or date), with
/// `seed:7`, `model:small`, `refine:4`, `after:2026-11-01` and `before:2026-12` (a date's beginning) for one thing
/// alone. Capitals make no difference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    words: Vec<String>,
    model: Vec<String>,
    seed: Option<u64>,
    refine: Option<usize>,
    after: Option<String>,
    before: Option<String>,
}

impl Query {
    /// Reads what was typed; anything that is no known key is a word.
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for part in text.split_whitespace() {
            let part = part.to_lowercase();
            let taken = match part.split_once(':') {
                Some(("seed", value)) => value.parse().map(|seed| query.seed = Some(seed)).is_ok(),
                Some(("refine", value)) => value.parse().map(|k| query.refine = Some(k)).is_ok(),
                Some(("model", value)) if !value.is_empty() => {
                    query.model.push(value.to_owned());
                    true
                }
                Some(("after", value)) if !value.is_empty() => {
                    query.after = Some(value.to_owned());
                    true
                }
                Some(("before", value)) if !value.is_empty() => {
                    query.before = Some(value.to_owned());
                    true
                }
                _ => false,
            };
            if !taken {
                query.words.push(part);
            }
        }
        query
    }

    /// Whether an entry is what was asked for.
    pub fn finds(&self, entry: &Entry) -> bool {
        let date = entry.date();
        let model = entry.model.to_lowercase();
        let text = format!(
            "{}\n{}\n{model}\n{}\n{date}",
            entry.prompt.to_lowercase(),
            entry.name.to_lowercase(),
            entry.model_hash
        );
        self.words.iter().all(|word| text.contains(word))
            && self.model.iter().all(|word| model.contains(word) || entry.model_hash.starts_with(word))
            && self.seed.is_none_or(|seed| seed == entry.seed)
            && self.refine.is_none_or(|refine| refine == entry.refine)
            // Dates sort as texts. A day that is only begun counts from its beginning, and to before it.
            && self.after.as_ref().is_none_or(|after| date.as_str() >= after.as_str())
            && self.before.as_ref().is_none_or(|before| date.as_str() < before.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::compare::testing::{branch, future};

    #[test]
    fn sound_futures_are_listed_newest_first_and_broken_ones_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        future(&root.join("run/seed-1"), 1, 3, |r| r.made = 10);
        future(&root.join("run/seed-2"), 2, 3, |r| r.made = 20);
        let cut = future(&root.join("cut"), 3, 3, |_| {});
        std::fs::remove_file(cut.join("frames/00003.png")).unwrap();
        let garbage = future(&root.join("garbage"), 4, 1, |_| {});
        std::fs::write(garbage.join(RECORD_FILE), "PNG").unwrap();
        let newer = future(&root.join("newer"), 5, 1, |_| {});
        std::fs::write(newer.join(RECORD_FILE), "{\"format\": 99}").unwrap();
        let out =
            future(&root.join("out"), 6, 1, |r| r.frames[0].file.file = "../run/seed-1/future.json".into());
        future(&root.join(".half.1-0.0.tmp"), 7, 1, |_| {});
        std::fs::write(root.join("tree.json"), "{}").unwrap();
        let gallery = Gallery::scan(root);
        let names: Vec<&str> = gallery.entries().iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["run/seed-2", "run/seed-1"]);
        let entry = &gallery.entries()[0];
        assert_eq!((entry.steps, entry.date().as_str()), (3, "1970-01-01 00:00"));
        assert_eq!(entry.picture(0), Some(root.join("run/seed-2/start/0000.png")));
        assert_eq!(entry.picture(3), Some(entry.last.clone()));
        assert_eq!((entry.picture(4), entry.clip.clone()), (None, None));
        let broken: Vec<&Path> = gallery.broken().iter().map(|b| b.folder.as_path()).collect();
        assert_eq!(broken, [&cut, &garbage, &newer, &out]);
        let reasons: Vec<String> = gallery.broken().iter().map(|b| b.reason.text()).collect();
        for (reason, word) in reasons.iter().zip(["00003.png", "not the record", "Update Forerun", "missing"])
        {
            assert!(reason.contains(word), "{reason}");
        }
        assert!(Gallery::scan(&root.join("nowhere")).entries().is_empty());
    }

    #[test]
    fn looking_again_finds_what_is_new_and_what_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = future(&dir.path().join("a"), 1, 1, |_| {});
        let mut gallery = Gallery::scan(dir.path());
        assert!(!gallery.refresh());
        future(&dir.path().join("b"), 2, 1, |r| r.made = 9);
        assert!(gallery.refresh());
        assert_eq!(gallery.entries().len(), 2);
        // A lost picture is noticed although the record is as it was.
        std::fs::remove_file(first.join("frames/00001.png")).unwrap();
        assert!(gallery.refresh());
        assert_eq!((gallery.entries().len(), gallery.broken().len()), (1, 1));
        std::fs::remove_dir_all(&first).unwrap();
        assert!(gallery.refresh() && gallery.broken().is_empty());
    }

    #[test]
    fn a_branch_finds_its_parent_even_when_both_have_moved() {
        let dir = tempfile::tempdir().unwrap();
        let parent = future(&dir.path().join("parent"), 10, 4, |_| {});
        let child = branch(&dir.path().join("child"), &parent, 3, |_| {});
        future(&dir.path().join("other"), 90, 4, |_| {});
        let gallery = Gallery::scan(dir.path());
        let (found, at) = gallery.parent_of(gallery.entry(&child).unwrap()).unwrap();
        assert_eq!((found.folder.as_path(), at), (parent.as_path(), 3));
        assert!(gallery.parent_of(gallery.entry(&parent).unwrap()).is_none());
        std::fs::rename(&parent, dir.path().join("moved")).unwrap();
        let gallery = Gallery::scan(dir.path());
        let (found, at) = gallery.parent_of(gallery.entry(&child).unwrap()).unwrap();
        assert_eq!((found.name.as_str(), at), ("moved", 3));
    }

    #[test]
    fn search_is_by_words_model_seed_and_date() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str, prompt: &str, model: &str, seed: u64, made: u64| {
            future(&dir.path().join(name), 1, 1, |r| {
                (r.prompt, r.seed, r.made) = (prompt.into(), seed, made);
                r.model.name = model.into();
                r.model.sha256 = format!("{seed:0>64}");
            });
        };
        made("a", "Push the RED cube", "/models/tabletop", 7, 1_795_000_000); // 2026-11-18
        made("b", "把紅色方塊推到左邊", "tabletop", 8, 1_795_400_000); // 2026-11-23
        made("c", "push the blue cube", "small", 9, 1_795_500_000); // 2026-11-24
        let gallery = Gallery::scan(dir.path());
        let find = |text: &str| -> Vec<String> {
            gallery.search(&Query::parse(text)).iter().map(|e| e.name.clone()).collect()
        };
        assert_eq!(find(""), ["c", "b", "a"]);
        assert_eq!(find("push cube"), ["c", "a"]);
        assert_eq!(find("red"), ["a"]);
        assert_eq!(find("紅色"), ["b"]);
        assert_eq!(find("model:tabletop"), ["b", "a"]);
        assert_eq!(find("seed:9"), ["c"]);
        assert_eq!(find("seed:red"), Vec::<String>::new(), "no such key's value: a word that occurs nowhere");
        assert_eq!(find("2026-11-23"), ["b"]);
        assert_eq!(find("after:2026-11-23"), ["c", "b"]);
        assert_eq!(find("before:2026-11-24 after:2026-11-20"), ["b"]);
        assert_eq!(find("refine:4 small"), ["c"]);
        assert_eq!(find("refine:3"), Vec::<String>::new());
    }
}
