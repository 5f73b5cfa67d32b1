//! Triangles by what it costs to draw them.

use std::ops::Range;

use eframe::egui::epaint::{Mesh, Vertex, WHITE_UV};
use eframe::egui::{Rect, TextureId};

/// Area, in pixels, from which it pays to draw a triangle by the cheapest way that it can be drawn. Smaller ones (letters,
/// edges) all go one way, or each of them would be a draw of its own.
const LARGE: f32 = 1024.0;

/// A way to draw triangles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One colour that hides what is below: neither a texture nor what is there already is read.
    PlainOpaque,
    /// One colour that lets through what is below.
    Plain,
    /// A picture that hides what is below.
    PictureOpaque,
    /// Everything else.
    Picture,
}

/// Triangles that are drawn together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draw {
    /// How.
    pub kind: Kind,
    /// With which texture.
    pub texture: TextureId,
    /// Inside which part of the window, in points.
    pub clip: Rect,
    /// Which indices.
    pub indices: Range<u32>,
}

/// All triangles of a frame in the order in which they lie over each other, as the graphics device reads them.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Corners: place, place in the texture, colour; [`STRIDE`] bytes each.
    pub corners: Vec<u8>,
    /// Three of them for a triangle, 32 bits each.
    pub indices: Vec<u8>,
    /// What is drawn.
    pub draws: Vec<Draw>,
}

/// Bytes of a corner.
pub(super) const STRIDE: u64 = 20;

impl Sorted {
    /// Adds the triangles of a mesh, drawn inside `clip` at `scale` pixels a point.
    pub fn add(&mut self, mesh: &Mesh, clip: Rect, scale: f32) {
        let base = (self.corners.len() as u64 / STRIDE) as u32;
        for vertex in &mesh.vertices {
            for number in [vertex.pos.x, vertex.pos.y, vertex.uv.x, vertex.uv.y] {
                self.corners.extend_from_slice(&number.to_le_bytes());
            }
            self.corners.extend_from_slice(&vertex.color.to_array());
        }
        // A draw never goes on from one mesh to the next: between them may lie something that is drawn otherwise.
        let own = self.draws.len();
        for triangle in mesh.indices.chunks_exact(3) {
            let [a, b, c] = *triangle else { continue };
            let corner = |i: u32| mesh.vertices.get(i as usize);
            let (Some(x), Some(y), Some(z)) = (corner(a), corner(b), corner(c)) else { continue };
            let kind = kind([x, y, z], mesh.texture_id, scale);
            let from = (self.indices.len() / 4) as u32;
            for index in [a, b, c] {
                self.indices.extend_from_slice(&(base + index).to_le_bytes());
            }
            let last = self.draws.get_mut(own..).and_then(|own| own.last_mut());
            match last.filter(|last| last.kind == kind) {
                Some(last) => last.indices.end = from + 3,
                None => {
                    let texture = mesh.texture_id;
                    self.draws.push(Draw { kind, texture, clip, indices: from..from + 3 });
                }
            }
        }
    }
}

/// The cheapest way to draw a triangle. Textures that egui does not manage are the window's own pictures, which have no
/// holes.
fn kind(corners: [&Vertex; 3], texture: TextureId, scale: f32) -> Kind {
    let [a, b, c] = corners.map(|v| v.pos);
    let area = (0.5 * ((b - a).x * (c - a).y - (b - a).y * (c - a).x)).abs() * scale * scale;
    let letters = matches!(texture, TextureId::Managed(0));
    let managed = matches!(texture, TextureId::Managed(_));
    let opaque = corners.iter().all(|v| v.color.a() == 255);
    let plain = letters && corners.iter().all(|v| v.uv == WHITE_UV);
    match (area >= LARGE, plain, opaque) {
        (true, true, true) => Kind::PlainOpaque,
        (true, true, false) => Kind::Plain,
        (true, false, true) if !managed => Kind::PictureOpaque,
        _ => Kind::Picture,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eframe::egui::{Color32, pos2};

    fn mesh(texture: TextureId, side: f32, colour: Color32, uv: Rect) -> Mesh {
        let mut mesh = Mesh::with_texture(texture);
        mesh.add_rect_with_uv(Rect::from_min_size(pos2(0.0, 0.0), [side; 2].into()), uv, colour);
        mesh
    }

    fn kinds(mesh: &Mesh, scale: f32) -> Vec<Kind> {
        let mut sorted = Sorted::default();
        sorted.add(mesh, Rect::EVERYTHING, scale);
        sorted.draws.iter().map(|d| d.kind).collect()
    }

    #[test]
    fn large_surfaces_are_drawn_the_cheap_way() {
        let white = Rect::from_min_max(WHITE_UV, WHITE_UV);
        let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        let (font, own) = (TextureId::Managed(0), TextureId::User(7));
        let veil = Color32::from_black_alpha(100);
        assert_eq!(kinds(&mesh(font, 100.0, Color32::RED, white), 1.0), [Kind::PlainOpaque]);
        assert_eq!(kinds(&mesh(font, 100.0, veil, white), 1.0), [Kind::Plain]);
        assert_eq!(kinds(&mesh(own, 100.0, Color32::WHITE, whole), 1.0), [Kind::PictureOpaque]);
        assert_eq!(kinds(&mesh(own, 100.0, veil, whole), 1.0), [Kind::Picture]);
        // Letters are never opaque, and a picture's first pixel is no plain white.
        assert_eq!(kinds(&mesh(font, 100.0, Color32::RED, whole), 1.0), [Kind::Picture]);
        assert_eq!(kinds(&mesh(own, 100.0, Color32::WHITE, white), 1.0), [Kind::PictureOpaque]);
        // What is small on the screen goes with the letters around it.
        assert_eq!(kinds(&mesh(font, 20.0, Color32::RED, white), 1.0), [Kind::Picture]);
        assert_eq!(kinds(&mesh(font, 30.0, Color32::RED, white), 2.0), [Kind::PlainOpaque]);
    }

    #[test]
    fn every_triangle_is_drawn_once_and_in_its_order() {
        let white = Rect::from_min_max(WHITE_UV, WHITE_UV);
        let mut both = mesh(TextureId::Managed(0), 100.0, Color32::RED, white);
        both.append(mesh(TextureId::Managed(0), 10.0, Color32::RED, white));
        both.append(mesh(TextureId::Managed(0), 100.0, Color32::BLUE, white));
        let mut sorted = Sorted::default();
        sorted.add(&both, Rect::EVERYTHING, 1.0);
        sorted.add(&both, Rect::EVERYTHING, 1.0);
        let ranges: Vec<_> = sorted.draws.iter().map(|d| d.indices.clone()).collect();
        assert_eq!(ranges, [0..6, 6..12, 12..18, 18..24, 24..30, 30..36]);
        let index = |i: usize| {
            let bytes = sorted.indices.get(4 * i..4 * i + 4).map(|b| [b[0], b[1], b[2], b[3]]);
            bytes.map(u32::from_le_bytes)
        };
        let first: Vec<_> = (0..18).map(|i| index(i).unwrap_or(u32::MAX)).collect();
        assert_eq!(first, both.indices);
        assert_eq!(index(18), Some(12 + both.indices[0]), "the second mesh has corners of its own");
        assert_eq!(sorted.corners.len() as u64, 24 * STRIDE);
    }
}
