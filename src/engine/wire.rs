//! Packets on a byte stream: a JSON header and raw blobs, each with its length in front.
//!
//! Layout, little endian: `FRW1`, u32 header length, u32 number of blobs, one u32 length a blob, header (JSON, UTF-8),
//! blobs. Lengths come from the other side and are never trusted: they are capped, and memory grows only as
//! bytes really arrive.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::protocol::Packet;

/// First bytes of a packet.
const MAGIC: [u8; 4] = *b"FRW1";
/// Largest header: an action track of 10,000 steps and 32 channels is under 4 MiB.
const MAX_HEADER: u32 = 32 << 20;
/// Most blobs beside one message.
const MAX_BLOBS: u32 = 1024;
/// Largest blob: an RGB picture of 8192 x 8192.
const MAX_BLOB: u32 = 8192 * 8192 * 3;
/// Most bytes of all blobs of a message.
const MAX_TOTAL: u64 = 512 << 20;

/// Why a packet could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side closed the stream between two packets: the regular end.
    #[error("the other side closed the connection")]
    Closed,
    /// The stream broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not a packet of ours.
    #[error("the other side sent something that is no Forerun message ({0})")]
    Malformed(String),
}

/// Writes one packet and flushes.
pub fn write_packet<T: Serialize>(out: &mut impl Write, packet: &Packet<T>) -> Result<(), WireError> {
    let header = serde_json::to_vec(&packet.message).map_err(|e| WireError::Malformed(e.to_string()))?;
    let header_len = capped(header.len(), MAX_HEADER, "header")?;
    let count = capped(packet.blobs.len(), MAX_BLOBS, "number of pictures")?;
    let mut head = Vec::with_capacity(12 + packet.blobs.len() * 4 + header.len());
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&header_len.to_le_bytes());
    head.extend_from_slice(&count.to_le_bytes());
    let mut total = 0u64;
    for blob in &packet.blobs {
        let len = capped(blob.len(), MAX_BLOB, "picture")?;
        total += u64::from(len);
        head.extend_from_slice(&len.to_le_bytes());
    }
    check_total(total)?;
    head.extend_from_slice(&header);
    out.write_all(&head)?;
    for blob in &packet.blobs {
        out.write_all(blob)?;
    }
    out.flush()?;
    Ok(())
}

fn capped(len: usize, max: u32, what: &str) -> Result<u32, WireError> {
    match u32::try_from(len) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(WireError::Malformed(format!("{what} of {len}, at most {max} is allowed"))),
    }
}

fn check_total(total: u64) -> Result<(), WireError> {
    if total > MAX_TOTAL {
        return Err(WireError::Malformed(format!(
            "{total} bytes of pictures, at most {MAX_TOTAL} are allowed"
        )));
    }
    Ok(())
}

/// Reads one packet; [`WireError::Closed`] when the stream ends before its first byte.
pub fn read_packet<T: DeserializeOwned>(input: &mut impl Read) -> Result<Packet<T>, WireError> {
    let mut magic = [0u8; 4];
    let first = loop {
        match input.read(&mut magic) {
            Ok(n) => break n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    };
    if first == 0 {
        return Err(WireError::Closed);
    }
    input.read_exact(magic.get_mut(first..).unwrap_or_default())?;
    if magic != MAGIC {
        return Err(WireError::Malformed("wrong first bytes".into()));
    }
    let header_len = capped(read_u32(input)? as usize, MAX_HEADER, "header")?;
    let count = capped(read_u32(input)? as usize, MAX_BLOBS, "number of pictures")?;
    let mut lengths = Vec::with_capacity(count as usize);
    let mut total = 0u64;
    for _ in 0..count {
        let len = capped(read_u32(input)? as usize, MAX_BLOB, "picture")?;
        total += u64::from(len);
        lengths.push(len);
    }
    check_total(total)?;
    let header = read_bytes(input, header_len)?;
    let message = serde_json::from_slice(&header).map_err(|e| WireError::Malformed(e.to_string()))?;
    let blobs = lengths.into_iter().map(|len| read_bytes(input, len)).collect::<Result<_, _>>()?;
    Ok(Packet { message, blobs })
}

fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0u8; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_bytes(input: &mut impl Read, len: u32) -> io::Result<Vec<u8>> {
    // At most 1 MiB is set aside on the word of the other side; the rest grows with what arrives.
    let mut bytes = Vec::with_capacity(len.min(1 << 20) as usize);
    input.by_ref().take(u64::from(len)).read_to_end(&mut bytes)?;
    if bytes.len() != len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::protocol::{Event, Request};

    fn packet() -> Packet<Request> {
        Packet { message: Request::Cancel { job: 7 }, blobs: vec![vec![1, 2, 3], vec![], vec![9; 5000]] }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &packet()).unwrap();
        write_packet(&mut bytes, &packet()).unwrap();
        let mut input = bytes.as_slice();
        assert_eq!(read_packet::<Request>(&mut input).unwrap(), packet());
        assert_eq!(read_packet::<Request>(&mut input).unwrap(), packet());
        assert!(matches!(read_packet::<Request>(&mut input), Err(WireError::Closed)));
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_packet() {
        let mut bytes = Vec::new();
        write_packet(&mut bytes, &packet()).unwrap();
        for len in 1..bytes.len() {
            let got = read_packet::<Request>(&mut &bytes[..len]);
            assert!(matches!(got, Err(WireError::Io(_))), "{len} bytes");
        }
    }

    #[test]
    fn lying_lengths_are_refused_without_taking_the_memory() {
        let mut huge = MAGIC.to_vec();
        huge.extend_from_slice(&u32::MAX.to_le_bytes());
        huge.extend_from_slice(&0u32.to_le_bytes());
        assert!(matches!(read_packet::<Event>(&mut huge.as_slice()), Err(WireError::Malformed(_))));
        // Within the caps, but the bytes never come.
        let mut short = MAGIC.to_vec();
        short.extend_from_slice(&MAX_HEADER.to_le_bytes());
        short.extend_from_slice(&0u32.to_le_bytes());
        short.extend_from_slice(b"{}");
        assert!(matches!(read_packet::<Event>(&mut short.as_slice()), Err(WireError::Io(_))));
        // Many blobs, each allowed, together too many bytes.
        let mut sum = MAGIC.to_vec();
        sum.extend_from_slice(&2u32.to_le_bytes());
        sum.extend_from_slice(&10u32.to_le_bytes());
        for _ in 0..10 {
            sum.extend_from_slice(&MAX_BLOB.to_le_bytes());
        }
        assert!(matches!(read_packet::<Event>(&mut sum.as_slice()), Err(WireError::Malformed(_))));
    }

    #[test]
    fn noise_is_refused() {
        let noise = b"hello, this is a log line that went to the wrong place\n";
        assert!(matches!(read_packet::<Event>(&mut noise.as_slice()), Err(WireError::Malformed(_))));
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&3u32.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(b"{]}");
        assert!(matches!(read_packet::<Event>(&mut bytes.as_slice()), Err(WireError::Malformed(_))));
    }
}
