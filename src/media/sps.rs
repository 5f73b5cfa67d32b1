//! What an H.264 sequence parameter set says (ITU-T H.264, 7.3.2.1.1 and E.1.1): profile, sampling, colours.

use super::yuv::{Colour, Matrix};

/// The part of a sequence parameter set that decides whether and how we decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sps {
    pub(super) profile: u8,
    /// 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub(super) chroma: u32,
    /// Bits of a luma sample.
    pub(super) bits: u32,
    /// Only where the stream says so.
    pub(super) colour: Option<Colour>,
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    fn bits(&mut self, n: u32) -> Option<u32> {
        (0..n).try_fold(0u32, |acc, _| Some(acc << 1 | self.bit()?))
    }

    /// Exp-Golomb code.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 0 { -(code / 2) } else { (code + 1) / 2 })
    }
}

/// Parses a sequence parameter set, its header byte included.
pub(super) fn parse(nal: &[u8]) -> Option<Sps> {
    let data = unescape(nal.get(1..)?);
    let mut b = Bits { data: &data, at: 0 };
    let profile = b.bits(8)? as u8;
    b.bits(16)?;
    b.ue()?;
    let (mut chroma, mut bits) = (1, 8);
    if matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244) {
        chroma = b.ue()?;
        if chroma == 3 {
            b.bit()?;
        }
        bits = 8u32.checked_add(b.ue()?)?;
        b.ue()?;
        b.bit()?;
        if b.bit()? == 1 {
            for list in 0..(if chroma == 3 { 12 } else { 8 }) {
                if b.bit()? == 1 {
                    skip_scaling_list(&mut b, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    Some(Sps { profile, chroma, bits, colour: parse_colour(&mut b).flatten() })
}

fn skip_scaling_list(b: &mut Bits<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + b.se()? + 256).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// From `log2_max_frame_num` on to the colour description.
fn parse_colour(b: &mut Bits<'_>) -> Option<Option<Colour>> {
    b.ue()?;
    match b.ue()? {
        0 => {
            b.ue()?;
        }
        1 => {
            b.bit()?;
            b.se()?;
            b.se()?;
            let cycle = b.ue()?;
            for _ in 0..cycle.min(255) {
                b.se()?;
            }
        }
        _ => {}
    }
    b.ue()?;
    b.bit()?;
    b.ue()?;
    b.ue()?;
    if b.bit()? == 0 {
        b.bit()?;
    }
    b.bit()?;
    if b.bit()? == 1 {
        for _ in 0..4 {
            b.ue()?;
        }
    }
    if b.bit()? == 0 {
        return Some(None);
    }
    if b.bit()? == 1 && b.bits(8)? == 255 {
        b.bits(32)?;
    }
    if b.bit()? == 1 {
        b.bit()?;
    }
    if b.bit()? == 0 {
        return Some(None);
    }
    b.bits(3)?;
    let full_range = b.bit()? == 1;
    let matrix = if b.bit()? == 1 {
        b.bits(16)?;
        Matrix::from_code(b.bits(8)? as u8)
    } else {
        Matrix::Bt601
    };
    Some(Some(Colour { matrix, full_range }))
}

/// Removes the bytes that keep start codes out of the payload.
fn unescape(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut zeros = 0;
    for byte in data {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}
