//! Animated GIFs in and out.

use std::borrow::Cow;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::{AnimationDecoder, Delay, DynamicImage, ImageDecoder, Limits};

use super::picture::{MAX_PIXELS, to_frame};
use super::{MediaError, Result};
use crate::Frame;

/// Bytes that the frames of one GIF may take.
const MAX_BYTES: usize = 1 << 30;

/// All frames (full pictures, see-through parts over white) and the mean rate.
pub(super) fn read_gif(path: &Path) -> Result<(Vec<Frame>, f64)> {
    let file = File::open(path).map_err(|e| MediaError::io(path, e))?;
    let broken = |e: image::ImageError| MediaError::broken(path, e.to_string());
    let mut decoder = GifDecoder::new(BufReader::new(file)).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > MAX_PIXELS {
        let (width, height) = (width.into(), height.into());
        return Err(MediaError::TooLarge { path: path.to_owned(), width, height, limit: MAX_PIXELS });
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(1 << 30);
    decoder.set_limits(limits).map_err(broken)?;
    let (mut frames, mut seconds, mut bytes) = (Vec::new(), 0.0, 0usize);
    for frame in decoder.into_frames() {
        let frame = match frame {
            Ok(frame) => frame,
            // A cut-off GIF still shows what it has.
            Err(_) if !frames.is_empty() => break,
            Err(e) => return Err(broken(e)),
        };
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        // Browsers show a delay of 0 or 10 ms as 100 ms, and authors rely on it.
        let ms = f64::from(numerator) / f64::from(denominator.max(1));
        seconds += if ms < 20.0 { 0.1 } else { ms / 1000.0 };
        let picture = to_frame(DynamicImage::ImageRgba8(frame.into_buffer()));
        let picture = picture.ok_or_else(|| MediaError::broken(path, "it has no pixels"))?;
        bytes = bytes.saturating_add(picture.data.len());
        if bytes > MAX_BYTES {
            let advice = "Convert it to MP4 with H.264, which is read a picture at a time";
            return Err(MediaError::unsupported(path, "a GIF of more than 1 GB of pixels", advice));
        }
        frames.push(picture);
    }
    if frames.is_empty() {
        return Err(MediaError::broken(path, "it has no frames"));
    }
    let fps = (frames.len() as f64 / f64::max(seconds, 1e-3)).clamp(0.01, 100.0);
    Ok((frames, fps))
}

/// An endlessly looping GIF in memory. Each frame gets its own 256 colours.
pub(super) fn encode_gif<'a>(
    frames: impl Iterator<Item = Result<Cow<'a, Frame>>>,
    fps: f64,
) -> Result<Vec<u8>> {
    let failed = |e: String| MediaError::encode(format!("GIF: {e}"), "Export it as MP4 instead");
    if !(fps.is_finite() && fps > 0.0) {
        return Err(MediaError::encode(format!("{fps} frames a second"), "Choose a rate of 1 to 50"));
    }
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut out, 10);
    encoder.set_repeat(Repeat::Infinite).map_err(|e| failed(e.to_string()))?;
    // GIF counts in hundredths of a second; carrying the rest keeps the total time right.
    let step = 100.0 / fps.min(50.0);
    let (mut due, mut count) = (0.0f64, 0usize);
    for frame in frames {
        let frame = frame?;
        count += 1;
        let from = due.round();
        due += step;
        let hundredths = (due.round() - from).max(2.0);
        let mut rgba = Vec::with_capacity(frame.width * frame.height * 4);
        for pixel in frame.data.chunks_exact(3) {
            rgba.extend(pixel);
            rgba.push(255);
        }
        let picture = image::RgbaImage::from_raw(frame.width as u32, frame.height as u32, rgba)
            .ok_or_else(|| failed("a frame's length and size disagree".into()))?;
        let delay = Delay::from_numer_denom_ms((hundredths * 10.0) as u32, 1);
        encoder
            .encode_frame(image::Frame::from_parts(picture, 0, 0, delay))
            .map_err(|e| failed(e.to_string()))?;
    }
    drop(encoder);
    if count == 0 {
        return Err(MediaError::encode("a clip without frames", "Give at least one frame"));
    }
    Ok(out)
}
