//! Pictures of the panes: textures that are made once and written again for each frame.
//!
//! In the window, frames go straight into wgpu textures with `write_texture` (measured: half the cost of egui's own
//! textures, which are made anew for every full update). Without a graphics device (tests) egui's textures serve.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use eframe::egui::epaint::RectShape;
use eframe::egui::{Color32, ColorImage, Context, Rect, TextureHandle, TextureId, TextureOptions, Ui, vec2};
use eframe::egui_wgpu::{RenderState, wgpu};
use forerun::Frame;

use crate::theme;

/// Largest factor by which a picture is enlarged pixel by pixel before the graphics card smooths its edges.
const MAX_SCALE: usize = 6;

/// Identity of a picture on the screen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A pane of the World screen.
    Future(u64),
    /// The pane of what really happened.
    Truth,
    /// The start frame: large on the stage, small in the inspector.
    Start(bool),
    /// A pane of the Compare screen, large or in the row of small ones.
    Compare(u64, bool),
    /// A view of a pair or of the whole set.
    View,
    /// A small picture of a file.
    Thumb(std::path::PathBuf),
    /// A cell of the sweep.
    Cell(usize),
    /// One of the two pictures of the blind round.
    Blind(u64),
    /// A starter scene: large on the stage, small in the inspector.
    Scene(usize, bool),
}

enum Sink {
    Gpu { texture: wgpu::Texture, id: TextureId, size: [usize; 2] },
    Egui(TextureHandle),
}

struct Entry {
    sink: Sink,
    shown: Arc<Frame>,
    scale: usize,
}

/// All textures of the window.
#[derive(Default)]
pub struct Textures {
    render: Option<RenderState>,
    entries: HashMap<Slot, Entry>,
}

impl Textures {
    /// Textures of a window that is drawn with `render`.
    pub fn new(render: Option<RenderState>) -> Self {
        if let Some(render) = &render {
            let resources = &mut render.renderer.write().callback_resources;
            super::pair_view::install(&render.device, &render.queue, render.target_format, resources);
        }
        Self { render, entries: HashMap::new() }
    }

    /// The texture that shows `frame` at `size` points. With `smooth` the picture is softened; else each of its
    /// pixels stays a sharp square at any size: it is enlarged by a whole factor first, and only the last bit is
    /// interpolated.
    pub fn get(
        &mut self,
        ctx: &Context,
        slot: Slot,
        frame: &Arc<Frame>,
        width: f32,
        smooth: bool,
    ) -> TextureId {
        let wanted = (width * ctx.pixels_per_point() / frame.width.max(1) as f32).ceil();
        let scale = if smooth { 1 } else { (wanted as usize).clamp(1, MAX_SCALE) };
        if let Some(entry) = self.entries.get(&slot) {
            if Arc::ptr_eq(&entry.shown, frame) && entry.scale == scale {
                return entry.sink.id();
            }
        }
        let pixels = enlarge(frame, scale);
        let size = [frame.width * scale, frame.height * scale];
        if let Some(entry) = self.entries.get_mut(&slot) {
            if entry.sink.write(self.render.as_ref(), size, &pixels) {
                entry.shown = frame.clone();
                entry.scale = scale;
                return entry.sink.id();
            }
        }
        self.free(&slot);
        let sink = Sink::new(ctx, self.render.as_ref(), size, &pixels);
        let id = sink.id();
        self.entries.insert(slot, Entry { sink, shown: frame.clone(), scale });
        id
    }

    /// The device that the window is drawn with; `None` in windows without one.
    pub fn render(&self) -> Option<&RenderState> {
        self.render.as_ref()
    }

    /// The picture that a slot shows.
    pub fn shown(&self, slot: &Slot) -> Option<&Arc<Frame>> {
        self.entries.get(slot).map(|e| &e.shown)
    }

    /// Lets go of the textures of slots that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        let gone: Vec<Slot> = self.entries.keys().filter(|s| !keep(s)).cloned().collect();
        for slot in gone {
            self.free(&slot);
        }
    }

    fn free(&mut self, slot: &Slot) {
        if let Some(Entry { sink: Sink::Gpu { id, .. }, .. }) = self.entries.remove(slot) {
            if let Some(render) = &self.render {
                render.renderer.write().free_texture(&id);
            }
        }
    }
}

impl Sink {
    fn new(ctx: &Context, render: Option<&RenderState>, size: [usize; 2], pixels: &[u8]) -> Self {
        let Some(render) = render else {
            let image = ColorImage::from_rgba_premultiplied(size, pixels);
            return Self::Egui(ctx.load_texture("pane", image, TextureOptions::LINEAR));
        };
        let texture = render.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("pane"),
            size: extent(size),
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            // The window works in gamma space, so colours pass through as they are.
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let id =
            render.renderer.write().register_native_texture(&render.device, &view, wgpu::FilterMode::Linear);
        upload(&render.queue, &texture, size, pixels);
        Self::Gpu { texture, id, size }
    }

    fn id(&self) -> TextureId {
        match self {
            Self::Gpu { id, .. } => *id,
            Self::Egui(handle) => handle.id(),
        }
    }

    /// Shows other pixels; `false` when the texture has another size and must be made anew.
    fn write(&mut self, render: Option<&RenderState>, size: [usize; 2], pixels: &[u8]) -> bool {
        match (self, render) {
            (Self::Gpu { texture, size: own, .. }, Some(render)) if *own == size => {
                upload(&render.queue, texture, size, pixels);
                true
            }
            (Self::Egui(handle), _) => {
                handle.set(ColorImage::from_rgba_premultiplied(size, pixels), TextureOptions::LINEAR);
                true
            }
            _ => false,
        }
    }
}

pub(super) fn extent(size: [usize; 2]) -> wgpu::Extent3d {
    wgpu::Extent3d { width: size[0] as u32, height: size[1] as u32, depth_or_array_layers: 1 }
}

pub(super) fn upload(queue: &wgpu::Queue, texture: &wgpu::Texture, size: [usize; 2], pixels: &[u8]) {
    queue.write_texture(
        wgpu::TexelCopyTextureInfo {
            texture,
            mip_level: 0,
            origin: wgpu::Origin3d::ZERO,
            aspect: wgpu::TextureAspect::All,
        },
        pixels,
        wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(4 * size[0] as u32),
            rows_per_image: Some(size[1] as u32),
        },
        extent(size),
    );
}

/// RGB to RGBA, each pixel as a square of `scale` by `scale`.
pub(super) fn enlarge(frame: &Frame, scale: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.width * frame.height * scale * scale * 4);
    for row in frame.data.chunks_exact((frame.width * 3).max(3)) {
        let from = out.len();
        for pixel in row.chunks_exact(3) {
            if let [r, g, b] = *pixel {
                for _ in 0..scale {
                    out.extend_from_slice(&[r, g, b, 255]);
                }
            }
        }
        let to = out.len();
        for _ in 1..scale {
            out.extend_from_within(from..to);
        }
    }
    out
}

/// Draws the part `uv` (0..=1) of a texture into `rect`, with rounded corners.
pub fn picture_part(ui: &Ui, id: TextureId, rect: Rect, uv: Rect, tint: Color32) {
    let shape = RectShape::filled(rect, theme::RADIUS, tint).with_texture(id, uv);
    ui.painter().add(shape);
}

/// The largest rectangle with the frame's shape inside `area`, centred.
pub fn fit(frame: &Frame, area: Rect) -> Rect {
    let aspect = frame.width.max(1) as f32 / frame.height.max(1) as f32;
    let width = area.width().min(area.height() * aspect);
    Rect::from_center_size(area.center(), vec2(width, width / aspect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_becomes_a_square() {
        let frame = Frame { width: 2, height: 1, data: vec![1, 2, 3, 4, 5, 6] };
        let big = enlarge(&frame, 2);
        let row = [1, 2, 3, 255, 1, 2, 3, 255, 4, 5, 6, 255, 4, 5, 6, 255];
        assert_eq!(big, [row, row].concat());
    }

    #[test]
    fn pictures_keep_their_shape() {
        let frame = Frame::filled(160, 80, [0; 3]);
        let rect = fit(&frame, Rect::from_min_size([0.0, 0.0].into(), vec2(100.0, 100.0)));
        assert_eq!((rect.size(), rect.center()), (vec2(100.0, 50.0), [50.0, 50.0].into()));
    }
}
