//! H.264 by openh264 (Cisco, BSD-2, compiled from source): encoder and decoder.

use openh264::OpenH264API;
use openh264::decoder::{DecodeOptions, DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange,
    RateControlMode, UsageType, VuiConfig,
};
use openh264::formats::{YUVSlices, YUVSource};

use super::boxes::Cursor;
use super::mux::Sample;
use super::sps;
use super::video::{Sink, VideoDecoder};
use super::yuv::{Colour, Planes, Yuv420};
use super::{MediaError, Result};

/// Splits a byte stream at its start codes (ITU-T H.264, Annex B).
fn nal_units(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut i = 0;
    while let Some(window) = stream.get(i..i + 3) {
        if window == [0, 0, 1] {
            starts.push(i);
            i += 3;
        } else {
            i += 1;
        }
    }
    let mut units = Vec::with_capacity(starts.len());
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(stream.len());
        let mut unit = stream.get(start + 3..end).unwrap_or_default();
        // Zeros before the next start code belong to neither.
        while let [head @ .., 0] = unit {
            unit = head;
        }
        if !unit.is_empty() {
            units.push(unit);
        }
    }
    units
}

/// Pictures to MP4 samples at a fixed quality, without B-frames.
pub(super) struct H264Encoder {
    encoder: Encoder,
    pub(super) sps: Vec<u8>,
    pub(super) pps: Vec<u8>,
}

impl H264Encoder {
    /// `quality` is the quantiser: 12 (near lossless) to 51.
    pub(super) fn new(fps: f64, gop: u32, quality: u8) -> Result<Self> {
        let quality = quality.clamp(12, 51);
        let config = EncoderConfig::new()
            // The quantiser decides; the bit rate must only never be the limit. Fixed quantisers need rate
            // control on with an empty range, since the wrapper cannot set the layer's own quantiser.
            .rate_control_mode(RateControlMode::Quality)
            .qp(QpRange::new(quality, quality))
            .bitrate(BitRate::from_bps(40_000_000))
            .skip_frames(false)
            .adaptive_quantization(false)
            .background_detection(false)
            .scene_change_detect(false)
            .usage_type(UsageType::CameraVideoRealTime)
            .complexity(Complexity::Medium)
            .max_frame_rate(FrameRate::from_hz(fps as f32))
            .intra_frame_period(IntraFramePeriod::from_num_frames(gop.max(1)))
            .num_threads(1)
            .vui(VuiConfig::bt601());
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(failed)?;
        // The wrapper silences the encoder only after its set-up, which warns about every fixed quantiser.
        const TRACE_LEVEL: std::os::raw::c_int = 25;
        let mut quiet: std::os::raw::c_int = 0;
        // SAFETY: ENCODER_OPTION_TRACE_LEVEL (25 in codec_app_def.h) reads one int through the pointer, may be
        // set before initialisation, and the encoder keeps no pointer to it.
        unsafe {
            encoder.raw_api().set_option(TRACE_LEVEL, std::ptr::from_mut(&mut quiet).cast());
        }
        Ok(Self { encoder, sps: Vec::new(), pps: Vec::new() })
    }

    pub(super) fn encode(&mut self, picture: &Yuv420) -> Result<Sample> {
        let strides = (picture.width, picture.width / 2, picture.width / 2);
        let source =
            YUVSlices::new((&picture.y, &picture.u, &picture.v), (picture.width, picture.height), strides);
        let stream = self.encoder.encode(&source).map_err(failed)?;
        let key = matches!(stream.frame_type(), FrameType::IDR);
        let bytes = stream.to_vec();
        let mut data = Vec::with_capacity(bytes.len() + 8);
        for unit in nal_units(&bytes) {
            match unit.first().map(|b| b & 0x1f) {
                Some(7) => self.sps = unit.to_vec(),
                Some(8) => self.pps = unit.to_vec(),
                _ => {
                    data.extend((unit.len() as u32).to_be_bytes());
                    data.extend(unit);
                }
            }
        }
        if data.is_empty() || self.sps.len() < 4 || self.pps.is_empty() {
            return Err(failed("the encoder gave no picture"));
        }
        Ok(Sample { data, key })
    }
}

fn failed(e: impl std::fmt::Display) -> MediaError {
    MediaError::encode(format!("H.264: {e}"), "Choose a picture size of 16 x 16 to 3840 x 2160")
}

/// MP4 samples to pictures.
pub(super) struct H264Decoder {
    decoder: Decoder,
    /// Sequence and picture parameter sets with start codes.
    header: Vec<u8>,
    length_size: usize,
    colour: Colour,
    scratch: Vec<u8>,
    fresh: bool,
}

/// What `avcC` says, or what about it cannot be decoded.
pub(super) struct AvcConfig {
    header: Vec<u8>,
    length_size: usize,
    pub(super) sps: Option<sps::Sps>,
}

impl AvcConfig {
    pub(super) fn parse(avcc: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(avcc);
        cursor.skip(4)?;
        let length_size = usize::from(cursor.u8()? & 3) + 1;
        let mut header = Vec::new();
        let mut first = None;
        for (mask, is_sps) in [(0x1f, true), (0xff, false)] {
            for _ in 0..cursor.u8()? & mask {
                let size = cursor.u16()?;
                let unit = cursor.take(size.into())?;
                if is_sps && first.is_none() {
                    first = sps::parse(unit);
                }
                header.extend([0, 0, 0, 1]);
                header.extend(unit);
            }
        }
        Some(Self { header, length_size, sps: first })
    }
}

impl H264Decoder {
    pub(super) fn new(config: &AvcConfig, container: Option<Colour>) -> std::result::Result<Self, String> {
        let colour = config.sps.and_then(|s| s.colour).or(container).unwrap_or_default();
        Ok(Self {
            decoder: open()?,
            header: config.header.clone(),
            length_size: config.length_size,
            colour,
            scratch: Vec::new(),
            fresh: true,
        })
    }

    /// Length-prefixed units to a byte stream with start codes.
    fn write_stream(&mut self, sample: &[u8]) -> Option<()> {
        self.scratch.clear();
        if self.fresh {
            self.scratch.extend(&self.header);
            self.fresh = false;
        }
        let mut cursor = Cursor::new(sample);
        while !cursor.rest().is_empty() {
            let length = cursor.take(self.length_size)?.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
            let unit = cursor.take(length)?;
            self.scratch.extend([0, 0, 0, 1]);
            self.scratch.extend(unit);
        }
        Some(())
    }
}

fn open() -> std::result::Result<Decoder, String> {
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    Decoder::with_api_config(OpenH264API::from_source(), config).map_err(|e| e.to_string())
}

fn hand_over(picture: &DecodedYUV<'_>, colour: Colour, sink: &mut Sink<'_>) {
    let (width, height) = picture.dimensions();
    let (y_stride, c_stride, _) = picture.strides();
    sink(&Planes {
        width,
        height,
        y: picture.y(),
        chroma: Some((picture.u(), picture.v())),
        y_stride,
        c_stride,
        halved: (true, true),
        colour,
    });
}

impl VideoDecoder for H264Decoder {
    fn push(&mut self, sample: &[u8], sink: &mut Sink<'_>) -> std::result::Result<(), String> {
        self.write_stream(sample).ok_or("a picture's units do not add up")?;
        let options = DecodeOptions::new().flush_after_decode(Flush::NoFlush);
        let decoded = self.decoder.decode_with_options(&self.scratch, options).map_err(|e| e.to_string())?;
        if let Some(picture) = decoded {
            hand_over(&picture, self.colour, sink);
        }
        Ok(())
    }

    fn flush(&mut self, sink: &mut Sink<'_>) -> std::result::Result<(), String> {
        for picture in self.decoder.flush_remaining().map_err(|e| e.to_string())? {
            hand_over(&picture, self.colour, sink);
        }
        Ok(())
    }

    fn reset(&mut self) -> std::result::Result<(), String> {
        self.decoder = open()?;
        self.fresh = true;
        Ok(())
    }
}
