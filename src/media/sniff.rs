//! What a file is, by its first bytes: names lie.

use std::io::Read;
use std::path::Path;

use super::{MediaError, Result};

/// Content of a file as its first bytes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Portable network graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
    /// Windows bitmap.
    Bmp,
    /// GIF, still or animated.
    Gif,
    /// TIFF.
    Tiff,
    /// MP4, MOV and relatives (ISO base media).
    Mp4,
    /// Matroska or WebM.
    Matroska,
    /// AVI.
    Avi,
    /// HEIC or AVIF picture.
    Heif,
    /// Parquet table.
    Parquet,
    /// Something readable as text.
    Text,
    /// No bytes at all.
    Empty,
    /// None of these.
    Unknown,
}

impl Kind {
    /// A picture format that [`super::read_picture`] reads.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::Webp | Self::Bmp | Self::Gif | Self::Tiff)
    }

    /// In words, for messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Png => "a PNG picture",
            Self::Jpeg => "a JPEG picture",
            Self::Webp => "a WebP picture",
            Self::Bmp => "a BMP picture",
            Self::Gif => "a GIF",
            Self::Tiff => "a TIFF picture",
            Self::Mp4 => "an MP4 or MOV clip",
            Self::Matroska => "a Matroska or WebM clip",
            Self::Avi => "an AVI clip",
            Self::Heif => "a HEIC or AVIF picture",
            Self::Parquet => "a Parquet table",
            Self::Text => "a text file",
            Self::Empty => "an empty file",
            Self::Unknown => "something unknown",
        }
    }
}

/// Tells the kind of a file from its first bytes (64 are enough).
pub fn sniff(head: &[u8]) -> Kind {
    let at = |i: usize, tag: &[u8]| head.get(i..i + tag.len()) == Some(tag);
    if head.is_empty() {
        Kind::Empty
    } else if at(0, b"\x89PNG\r\n\x1a\n") {
        Kind::Png
    } else if at(0, b"\xff\xd8\xff") {
        Kind::Jpeg
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        Kind::Webp
    } else if at(0, b"RIFF") && at(8, b"AVI ") {
        Kind::Avi
    } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
        Kind::Gif
    } else if at(0, b"II*\0") || at(0, b"MM\0*") {
        Kind::Tiff
    } else if at(0, b"\x1a\x45\xdf\xa3") {
        Kind::Matroska
    } else if at(0, b"PAR1") {
        Kind::Parquet
    } else if at(4, b"ftyp") {
        if [&b"heic"[..], b"heix", b"mif1", b"msf1", b"avif", b"avis"].iter().any(|b| at(8, b)) {
            Kind::Heif
        } else {
            Kind::Mp4
        }
    } else if at(4, b"moov") || at(4, b"mdat") || at(4, b"wide") {
        Kind::Mp4
    } else if at(0, b"BM") && head.get(14..18).is_some_and(|s| s.get(1..) == Some(&[0, 0, 0])) {
        Kind::Bmp
    } else if is_text(head) {
        Kind::Text
    } else {
        Kind::Unknown
    }
}

fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A cut inside the last character of the window is no fault.
        Err(e) => e.error_len().is_none(),
    };
    valid && head.iter().all(|b| *b >= 0x20 || matches!(b, b'\n' | b'\r' | b'\t'))
}

/// [`sniff`] on the start of a file.
///
/// # Errors
/// When the file cannot be opened or read.
pub fn sniff_file(path: &Path) -> Result<Kind> {
    let mut head = Vec::with_capacity(64);
    let file = std::fs::File::open(path).map_err(|e| MediaError::io(path, e))?;
    file.take(64).read_to_end(&mut head).map_err(|e| MediaError::io(path, e))?;
    Ok(sniff(&head))
}
