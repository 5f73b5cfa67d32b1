//! The outer layer of a `.pt` file: a ZIP archive whose entries are stored as they are, so that a tensor's bytes can be
//! read where they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest list of entries that is read (the largest published files have below 1 MB).
const LONGEST_DIRECTORY: u64 = 64 << 20;

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    header: u64,
    size: u64,
}

/// An open archive.
pub(super) struct ZipFile {
    path: PathBuf,
    entries: BTreeMap<String, Place>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

const CUT: &str = "it was cut off, or is no .pt file";

/// Whether a record of this kind begins at `at`.
fn begins(bytes: &[u8], at: usize, mark: [u8; 4]) -> bool {
    bytes.get(at..at.saturating_add(4)).is_some_and(|found| found == mark)
}

impl ZipFile {
    /// Reads the list of entries.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn open(path: &Path) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        let mut start = [0u8; 4];
        if file.read_exact(&mut start).is_err() || start != *b"PK\x03\x04" {
            return Err("it is no ZIP archive; .pt files older than PyTorch 1.6 are not read".to_owned());
        }
        // The end record is followed by a comment of at most 64 KB.
        let tail_size = size.min(22 + 65_535 + 20);
        let tail = read(&mut file, size - tail_size, tail_size)?;
        let end = (0..tail.len().saturating_sub(21))
            .rev()
            .find(|i| begins(&tail, *i, *b"PK\x05\x06"))
            .ok_or(CUT)?;
        let mut directory = (u32_at(&tail, end + 16).ok_or(CUT)?, u32_at(&tail, end + 12).ok_or(CUT)?);
        // Archives beyond 4 GB have a second, wider end record.
        if let Some(locator) = end.checked_sub(20).filter(|i| begins(&tail, *i, *b"PK\x06\x07")) {
            let wide = u64_at(&tail, locator + 8).ok_or(CUT)?;
            let record = read(&mut file, wide, 56)?;
            if !begins(&record, 0, *b"PK\x06\x06") {
                return Err(CUT.to_owned());
            }
            directory = (u64_at(&record, 48).ok_or(CUT)?, u64_at(&record, 40).ok_or(CUT)?);
        }
        let (from, length) = directory;
        if length > LONGEST_DIRECTORY || from.checked_add(length).is_none_or(|end| end > size) {
            return Err(CUT.to_owned());
        }
        let list = read(&mut file, from, length)?;
        let entries = entries(&list)?;
        Ok(Self { path: path.to_path_buf(), entries })
    }

    /// Names of all entries.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Bytes of an entry, if there is one.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.entries.get(name).map(|place| place.size)
    }

    /// `length` bytes of an entry from `start` on.
    ///
    /// # Errors
    /// No such entry, beyond its end, or the file cannot be read.
    pub fn read(&self, name: &str, start: u64, length: u64) -> Result<Vec<u8>, String> {
        let place = self.entries.get(name).ok_or_else(|| format!("has no entry `{name}`"))?;
        if start.checked_add(length).is_none_or(|end| end > place.size) {
            return Err(format!("the entry `{name}` ends at byte {}", place.size));
        }
        let mut file = File::open(&self.path).map_err(|e| e.to_string())?;
        let header = read(&mut file, place.header, 30)?;
        if !begins(&header, 0, *b"PK\x03\x04") {
            return Err(CUT.to_owned());
        }
        let names = u16_at(&header, 26).ok_or(CUT)? + u16_at(&header, 28).ok_or(CUT)?;
        read(&mut file, place.header + 30 + names + start, length)
    }
}

fn entries(list: &[u8]) -> Result<BTreeMap<String, Place>, String> {
    let mut entries = BTreeMap::new();
    let mut at = 0;
    while at < list.len() {
        if !begins(list, at, *b"PK\x01\x02") {
            return Err(CUT.to_owned());
        }
        let field = |offset: usize| u16_at(list, at + offset).map(|n| n as usize);
        let (name, extra, comment) = (field(28).ok_or(CUT)?, field(30).ok_or(CUT)?, field(32).ok_or(CUT)?);
        let name_bytes = list.get(at + 46..at + 46 + name).ok_or(CUT)?;
        let entry = String::from_utf8_lossy(name_bytes).into_owned();
        if field(10) != Some(0) {
            return Err(format!("its entry `{entry}` is compressed; PyTorch stores entries as they are"));
        }
        let (mut packed, mut size, mut header) = (
            u32_at(list, at + 20).ok_or(CUT)?,
            u32_at(list, at + 24).ok_or(CUT)?,
            u32_at(list, at + 42).ok_or(CUT)?,
        );
        // Numbers that do not fit are in an extra field, in this order.
        let more = list.get(at + 46 + name..at + 46 + name + extra).ok_or(CUT)?;
        let mut wide = wide_numbers(more).into_iter();
        for number in [&mut size, &mut packed, &mut header] {
            if *number == 0xFFFF_FFFF {
                *number = wide.next().ok_or(CUT)?;
            }
        }
        if packed != size {
            return Err(format!("the sizes of its entry `{entry}` contradict each other"));
        }
        entries.insert(entry, Place { header, size });
        at += 46 + name + extra + comment;
    }
    Ok(entries)
}

/// The numbers of the ZIP64 part of an extra field.
fn wide_numbers(mut extra: &[u8]) -> Vec<u64> {
    while let (Some(kind), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(body) = extra.get(4..4 + length as usize) else { break };
        if kind == 1 {
            return (0..body.len() / 8).filter_map(|i| u64_at(body, 8 * i)).collect();
        }
        extra = extra.get(4 + length as usize..).unwrap_or_default();
    }
    Vec::new()
}

fn read(file: &mut File, start: u64, length: u64) -> Result<Vec<u8>, String> {
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    if start.checked_add(length).is_none_or(|end| end > size) {
        return Err(CUT.to_owned());
    }
    let mut bytes = vec![0u8; length as usize];
    file.seek(SeekFrom::Start(start)).map_err(|e| e.to_string())?;
    file.read_exact(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}
