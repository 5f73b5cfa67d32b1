//! Drawing the window where the processor plays the graphics card.
//!
//! egui's fragment shader has two ways of reading a texture, chosen by a uniform: the device's own filter, and (for tests)
//! one in integers that divides by the texture's size to wrap around. Software drivers of Mesa before 23 run both sides of
//! every branch for every pixel: 192 divisions for eight pixels, some 240 ns a pixel, and a frame of a 1400x900 window
//! takes a third of a second. Here the same triangles are drawn in the same order by shaders of one way; large
//! surfaces that need neither a texture nor what lies below them do without.
//!
//! A plugin of egui takes a frame's shapes before they are painted, and puts painting callbacks in their place. Whatever
//! else paints (the views of pairs) keeps its place between them.

mod device;
mod sort;

use std::ops::Range;
use std::sync::Arc;

use eframe::egui::epaint::{ClippedShape, Primitive, Shape};
use eframe::egui::{Context, FullOutput, Plugin, Rect};
use eframe::egui_wgpu::{Callback, RenderState, wgpu};

use device::{Device, Laid, Part};
use sort::Sorted;

/// Draws the window of a software driver.
pub struct Software {
    render: RenderState,
    device: Device,
}

impl Software {
    /// What a window that is drawn with `render` needs: nothing with a graphics card, which jumps over what it does not
    /// need, and nothing where colours would have to be converted.
    pub fn wanted(render: &RenderState) -> Option<Self> {
        let software = render.adapter.get_info().device_type == wgpu::DeviceType::Cpu;
        (software && !render.target_format.is_srgb()).then(|| Self::new(render.clone()))
    }

    /// Draws with `render`, whatever it is.
    pub fn new(render: RenderState) -> Self {
        let device = Device::new(&render.device, render.target_format);
        Self { render, device }
    }
}

/// What lies in a frame, from the bottom to the top.
enum Layer {
    Triangles(Range<usize>),
    Callback(ClippedShape),
}

impl Plugin for Software {
    fn debug_name(&self) -> &'static str {
        "software drawing"
    }

    fn output_hook(&mut self, ctx: &Context, output: &mut FullOutput) {
        let scale = output.pixels_per_point;
        let mut sorted = Sorted::default();
        let mut layers = Vec::new();
        for primitive in ctx.tessellate(std::mem::take(&mut output.shapes), scale) {
            match primitive.primitive {
                Primitive::Mesh(mesh) => {
                    let from = sorted.draws.len();
                    sorted.add(&mesh, primitive.clip_rect, scale);
                    match layers.last_mut() {
                        Some(Layer::Triangles(draws)) => draws.end = sorted.draws.len(),
                        _ => layers.push(Layer::Triangles(from..sorted.draws.len())),
                    }
                }
                Primitive::Callback(callback) => {
                    let (clip_rect, shape) = (primitive.clip_rect, Shape::Callback(callback));
                    layers.push(Layer::Callback(ClippedShape::new(clip_rect, shape)));
                }
            }
        }
        let laid = Arc::new(self.lay(output, sorted));
        let mut first = true;
        let whole = ctx.content_rect();
        output.shapes = layers
            .into_iter()
            .map(|layer| match layer {
                Layer::Callback(shape) => shape,
                Layer::Triangles(draws) => {
                    let part = Part { laid: laid.clone(), draws, first: std::mem::take(&mut first) };
                    let shape = Shape::Callback(Callback::new_paint_callback(whole, part));
                    ClippedShape::new(Rect::EVERYTHING, shape)
                }
            })
            .collect();
    }
}

impl Software {
    /// Brings new textures to egui's renderer, which it would do itself a moment later, and finds those that are drawn.
    fn lay(&mut self, output: &mut FullOutput, sorted: Sorted) -> Laid {
        let (device, queue) = (&self.render.device, &self.render.queue);
        let mut renderer = self.render.renderer.write();
        for (id, deltas) in output.textures_delta.set.drain() {
            deltas.iter().for_each(|delta| renderer.update_texture(device, queue, id, delta));
        }
        self.device.lay(device, sorted, |id| renderer.texture(&id).map(|texture| texture.bind_group.clone()))
    }
}
