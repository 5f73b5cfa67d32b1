//! Writes an MP4 file: one H.264 track, index before the pictures ("fast start"), constant frame rate.

use super::boxes::{put, put16, write_box, write_full_box};
use super::{MediaError, Result};

/// One encoded picture: NAL units, each behind its 4-byte length.
pub(super) struct Sample {
    pub(super) data: Vec<u8>,
    /// Decodable without any earlier picture.
    pub(super) key: bool,
}

/// What the file says about its pictures.
pub(super) struct Track<'a> {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) fps: f64,
    pub(super) sps: &'a [u8],
    pub(super) pps: &'a [u8],
}

/// Ticks of a frame, as ffmpeg and LeRobot write it for whole rates.
const TICKS: u32 = 1024;

/// 3x3 matrix "no rotation" of track and movie headers.
const UPRIGHT: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];

/// The whole file in memory.
pub(super) fn write_mp4(track: &Track<'_>, samples: &[Sample]) -> Result<Vec<u8>> {
    if samples.is_empty() {
        return Err(MediaError::encode("a clip without frames", "Give at least one frame"));
    }
    if !(track.fps.is_finite() && track.fps > 0.0 && track.fps * f64::from(TICKS) < 2e9) {
        return Err(MediaError::encode(
            format!("{} frames a second", track.fps),
            "Choose a rate of 1 to 240",
        ));
    }
    let total: usize = samples.iter().map(|s| s.data.len()).sum();
    let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let duration = count.checked_mul(TICKS);
    let (Some(duration), true) = (duration, total < (u32::MAX - (64 << 20)) as usize) else {
        return Err(MediaError::encode(
            "a clip of more than 4 GB or 4 million frames",
            "Write shorter clips",
        ));
    };
    let timescale = (track.fps * f64::from(TICKS)).round() as u32;

    let mut out = Vec::with_capacity(total + samples.len() * 8 + 1024);
    write_box(&mut out, b"ftyp", |out| {
        out.extend(b"isom");
        put(out, &[512]);
        out.extend(b"isomiso2avc1mp41");
    });
    let moov_at = out.len();
    write_moov(&mut out, track, samples, timescale, duration, 0);
    // The position of the pictures depends on the length of the index, which does not depend on the position.
    let position = out.len() as u32 + 8;
    out.truncate(moov_at);
    write_moov(&mut out, track, samples, timescale, duration, position);
    write_box(&mut out, b"mdat", |out| {
        for sample in samples {
            out.extend(&sample.data);
        }
    });
    Ok(out)
}

fn write_moov(
    out: &mut Vec<u8>,
    track: &Track<'_>,
    samples: &[Sample],
    timescale: u32,
    duration: u32,
    position: u32,
) {
    let movie_ms = (f64::from(duration) * 1000.0 / f64::from(timescale)).round() as u32;
    write_box(out, b"moov", |out| {
        write_full_box(out, b"mvhd", 0, |out| {
            put(out, &[0, 0, 1000, movie_ms, 0x10000]);
            put16(out, &[0x100, 0]);
            put(out, &[0, 0]);
            put(out, &UPRIGHT);
            put(out, &[0; 6]);
            put(out, &[2]);
        });
        write_box(out, b"trak", |out| {
            // Flags: the track is enabled and part of the movie.
            write_full_box(out, b"tkhd", 3, |out| {
                put(out, &[0, 0, 1, 0, movie_ms, 0, 0]);
                put16(out, &[0, 0, 0, 0]);
                put(out, &UPRIGHT);
                put(out, &[u32::from(track.width) << 16, u32::from(track.height) << 16]);
            });
            write_box(out, b"mdia", |out| {
                write_full_box(out, b"mdhd", 0, |out| {
                    put(out, &[0, 0, timescale, duration]);
                    // Language "und".
                    put16(out, &[0x55c4, 0]);
                });
                write_full_box(out, b"hdlr", 0, |out| {
                    put(out, &[0]);
                    out.extend(b"vide");
                    put(out, &[0, 0, 0]);
                    out.extend(b"VideoHandler\0");
                });
                write_box(out, b"minf", |out| {
                    write_full_box(out, b"vmhd", 1, |out| put16(out, &[0, 0, 0, 0]));
                    write_box(out, b"dinf", |out| {
                        write_full_box(out, b"dref", 0, |out| {
                            put(out, &[1]);
                            // Flag 1: the pictures are in this file.
                            write_full_box(out, b"url ", 1, |_| {});
                        });
                    });
                    write_stbl(out, track, samples, position);
                });
            });
        });
    });
}

fn write_stbl(out: &mut Vec<u8>, track: &Track<'_>, samples: &[Sample], position: u32) {
    let count = samples.len() as u32;
    write_box(out, b"stbl", |out| {
        write_full_box(out, b"stsd", 0, |out| {
            put(out, &[1]);
            write_box(out, b"avc1", |out| {
                put16(out, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, track.width, track.height]);
                // 72 dpi, one frame a sample, no compressor name, 24 bits, no colour table.
                put(out, &[0x48_0000, 0x48_0000, 0]);
                put16(out, &[1]);
                out.extend([0; 32]);
                put16(out, &[24, 0xffff]);
                write_box(out, b"avcC", |out| {
                    let at = |i: usize| track.sps.get(i).copied().unwrap_or(0);
                    // Version, profile, compatibility, level, 4-byte lengths, one SPS.
                    out.extend([1, at(1), at(2), at(3), 0xff, 0xe1]);
                    put16(out, &[track.sps.len() as u16]);
                    out.extend(track.sps);
                    out.push(1);
                    put16(out, &[track.pps.len() as u16]);
                    out.extend(track.pps);
                    if matches!(at(1), 100 | 110 | 122 | 144) {
                        // High profiles add: 4:2:0, 8 bits, 8 bits, no SPS extension.
                        out.extend([0xfd, 0xf8, 0xf8, 0]);
                    }
                });
                // BT.601 525-line primaries, transfer and matrix, limited range.
                write_box(out, b"colr", |out| {
                    out.extend(b"nclx");
                    put16(out, &[6, 6, 6]);
                    out.push(0);
                });
                write_box(out, b"pasp", |out| put(out, &[1, 1]));
            });
        });
        write_full_box(out, b"stts", 0, |out| put(out, &[1, count, TICKS]));
        if !samples.iter().all(|s| s.key) {
            write_full_box(out, b"stss", 0, |out| {
                put(out, &[samples.iter().filter(|s| s.key).count() as u32]);
                for (i, _) in samples.iter().enumerate().filter(|(_, s)| s.key) {
                    put(out, &[i as u32 + 1]);
                }
            });
        }
        // One chunk holds all samples.
        write_full_box(out, b"stsc", 0, |out| put(out, &[1, 1, count, 1]));
        write_full_box(out, b"stsz", 0, |out| {
            put(out, &[0, count]);
            for sample in samples {
                put(out, &[sample.data.len() as u32]);
            }
        });
        write_full_box(out, b"stco", 0, |out| put(out, &[1, position]));
    });
}
