//! Single pictures: decoding with limits, PNG encoding.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{Kind, MediaError, Result, sniff, sniff_file};
use crate::Frame;

/// Largest picture that is accepted, in pixels: 8192 x 8192.
pub const MAX_PIXELS: u64 = 1 << 26;

/// Memory that a decoder may take for one picture (16-bit RGBA of the largest picture, and some).
const MAX_ALLOCATION: u64 = 640 << 20;

fn format_of(path: &Path, kind: Kind) -> Result<ImageFormat> {
    Ok(match kind {
        Kind::Png => ImageFormat::Png,
        Kind::Jpeg => ImageFormat::Jpeg,
        Kind::Webp => ImageFormat::WebP,
        Kind::Bmp => ImageFormat::Bmp,
        Kind::Gif => ImageFormat::Gif,
        Kind::Tiff => ImageFormat::Tiff,
        Kind::Heif => {
            return Err(MediaError::unsupported(path, "HEIC or AVIF", "Convert it to PNG or JPEG"));
        }
        Kind::Mp4 | Kind::Matroska | Kind::Avi => {
            return Err(MediaError::unsupported(
                path,
                format!("{} where a single picture is expected", kind.words()),
                "Open it as a clip, or export one frame as PNG",
            ));
        }
        _ => return Err(MediaError::NotMedia { path: path.to_owned(), found: kind.words().into() }),
    })
}

fn picture_error(path: &Path, error: image::ImageError, size: Option<(u32, u32)>) -> MediaError {
    use image::ImageError as E;
    match error {
        E::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            if source.kind() == std::io::ErrorKind::InvalidData || source.kind() == std::io::ErrorKind::Other
            {
                MediaError::broken(path, source.to_string())
            } else {
                MediaError::io(path, source)
            }
        }
        E::Limits(_) => {
            let (width, height) = size.unwrap_or((0, 0));
            MediaError::TooLarge {
                path: path.to_owned(),
                width: width.into(),
                height: height.into(),
                limit: MAX_PIXELS,
            }
        }
        E::Unsupported(e) => {
            MediaError::unsupported(path, e.to_string(), "Convert it to an ordinary PNG or JPEG")
        }
        other => MediaError::broken(path, other.to_string()),
    }
}

fn check_size(path: &Path, width: u32, height: u32) -> Result<()> {
    let (width, height) = (u64::from(width), u64::from(height));
    if width == 0 || height == 0 {
        return Err(MediaError::broken(path, "it has no pixels"));
    }
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(MediaError::TooLarge { path: path.to_owned(), width, height, limit: MAX_PIXELS });
    }
    Ok(())
}

/// Reads a picture of any supported format, told by its content; turned upright as its EXIF tag says.
/// See-through pixels are laid over white.
///
/// # Errors
/// [`MediaError`] for a missing, unreadable, damaged, oversized or unsupported file.
pub fn read_picture(path: &Path) -> Result<Frame> {
    let kind = sniff_file(path)?;
    let file = File::open(path).map_err(|e| MediaError::io(path, e))?;
    decode_from(path, kind, BufReader::new(file))
}

/// Decodes a picture from memory; `path` is only for messages.
///
/// # Errors
/// As [`read_picture`].
pub fn decode_picture(path: &Path, bytes: &[u8]) -> Result<Frame> {
    decode_from(path, sniff(bytes.get(..64.min(bytes.len())).unwrap_or(bytes)), Cursor::new(bytes))
}

fn decode_from<R: BufRead + Seek + Read>(path: &Path, kind: Kind, source: R) -> Result<Frame> {
    let mut reader = ImageReader::with_format(source, format_of(path, kind)?);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits);
    // The decoders are maintained and fuzzed, but a panic in one must not take the program down.
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut decoder = reader.into_decoder().map_err(|e| picture_error(path, e, None))?;
        let (width, height) = decoder.dimensions();
        check_size(path, width, height)?;
        let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
        let mut picture =
            DynamicImage::from_decoder(decoder).map_err(|e| picture_error(path, e, Some((width, height))))?;
        picture.apply_orientation(orientation);
        Ok(to_frame(picture))
    }));
    match decoded {
        Ok(result) => result?.ok_or_else(|| MediaError::broken(path, "it has no pixels")),
        Err(_) => Err(MediaError::broken(path, "the decoder gave up on it")),
    }
}

/// RGB pixels; see-through ones over white.
pub(super) fn to_frame(picture: DynamicImage) -> Option<Frame> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    if !picture.color().has_alpha() {
        return Frame::new(width, height, picture.into_rgb8().into_raw());
    }
    let rgba = picture.into_rgba8().into_raw();
    let mut data = Vec::with_capacity(width * height * 3);
    for pixel in rgba.chunks_exact(4) {
        if let [r, g, b, a] = *pixel {
            let over = |c: u8| ((u32::from(c) * u32::from(a) + 255 * (255 - u32::from(a)) + 127) / 255) as u8;
            data.extend([over(r), over(g), over(b)]);
        }
    }
    Frame::new(width, height, data)
}

/// Width and height without decoding the pixels.
///
/// # Errors
/// As [`read_picture`].
pub fn picture_size(path: &Path) -> Result<(usize, usize)> {
    let kind = sniff_file(path)?;
    let file = File::open(path).map_err(|e| MediaError::io(path, e))?;
    let reader = ImageReader::with_format(BufReader::new(file), format_of(path, kind)?);
    let (width, height) = reader.into_dimensions().map_err(|e| picture_error(path, e, None))?;
    check_size(path, width, height)?;
    Ok((width as usize, height as usize))
}

/// The frame as a PNG file in memory (lossless, 8-bit RGB).
///
/// # Errors
/// When the frame is not sound (length and size disagree).
pub fn encode_png(frame: &Frame) -> Result<Vec<u8>> {
    use image::ImageEncoder;
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    let bad = |e: String| MediaError::encode(e, "The picture must have width * height * 3 bytes");
    if frame.data.len() != frame.width * frame.height * 3 || frame.data.is_empty() {
        return Err(bad(format!("{frame:?} with {} bytes", frame.data.len())));
    }
    let (width, height) = (frame.width as u32, frame.height as u32);
    let mut out = Vec::new();
    PngEncoder::new_with_quality(&mut out, CompressionType::Fast, FilterType::Adaptive)
        .write_image(&frame.data, width, height, image::ExtendedColorType::Rgb8)
        .map_err(|e| bad(e.to_string()))?;
    Ok(out)
}

/// Writes the frame as PNG: whole or not at all.
///
/// # Errors
/// [`MediaError::Io`] when it cannot be written.
pub fn write_png(path: &Path, frame: &Frame) -> Result<()> {
    write_file(path, &encode_png(frame)?)
}

/// Writes a file whole or not at all; missing folders are made.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    crate::fsx::stage(path, bytes).and_then(|staged| staged.commit()).map_err(|e| MediaError::io(path, e))
}
