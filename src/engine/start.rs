//! What a future starts from: files, clips, episodes, other futures or pictures that were sent, as frames of the
//! contract's size with what is known of states and actions.

use std::path::{Path, PathBuf};

use forerun_models::{Channel, Contract, Frame};

use super::backend::HistoryFrame;
use super::episode::Episode;
use super::fit::fit_for;
use super::protocol::Start;
use super::record::{FutureRecord, locate};
use crate::failure::Failure;
use crate::{fsx, media};

/// One frame to start from.
#[derive(Clone, Debug)]
pub struct StartFrame {
    /// Picture, state and action as the model takes them.
    pub history: HistoryFrame,
    /// sha256 of the RGB bytes before fitting.
    pub source_sha256: String,
    /// Where it came from, in words.
    pub origin: String,
    /// State by channel name with the source's own channels, for showing.
    pub named_state: Vec<(String, f32)>,
}

/// Frames to start from, oldest first, the last one being the present.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The frames; empty: the model imagines the start.
    pub frames: Vec<StartFrame>,
    /// What a person should know: how pictures were fitted, what is missing.
    pub notes: Vec<String>,
}

/// A picture before it is fitted.
struct Raw {
    frame: Frame,
    origin: String,
    state: Vec<(String, f32)>,
    action: Option<Vec<f32>>,
}

/// Finds and reads what to start from. `blobs` are the pictures beside the message.
///
/// # Errors
/// Missing or damaged files, a frame number beyond the end, a picture that does not match its size.
pub fn resolve(start: &Start, blobs: &[Vec<u8>], contract: &Contract) -> Result<Resolved, Failure> {
    let mut notes = Vec::new();
    let raw = match start {
        Start::Nothing => Vec::new(),
        Start::Files { paths, at } => from_files(paths, *at, contract, &mut notes)?,
        Start::Episode { dataset, episode, at } => {
            from_episode(dataset, *episode, *at, contract, &mut notes)?
        }
        Start::Future { folder, at } => from_future(folder, *at, contract, &mut notes)?,
        Start::Blobs { sizes, states, .. } => from_blobs(sizes, states, blobs, contract)?,
    };
    let mut frames = Vec::with_capacity(raw.len());
    for raw in raw {
        let fitted = fit_for(&raw.frame, &contract.frame)?;
        if !fitted.note.is_empty() && !notes.contains(&fitted.note) {
            notes.push(fitted.note);
        }
        frames.push(StartFrame {
            source_sha256: fsx::sha256_hex(&raw.frame.data),
            origin: raw.origin,
            history: HistoryFrame {
                frame: fitted.frame,
                state: in_order(&raw.state, &contract.state),
                action: raw.action,
            },
            named_state: raw.state,
        });
    }
    Ok(Resolved { frames, notes })
}

/// Named values in the order of `channels`; `None` unless all of them are known and finite.
pub fn in_order(named: &[(String, f32)], channels: &[Channel]) -> Option<Vec<f32>> {
    if channels.is_empty() {
        return None;
    }
    channels
        .iter()
        .map(|c| named.iter().find(|(name, value)| *name == c.name && value.is_finite()).map(|(_, v)| *v))
        .collect()
}

/// The last `history` of frames up to and including `at`.
fn window(at: usize, contract: &Contract) -> std::ops::RangeInclusive<usize> {
    at.saturating_sub(contract.frame.history.saturating_sub(1))..=at
}

fn beyond(what: &str, at: usize, len: usize) -> Failure {
    Failure::new(
        format!("{what} has {len} frames, so there is no frame {at}."),
        format!("Choose a start from 0 to {}.", len.saturating_sub(1)),
    )
}

fn from_files(
    paths: &[PathBuf],
    at: Option<usize>,
    contract: &Contract,
    notes: &mut Vec<String>,
) -> Result<Vec<Raw>, Failure> {
    if let [path] = paths {
        let kind = media::sniff_file(path).map_err(Failure::from_error)?;
        if !kind.is_picture() || kind == media::Kind::Gif {
            return from_clip(path, at, contract, notes);
        }
    }
    let Some(last) = paths.len().checked_sub(1) else {
        return Err(Failure::new("No picture was given.", "Give at least one, or start from nothing."));
    };
    let at = at.unwrap_or(last);
    if at > last {
        return Err(beyond("The list of pictures", at, paths.len()));
    }
    window(at, contract)
        .filter_map(|i| paths.get(i))
        .map(|path| {
            let frame = media::read_picture(path).map_err(Failure::from_error)?;
            Ok(Raw { frame, origin: path.display().to_string(), state: Vec::new(), action: None })
        })
        .collect()
}

fn from_clip(
    path: &Path,
    at: Option<usize>,
    contract: &Contract,
    notes: &mut Vec<String>,
) -> Result<Vec<Raw>, Failure> {
    let mut clip = media::ClipReader::open(path).map_err(Failure::from_error)?;
    let last = clip.len().saturating_sub(1);
    let at = at.unwrap_or(last);
    if at > last {
        return Err(beyond(&path.display().to_string(), at, clip.len()));
    }
    let rate = f64::from(contract.frame.rate_hz);
    let (stride, note) = stride_of(clip.fps(), rate, "The clip");
    notes.extend(note);
    past(at, stride, contract.frame.history)
        .into_iter()
        .map(|i| {
            let frame = clip.frame(i).map_err(Failure::from_error)?;
            Ok(Raw {
                frame,
                origin: format!("{}, frame {i}", path.display()),
                state: Vec::new(),
                action: None,
            })
        })
        .collect()
}

/// Frames of a source a model's frame (at least 1), and what a person should know about it.
pub(crate) fn stride_of(fps: f64, rate: f64, what: &str) -> (f64, Option<String>) {
    let usable = fps.is_finite() && fps > 0.0 && rate > 0.0;
    let stride = if usable { fps / rate } else { 1.0 };
    if (stride - 1.0).abs() < 0.02 {
        (1.0, None)
    } else if stride < 1.0 {
        let note =
            format!("{what} has {fps:.3} frames a second and the model {rate}: every frame is used as it is");
        (1.0, Some(note))
    } else {
        (
            stride,
            Some(format!(
                "{what} has {fps:.3} frames a second, one in {stride:.3} is used ({rate} a second)"
            )),
        )
    }
}

/// Numbers of the frames up to `at`, `stride` apart, oldest first, at most `count`.
pub(super) fn past(at: usize, stride: f64, count: usize) -> Vec<usize> {
    let mut frames: Vec<usize> = (0..count)
        .map_while(|k| {
            let back = (k as f64 * stride).round() as usize;
            at.checked_sub(back)
        })
        .collect();
    frames.reverse();
    frames
}

fn from_episode(
    dataset: &Path,
    episode: usize,
    at: usize,
    contract: &Contract,
    notes: &mut Vec<String>,
) -> Result<Vec<Raw>, Failure> {
    let source = Episode::open(dataset, episode)?;
    if at >= source.len() {
        return Err(beyond(&source.name(), at, source.len()));
    }
    let (stride, note) = stride_of(source.fps(), f64::from(contract.frame.rate_hz), "The episode");
    notes.extend(note);
    let frames = past(at, stride, contract.frame.history);
    let mut raws = Vec::with_capacity(frames.len());
    for (k, &i) in frames.iter().enumerate() {
        // The target that was in force when the next frame was taken.
        let action = frames
            .get(k + 1)
            .map(|next| source.action(next.saturating_sub(1)))
            .and_then(|named| in_order(&named, &contract.actions));
        raws.push(Raw {
            frame: source.frame(i)?,
            origin: format!("{}, frame {i}", source.name()),
            state: source.state(i),
            action,
        });
    }
    if !contract.state.is_empty()
        && raws.last().is_some_and(|r| in_order(&r.state, &contract.state).is_none())
    {
        notes.push(
            "the dataset has no state of the model's channels: the model goes by the pictures alone".into(),
        );
    }
    Ok(raws)
}

fn from_future(
    folder: &Path,
    at: usize,
    contract: &Contract,
    notes: &mut Vec<String>,
) -> Result<Vec<Raw>, Failure> {
    let (folder, _) = locate(folder);
    let record = FutureRecord::read(&folder)?;
    if at > record.frames.len() {
        return Err(beyond(&folder.display().to_string(), at, record.frames.len() + 1));
    }
    let same_channels = |a: &[Channel], b: &[Channel]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (&a.name, &a.unit) == (&b.name, &b.unit))
    };
    let actions_fit = same_channels(&record.contract.actions, &contract.actions);
    if !actions_fit && !record.actions.rows.is_empty() {
        notes.push("the future was driven by other channels: its past actions are not used".into());
    }
    let action = |row: Option<Vec<f32>>| row.filter(|_| actions_fit);
    let names: Vec<String> = record.contract.state.iter().map(|c| c.name.clone()).collect();
    let mut all: Vec<(String, Vec<(String, f32)>, Option<Vec<f32>>)> = Vec::new();
    for start in &record.start.frames {
        let state = start.state.iter().flat_map(|s| names.iter().cloned().zip(s.iter().copied())).collect();
        all.push((start.file.file.clone(), state, action(start.action.clone())));
    }
    if let Some(present) = all.last_mut() {
        present.2 = action(record.actions.rows.first().cloned());
    }
    for (i, frame) in record.frames.iter().enumerate() {
        all.push((frame.file.file.clone(), Vec::new(), action(record.actions.rows.get(i + 1).cloned())));
    }
    // Frame 0 is the last start frame; without one, frame 1 is the first there is.
    let present = match (record.start.frames.len() + at).checked_sub(1) {
        Some(present) => present,
        None => return Err(beyond(&folder.display().to_string(), at, record.frames.len() + 1)),
    };
    let range = window(present, contract);
    let end = *range.end();
    range
        .filter_map(|i| all.get(i).map(|entry| (i, entry)))
        .map(|(i, (file, state, action))| {
            let path = folder.join(file);
            let frame = media::read_picture(&path).map_err(Failure::from_error)?;
            let action = action.clone().filter(|_| i != end);
            Ok(Raw { frame, origin: path.display().to_string(), state: state.clone(), action })
        })
        .collect()
}

fn from_blobs(
    sizes: &[(usize, usize)],
    states: &[Vec<(String, f32)>],
    blobs: &[Vec<u8>],
    contract: &Contract,
) -> Result<Vec<Raw>, Failure> {
    if sizes.len() != blobs.len() || sizes.is_empty() || !(states.is_empty() || states.len() == sizes.len()) {
        return Err(Failure::new(
            format!("{} pictures were announced and {} sent.", sizes.len(), blobs.len()),
            "Send one picture a size, and one state a picture or none.",
        ));
    }
    let range = window(sizes.len() - 1, contract);
    sizes
        .iter()
        .zip(blobs)
        .enumerate()
        .filter(|(i, _)| range.contains(i))
        .map(|(i, (&(width, height), bytes))| {
            let frame = Frame::new(width, height, bytes.clone()).ok_or_else(|| {
                Failure::new(
                    format!("Picture {i} is {width} x {height}, but has {} bytes.", bytes.len()),
                    "Send width x height x 3 bytes, R G B.",
                )
            })?;
            let state = states.get(i).cloned().unwrap_or_default();
            Ok(Raw { frame, origin: format!("picture {i} of the window"), state, action: None })
        })
        .collect()
}
