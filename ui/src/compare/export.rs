//! What an export is: the kind of file and how its sheet looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter)]
pub enum ExportKind {
    /// A clip of all panes, H.264.
    Mp4,
    /// An endless GIF of all panes.
    Gif,
    /// A folder of PNGs.
    Sequence,
    /// One PNG of all panes at the frame that is shown.
    Sheet,
    /// One PNG: a row a pane, a column a frame.
    Strip,
    /// Numbers for a spreadsheet.
    Csv,
    /// Numbers for a script.
    Json,
}

impl ExportKind {
    /// A file name to begin with.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Mp4 => "compare.mp4",
            Self::Gif => "compare.gif",
            Self::Sequence => "compare-frames",
            Self::Sheet => "compare.png",
            Self::Strip => "strip.png",
            Self::Csv => "numbers.csv",
            Self::Json => "numbers.json",
        }
    }

    /// Whether it holds numbers instead of pictures.
    pub fn numbers(self) -> bool {
        matches!(self, Self::Csv | Self::Json)
    }
}

/// What is to be exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Export {
    /// Kind of file.
    pub kind: ExportKind,
    /// Pixels of the sheet for a pixel of a picture.
    pub scale: usize,
    /// Panes beside each other; as near to a square as can be when absent.
    pub columns: Option<usize>,
    /// White paper instead of the dark ground.
    pub light: bool,
    /// Line above all.
    pub title: String,
}

impl Default for Export {
    fn default() -> Self {
        Self { kind: ExportKind::Mp4, scale: 2, columns: None, light: false, title: String::new() }
    }
}

/// An export that is being written.
#[derive(Clone, Debug)]
pub struct Exporting {
    /// Pictures that are done.
    pub done: Arc<AtomicUsize>,
    /// Set to stop it.
    pub stop: Arc<AtomicBool>,
    /// Pictures in all.
    pub total: usize,
}
