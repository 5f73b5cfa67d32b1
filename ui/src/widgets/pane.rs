//! Pictures of the panes: textures that are made once and written again for each frame.
//!
//! In the window, a thread of its own turns frames into textures ([`super::lift`]); all panes change together, when the
//! last of them is there. A slot has one name for egui and two textures, one that is drawn and one that is written;
//! the name is bound to the other one when it is ready, which may be as late as after the panes were laid out. Without a
//! graphics device (tests) egui's textures serve, written at once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use eframe::egui::epaint::RectShape;
use eframe::egui::{Color32, ColorImage, Context, Rect, TextureHandle, TextureId, TextureOptions, Ui, vec2};
use eframe::egui_wgpu::{RenderState, wgpu};
use forerun::Frame;

use super::lift::{Lift, Load};
use crate::theme;

/// Largest factor by which a picture is enlarged pixel by pixel before the graphics card smooths its edges.
const MAX_SCALE: usize = 6;
/// Textures above this number are let go of when they are not on the screen.
const MOST: usize = 400;

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
    /// The first (`false`) or second picture of a pair, for the shaders.
    Pair(bool),
    /// The robot's camera.
    Robot,
    /// What is imagined over it.
    Ghost,
    /// A small picture of a file.
    Thumb(std::path::PathBuf),
    /// A cell of the sweep.
    Cell(usize),
    /// One of the two pictures of the blind round.
    Blind(u64),
    /// A camera of the episode on the Data screen.
    Camera(String),
    /// A row of the held-out start on the Train screen: truth, before, now.
    Preview(usize),
    /// Physics or imagination on the Policy screen.
    Twin(usize),
    /// A starter scene: large on the stage, small in the inspector.
    Scene(usize, bool),
}

/// A texture of the graphics card.
struct Face {
    texture: wgpu::Texture,
    size: [usize; 2],
}

/// What the graphics card shows in a slot.
#[derive(Default)]
struct Gpu {
    /// What egui calls the texture in front, once there is one.
    id: Option<TextureId>,
    /// What is drawn, and the frame and scale that it holds.
    front: Option<(Face, Arc<Frame>, usize)>,
    /// What the thread writes.
    back: Option<Face>,
    /// What should be drawn.
    wanted: Option<(Arc<Frame>, usize)>,
}

enum Sink {
    Gpu(Gpu),
    Egui { handle: TextureHandle, shown: Arc<Frame>, scale: usize },
}

struct Entry {
    sink: Sink,
    /// Pass in which it was last drawn.
    used: u64,
}

/// All textures of the window.
#[derive(Default)]
pub struct Textures {
    render: Option<RenderState>,
    lift: Option<Lift>,
    entries: HashMap<Slot, Entry>,
    pass: u64,
    /// What the thread is at: slot, back texture, frame and scale.
    flying: Vec<(Slot, wgpu::Texture, Arc<Frame>, usize)>,
}

impl Textures {
    /// Textures of a window that is drawn with `render`.
    pub fn new(ctx: &Context, render: Option<RenderState>) -> Self {
        if let Some(render) = &render {
            let resources = &mut render.renderer.write().callback_resources;
            super::pair_view::install(&render.device, &render.queue, render.target_format, resources);
        }
        let lift = render.as_ref().map(|r| Lift::new(ctx, r.queue.clone()));
        Self { render, lift, ..Self::default() }
    }

    /// The texture that shows `frame` at `size` points; while it is being made, the one that was shown before, if any.
    /// With `smooth` the picture is softened; else each of its pixels stays a sharp square at any size: it is enlarged
    /// by a whole factor first, and only the last bit is interpolated.
    pub fn get(
        &mut self,
        ctx: &Context,
        slot: Slot,
        frame: &Arc<Frame>,
        width: f32,
        smooth: bool,
    ) -> Option<TextureId> {
        let wanted = (width * ctx.pixels_per_point() / frame.width.max(1) as f32).ceil();
        let scale = if smooth { 1 } else { (wanted as usize).clamp(1, MAX_SCALE) };
        if self.lift.is_some() {
            return self.want(slot, frame, scale)?.id;
        }
        let used = self.pass;
        if let Some(entry) = self.entries.get_mut(&slot) {
            if let Sink::Egui { handle, shown, scale: of } = &mut entry.sink {
                if !Arc::ptr_eq(shown, frame) || *of != scale {
                    handle.set(image(frame, scale), TextureOptions::LINEAR);
                    (*shown, *of) = (frame.clone(), scale);
                }
                entry.used = used;
                return Some(handle.id());
            }
        }
        let handle = ctx.load_texture("pane", image(frame, scale), TextureOptions::LINEAR);
        let id = handle.id();
        self.entries.insert(slot, Entry { sink: Sink::Egui { handle, shown: frame.clone(), scale }, used });
        Some(id)
    }

    /// Textures of two frames of one size, pixel by pixel, for the shaders of the pair views; `None` until the first two
    /// are there. They always change together.
    pub fn pair(&mut self, a: &Arc<Frame>, b: &Arc<Frame>) -> Option<[wgpu::Texture; 2]> {
        for (second, frame) in [(false, a), (true, b)] {
            self.want(Slot::Pair(second), frame, 1);
        }
        let front = |second| match self.entries.get(&Slot::Pair(second)).map(|e| &e.sink) {
            Some(Sink::Gpu(gpu)) => gpu.front.as_ref().map(|(face, ..)| (face.texture.clone(), face.size)),
            _ => None,
        };
        let ((a, of_a), (b, of_b)) = (front(false)?, front(true)?);
        (of_a == of_b).then_some([a, b])
    }

    fn want(&mut self, slot: Slot, frame: &Arc<Frame>, scale: usize) -> Option<&Gpu> {
        let new = || Entry { sink: Sink::Gpu(Gpu::default()), used: 0 };
        let entry = self.entries.entry(slot).or_insert_with(new);
        entry.used = self.pass;
        let Sink::Gpu(gpu) = &mut entry.sink else { return None };
        gpu.wanted = Some((frame.clone(), scale));
        Some(gpu)
    }

    /// Shows what the thread has finished. Call it before anything is drawn.
    pub fn arrive(&mut self) {
        self.pass += 1;
        if !self.flying.is_empty() && self.lift.as_ref().is_some_and(Lift::landed) {
            self.land();
        }
    }

    /// Binds the names of the slots to the textures that the thread has written.
    fn land(&mut self) {
        let Some(render) = &self.render else { return };
        let mut renderer = render.renderer.write();
        for (slot, texture, frame, scale) in std::mem::take(&mut self.flying) {
            let Some(Entry { sink: Sink::Gpu(gpu), .. }) = self.entries.get_mut(&slot) else { continue };
            let Some(face) = gpu.back.take_if(|face| face.texture == texture) else { continue };
            let view = face.texture.create_view(&wgpu::TextureViewDescriptor::default());
            let filter = wgpu::FilterMode::Linear;
            match gpu.id {
                Some(id) => {
                    renderer.update_egui_texture_from_wgpu_texture(&render.device, &view, filter, id);
                }
                None => gpu.id = Some(renderer.register_native_texture(&render.device, &view, filter)),
            }
            gpu.back = gpu.front.replace((face, frame, scale)).map(|(face, ..)| face);
        }
    }

    /// Gives the thread everything that is to be shown and is not yet. Call it when all was laid out. While the thread is
    /// at work nothing new is given to it: what is wanted by then is the newest.
    ///
    /// What the thread finishes within `patience` is in the very frame that asked for it: whoever scrubs sees the frame
    /// under the pointer one frame of the window earlier.
    pub fn depart(&mut self, patience: Duration) {
        if self.entries.len() > MOST {
            let drawn: std::collections::HashSet<Slot> =
                self.entries.iter().filter(|(_, e)| e.used == self.pass).map(|(s, _)| s.clone()).collect();
            self.retain(|slot| drawn.contains(slot));
        }
        if !self.flying.is_empty() {
            return;
        }
        let (Some(lift), Some(render)) = (&self.lift, &self.render) else { return };
        let mut loads = Vec::new();
        for (slot, entry) in &mut self.entries {
            let Sink::Gpu(gpu) = &mut entry.sink else { continue };
            let Some((frame, scale)) = gpu.wanted.take() else { continue };
            let same = |(_, f, s): &(Face, Arc<Frame>, usize)| Arc::ptr_eq(f, &frame) && *s == scale;
            if gpu.front.as_ref().is_some_and(same) {
                continue;
            }
            let size = [frame.width * scale, frame.height * scale];
            gpu.back.take_if(|face| face.size != size);
            let back = gpu.back.get_or_insert_with(|| make(render, size));
            self.flying.push((slot.clone(), back.texture.clone(), frame.clone(), scale));
            loads.push(Load { texture: back.texture.clone(), frame, scale });
        }
        if loads.is_empty() {
            return;
        }
        if !lift.take(loads) {
            self.flying.clear();
        } else if lift.landed_within(patience) {
            self.land();
        }
    }

    /// Whether everything that was asked for in the last frame is on the screen.
    pub fn settled(&self) -> bool {
        self.flying.is_empty()
    }

    /// The device that the window is drawn with; `None` in windows without one.
    pub fn render(&self) -> Option<&RenderState> {
        self.render.as_ref()
    }

    /// The picture that a slot shows.
    pub fn shown(&self, slot: &Slot) -> Option<&Arc<Frame>> {
        match &self.entries.get(slot)?.sink {
            Sink::Gpu(gpu) => gpu.front.as_ref().map(|(_, frame, _)| frame),
            Sink::Egui { shown, .. } => Some(shown),
        }
    }

    /// Lets go of the textures of slots that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        let render = self.render.as_ref();
        self.entries.retain(|slot, entry| {
            let stays = keep(slot);
            if let (false, Sink::Gpu(gpu), Some(render)) = (stays, &mut entry.sink, render) {
                gpu.id.take().iter().for_each(|id| render.renderer.write().free_texture(id));
            }
            stays
        });
    }
}

fn image(frame: &Frame, scale: usize) -> ColorImage {
    ColorImage::from_rgba_premultiplied([frame.width * scale, frame.height * scale], &frame.rgba(scale))
}

/// A texture for pictures. None of them has holes: [`crate::software`] relies on it.
fn make(render: &RenderState, size: [usize; 2]) -> Face {
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
    Face { texture, size }
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

/// Draws the part `uv` (0..=1) of a texture into `rect`, with rounded corners; nothing while there is no texture yet.
pub fn picture_part(ui: &Ui, id: Option<TextureId>, rect: Rect, uv: Rect, tint: Color32) {
    let Some(id) = id else { return };
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
    fn pictures_keep_their_shape() {
        let frame = Frame::filled(160, 80, [0; 3]);
        let rect = fit(&frame, Rect::from_min_size([0.0, 0.0].into(), vec2(100.0, 100.0)));
        assert_eq!((rect.size(), rect.center()), (vec2(100.0, 50.0), [50.0, 50.0].into()));
    }
}
