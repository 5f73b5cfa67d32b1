//! Text as pixels: outlines of the embedded fonts, filled by our own rasteriser. The same bytes on every machine.
//!
//! One line at a time, left to right, one glyph a character: what labels of sheets need. Inter comes first, Noto Sans
//! CJK in Traditional forms next; what neither has is drawn as an empty box, so that nothing is lost unseen.

use std::sync::OnceLock;

use skrifa::instance::{LocationRef, Size};
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::{FontRef, GlyphId, MetadataProvider};

/// Inter, regular (subset; `assets/fonts/README.md`).
pub static INTER: &[u8] = include_bytes!("../../assets/fonts/Inter-Regular-subset.otf");
/// Inter, semi-bold (subset).
pub static INTER_SEMIBOLD: &[u8] = include_bytes!("../../assets/fonts/Inter-SemiBold-subset.otf");
/// Noto Sans CJK, Traditional forms (subset: level 1 of Big5).
pub static NOTO_TC: &[u8] = include_bytes!("../../assets/fonts/NotoSansCJKtc-Regular-subset.otf");

/// Sizes that text can have, in pixels an em.
pub const SIZES: std::ops::RangeInclusive<f32> = 6.0..=200.0;

/// How dark text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// For reading.
    #[default]
    Regular,
    /// For titles (Chinese stays regular).
    SemiBold,
}

/// Coverage of a line of text, 0..=255 a pixel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mask {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `width * height` values, rows from top to bottom.
    pub data: Vec<u8>,
}

/// Fonts in the order in which a character is looked for.
fn fonts(weight: Weight) -> &'static [FontRef<'static>] {
    static REGULAR: OnceLock<Vec<FontRef<'static>>> = OnceLock::new();
    static BOLD: OnceLock<Vec<FontRef<'static>>> = OnceLock::new();
    let open = |files: [&'static [u8]; 2]| files.iter().filter_map(|file| FontRef::new(file).ok()).collect();
    match weight {
        Weight::Regular => REGULAR.get_or_init(|| open([INTER, NOTO_TC])),
        Weight::SemiBold => BOLD.get_or_init(|| open([INTER_SEMIBOLD, NOTO_TC])),
    }
}

/// Whether every character can be drawn.
pub fn can_draw(text: &str) -> bool {
    text.chars().all(|c| c.is_control() || find(c, Weight::Regular).is_some())
}

fn find(c: char, weight: Weight) -> Option<(&'static FontRef<'static>, GlyphId)> {
    let glyph = |font: &FontRef<'static>| font.charmap().map(c).filter(|id| *id != GlyphId::NOTDEF);
    fonts(weight).iter().find_map(|font| Some((font, glyph(font)?)))
}

fn clamped(size: f32) -> f32 {
    if size.is_nan() { *SIZES.start() } else { size.clamp(*SIZES.start(), *SIZES.end()) }
}

/// Height of a line of text in pixels, room above and below included.
pub fn line_height(size: f32) -> usize {
    (clamped(size) * 1.4).ceil() as usize
}

/// Way from a character to the next one, in pixels.
fn advance(c: char, size: f32, weight: Weight) -> f32 {
    let known = find(c, weight).and_then(|(font, glyph)| {
        font.glyph_metrics(Size::new(size), LocationRef::default()).advance_width(glyph)
    });
    // The box of an unknown character is half an em wide.
    if c.is_control() { 0.0 } else { known.unwrap_or(size * 0.6) }
}

/// Width of a line of text in pixels, rounded up.
pub fn text_width(text: &str, size: f32, weight: Weight) -> usize {
    let size = clamped(size);
    text.chars().map(|c| advance(c, size, weight)).sum::<f32>().ceil() as usize
}

/// The text, cut with an ellipsis where it is wider than `room` pixels.
pub fn shorten(text: &str, size: f32, weight: Weight, room: usize) -> String {
    if text_width(text, size, weight) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let shorter: String = kept.iter().collect::<String>().trim_end().to_owned() + "…";
        if text_width(&shorter, size, weight) <= room {
            return shorter;
        }
    }
    String::new()
}

/// Draws one line. The mask is [`text_width`] by [`line_height`] pixels; control characters are left out.
pub fn draw(text: &str, size: f32, weight: Weight) -> Mask {
    let size = clamped(size);
    let (width, height) = (text_width(text, size, weight).min(1 << 14), line_height(size));
    if width == 0 {
        return Mask { width, height, data: Vec::new() };
    }
    let mut fill = Fill::new(width, height);
    // Between ascent (about 0.97 em of Inter) and descent (0.24 em), the middle of the line's room.
    let baseline = (height as f32 * 0.5 + size * 0.36).round();
    let mut x = 0.0;
    for c in text.chars().filter(|c| !c.is_control()) {
        let way = advance(c, size, weight);
        let mut pen = Pen { fill: &mut fill, x, y: baseline, start: (0.0, 0.0), at: (0.0, 0.0) };
        let drawn = find(c, weight).and_then(|(font, glyph)| {
            let outline = font.outline_glyphs().get(glyph)?;
            let settings = DrawSettings::unhinted(Size::new(size), LocationRef::default());
            outline.draw(settings, &mut pen).ok()
        });
        if drawn.is_none() && !c.is_whitespace() {
            pen.hollow_box(way, size);
        }
        x += way;
    }
    Mask { width, height, data: fill.coverage() }
}

/// Receives an outline in pixels, y upward from the baseline, and fills it.
struct Pen<'a> {
    fill: &'a mut Fill,
    x: f32,
    y: f32,
    start: (f32, f32),
    at: (f32, f32),
}

impl Pen<'_> {
    fn edge(&mut self, to: (f32, f32)) {
        let place = |p: (f32, f32)| (self.x + p.0, self.y - p.1);
        let (from, end) = (place(self.at), place(to));
        self.fill.line(from, end);
        self.at = to;
    }

    /// An empty box for what no font has.
    fn hollow_box(&mut self, way: f32, size: f32) {
        let (left, right, top) = (size * 0.08, way - size * 0.08, size * 0.7);
        let thick = (size * 0.06).max(1.0);
        self.move_to(left, 0.0);
        for (x, y) in [(right, 0.0), (right, top), (left, top)] {
            self.line_to(x, y);
        }
        self.close();
        // The other way round: a hole.
        self.move_to(left + thick, thick);
        for (x, y) in [(left + thick, top - thick), (right - thick, top - thick), (right - thick, thick)] {
            self.line_to(x, y);
        }
        self.close();
    }
}

/// Straight pieces of a curve: at the sizes of labels they are shorter than a pixel.
const PIECES: usize = 8;

impl OutlinePen for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        (self.start, self.at) = ((x, y), (x, y));
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.edge((x, y));
    }

    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        let from = self.at;
        for i in 1..=PIECES {
            let t = i as f32 / PIECES as f32;
            let s = 1.0 - t;
            let along = |a: f32, c: f32, b: f32| s * s * a + 2.0 * s * t * c + t * t * b;
            self.edge((along(from.0, cx, x), along(from.1, cy, y)));
        }
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        let from = self.at;
        for i in 1..=PIECES {
            let t = i as f32 / PIECES as f32;
            let s = 1.0 - t;
            let along = |a: f32, c: f32, d: f32, b: f32| {
                s * s * s * a + 3.0 * s * s * t * c + 3.0 * s * t * t * d + t * t * t * b
            };
            self.edge((along(from.0, cx0, cx1, x), along(from.1, cy0, cy1, y)));
        }
    }

    fn close(&mut self) {
        self.edge(self.start);
    }
}

/// Exact coverage by adding up areas: every edge adds, to each pixel of each row that it passes, how much the area to
/// its right grows there; a running sum along the row then is the coverage. Edges that go up and down cancel, so that
/// counters (the hole of an "o") stay empty.
struct Fill {
    width: usize,
    height: usize,
    /// `height` rows of `width + 1` differences.
    steps: Vec<f32>,
}

impl Fill {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, steps: vec![0.0; (width + 1) * height] }
    }

    fn line(&mut self, from: (f32, f32), to: (f32, f32)) {
        let (sign, (x0, y0), (x1, y1)) = if from.1 <= to.1 { (1.0, from, to) } else { (-1.0, to, from) };
        if !(y1 - y0 > 0.0) || !x0.is_finite() || !x1.is_finite() {
            return;
        }
        let slope = (x1 - x0) / (y1 - y0);
        let (first, last) = (y0.max(0.0), y1.min(self.height as f32));
        let mut y = first;
        while y < last {
            let row = y.floor();
            let below = (row + 1.0).min(last);
            let (a, b) = (x0 + (y - y0) * slope, x0 + (below - y0) * slope);
            self.span(row as usize, a.min(b), a.max(b), sign * (below - y));
            y = below;
        }
    }

    /// An edge within one row from `left` to `right`, `tall` rows high (with its sign).
    fn span(&mut self, row: usize, left: f32, right: f32, tall: f32) {
        let most = self.width as f32;
        let (left, right) = (left.clamp(0.0, most), right.clamp(0.0, most));
        let Some(steps) = self.steps.get_mut(row * (self.width + 1)..(row + 1) * (self.width + 1)) else {
            return;
        };
        let mut add = |i: usize, value: f32| {
            if let Some(step) = steps.get_mut(i) {
                *step += value;
            }
        };
        let first = left.floor() as usize;
        // Area right of the edge in the pixels up to `x`: its integral over x, as a share of the edge's way.
        let way = right - left;
        if right <= first as f32 + 1.0 {
            let middle = f32::midpoint(left, right) - first as f32;
            add(first, tall * (1.0 - middle));
            add(first + 1, tall * middle);
            return;
        }
        // Coverage of a pixel: mean over it of the share of the edge that lies to the left.
        let share = |x: f32| ((x - left) / way).clamp(0.0, 1.0);
        let mean = |i: usize| {
            let (a, b) = (i as f32, i as f32 + 1.0);
            let (from, to) = (a.max(left), b.min(right));
            let ramp = if to > from { (share(from) + share(to)) * 0.5 * (to - from) } else { 0.0 };
            ramp + (b - right.max(a)).max(0.0)
        };
        let mut before = 0.0;
        for i in first..=(right.ceil() as usize).min(self.width) {
            let here = mean(i).min(1.0);
            add(i, tall * (here - before));
            before = here;
        }
    }

    fn coverage(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.width * self.height);
        for row in self.steps.chunks_exact(self.width + 1) {
            let mut sum = 0.0f32;
            for step in row.iter().take(self.width) {
                sum += step;
                data.push((sum.abs().min(1.0) * 255.0 + 0.5) as u8);
            }
        }
        data
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn polygon(points: &[(f32, f32)], width: usize, height: usize) -> Vec<u8> {
        let mut fill = Fill::new(width, height);
        for (i, from) in points.iter().enumerate() {
            fill.line(*from, points[(i + 1) % points.len()]);
        }
        fill.coverage()
    }

    #[test]
    fn areas_are_exact() {
        // A rectangle from 0.5 to 2.25: half, whole and a quarter of a pixel.
        let square = polygon(&[(0.5, 0.0), (2.25, 0.0), (2.25, 1.0), (0.5, 1.0)], 4, 1);
        assert_eq!(square, [128, 255, 64, 0]);
        // A triangle over 4 x 1 pixels covers 1/8, 3/8, 5/8, 7/8 of them.
        let triangle = polygon(&[(0.0, 1.0), (4.0, 0.0), (4.0, 1.0)], 4, 1);
        assert_eq!(triangle, [32, 96, 159, 223]);
        // What lies outside does no harm.
        let wide = polygon(&[(-5.0, -5.0), (9.0, -5.0), (9.0, 9.0), (-5.0, 9.0)], 2, 2);
        assert_eq!(wide, [255; 4]);
    }

    #[test]
    fn letters_have_their_shapes() {
        let bar = draw("l", 40.0, Weight::Regular);
        let inked = |mask: &Mask, x: usize, y: usize| mask.data[y * mask.width + x] > 127;
        let middle = bar.height / 2;
        let columns = (0..bar.width).filter(|x| inked(&bar, *x, middle)).count();
        assert!((2..=6).contains(&columns), "an l of 40 px has a stem of {columns} px");
        // The hole of an o is empty, its sides are not.
        let ring = draw("o", 60.0, Weight::Regular);
        let row: Vec<bool> = (0..ring.width).map(|x| inked(&ring, x, ring.height / 2 + 8)).collect();
        let changes = row.windows(2).filter(|w| w[0] != w[1]).count();
        assert_eq!(changes, 4, "{row:?}");
        assert!(
            draw("ll", 40.0, Weight::SemiBold).data.iter().map(|v| u64::from(*v)).sum::<u64>()
                > draw("ll", 40.0, Weight::Regular).data.iter().map(|v| u64::from(*v)).sum::<u64>()
        );
    }

    #[test]
    fn traditional_chinese_is_drawn_and_what_no_font_has_is_a_box() {
        assert!(can_draw("把紅色方塊推到左邊, seed 7 · +10 deg"));
        let one = draw("一", 40.0, Weight::Regular);
        let ink = |mask: &Mask| mask.data.iter().map(|v| f64::from(*v)).sum::<f64>() / 255.0;
        let dense = draw("龜", 40.0, Weight::Regular);
        assert_eq!((one.width, dense.width), (40, 40));
        // One stroke against many.
        assert!(ink(&one) > 20.0 && ink(&dense) > 3.0 * ink(&one), "{} {}", ink(&one), ink(&dense));
        assert!(!can_draw("\u{1f980}"));
        assert!(ink(&draw("\u{1f980}", 40.0, Weight::Regular)) > 20.0);
        assert_eq!(draw("", 12.0, Weight::Regular).data.len(), 0);
        assert_eq!(text_width("\n", 12.0, Weight::Regular), 0);
    }

    #[test]
    fn long_names_are_cut_with_an_ellipsis() {
        let text = "a very long name of a future";
        let room = text_width("a very long", 14.0, Weight::Regular);
        let cut = shorten(text, 14.0, Weight::Regular, room);
        assert!(cut.ends_with('…') && text_width(&cut, 14.0, Weight::Regular) <= room, "{cut}");
        assert_eq!(shorten("ab", 14.0, Weight::Regular, 100), "ab");
        assert_eq!(shorten("ab", 14.0, Weight::Regular, 0), "");
    }

    #[test]
    fn strange_sizes_are_brought_into_range() {
        assert!(draw("x", f32::NAN, Weight::Regular).height > 0);
        assert_eq!(line_height(1e9), line_height(200.0));
    }
}
