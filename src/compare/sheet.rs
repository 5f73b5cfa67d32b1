//! Several futures in one picture or clip, each with its label: what people put into a report.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun_models::Frame;

use super::canvas::{Canvas, TextStyle};
use super::glyphs::{Weight, line_height, text_width};
use super::picture::Picture;
use crate::failure::Failure;
use crate::{fsx, media};

/// Largest picture of a sheet, in pixels.
const MOST_PIXELS: usize = media::MAX_PIXELS as usize;
/// Longer and shorter side of the largest clip.
const CLIP_SIDES: (usize, usize) = (3840, 2160);

/// Picture `index` of a pane, or the last one with `true` where it has ended.
fn picture(pane: &SheetPane, index: usize) -> Result<(Arc<Frame>, bool), Failure> {
    let Some(last) = pane.pictures.len().checked_sub(1) else {
        return Err(Failure::new(
            "A future of the sheet has no pictures.",
            "Leave it out, or wait until it has some.",
        ));
    };
    let at = index.min(last);
    let missing = || Failure::new("A picture of the sheet is missing.", "Open the future again.");
    let frame = pane.pictures.get(at).ok_or_else(missing)?.read()?;
    Ok((frame, at != index))
}

/// One future (or the truth) on a sheet.
#[derive(Clone, Debug)]
pub struct SheetPane {
    /// First line above the picture; cut where it is too long.
    pub label: String,
    /// Second line: seed, refine, model, what differs; may be empty.
    pub note: String,
    /// Its pictures; number 0 is the start.
    pub pictures: Vec<Picture>,
}

/// How a sheet looks.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetLook {
    /// Line above all; may be empty.
    pub title: String,
    /// Panes beside each other; as near to a square as can be when absent.
    pub columns: Option<usize>,
    /// Pixels of the sheet a pixel of a picture, 1..=16; made smaller where the sheet would be too large.
    pub scale: usize,
    /// Pixels an em of the labels.
    pub text: f32,
    /// White paper instead of the window's dark ground.
    pub light: bool,
}

impl Default for SheetLook {
    fn default() -> Self {
        Self { title: String::new(), columns: None, scale: 2, text: 14.0, light: false }
    }
}

/// Kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SheetFile {
    /// One PNG: the panes at one frame, as the window shows them.
    Png {
        /// The frame.
        index: usize,
    },
    /// One PNG: a row a pane, a column a frame.
    Strip {
        /// First frame.
        from: usize,
        /// Frames between columns, at least 1.
        every: usize,
        /// Most columns.
        most: usize,
    },
    /// A clip of all panes, H.264.
    Mp4,
    /// The same as an endless GIF.
    Gif,
    /// A folder of PNGs `00000.png`, `00001.png`, ...
    Sequence,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// File, or folder of a sequence.
    pub path: PathBuf,
    /// Width and height in pixels.
    pub size: (usize, usize),
    /// Pictures in it.
    pub frames: usize,
    /// Scale that was used.
    pub scale: usize,
}

/// Colours of ground, text and notes.
struct Paper {
    ground: [u8; 3],
    ink: [u8; 3],
    faint: [u8; 3],
}

fn paper(look: &SheetLook) -> Paper {
    if look.light {
        Paper { ground: [255; 3], ink: [24; 3], faint: [96; 3] }
    } else {
        Paper { ground: [22, 24, 28], ink: [236; 3], faint: [164; 3] }
    }
}

/// Room around and between panes.
const GAP: usize = 10;
/// Room between a label and its picture.
const UNDER: usize = 4;

/// Sizes of a sheet in pixels.
struct Plan {
    columns: usize,
    rows: usize,
    /// A pane's picture at scale 1 (the largest of all panes).
    cell: (usize, usize),
    scale: usize,
    /// Height of the title line, 0 without one.
    title: usize,
    /// Height of a pane's label lines.
    head: usize,
    /// Width kept for row labels of a strip.
    side: usize,
}

impl Plan {
    fn cell_size(&self) -> (usize, usize) {
        // A label needs some room, however small the picture.
        ((self.cell.0 * self.scale).max(96), self.cell.1 * self.scale)
    }

    fn size(&self) -> (usize, usize) {
        let (width, height) = self.cell_size();
        (
            self.side + self.columns * (width + GAP) + GAP,
            self.title + self.rows * (height + self.head + GAP) + GAP,
        )
    }

    /// Left upper corner of a pane, its label included.
    fn corner(&self, column: usize, row: usize) -> (usize, usize) {
        let (width, height) = self.cell_size();
        (self.side + GAP + column * (width + GAP), self.title + GAP + row * (height + self.head + GAP))
    }

    /// Makes the scale smaller until the sheet fits.
    fn fit(mut self, fits: impl Fn(usize, usize) -> bool) -> Result<Self, Failure> {
        loop {
            let (width, height) = self.size();
            if fits(width, height) {
                return Ok(self);
            }
            if self.scale <= 1 {
                return Err(Failure::new(
                    format!("The sheet would be {width} x {height} pixels, which is too large."),
                    "Choose fewer futures or frames, or another number of columns.",
                ));
            }
            self.scale -= 1;
        }
    }
}

fn fits_picture(width: usize, height: usize) -> bool {
    width.saturating_mul(height) <= MOST_PIXELS
}

fn fits_clip(width: usize, height: usize) -> bool {
    width.max(height) <= CLIP_SIDES.0 && width.min(height) <= CLIP_SIDES.1
}

/// Largest first picture of the panes.
fn cell(panes: &[SheetPane]) -> Result<(usize, usize), Failure> {
    if panes.is_empty() {
        return Err(Failure::new("There is nothing to put on the sheet.", "Choose at least one future."));
    }
    let mut size = (1, 1);
    for pane in panes {
        let (frame, _) = picture(pane, 0)?;
        size = (size.0.max(frame.width), size.1.max(frame.height));
    }
    Ok(size)
}

fn plan_grid(panes: &[SheetPane], look: &SheetLook) -> Result<Plan, Failure> {
    let cell = cell(panes)?;
    let square = (panes.len() as f64).sqrt().ceil() as usize;
    let columns = look.columns.unwrap_or(square).clamp(1, panes.len());
    let lines = 1 + usize::from(panes.iter().any(|p| !p.note.is_empty()));
    Ok(Plan {
        columns,
        rows: panes.len().div_ceil(columns),
        cell,
        scale: look.scale.clamp(1, 16),
        title: line_height(look.text) + GAP,
        head: lines * line_height(look.text) + UNDER,
        side: 0,
    })
}

/// Frames that the longest pane has.
pub fn length(panes: &[SheetPane]) -> usize {
    panes.iter().map(|p| p.pictures.len()).max().unwrap_or(0)
}

/// All panes at one frame. A pane that has ended shows its last picture, dimmed.
///
/// # Errors
/// No panes, a picture that cannot be read, or a sheet that is too large at any scale.
pub fn grid(panes: &[SheetPane], index: usize, look: &SheetLook) -> Result<Frame, Failure> {
    draw_grid(panes, index, look, &plan_grid(panes, look)?.fit(fits_picture)?)
}

fn draw_grid(panes: &[SheetPane], index: usize, look: &SheetLook, plan: &Plan) -> Result<Frame, Failure> {
    let paper = paper(look);
    let (width, height) = plan.size();
    let mut canvas = Canvas::new(width, height, paper.ground);
    let line = line_height(look.text);
    let title = TextStyle { size: look.text, weight: Weight::SemiBold, rgb: paper.ink };
    let small = TextStyle { size: look.text, weight: Weight::Regular, rgb: paper.faint };
    let last = length(panes).saturating_sub(1);
    let counter = format!("{index} / {last}");
    let room = text_width(&counter, look.text, Weight::Regular);
    let free = width.saturating_sub(3 * GAP + room);
    canvas.text(&look.title, GAP, GAP, free, title);
    canvas.text(&counter, width.saturating_sub(GAP + room), GAP, room, small);
    for (i, pane) in panes.iter().enumerate() {
        let (x, y) = plan.corner(i % plan.columns, i / plan.columns);
        let (frame, ended) = picture(pane, index)?;
        let room = plan.cell_size().0;
        canvas.text(&pane.label, x, y, room, title);
        canvas.text(&pane.note, x, y + line, room, small);
        let shown = if ended { dimmed(&frame, paper.ground) } else { (*frame).clone() };
        canvas.picture(&shown, x, y + plan.head, plan.scale);
    }
    Ok(canvas.finish())
}

/// Half picture, half ground.
fn dimmed(frame: &Frame, ground: [u8; 3]) -> Frame {
    let data = frame
        .data
        .chunks_exact(3)
        .flat_map(|p| p.iter().zip(ground).map(|(v, g)| v.midpoint(g)).collect::<Vec<_>>());
    Frame { width: frame.width, height: frame.height, data: data.collect() }
}

/// A row a pane, a column a frame; the numbers of the frames stand above, labels over each row.
///
/// # Errors
/// As [`grid`]; no frames.
pub fn strip(panes: &[SheetPane], indices: &[usize], look: &SheetLook) -> Result<Frame, Failure> {
    if indices.is_empty() {
        return Err(Failure::new("The sheet has no frames.", "Choose at least one frame."));
    }
    let line = line_height(look.text);
    let plan = Plan {
        columns: indices.len(),
        rows: panes.len().max(1),
        cell: cell(panes)?,
        scale: look.scale.clamp(1, 16),
        title: (1 + usize::from(!look.title.is_empty())) * line + GAP,
        head: line + UNDER,
        side: 0,
    }
    .fit(fits_picture)?;
    let paper = paper(look);
    let (width, height) = plan.size();
    let mut canvas = Canvas::new(width, height, paper.ground);
    let title = TextStyle { size: look.text, weight: Weight::SemiBold, rgb: paper.ink };
    let small = TextStyle { size: look.text, weight: Weight::Regular, rgb: paper.faint };
    canvas.text(&look.title, GAP, GAP, width.saturating_sub(2 * GAP), title);
    let numbers = plan.title.saturating_sub(line);
    for (column, index) in indices.iter().enumerate() {
        canvas.text(&index.to_string(), plan.corner(column, 0).0, numbers, plan.cell_size().0, small);
    }
    for (row, pane) in panes.iter().enumerate() {
        let (x, y) = plan.corner(0, row);
        let label = text_width(&pane.label, look.text, Weight::SemiBold).min(width.saturating_sub(2 * GAP));
        canvas.text(&pane.label, x, y, width.saturating_sub(2 * GAP), title);
        let beside = x + label + GAP;
        canvas.text(&pane.note, beside, y, width.saturating_sub(beside + GAP), small);
        for (column, index) in indices.iter().enumerate() {
            let (frame, ended) = picture(pane, *index)?;
            let shown = if ended { dimmed(&frame, paper.ground) } else { (*frame).clone() };
            canvas.picture(&shown, plan.corner(column, row).0, y + plan.head, plan.scale);
        }
    }
    Ok(canvas.finish())
}

/// Writes a sheet: whole or not at all. `progress` hears how many pictures are done, and of how many; when it answers
/// `false`, nothing is left and the failure says that it was stopped.
///
/// # Errors
/// As [`grid`]; the file cannot be written; stopped.
pub fn export(
    path: &Path,
    kind: SheetFile,
    panes: &[SheetPane],
    look: &SheetLook,
    fps: f64,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Written, Failure> {
    let total = length(panes);
    match kind {
        SheetFile::Png { index } => {
            let plan = plan_grid(panes, look)?.fit(fits_picture)?;
            one(path, draw_grid(panes, index, look, &plan)?, plan.scale)
        }
        SheetFile::Strip { from, every, most } => {
            let indices: Vec<usize> = (from..total).step_by(every.max(1)).take(most.max(1)).collect();
            one(path, strip(panes, &indices, look)?, look.scale)
        }
        SheetFile::Mp4 | SheetFile::Gif => {
            let plan = plan_grid(panes, look)?.fit(fits_clip)?;
            let mut failure = None;
            // The encoder ends at the first error; the reason waits outside, as a sentence for people.
            let mut end = |reason: Failure| {
                let text = reason.message.clone();
                failure.get_or_insert(reason);
                media::MediaError::encode(text, "")
            };
            let frames = (0..total).map(|index| {
                if !progress(index, total) {
                    return Err(end(was_stopped()));
                }
                draw_grid(panes, index, look, &plan).map(Cow::Owned).map_err(&mut end)
            });
            let bytes = if kind == SheetFile::Mp4 {
                media::encode_mp4_each(frames, media::Mp4Options::export(fps))
            } else {
                media::encode_gif_each(frames, fps)
            };
            let bytes = match (bytes, failure) {
                (_, Some(failure)) => return Err(failure),
                (bytes, None) => bytes.map_err(Failure::from_error)?,
            };
            put(path, &bytes)?;
            Ok(Written { path: path.to_path_buf(), size: plan.size(), frames: total, scale: plan.scale })
        }
        SheetFile::Sequence => {
            let plan = plan_grid(panes, look)?.fit(fits_picture)?;
            if path.exists() {
                return Err(Failure::new(
                    format!("{} is there already.", path.display()),
                    "Choose a new folder for the pictures.",
                ));
            }
            let folder = fsx::PendingFolder::new(path).map_err(|e| Failure::io("make", path, &e))?;
            for index in 0..total {
                if !progress(index, total) {
                    return Err(was_stopped());
                }
                let png =
                    media::encode_png(&draw_grid(panes, index, look, &plan)?).map_err(Failure::from_error)?;
                let file = folder.path().join(format!("{index:05}.png"));
                std::fs::write(&file, png).map_err(|e| Failure::io("write", path, &e))?;
            }
            folder.commit().map_err(|e| Failure::io("write", path, &e))?;
            Ok(Written { path: path.to_path_buf(), size: plan.size(), frames: total, scale: plan.scale })
        }
    }
}

fn was_stopped() -> Failure {
    Failure::new("The export was stopped; nothing was written.", "")
}

fn one(path: &Path, frame: Frame, scale: usize) -> Result<Written, Failure> {
    put(path, &media::encode_png(&frame).map_err(Failure::from_error)?)?;
    Ok(Written { path: path.to_path_buf(), size: (frame.width, frame.height), frames: 1, scale })
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fsx::stage(path, bytes).and_then(fsx::Staged::commit).map_err(|e| Failure::io("write", path, &e))
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
