//! AV1 by rav1d (a port of dav1d to Rust, BSD-2).

use re_rav1d::{Decoder, Error, Picture, PixelLayout, PlanarImageComponent as Component, Settings};

use super::video::{Sink, VideoDecoder};
use super::yuv::{Colour, Matrix, Planes};

/// Largest frame in pixels.
const FRAME_LIMIT: u32 = 1 << 26;

/// MP4 samples (temporal units) to pictures.
pub(super) struct Av1Decoder {
    decoder: Decoder,
    /// Sequence header from `av1C`, for streams whose key frames lack it.
    header: Vec<u8>,
    fresh: bool,
    container: Option<Colour>,
}

impl Av1Decoder {
    pub(super) fn new(config: &[u8], container: Option<Colour>) -> std::result::Result<Self, String> {
        let mut settings = Settings::new();
        // One thread and no delay: a picture comes out as soon as its data went in; clips are decoded in
        // parallel by having several readers.
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_frame_size_limit(FRAME_LIMIT);
        let decoder = Decoder::with_settings(&settings).map_err(|e| e.to_string())?;
        Ok(Self { decoder, header: config.get(4..).unwrap_or_default().to_vec(), fresh: true, container })
    }

    fn drain(&mut self, sink: &mut Sink<'_>) -> std::result::Result<(), String> {
        loop {
            match self.decoder.get_picture() {
                Ok(picture) => hand_over(&picture, self.container, sink)?,
                Err(Error::Again) => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    fn send(&mut self, data: Vec<u8>, sink: &mut Sink<'_>) -> std::result::Result<(), String> {
        let mut result = self.decoder.send_data(data, None, None, None);
        // Each round takes a picture out, so this ends; the bound is for a decoder gone wrong.
        for _ in 0..64 {
            match result {
                Ok(()) => break,
                Err(Error::Again) => {
                    self.drain(sink)?;
                    result = self.decoder.send_pending_data();
                }
                Err(e) => return Err(e.to_string()),
            }
        }
        self.drain(sink)
    }
}

impl VideoDecoder for Av1Decoder {
    fn push(&mut self, sample: &[u8], sink: &mut Sink<'_>) -> std::result::Result<(), String> {
        let mut data = Vec::with_capacity(self.header.len() + sample.len());
        if std::mem::take(&mut self.fresh) {
            data.extend(&self.header);
        }
        data.extend(sample);
        self.send(data, sink)
    }

    fn flush(&mut self, sink: &mut Sink<'_>) -> std::result::Result<(), String> {
        self.drain(sink)
    }

    fn reset(&mut self) -> std::result::Result<(), String> {
        self.decoder.flush();
        self.fresh = true;
        Ok(())
    }
}

fn hand_over(
    picture: &Picture,
    container: Option<Colour>,
    sink: &mut Sink<'_>,
) -> std::result::Result<(), String> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let layout = picture.pixel_layout();
    let halved =
        (matches!(layout, PixelLayout::I420 | PixelLayout::I422), matches!(layout, PixelLayout::I420));
    let colour = av1_colour(picture).or(container).unwrap_or_default();
    let grey = layout == PixelLayout::I400;
    let (y_stride, c_stride) =
        (picture.stride(Component::Y) as usize, if grey { 0 } else { picture.stride(Component::U) as usize });
    let y = picture.plane(Component::Y);
    // Only touch chroma planes where there are some: a grey picture has none to point at.
    let chroma = (!grey).then(|| (picture.plane(Component::U), picture.plane(Component::V)));
    if picture.bit_depth() == 8 {
        sink(&Planes {
            width,
            height,
            y: &y,
            chroma: chroma.as_ref().map(|(u, v)| (&**u, &**v)),
            y_stride,
            c_stride,
            halved,
            colour,
        });
        return Ok(());
    }
    // 10 and 12 bits: two bytes a sample, strides in bytes.
    let bits = picture.bits_per_component().map_or(10, |b| b.0);
    let narrow = |plane: &[u8]| -> Vec<u8> {
        let half = 1u32 << (bits - 9);
        plane
            .chunks_exact(2)
            .map(|s| match s {
                [low, high] => {
                    ((u32::from(u16::from_le_bytes([*low, *high])) + half) >> (bits - 8)).min(255) as u8
                }
                _ => 0,
            })
            .collect()
    };
    let y = narrow(&y);
    let chroma = chroma.map(|(u, v)| (narrow(&u), narrow(&v)));
    sink(&Planes {
        width,
        height,
        y: &y,
        chroma: chroma.as_ref().map(|(u, v)| (u.as_slice(), v.as_slice())),
        y_stride: y_stride / 2,
        c_stride: c_stride / 2,
        halved,
        colour,
    });
    Ok(())
}

/// The stream's own colour description; `None` where it leaves the matrix open and the range limited.
fn av1_colour(picture: &Picture) -> Option<Colour> {
    const UNSPECIFIED: u8 = 2;
    // The enums carry the code points of ISO/IEC 23091-2; full range is the second of two.
    let full_range = picture.color_range() as u8 == 1;
    let code = picture.matrix_coefficients() as u8;
    if code == UNSPECIFIED && !full_range {
        return None;
    }
    Some(Colour { matrix: Matrix::from_code(code), full_range })
}
