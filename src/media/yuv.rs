//! Between RGB and the YCbCr planes of video codecs.
//!
//! Formulas: ITU-R BT.601-7 and BT.709-6, section 3. Limited range (Y 16..235, C 16..240) is what video uses
//! unless it says otherwise. Untagged video counts as BT.601, as libswscale (and with it PyAV and LeRobot) does
//! for every size. The way to RGB rounds each term down with 13-bit factors, exactly as libswscale's vector code
//! does: a frame read here has the very bytes that LeRobot trains on, at the price of about one level of 255
//! darker than exact rounding.

use crate::Frame;

/// Which primaries' weights turn RGB into luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matrix {
    Bt601,
    Bt709,
    Bt2020,
    /// The planes are G, B, R.
    Identity,
}

impl Matrix {
    /// From the code points of ISO/IEC 23091-2 (the same in H.264, AV1 and MP4's `colr`).
    pub(super) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Identity,
            1 => Self::Bt709,
            9 | 10 => Self::Bt2020,
            _ => Self::Bt601,
        }
    }

    /// Weights of red and blue in luma.
    fn weights(self) -> (f64, f64) {
        match self {
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
            Self::Bt601 | Self::Identity => (0.299, 0.114),
        }
    }
}

/// Colour description of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    pub(super) matrix: Matrix,
    pub(super) full_range: bool,
}

impl Default for Colour {
    fn default() -> Self {
        Self { matrix: Matrix::Bt601, full_range: false }
    }
}

/// A decoded picture as 8-bit planes that the decoder owns.
pub(super) struct Planes<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) y: &'a [u8],
    /// Cb and Cr; `None` for a grey picture.
    pub(super) chroma: Option<(&'a [u8], &'a [u8])>,
    pub(super) y_stride: usize,
    pub(super) c_stride: usize,
    /// Chroma is halved in width / in height.
    pub(super) halved: (bool, bool),
    pub(super) colour: Colour,
}

/// Fixed-point factors of one colour description.
struct Factors {
    y: i32,
    y_offset: i32,
    rv: i32,
    gu: i32,
    gv: i32,
    bu: i32,
}

impl Factors {
    fn new(colour: Colour) -> Self {
        let (kr, kb) = colour.matrix.weights();
        let kg = 1.0 - kr - kb;
        let (y_scale, c_scale, y_offset) =
            if colour.full_range { (1.0, 1.0, 0) } else { (255.0 / 219.0, 255.0 / 224.0, 16) };
        let fixed = |x: f64| (x * 8192.0).round() as i32;
        Self {
            y: fixed(y_scale),
            y_offset,
            rv: fixed(2.0 * (1.0 - kr) * c_scale),
            gu: fixed(-2.0 * (1.0 - kb) * kb / kg * c_scale),
            gv: fixed(-2.0 * (1.0 - kr) * kr / kg * c_scale),
            bu: fixed(2.0 * (1.0 - kb) * c_scale),
        }
    }
}

/// One term: sample times factor, rounded down.
#[inline]
fn term(sample: i32, factor: i32) -> i32 {
    (sample * factor) >> 13
}

impl Planes<'_> {
    /// The picture in RGB; chroma samples are repeated, as libswscale's unscaled converter does. `None` when
    /// the planes are shorter than they claim.
    pub(super) fn to_frame(&self) -> Option<Frame> {
        let (w, h) = (self.width, self.height);
        let mut data = vec![0u8; w.checked_mul(h)?.checked_mul(3)?];
        let factors = Factors::new(self.colour);
        let chroma_width = if self.halved.0 { w.div_ceil(2) } else { w };
        let neutral = vec![128u8; chroma_width];
        for row in 0..h {
            let start = row.checked_mul(self.y_stride)?;
            let y = self.y.get(start..start.checked_add(w)?)?;
            let (u, v) = match self.chroma {
                None => (neutral.as_slice(), neutral.as_slice()),
                Some((u, v)) => {
                    let mut line = if self.halved.1 { row / 2 } else { row };
                    // Some decoders hand out one chroma row less for an odd height.
                    while line > 0 && line * self.c_stride + chroma_width > u.len().min(v.len()) {
                        line -= 1;
                    }
                    let start = line * self.c_stride;
                    (u.get(start..start + chroma_width)?, v.get(start..start + chroma_width)?)
                }
            };
            let out = data.get_mut(row * w * 3..(row + 1) * w * 3)?;
            if self.colour.matrix == Matrix::Identity && !self.halved.0 {
                for (((p, g), b), r) in out.chunks_exact_mut(3).zip(y).zip(u).zip(v) {
                    p.copy_from_slice(&[*r, *g, *b]);
                }
            } else if self.halved.0 {
                row_halved(&factors, y, u, v, out);
            } else {
                for (((p, y), u), v) in out.chunks_exact_mut(3).zip(y).zip(u).zip(v) {
                    let (r, g, b) = chroma_part(&factors, *u, *v);
                    pixel(&factors, *y, r, g, b, p);
                }
            }
        }
        Frame::new(w, h, data)
    }
}

#[inline]
fn chroma_part(f: &Factors, u: u8, v: u8) -> (i32, i32, i32) {
    let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
    (term(v, f.rv), term(u, f.gu) + term(v, f.gv), term(u, f.bu))
}

#[inline]
fn pixel(f: &Factors, y: u8, r: i32, g: i32, b: i32, out: &mut [u8]) {
    let luma = term(i32::from(y) - f.y_offset, f.y);
    if let [pr, pg, pb] = out {
        *pr = (luma + r).clamp(0, 255) as u8;
        *pg = (luma + g).clamp(0, 255) as u8;
        *pb = (luma + b).clamp(0, 255) as u8;
    }
}

fn row_halved(f: &Factors, y: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
    for (((p, y), u), v) in out.chunks_mut(6).zip(y.chunks(2)).zip(u).zip(v) {
        let (r, g, b) = chroma_part(f, *u, *v);
        for (p, y) in p.chunks_exact_mut(3).zip(y) {
            pixel(f, *y, r, g, b, p);
        }
    }
}

/// Planes of a 4:2:0 picture made from RGB, even in width and height.
pub(super) struct Yuv420 {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) y: Vec<u8>,
    pub(super) u: Vec<u8>,
    pub(super) v: Vec<u8>,
}

const fn fixed(x: f64) -> i32 {
    (x * 65536.0 + if x < 0.0 { -0.5 } else { 0.5 }) as i32
}

// BT.601, limited range.
const Y_R: i32 = fixed(0.299 * 219.0 / 255.0);
const Y_G: i32 = fixed(0.587 * 219.0 / 255.0);
const Y_B: i32 = fixed(0.114 * 219.0 / 255.0);
const U_B: i32 = fixed(0.5 * 224.0 / 255.0);
const U_R: i32 = -fixed(0.5 * 0.299 / 0.886 * 224.0 / 255.0);
const U_G: i32 = -U_B - U_R;
const V_R: i32 = U_B;
const V_B: i32 = -fixed(0.5 * 0.114 / 0.701 * 224.0 / 255.0);
const V_G: i32 = -V_R - V_B;

/// BT.601 limited-range planes of a picture; an odd last column or row is repeated to make the size even.
/// Chroma is the mean of its four pixels. `None` for an unsound frame.
pub(super) fn from_frame(frame: &Frame) -> Option<Yuv420> {
    let (w, h) = (frame.width, frame.height);
    if w == 0 || h == 0 || frame.data.len() != w.checked_mul(h)?.checked_mul(3)? {
        return None;
    }
    let (ew, eh) = (w.next_multiple_of(2), h.next_multiple_of(2));
    let mut out = Yuv420 {
        width: ew,
        height: eh,
        y: Vec::with_capacity(ew * eh),
        u: Vec::with_capacity(ew * eh / 4),
        v: Vec::with_capacity(ew * eh / 4),
    };
    for row in 0..eh {
        let line = frame.data.chunks_exact(w * 3).nth(row.min(h - 1))?;
        out.y.extend(line.chunks_exact(3).map(luma));
        if ew > w {
            out.y.push(luma(line.get((w - 1) * 3..)?));
        }
        if row % 2 == 0 {
            let next = frame.data.chunks_exact(w * 3).nth((row + 1).min(h - 1))?;
            for (a, b) in line.chunks(6).zip(next.chunks(6)) {
                let sum = |c: usize| {
                    let of = |p: &[u8]| {
                        let left = i32::from(p.get(c).copied().unwrap_or(0));
                        left + p.get(c + 3).map_or(left, |x| i32::from(*x))
                    };
                    of(a) + of(b)
                };
                let (r, g, b) = (sum(0), sum(1), sum(2));
                // Four pixels are summed: two more bits of shift.
                let half = (128 << 18) + (1 << 17);
                out.u.push(((U_R * r + U_G * g + U_B * b + half) >> 18).clamp(0, 255) as u8);
                out.v.push(((V_R * r + V_G * g + V_B * b + half) >> 18).clamp(0, 255) as u8);
            }
        }
    }
    Some(out)
}

#[inline]
fn luma(pixel: &[u8]) -> u8 {
    match pixel {
        [r, g, b, ..] => {
            let sum = Y_R * i32::from(*r) + Y_G * i32::from(*g) + Y_B * i32::from(*b);
            ((sum + (16 << 16) + 32768) >> 16).clamp(0, 255) as u8
        }
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn back(yuv: &Yuv420, width: usize, height: usize) -> Frame {
        Planes {
            width,
            height,
            y: &yuv.y,
            chroma: Some((&yuv.u, &yuv.v)),
            y_stride: yuv.width,
            c_stride: yuv.width / 2,
            halved: (true, true),
            colour: Colour::default(),
        }
        .to_frame()
        .unwrap()
    }

    #[test]
    fn flat_colours_come_back_within_quantisation() {
        for r in (0..=255).step_by(51) {
            for g in (0..=255).step_by(51) {
                for b in (0..=255).step_by(51) {
                    let rgb = [r as u8, g as u8, b as u8];
                    let frame = Frame::filled(6, 4, rgb);
                    let again = back(&from_frame(&frame).unwrap(), 6, 4);
                    for (x, y) in frame.data.iter().zip(&again.data) {
                        assert!(x.abs_diff(*y) <= 4, "{rgb:?} came back as {:?}", again.pixel(0, 0));
                    }
                }
            }
        }
    }

    #[test]
    fn black_and_white_are_exact_and_known_colours_have_their_standard_values() {
        let white = from_frame(&Frame::filled(2, 2, [255; 3])).unwrap();
        assert_eq!((white.y[0], white.u[0], white.v[0]), (235, 128, 128));
        let black = from_frame(&Frame::filled(2, 2, [0; 3])).unwrap();
        assert_eq!((black.y[0], black.u[0], black.v[0]), (16, 128, 128));
        // BT.601 pure red: Y 81, Cb 90, Cr 240 (ITU-R BT.601-7).
        let red = from_frame(&Frame::filled(2, 2, [255, 0, 0])).unwrap();
        assert_eq!((red.y[0], red.u[0], red.v[0]), (81, 90, 240));
        assert_eq!(back(&white, 2, 2).pixel(0, 0), Some([255; 3]));
        assert_eq!(back(&black, 2, 2).pixel(0, 0), Some([0; 3]));
    }

    #[test]
    fn odd_sizes_are_padded_and_come_back_in_their_own_size() {
        let mut frame = Frame::filled(5, 3, [10, 200, 90]);
        let last = frame.data.len() - 3;
        frame.data[last..].copy_from_slice(&[250, 10, 10]);
        let yuv = from_frame(&frame).unwrap();
        assert_eq!((yuv.width, yuv.height), (6, 4));
        assert_eq!((yuv.y.len(), yuv.u.len()), (24, 6));
        let again = back(&yuv, 5, 3);
        assert!(again.pixel(4, 2).unwrap()[0] > 200);
        assert_eq!(again.width, 5);
    }

    #[test]
    fn short_planes_are_refused() {
        let short = Planes {
            width: 4,
            height: 4,
            y: &[0; 15],
            chroma: None,
            y_stride: 4,
            c_stride: 2,
            halved: (true, true),
            colour: Colour::default(),
        };
        assert!(short.to_frame().is_none());
    }
}
