//! Numbers of a run as a TensorBoard event file.
//!
//! The format is small enough to write by hand: records as TensorFlow frames them (length, masked CRC-32C of the
//! length, bytes, masked CRC-32C of the bytes), each a protobuf `Event { double wall_time = 1; int64 step = 2;
//! string file_version = 3; Summary summary = 5 }` with `Summary.Value { string tag = 1; float simple_value = 2 }`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that is being written; every call leaves whole records behind.
pub(super) struct Events {
    file: File,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl Events {
    /// A new file in `folder`, with a name that TensorBoard looks for and that sorts by time.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let mut number = now() as u64;
        loop {
            let path = folder.join(format!("events.out.tfevents.{number:010}.forerun"));
            match OpenOptions::new().write(true).create_new(true).open(path) {
                Ok(file) => {
                    let mut events = Self { file };
                    let mut event = Vec::new();
                    double(&mut event, 1, now());
                    bytes(&mut event, 3, b"brain.Event:2");
                    events.record(&event)?;
                    return Ok(events);
                }
                // Two starts within one second.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds the numbers of a step; those that are not finite are left out.
    pub(super) fn add(&mut self, step: u64, numbers: &[(String, f32)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in numbers.iter().filter(|(_, value)| value.is_finite()) {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, tag.as_bytes());
            key(&mut entry, 2, 5);
            entry.extend(value.to_le_bytes());
            bytes(&mut summary, 1, &entry);
        }
        if summary.is_empty() {
            return Ok(());
        }
        let mut event = Vec::new();
        double(&mut event, 1, now());
        key(&mut event, 2, 0);
        varint(&mut event, step);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend(length);
        record.extend(masked(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked(event).to_le_bytes());
        // One call a record: a kill parts records, not bytes.
        self.file.write_all(&record)
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, (field << 3) | wire);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, 1);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), bit by bit: the records are small.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
            },
        )
    })
}

/// The checksum as the record format stores it, so that checksums of checksums stay useful.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of the catalogue of CRCs, and RFC 3720's 32 zero bytes.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    /// Reads a file of records back, checking both sums, and returns the events' bytes.
    fn records(mut data: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while !data.is_empty() {
            let length = u64::from_le_bytes(data[..8].try_into().unwrap()) as usize;
            assert_eq!(data[8..12], masked(&data[..8]).to_le_bytes());
            let event = &data[12..12 + length];
            assert_eq!(data[12 + length..16 + length], masked(event).to_le_bytes());
            out.push(event.to_vec());
            data = &data[16 + length..];
        }
        out
    }

    #[test]
    fn records_frame_the_events_as_tensorflow_does() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path()).unwrap();
        let numbers = [("train/loss".to_owned(), 0.5), ("train/psnr".to_owned(), f32::NAN)];
        events.add(300, &numbers).unwrap();
        let second = Events::create(dir.path());
        assert!(second.is_ok());
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        assert_eq!(names.len(), 2);
        let found = records(&std::fs::read(&names[0]).unwrap());
        assert_eq!(found.len(), 2);
        // Field 1 (a double), then field 3: the version string.
        assert_eq!(found[0][0], 0x09);
        assert_eq!(found[0][9..], [&[0x1a, 13], &b"brain.Event:2"[..]].concat());
        // Step 300 as a varint; one value: tag and 0.5 as a float. The number that is none is not there.
        assert_eq!(found[1][9..12], [0x10, 0xac, 0x02]);
        let value = [&[0x0a, 10], &b"train/loss"[..], &[0x15], &0.5_f32.to_le_bytes()[..]].concat();
        let summary = [&[0x0a, value.len() as u8], &value[..]].concat();
        assert_eq!(found[1][12..], [&[0x2a, summary.len() as u8], &summary[..]].concat());
    }
}
