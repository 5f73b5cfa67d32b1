//! Reads the index of an MP4 or MOV file: which bytes are which picture, and when it is shown.
//!
//! Every number in the file is doubted: tables are bounded by the length of their box and samples by the length
//! of the file, so that a damaged or hostile file costs an error, not memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::boxes::{Boxes, Cursor, Tag, find, find_path};
use super::yuv::{Colour, Matrix};
use super::{MediaError, Result};

/// Largest index that is read into memory.
const MAX_INDEX: u64 = 512 << 20;
/// Most pictures in a clip.
const MAX_SAMPLES: usize = 20_000_000;

/// One encoded picture in the file, in decoding order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) offset: u64,
    pub(super) size: u32,
    /// When it is shown, in ticks of the track.
    pub(super) shown: i64,
    pub(super) duration: u32,
    /// Decodable without any earlier picture.
    pub(super) key: bool,
}

/// The picture track of a file.
#[derive(Debug)]
pub(super) struct VideoTrack {
    /// Four letters of the codec: `avc1`, `av01`, ...
    pub(super) codec: Tag,
    pub(super) width: usize,
    pub(super) height: usize,
    /// Ticks a second.
    pub(super) timescale: u32,
    pub(super) samples: Vec<Sample>,
    /// Payload of `avcC` or `av1C`.
    pub(super) config: Vec<u8>,
    /// From the `colr` box, where there is one.
    pub(super) colour: Option<Colour>,
    /// The file also has sound.
    pub(super) has_audio: bool,
}

/// Reads the index of the first picture track.
pub(super) fn read_track(path: &Path, file: &mut File) -> Result<VideoTrack> {
    let length = file.metadata().map_err(|e| MediaError::io(path, e))?.len();
    let (moov, fragments) = read_index(path, file, length)?;
    let Some(moov) = moov else {
        return Err(MediaError::broken(path, "it has no index, so the recording was not closed"));
    };
    let mut others = Vec::new();
    for (tag, trak) in Boxes::new(&moov) {
        if &tag != b"trak" {
            continue;
        }
        let handler = find_path(trak, &[b"mdia", b"hdlr"]).and_then(|h| h.get(8..12)).unwrap_or(b"????");
        match handler {
            b"vide" => {
                let has_audio = Boxes::new(&moov).any(|(tag, trak)| {
                    &tag == b"trak"
                        && find_path(trak, &[b"mdia", b"hdlr"]).and_then(|h| h.get(8..12)) == Some(b"soun")
                });
                let mut track = parse_trak(trak, length).map_err(|what| MediaError::broken(path, what))?;
                track.has_audio = has_audio;
                let id = track_id(trak).unwrap_or(1);
                let defaults = trex_defaults(&moov, id);
                for (start, moof) in &fragments {
                    read_fragment(&mut track, id, defaults, *start, moof, length)
                        .map_err(|what| MediaError::broken(path, what))?;
                }
                if track.samples.is_empty() {
                    return Err(MediaError::broken(path, "its picture track is empty"));
                }
                return Ok(track);
            }
            b"soun" => others.push("sound"),
            b"text" | b"sbtl" | b"subt" => others.push("subtitles"),
            _ => others.push("data"),
        }
    }
    others.dedup();
    let found = if others.is_empty() { "no track at all".to_owned() } else { others.join(", ") };
    Err(MediaError::NoVideo { path: path.to_owned(), found })
}

/// Payloads of the `moov` box and of all `moof` boxes with their positions.
#[allow(clippy::type_complexity)]
fn read_index(path: &Path, file: &mut File, length: u64) -> Result<(Option<Vec<u8>>, Vec<(u64, Vec<u8>)>)> {
    let io = |e| MediaError::io(path, e);
    let (mut moov, mut fragments) = (None, Vec::new());
    let mut held = 0u64;
    let mut at = 0u64;
    while at.saturating_add(8) <= length {
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        let mut head = [0u8; 16];
        let wanted = 16.min(length - at) as usize;
        file.read_exact(head.get_mut(..wanted).unwrap_or(&mut [])).map_err(io)?;
        let mut cursor = Cursor::new(&head);
        let size = cursor.u32().unwrap_or(0);
        let tag = cursor.tag().unwrap_or_default();
        let (size, header) = match size {
            0 => (length - at, 8),
            1 => (cursor.u64().unwrap_or(0), 16),
            n => (u64::from(n), 8),
        };
        if size < header {
            return Err(MediaError::broken(path, "its box structure does not add up"));
        }
        let end = at.checked_add(size).filter(|end| *end <= length);
        if &tag == b"moov" || &tag == b"moof" {
            let Some(end) = end else {
                return Err(MediaError::broken(path, "its index is cut off"));
            };
            held += size;
            if held > MAX_INDEX {
                return Err(MediaError::broken(path, "its index is absurdly large"));
            }
            let mut payload = vec![0; (end - at - header) as usize];
            file.seek(SeekFrom::Start(at + header)).map_err(io)?;
            file.read_exact(&mut payload).map_err(io)?;
            if &tag == b"moov" { moov = Some(payload) } else { fragments.push((at, payload)) }
        }
        match end {
            Some(end) => at = end,
            // The last box (the pictures) may be cut off; what is there can still be shown.
            None => break,
        }
    }
    Ok((moov, fragments))
}

fn track_id(trak: &[u8]) -> Option<u32> {
    let tkhd = find(trak, b"tkhd")?;
    let mut cursor = Cursor::new(tkhd);
    let version = cursor.u8()?;
    cursor.skip(if version == 1 { 3 + 16 } else { 3 + 8 })?;
    cursor.u32()
}

fn parse_trak(trak: &[u8], length: u64) -> std::result::Result<VideoTrack, String> {
    let missing = |what: &str| format!("its index has no sound {what} table");
    let mdhd = find_path(trak, &[b"mdia", b"mdhd"]).ok_or_else(|| missing("time"))?;
    let mut cursor = Cursor::new(mdhd);
    let version = cursor.u8().unwrap_or(0);
    let timescale = cursor.skip(if version == 1 { 3 + 16 } else { 3 + 8 }).and_then(|()| cursor.u32());
    let timescale = timescale.filter(|t| *t > 0).ok_or_else(|| missing("time"))?;
    let stbl = find_path(trak, &[b"mdia", b"minf", b"stbl"]).ok_or_else(|| missing("sample"))?;
    let mut track = parse_stsd(stbl).ok_or_else(|| missing("codec"))?;
    track.timescale = timescale;
    track.samples = parse_samples(stbl, length)?;
    Ok(track)
}

fn parse_stsd(stbl: &[u8]) -> Option<VideoTrack> {
    let entries = find(stbl, b"stsd")?.get(8..)?;
    let (codec, entry) = Boxes::new(entries).next()?;
    let mut cursor = Cursor::new(entry);
    cursor.skip(24)?;
    let (width, height) = (cursor.u16()?, cursor.u16()?);
    let inside = entry.get(78..)?;
    let config = match &codec {
        b"avc1" | b"avc3" => find(inside, b"avcC")?.to_vec(),
        b"av01" => find(inside, b"av1C").unwrap_or_default().to_vec(),
        _ => Vec::new(),
    };
    let colour = find(inside, b"colr").and_then(|colr| match colr.get(..4)? {
        b"nclx" => {
            Some(Colour { matrix: Matrix::from_code(*colr.get(9)?), full_range: colr.get(10)? & 0x80 != 0 })
        }
        b"nclc" => Some(Colour { matrix: Matrix::from_code(*colr.get(9)?), full_range: false }),
        _ => None,
    });
    Some(VideoTrack {
        codec,
        width: width.into(),
        height: height.into(),
        timescale: 1,
        samples: Vec::new(),
        config,
        colour,
        has_audio: false,
    })
}

/// A table of `columns` 32-bit numbers a row behind a version word and a row count.
fn table<'a>(stbl: &'a [u8], tag: &Tag, columns: usize) -> Option<impl Iterator<Item = Vec<u32>> + 'a> {
    let payload = find(stbl, tag)?;
    let rows = Cursor::new(payload.get(4..8)?).u32()? as usize;
    let bytes = payload.get(8..)?;
    let rows = bytes.get(..rows.checked_mul(columns * 4)?)?;
    Some(rows.chunks_exact(columns * 4).map(|row| {
        let mut cursor = Cursor::new(row);
        std::iter::from_fn(|| cursor.u32()).collect()
    }))
}

fn parse_samples(stbl: &[u8], length: u64) -> std::result::Result<Vec<Sample>, String> {
    let bad = |what: &str| format!("its {what} table does not add up");
    let sizes = parse_sizes(stbl, length).ok_or_else(|| bad("size"))?;
    if sizes.is_empty() {
        return Ok(Vec::new());
    }
    let offsets = parse_offsets(stbl, &sizes).ok_or_else(|| bad("position"))?;
    let mut samples: Vec<Sample> = Vec::with_capacity(sizes.len());
    let no_keys = find(stbl, b"stss").is_none();
    for (size, offset) in sizes.into_iter().zip(offsets) {
        samples.push(Sample { offset, size, shown: 0, duration: 0, key: no_keys });
    }

    let mut rest = samples.iter_mut();
    let mut time = 0i64;
    for row in table(stbl, b"stts", 2).ok_or_else(|| bad("time"))? {
        let (Some(count), Some(delta)) = (row.first(), row.get(1)) else { continue };
        for sample in rest.by_ref().take(*count as usize) {
            sample.shown = time;
            sample.duration = *delta;
            time = time.saturating_add(i64::from(*delta));
        }
    }
    if rest.next().is_some() {
        return Err(bad("time"));
    }

    if let Some(shifts) = table(stbl, b"ctts", 2) {
        let mut rest = samples.iter_mut();
        for row in shifts {
            let (Some(count), Some(shift)) = (row.first(), row.get(1)) else { continue };
            for sample in rest.by_ref().take(*count as usize) {
                // Version 0 says unsigned, but writers use it signed too; no real shift reaches 2^31.
                sample.shown = sample.shown.saturating_add(i64::from(shift.cast_signed()));
            }
        }
    }
    for row in table(stbl, b"stss", 1).into_iter().flatten() {
        let index = row.first().and_then(|n| n.checked_sub(1));
        if let Some(sample) = index.and_then(|i| samples.get_mut(i as usize)) {
            sample.key = true;
        }
    }
    // Whatever the table says, nothing can be decoded before the first picture.
    if let Some(first) = samples.first_mut() {
        first.key = true;
    }
    Ok(samples)
}

fn parse_sizes(stbl: &[u8], length: u64) -> Option<Vec<u32>> {
    let mut cursor = Cursor::new(find(stbl, b"stsz")?.get(4..)?);
    let (size, count) = (cursor.u32()?, cursor.u32()? as usize);
    if count > MAX_SAMPLES {
        return None;
    }
    if size > 0 {
        // All of one size: together they must fit into the file.
        return (u64::from(size) * count as u64 <= length).then(|| vec![size; count]);
    }
    let bytes = cursor.rest().get(..count.checked_mul(4)?)?;
    let mut cursor = Cursor::new(bytes);
    Some(std::iter::from_fn(|| cursor.u32()).collect())
}

/// Position of each sample: chunks of consecutive samples start at the listed positions.
fn parse_offsets(stbl: &[u8], sizes: &[u32]) -> Option<Vec<u64>> {
    let chunks: Vec<u64> = match table(stbl, b"stco", 1) {
        Some(rows) => rows.filter_map(|row| row.first().map(|x| u64::from(*x))).collect(),
        None => table(stbl, b"co64", 2)?
            .filter_map(|row| Some((u64::from(*row.first()?) << 32) | u64::from(*row.get(1)?)))
            .collect(),
    };
    let runs: Vec<Vec<u32>> = table(stbl, b"stsc", 3)?.collect();
    let mut offsets = Vec::with_capacity(sizes.len());
    let mut run = 0;
    for (number, start) in (1u32..).zip(chunks) {
        while runs.get(run + 1).and_then(|r| r.first()).is_some_and(|first| *first <= number) {
            run += 1;
        }
        let samples = *runs.get(run)?.get(1)?;
        let mut at = start;
        for _ in 0..samples {
            let Some(size) = sizes.get(offsets.len()) else { break };
            offsets.push(at);
            at = at.checked_add(u64::from(*size))?;
        }
        if offsets.len() == sizes.len() {
            break;
        }
    }
    (offsets.len() == sizes.len()).then_some(offsets)
}

/// Defaults of a fragmented file for one track: duration, size, flags.
fn trex_defaults(moov: &[u8], id: u32) -> [u32; 3] {
    let inside = find(moov, b"mvex").unwrap_or_default();
    for (tag, trex) in Boxes::new(inside) {
        let mut cursor = Cursor::new(trex.get(4..).unwrap_or_default());
        let mut next = || cursor.u32().unwrap_or(0);
        if &tag == b"trex" && next() == id {
            let _description = next();
            return [next(), next(), next()];
        }
    }
    [0; 3]
}

/// Adds the samples of one `moof` box.
fn read_fragment(
    track: &mut VideoTrack,
    id: u32,
    defaults: [u32; 3],
    start: u64,
    moof: &[u8],
    length: u64,
) -> std::result::Result<(), String> {
    for (tag, traf) in Boxes::new(moof) {
        if &tag == b"traf" {
            read_traf(track, id, defaults, start, traf, length).ok_or("one of its fragments is damaged")?;
        }
    }
    Ok(())
}

fn read_traf(
    track: &mut VideoTrack,
    id: u32,
    [mut duration, mut size, mut flags]: [u32; 3],
    start: u64,
    traf: &[u8],
    length: u64,
) -> Option<()> {
    let mut tfhd = Cursor::new(find(traf, b"tfhd")?);
    let have = tfhd.u32()? & 0x00ff_ffff;
    if tfhd.u32()? != id {
        return Some(());
    }
    let mut base = start;
    if have & 0x1 != 0 {
        base = tfhd.u64()?;
    }
    if have & 0x2 != 0 {
        tfhd.skip(4)?;
    }
    if have & 0x8 != 0 {
        duration = tfhd.u32()?;
    }
    if have & 0x10 != 0 {
        size = tfhd.u32()?;
    }
    if have & 0x20 != 0 {
        flags = tfhd.u32()?;
    }
    let mut time = match find(traf, b"tfdt") {
        Some(tfdt) => {
            let mut cursor = Cursor::new(tfdt);
            let version = cursor.u32()? >> 24;
            if version == 1 { cursor.u64()? as i64 } else { i64::from(cursor.u32()?) }
        }
        None => track.samples.last().map_or(0, |s| s.shown.saturating_add(i64::from(s.duration))),
    };
    let mut at = base;
    for (tag, trun) in Boxes::new(traf) {
        if &tag != b"trun" {
            continue;
        }
        let mut cursor = Cursor::new(trun);
        let have = cursor.u32()? & 0x00ff_ffff;
        let count = cursor.u32()?;
        if have & 0x1 != 0 {
            at = base.checked_add_signed(i64::from(cursor.u32()?.cast_signed()))?;
        }
        let first_flags = if have & 0x4 != 0 { Some(cursor.u32()?) } else { None };
        for i in 0..count {
            let duration = if have & 0x100 != 0 { cursor.u32()? } else { duration };
            let size = if have & 0x200 != 0 { cursor.u32()? } else { size };
            let own = if have & 0x400 != 0 { cursor.u32()? } else { flags };
            let shift = if have & 0x800 != 0 { cursor.u32()?.cast_signed() } else { 0 };
            let flags = if i == 0 { first_flags.unwrap_or(own) } else { own };
            // Each sample must lie in the file, so a lying count ends here.
            let end = at.checked_add(u64::from(size)).filter(|end| *end <= length && size > 0)?;
            if track.samples.len() >= MAX_SAMPLES {
                return None;
            }
            track.samples.push(Sample {
                offset: at,
                size,
                shown: time.saturating_add(i64::from(shift)),
                duration,
                key: flags & 0x1_0000 == 0,
            });
            at = end;
            time = time.saturating_add(i64::from(duration));
        }
    }
    Some(())
}
