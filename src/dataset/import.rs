//! Clips with numbers beside them, and single clips, as a dataset.
//!
//! | beside `NAME.mp4` | what it is |
//! |---|---|
//! | `NAME.csv`, `NAME.json` or `NAME.parquet` | a row a frame; columns that begin with `state.` or `observation.state.` are the state, all others the action |
//! | `NAME.txt` | what is done in it, in words |
//!
//! A channel may carry its unit in brackets: `shoulder_pan.pos [deg]`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ChannelInfo, DatasetSpec, DatasetWriter, EpisodeBuffer, Matrix, actions, encode_episode};
use crate::failure::Failure;
use crate::fsx::PendingFolder;
use crate::media::{ClipReader, Kind, sniff_file};

/// Longest side of an imported picture, pixels; larger ones are made smaller. World models see 128 pixels.
const LONGEST: usize = 480;
/// Bytes of pictures that one clip may have in memory.
const MEMORY: usize = 3 << 30;
/// Frames between two looks at whether to go on.
const CHUNK: usize = 16;

/// What a person dropped or chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A LeRobot dataset: used where it lies.
    LeRobot(PathBuf),
    /// Clips, each with what lies beside it.
    Clips(Vec<PathBuf>),
}

/// Tells what is offered, by content and not by name.
///
/// # Errors
/// HDF5, folders without clips, files that are no clips: each with what to do.
pub fn offer(paths: &[PathBuf]) -> Result<Offer, Failure> {
    let first =
        paths.first().ok_or_else(|| Failure::new("Nothing was chosen.", "Choose a folder or clips."))?;
    if let Some(hdf5) = paths.iter().find(|path| is_hdf5(path)) {
        return Err(hdf5_failure(hdf5));
    }
    if !first.is_dir() {
        return Ok(Offer::Clips(clips_of(paths)?));
    }
    // People choose the folder, or the one inside it.
    for root in [first.as_path(), first.parent().unwrap_or(first)] {
        if root.join("meta/info.json").is_file() {
            return Ok(Offer::LeRobot(root.to_path_buf()));
        }
    }
    let entries = std::fs::read_dir(first).map_err(|e| Failure::io("read", first, &e))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.is_file()).collect();
    files.sort();
    if let Some(hdf5) = files.iter().find(|path| is_hdf5(path)) {
        return Err(hdf5_failure(hdf5));
    }
    let clips: Vec<PathBuf> = files.into_iter().filter(|path| is_clip(path)).collect();
    if clips.is_empty() {
        return Err(Failure::new(
            format!("{} is no dataset: it has neither meta/info.json nor clips.", first.display()),
            "Choose a LeRobot dataset (the folder with meta/), or a folder of MP4 clips with a CSV beside each.",
        ));
    }
    Ok(Offer::Clips(clips))
}

fn is_clip(path: &Path) -> bool {
    matches!(sniff_file(path), Ok(Kind::Mp4 | Kind::Gif))
}

fn clips_of(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    // Tables that were dropped along with their clips are found by name.
    let clips: Vec<PathBuf> = paths.iter().filter(|path| is_clip(path)).cloned().collect();
    match (clips.is_empty(), paths.first()) {
        (true, Some(path)) => match ClipReader::open(path) {
            Err(error) => Err(Failure::from_error(error)),
            Ok(_) => Ok(paths.to_vec()),
        },
        _ => Ok(clips),
    }
}

/// The signature of an HDF5 file (HDF5 File Format Specification 3.0, section II.A).
fn is_hdf5(path: &Path) -> bool {
    const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
    let mut head = [0; 8];
    path.is_file()
        && std::fs::File::open(path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head))
            .is_ok_and(|()| head == SIGNATURE)
}

fn hdf5_failure(path: &Path) -> Failure {
    Failure::new(
        format!("{} is an HDF5 file, which is not read yet.", path.display()),
        "Convert it to a LeRobot dataset with lerobot's own scripts (ALOHA, robomimic and others), and open that folder.",
    )
}

/// What an import made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Episodes written.
    pub episodes: usize,
    /// Frames written.
    pub frames: usize,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Writes clips and what lies beside them into a new LeRobotDataset `out`, whole or not at all. `progress` is told how
/// many clips are done.
///
/// # Errors
/// A clip that does not decode, tables that do not fit their clip or each other, a folder that cannot be written; a
/// failure that says so after `cancel`.
pub fn import_clips(
    clips: &[PathBuf],
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
    cancel: &AtomicBool,
) -> Result<Imported, Failure> {
    let mut imported = Imported::default();
    let pending = PendingFolder::new(out).map_err(|e| Failure::io("make", out, &e))?;
    let mut begun: Option<(DatasetWriter, DatasetSpec)> = None;
    for (number, clip) in clips.iter().enumerate() {
        progress(number, clips.len());
        let part = Part::read(clip, begun.as_ref().map(|(_, spec)| spec), cancel)?;
        imported.notes.extend(part.notes);
        if begun.is_none() {
            let writer =
                DatasetWriter::create(pending.path(), part.spec.clone()).map_err(Failure::from_error)?;
            begun = Some((writer, part.spec));
        }
        let Some((writer, spec)) = &mut begun else { continue };
        let encoded = encode_episode(spec, part.buffer).map_err(Failure::from_error)?;
        stop(cancel)?;
        imported.frames += encoded.len();
        imported.episodes += 1;
        writer.append(encoded).map_err(Failure::from_error)?;
    }
    let Some((writer, _)) = begun else {
        return Err(Failure::new("There are no clips.", "Choose clips or a folder with some."));
    };
    writer.finish().map_err(Failure::from_error)?;
    pending.commit().map_err(|e| Failure::io("write", out, &e))?;
    progress(clips.len(), clips.len());
    imported.notes.dedup();
    Ok(imported)
}

fn stop(cancel: &AtomicBool) -> Result<(), Failure> {
    if cancel.load(Ordering::Relaxed) {
        return Err(Failure::new("The import was stopped.", "Nothing was left behind; start it again."));
    }
    Ok(())
}

/// One clip as an episode.
struct Part {
    spec: DatasetSpec,
    buffer: EpisodeBuffer,
    notes: Vec<String>,
}

impl Part {
    fn read(clip: &Path, earlier: Option<&DatasetSpec>, cancel: &AtomicBool) -> Result<Self, Failure> {
        let mut reader = ClipReader::open(clip).map_err(Failure::from_error)?;
        let (width, height) = reader.size();
        let fps = reader.fps().round().clamp(1.0, 1000.0) as u32;
        let mut notes = Vec::new();
        let (to_width, to_height) = match earlier {
            Some(spec) => (spec.width, spec.height),
            None => size(width, height),
        };
        if (to_width, to_height) != (width, height) {
            notes.push(format!("pictures of {width} x {height} became {to_width} x {to_height}"));
        }
        if let Some(spec) = earlier.filter(|spec| spec.fps != fps) {
            return Err(Failure::new(
                format!("{} has {fps} frames a second, the first clip {}.", clip.display(), spec.fps),
                "Import clips of one rate at a time.",
            ));
        }
        if reader.len().saturating_mul(to_width * to_height * 3) > MEMORY {
            return Err(Failure::new(
                format!("{} has {} frames, too many for one episode.", clip.display(), reader.len()),
                "Cut it into shorter clips.",
            ));
        }
        let mut frames = Vec::with_capacity(reader.len());
        for index in 0..reader.len() {
            if index % CHUNK == 0 {
                stop(cancel)?;
            }
            let frame = reader.frame(index).map_err(Failure::from_error)?;
            frames.push(crate::engine::fit::fit(&frame, to_width, to_height)?.frame);
        }
        let mut numbers = Numbers::beside(clip, frames.len())?;
        if let Some(spec) = earlier {
            numbers.order_like(spec, clip)?;
        }
        let task = std::fs::read_to_string(clip.with_extension("txt"))
            .ok()
            .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|text| !text.is_empty());
        let folder = clip.parent().and_then(Path::file_name).unwrap_or(clip.as_os_str());
        let spec = DatasetSpec {
            fps,
            robot_type: "imported".into(),
            width: to_width,
            height: to_height,
            camera: "observation.images.clip".into(),
            state: numbers.state.0.clone(),
            action: numbers.action.0.clone(),
            extra: Vec::new(),
        };
        let buffer = EpisodeBuffer {
            task: task.unwrap_or_else(|| folder.to_string_lossy().into_owned()),
            frames,
            state: numbers.state.1,
            action: numbers.action.1,
            extra: Vec::new(),
            scene: serde_json::Value::Null,
        };
        Ok(Self { spec, buffer, notes })
    }
}

/// The size that a clip is stored at: even sides, the longest at most [`LONGEST`], the shape kept.
fn size(width: usize, height: usize) -> (usize, usize) {
    let shrink = (width.max(height) as f64 / LONGEST as f64).max(1.0);
    let even = |side: usize| (((side as f64 / shrink) as usize) & !1).max(16);
    (even(width), even(height))
}

type Table = (Vec<ChannelInfo>, Vec<Vec<f32>>);

/// State and action rows of a clip.
struct Numbers {
    state: Table,
    action: Table,
}

impl Numbers {
    /// The table beside a clip; empty ones where there is none.
    fn beside(clip: &Path, frames: usize) -> Result<Self, Failure> {
        let table =
            ["csv", "json", "parquet"].iter().map(|end| clip.with_extension(end)).find(|p| p.is_file());
        let Some(path) = table else {
            return Ok(Self { state: Table::default(), action: Table::default() });
        };
        let matrix = actions::read(&path).map_err(Failure::from_error)?;
        let rows = matrix.rows();
        // The last frame has no action that leads on from it: some recorders leave that row out.
        if rows != frames && rows + 1 != frames {
            return Err(Failure::new(
                format!("{} has {rows} rows, and its clip {frames} frames.", path.display()),
                "Give one row for each frame.",
            ));
        }
        let is_state = |name: &str| name.starts_with("state.") || name.starts_with("observation.state.");
        Ok(Self {
            state: pick(&matrix, frames, is_state),
            action: pick(&matrix, frames, |name| !is_state(name)),
        })
    }

    /// Brings the columns into the order of the set.
    fn order_like(&mut self, spec: &DatasetSpec, clip: &Path) -> Result<(), Failure> {
        for (table, wanted) in [(&mut self.state, &spec.state), (&mut self.action, &spec.action)] {
            let order: Option<Vec<usize>> =
                wanted.iter().map(|w| table.0.iter().position(|c| c.name == w.name)).collect();
            let Some(order) = order.filter(|order| order.len() == table.0.len()) else {
                return Err(Failure::new(
                    format!(
                        "The numbers beside {} have other channels than the first clip's.",
                        clip.display()
                    ),
                    "Give every clip a table with the same columns, or none of them one.",
                ));
            };
            for row in &mut table.1 {
                *row = order.iter().filter_map(|at| row.get(*at)).copied().collect();
            }
            table.0.clone_from(wanted);
        }
        Ok(())
    }
}

/// Columns whose name is wanted, a row a frame.
fn pick(matrix: &Matrix, frames: usize, wanted: impl Fn(&str) -> bool) -> Table {
    let columns: Vec<usize> =
        (0..matrix.width()).filter(|at| matrix.channels.get(*at).is_some_and(|c| wanted(&c.name))).collect();
    let channels: Vec<ChannelInfo> =
        columns.iter().filter_map(|at| matrix.channels.get(*at)).map(|c| channel(&c.name)).collect();
    if channels.is_empty() {
        return Table::default();
    }
    let last = matrix.rows().saturating_sub(1);
    let rows = (0..frames).map(|t| {
        let row = matrix.row(t.min(last));
        columns.iter().filter_map(|at| row.get(*at)).copied().collect()
    });
    (channels, rows.collect())
}

/// `state.shoulder.pos [deg]` as a channel.
fn channel(header: &str) -> ChannelInfo {
    let name = header.trim_start_matches("observation.").trim_start_matches("state.");
    let name = name.trim_start_matches("action.");
    match name.trim().strip_suffix(']').and_then(|n| n.rsplit_once('[')) {
        Some((name, unit)) => ChannelInfo::new(name.trim(), unit.trim()),
        None => ChannelInfo::new(name.trim(), ""),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Frame;
    use crate::dataset::Dataset;
    use crate::media::{Mp4Options, write_mp4};

    fn clip(path: &Path, frames: usize, fps: f64) {
        let pictures: Vec<Frame> = (0..frames).map(|i| Frame::filled(34, 32, [i as u8 * 9; 3])).collect();
        write_mp4(path, &pictures, Mp4Options::dataset(fps)).unwrap();
    }

    fn import(folder: &Path, out: &Path) -> Result<Imported, Failure> {
        let Offer::Clips(clips) = offer(&[folder.to_path_buf()])? else { panic!("no clips") };
        import_clips(&clips, out, &mut |_, _| {}, &AtomicBool::new(false))
    }

    #[test]
    fn clips_with_tables_and_words_become_episodes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, out) = (dir.path().join("demos"), dir.path().join("set"));
        std::fs::create_dir(&from).unwrap();
        for (name, columns) in
            [("a", "x.pos [deg],state.x.pos [deg]"), ("b", "state.x.pos [deg],x.pos [deg]")]
        {
            clip(&from.join(format!("{name}.mp4")), 5, 10.0);
            let first = if name == "a" { "1,2" } else { "2,1" };
            let table = format!("{columns}\n{}", format!("{first}\n").repeat(4));
            std::fs::write(from.join(format!("{name}.csv")), table).unwrap();
        }
        std::fs::write(from.join("b.txt"), "push it\n").unwrap();
        let made = import(&from, &out).unwrap();
        assert_eq!((made.episodes, made.frames), (2, 10));
        let set = Dataset::open(&out).unwrap();
        assert_eq!((set.fps(), set.len()), (10.0, 2));
        for index in 0..2 {
            let episode = set.episode(index).unwrap();
            assert_eq!(episode.task, ["demos", "push it"][index]);
            let (action, state) = (episode.actions().unwrap(), episode.state().unwrap());
            assert_eq!(
                (action.channels[0].name.as_str(), action.channels[0].unit.as_str()),
                ("x.pos", "deg")
            );
            assert_eq!((action.row(4), state.row(0)), (&[1.0][..], &[2.0][..]));
        }
    }

    #[test]
    fn clips_alone_are_a_dataset_without_numbers() {
        let dir = tempfile::tempdir().unwrap();
        clip(&dir.path().join("only.mp4"), 4, 30.0);
        let out = dir.path().join("set");
        assert_eq!(import(dir.path(), &out).unwrap().episodes, 1);
        let set = Dataset::open(&out).unwrap();
        assert!(set.episode(0).unwrap().actions().is_none());
        assert_eq!(set.clip("observation.images.clip", 0, 0..4).unwrap().len(), 4);
    }

    #[test]
    fn what_cannot_be_imported_says_why_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("demos");
        std::fs::create_dir(&from).unwrap();
        let out = dir.path().join("set");
        assert!(import(&from, &out).unwrap_err().text().contains("meta/info.json"));
        clip(&from.join("a.mp4"), 5, 10.0);
        std::fs::write(from.join("a.csv"), "x\n1\n").unwrap();
        assert!(import(&from, &out).unwrap_err().text().contains("1 rows, and its clip 5 frames"));
        std::fs::remove_file(from.join("a.csv")).unwrap();
        clip(&from.join("b.mp4"), 5, 20.0);
        assert!(import(&from, &out).unwrap_err().text().contains("20 frames a second"));
        std::fs::write(from.join("c.hdf5"), b"\x89HDF\r\n\x1a\nrest").unwrap();
        assert!(import(&from, &out).unwrap_err().text().contains("HDF5"));
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["demos"]);
    }

    #[test]
    fn a_lerobot_set_is_known_by_its_metadata() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("meta")).unwrap();
        std::fs::write(dir.path().join("meta/info.json"), "{}").unwrap();
        for chosen in [dir.path().to_path_buf(), dir.path().join("meta")] {
            assert_eq!(offer(&[chosen]).unwrap(), Offer::LeRobot(dir.path().to_path_buf()));
        }
    }
}
