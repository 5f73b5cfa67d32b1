//! The box structure of ISO base media files (ISO/IEC 14496-12): reading with checks, writing.

/// Four letters that name a box.
pub(super) type Tag = [u8; 4];

/// Walks the boxes inside a byte slice; ends at the first one that does not fit.
pub(super) struct Boxes<'a> {
    rest: &'a [u8],
}

impl<'a> Boxes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = (Tag, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut cursor = Cursor::new(self.rest);
        let size = cursor.u32()?;
        let tag = cursor.tag()?;
        let (size, header) = match size {
            0 => (self.rest.len(), 8),
            1 => (usize::try_from(cursor.u64()?).ok()?, 16),
            n => (n as usize, 8),
        };
        let payload = self.rest.get(header..size)?;
        self.rest = self.rest.get(size..)?;
        Some((tag, payload))
    }
}

/// The payload of the first box with this tag.
pub(super) fn find<'a>(bytes: &'a [u8], tag: &Tag) -> Option<&'a [u8]> {
    Boxes::new(bytes).find(|(t, _)| t == tag).map(|(_, payload)| payload)
}

/// Follows a path of nested boxes.
pub(super) fn find_path<'a>(bytes: &'a [u8], path: &[&Tag]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |inside, tag| find(inside, tag))
}

/// Big-endian numbers from a slice; `None` at its end.
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let head = self.rest.get(..n)?;
        self.rest = self.rest.get(n..)?;
        Some(head)
    }

    pub(super) fn skip(&mut self, n: usize) -> Option<()> {
        self.take(n).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn tag(&mut self) -> Option<Tag> {
        self.array()
    }
}

/// Appends a box whose payload `fill` writes.
pub(super) fn write_box(out: &mut Vec<u8>, tag: &Tag, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(tag);
    fill(out);
    let size = (out.len() - start) as u32;
    if let Some(head) = out.get_mut(start..start + 4) {
        head.copy_from_slice(&size.to_be_bytes());
    }
}

/// Appends a box with version 0 and the given flags.
pub(super) fn write_full_box(out: &mut Vec<u8>, tag: &Tag, flags: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    write_box(out, tag, |out| {
        out.extend((flags & 0x00ff_ffff).to_be_bytes());
        fill(out);
    });
}

/// Appends big-endian 32-bit numbers.
pub(super) fn put(out: &mut Vec<u8>, numbers: &[u32]) {
    for n in numbers {
        out.extend(n.to_be_bytes());
    }
}

/// Appends big-endian 16-bit numbers.
pub(super) fn put16(out: &mut Vec<u8>, numbers: &[u16]) {
    for n in numbers {
        out.extend(n.to_be_bytes());
    }
}
