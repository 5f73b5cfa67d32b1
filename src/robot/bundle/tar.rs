//! The little of the tar format (POSIX ustar) that a bundle needs: regular files with short names. Everything else in an
//! archive is refused, so nothing can be written outside of its folder.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;

/// Whether a path may be in a bundle: relative, plain names, at most 100 bytes.
pub(super) fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 100
        && path.split('/').all(|part| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        })
}

fn put(block: &mut [u8; BLOCK], at: usize, text: &[u8]) {
    for (slot, b) in block.iter_mut().skip(at).zip(text) {
        *slot = *b;
    }
}

/// Sum of a header with its own sum field taken as blanks.
fn sum(block: &[u8; BLOCK]) -> u32 {
    block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum()
}

/// Writes one file.
pub(super) fn append(out: &mut impl Write, path: &str, data: &[u8]) -> io::Result<()> {
    if !is_plain(path) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} is no plain path")));
    }
    let mut header = [0u8; BLOCK];
    put(&mut header, 0, path.as_bytes());
    put(&mut header, 100, b"0000644\0");
    put(&mut header, 108, b"0000000\0");
    put(&mut header, 116, b"0000000\0");
    put(&mut header, 124, format!("{:011o}\0", data.len()).as_bytes());
    // No time: the same contents give the same bytes.
    put(&mut header, 136, b"00000000000\0");
    put(&mut header, 156, b"0");
    put(&mut header, 257, b"ustar\x0000");
    let sum = sum(&header);
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    out.write_all(data)?;
    out.write_all(&[0; BLOCK][..data.len().next_multiple_of(BLOCK) - data.len()])
}

/// Writes the end.
pub(super) fn finish(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let text = text.trim_matches(['\0', ' ']);
    if text.is_empty() || text.len() > 12 {
        return None;
    }
    u64::from_str_radix(text, 8).ok()
}

/// One file of an archive: its path and its size; `None` at the end. The caller reads exactly the size, then calls
/// [`skip_padding`].
pub(super) fn next(from: &mut impl Read) -> Result<Option<(String, u64)>, String> {
    let mut header = [0u8; BLOCK];
    from.read_exact(&mut header).map_err(|_| "it ends too early".to_string())?;
    if header.iter().all(|b| *b == 0) {
        return Ok(None);
    }
    let told = octal(header.get(148..156).unwrap_or_default());
    if told != Some(u64::from(sum(&header))) {
        return Err("a header is damaged".into());
    }
    let name: Vec<u8> = header.iter().take(100).take_while(|b| **b != 0).copied().collect();
    let path = String::from_utf8(name).map_err(|_| "a name is damaged")?;
    let prefix_used = header.get(345..500).is_some_and(|p| p.iter().any(|b| *b != 0));
    if !matches!(header.get(156), Some(b'0' | 0)) || prefix_used || !is_plain(&path) {
        return Err(format!("{path:?} is not a plain file"));
    }
    let size = octal(header.get(124..136).unwrap_or_default()).ok_or("a size is damaged")?;
    Ok(Some((path, size)))
}

/// Reads over the rest of a file's last block.
pub(super) fn skip_padding(from: &mut impl Read, size: u64) -> Result<(), String> {
    let rest = size.next_multiple_of(BLOCK as u64) - size;
    let mut padding = vec![0u8; usize::try_from(rest).unwrap_or(0)];
    from.read_exact(&mut padding).map_err(|_| "it ends too early".to_string())
}
