//! Random access to the pictures of an MP4 file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::av1::Av1Decoder;
use super::demux::{Sample, VideoTrack, read_track};
use super::h264::{AvcConfig, H264Decoder};
use super::yuv::Planes;
use super::{MediaError, Result};
use crate::Frame;

/// Receives decoded pictures in the order in which they are shown.
pub(super) type Sink<'a> = dyn FnMut(&Planes<'_>) + 'a;

/// A codec: samples in decoding order in, pictures in showing order out.
pub(super) trait VideoDecoder: Send {
    fn push(&mut self, sample: &[u8], sink: &mut Sink<'_>) -> std::result::Result<(), String>;
    /// Hands out what is still held back at the end.
    fn flush(&mut self, sink: &mut Sink<'_>) -> std::result::Result<(), String>;
    /// Forgets everything, for a jump to a key picture.
    fn reset(&mut self) -> std::result::Result<(), String>;
}

/// Largest picture of a clip, in pixels.
const MAX_VIDEO_PIXELS: usize = 1 << 26;
/// Decoded pictures kept for going back a little without decoding again.
const KEPT: usize = 3;

/// An open clip: its index in memory, its pictures on disk.
pub(super) struct VideoReader {
    path: PathBuf,
    file: File,
    track: VideoTrack,
    /// Sample numbers in the order in which they are shown.
    order: Vec<u32>,
    /// For each sample (decoding order) its place in `order`.
    rank: Vec<u32>,
    fps: f64,
    decoder: Box<dyn VideoDecoder>,
    /// Next sample to feed.
    next_sample: usize,
    /// Place of the next picture that the decoder will hand out.
    next_out: usize,
    /// At the end: the decoder was flushed and must be reset.
    drained: bool,
    kept: VecDeque<(usize, Frame)>,
    buffer: Vec<u8>,
}

impl VideoReader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| MediaError::io(path, e))?;
        let track = read_track(path, &mut file)?;
        if track.width * track.height > MAX_VIDEO_PIXELS {
            return Err(MediaError::TooLarge {
                path: path.to_owned(),
                width: track.width as u64,
                height: track.height as u64,
                limit: MAX_VIDEO_PIXELS as u64,
            });
        }
        let decoder = open_decoder(path, &track)?;
        let mut order: Vec<u32> = (0..track.samples.len() as u32).collect();
        let shown = |i: &u32| track.samples.get(*i as usize).map_or(0, |s| s.shown);
        order.sort_by_key(shown);
        let mut rank = vec![0; order.len()];
        for (place, sample) in (0u32..).zip(&order) {
            if let Some(slot) = rank.get_mut(*sample as usize) {
                *slot = place;
            }
        }
        let fps = rate(&track, &order);
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            track,
            order,
            rank,
            fps,
            decoder,
            next_sample: 0,
            next_out: 0,
            drained: false,
            kept: VecDeque::new(),
            buffer: Vec::new(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn fps(&self) -> f64 {
        self.fps
    }

    pub(super) fn size(&self) -> (usize, usize) {
        (self.track.width, self.track.height)
    }

    pub(super) fn codec(&self) -> &'static str {
        match &self.track.codec {
            b"av01" => "AV1",
            _ => "H.264",
        }
    }

    pub(super) fn has_audio(&self) -> bool {
        self.track.has_audio
    }

    /// Number of key pictures.
    pub(super) fn keys(&self) -> usize {
        self.track.samples.iter().filter(|s| s.key).count()
    }

    fn sample(&self, i: usize) -> Option<Sample> {
        self.track.samples.get(i).copied()
    }

    /// Seconds from the first picture to picture `place`.
    pub(super) fn time(&self, place: usize) -> Option<f64> {
        let shown = |i: usize| self.sample(*self.order.get(i)? as usize).map(|s| s.shown);
        Some((shown(place)?.saturating_sub(shown(0)?)) as f64 / f64::from(self.track.timescale))
    }

    /// The sample to start from for picture `place`: the last key picture that is decoded no later and shown
    /// no later.
    fn key_before(&self, place: usize) -> Option<usize> {
        let sample = *self.order.get(place)? as usize;
        (0..=sample).rev().find(|i| {
            self.sample(*i).is_some_and(|s| s.key)
                && self.rank.get(*i).is_some_and(|rank| *rank as usize <= place)
        })
    }

    /// Picture `place` in the order of showing.
    pub(super) fn frame(&mut self, place: usize) -> Result<Frame> {
        if place >= self.len() {
            return Err(MediaError::NoFrame { path: self.path.clone(), index: place, len: self.len() });
        }
        if let Some((_, frame)) = self.kept.iter().find(|(p, _)| *p == place) {
            return Ok(frame.clone());
        }
        let key = self.key_before(place).unwrap_or(0);
        // Going on is right while no key picture lies between here and there.
        if place < self.next_out || key > self.next_sample || self.drained {
            self.jump(key)?;
        }
        match self.run_to(place) {
            Ok(frame) => Ok(frame),
            Err(e) => {
                // Leave a clean state: the next call starts at its own key picture.
                self.next_out = usize::MAX;
                Err(e)
            }
        }
    }

    fn jump(&mut self, key: usize) -> Result<()> {
        self.kept.clear();
        self.decoder.reset().map_err(|e| MediaError::broken(&self.path, e))?;
        self.next_sample = key;
        self.next_out = self.rank.get(key).map_or(0, |r| *r as usize);
        self.drained = false;
        Ok(())
    }

    fn run_to(&mut self, place: usize) -> Result<Frame> {
        while self.next_out <= place {
            let before = self.next_out;
            let Some(sample) = self.sample(self.next_sample) else {
                if self.drained {
                    return Err(MediaError::broken(&self.path, format!("picture {place} does not decode")));
                }
                self.drained = true;
                self.decode(None, place)?;
                continue;
            };
            self.read(sample)?;
            self.next_sample += 1;
            self.decode(Some(sample), place)?;
            // A decoder may hold back at most 16 pictures (H.264, A.3.1); more silence means damage.
            if self.next_out == before && self.next_sample > place + 64 {
                return Err(MediaError::broken(&self.path, format!("picture {place} does not decode")));
            }
        }
        match self.kept.iter().find(|(p, _)| *p == place) {
            Some((_, frame)) => Ok(frame.clone()),
            None => Err(MediaError::broken(&self.path, format!("picture {place} does not decode"))),
        }
    }

    fn read(&mut self, sample: Sample) -> Result<()> {
        let io = |e| MediaError::io(&self.path, e);
        let length = self.file.metadata().map_err(io)?.len();
        if sample.offset.saturating_add(sample.size.into()) > length {
            return Err(MediaError::broken(&self.path, "it ends before its last picture"));
        }
        self.buffer.resize(sample.size as usize, 0);
        self.file.seek(SeekFrom::Start(sample.offset)).map_err(io)?;
        self.file.read_exact(&mut self.buffer).map_err(io)
    }

    /// Feeds the buffer (or flushes) and keeps the pictures from `wanted` on.
    fn decode(&mut self, sample: Option<Sample>, wanted: usize) -> Result<()> {
        let (next_out, kept, size) =
            (&mut self.next_out, &mut self.kept, (self.track.width, self.track.height));
        let mut fault = None;
        let mut sink = |planes: &Planes<'_>| {
            let place = *next_out;
            *next_out += 1;
            if place < wanted {
                return;
            }
            if planes.width * planes.height > MAX_VIDEO_PIXELS || size.0 == 0 {
                fault = Some("a picture of impossible size".to_owned());
                return;
            }
            match planes.to_frame() {
                Some(frame) => {
                    kept.push_back((place, frame));
                    // Pictures that come out together must all stay until they are asked for.
                    while kept.len() > KEPT && kept.front().is_some_and(|(p, _)| *p < wanted) {
                        kept.pop_front();
                    }
                }
                None => fault = Some(format!("picture {place} is incomplete")),
            }
        };
        // The decoders check their input; a panic in one would be a bug there, and must stay an error here.
        let (decoder, buffer) = (&mut self.decoder, &self.buffer);
        let run = std::panic::AssertUnwindSafe(|| match sample {
            Some(_) => decoder.push(buffer, &mut sink),
            None => decoder.flush(&mut sink),
        });
        let result = match std::panic::catch_unwind(run) {
            Ok(result) => result,
            Err(_) => {
                self.decoder = open_decoder(&self.path, &self.track)?;
                Err("the decoder gave up".to_owned())
            }
        };
        if let Some(fault) = fault {
            return Err(MediaError::broken(&self.path, fault));
        }
        result.map_err(|e| {
            MediaError::broken(
                &self.path,
                format!("near picture {}: {e}", self.next_sample.saturating_sub(1)),
            )
        })
    }
}

/// Frames a second: the number of frames over the time that they cover.
fn rate(track: &VideoTrack, order: &[u32]) -> f64 {
    let sample = |i: Option<&u32>| i.and_then(|i| track.samples.get(*i as usize));
    let (Some(first), Some(last)) = (sample(order.first()), sample(order.last())) else { return 1.0 };
    let span = last.shown.saturating_sub(first.shown).saturating_add(i64::from(last.duration.max(1)));
    let fps = order.len() as f64 * f64::from(track.timescale) / span.max(1) as f64;
    // A last picture of odd length must not turn 30 into 29.98.
    let whole = fps.round();
    if whole >= 1.0 && (fps - whole).abs() / whole < 2e-3 { whole } else { fps.clamp(0.01, 1000.0) }
}

fn open_decoder(path: &Path, track: &VideoTrack) -> Result<Box<dyn VideoDecoder>> {
    let advice = "Convert the clip to MP4 with H.264 (ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4)";
    match &track.codec {
        b"avc1" | b"avc3" => {
            let config = AvcConfig::parse(&track.config)
                .ok_or_else(|| MediaError::broken(path, "its H.264 settings do not add up"))?;
            if let Some(sps) = config.sps {
                let what = match sps {
                    sps if sps.bits > 8 => Some(format!("H.264 with {} bits a colour", sps.bits)),
                    sps if sps.chroma == 2 => Some("H.264 4:2:2".to_owned()),
                    sps if sps.chroma == 3 => Some("H.264 4:4:4".to_owned()),
                    _ => None,
                };
                if let Some(what) = what {
                    return Err(MediaError::unsupported(path, what, advice));
                }
            }
            let decoder = H264Decoder::new(&config, track.colour);
            decoder.map(|d| Box::new(d) as _).map_err(|e| MediaError::broken(path, e))
        }
        b"av01" => {
            let decoder = Av1Decoder::new(&track.config, track.colour);
            decoder.map(|d| Box::new(d) as _).map_err(|e| MediaError::broken(path, e))
        }
        other => Err(MediaError::unsupported(path, codec_name(other), advice)),
    }
}

/// The codec behind four letters, in words.
fn codec_name(tag: &[u8; 4]) -> String {
    match tag {
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => "HEVC (H.265)".to_owned(),
        b"vp08" => "VP8".to_owned(),
        b"vp09" => "VP9".to_owned(),
        b"mp4v" => "MPEG-4 part 2".to_owned(),
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" => "ProRes".to_owned(),
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG".to_owned(),
        b"vvc1" | b"vvi1" => "VVC (H.266)".to_owned(),
        other => format!("the video codec \"{}\"", other.escape_ascii()),
    }
}
