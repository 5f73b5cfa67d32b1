//! The graphics device's part: four pipelines, and the corners of one frame.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use eframe::egui::{PaintCallbackInfo, Rect, TextureId};
use eframe::egui_wgpu::{CallbackResources, CallbackTrait, ScreenDescriptor, wgpu};

use super::sort::{Draw, Kind, STRIDE, Sorted};

/// Bytes of the uniforms.
const UNIFORMS: u64 = 16;

/// What stays from one frame to the next.
pub(super) struct Device {
    pipelines: Arc<Pipelines>,
    corners: Option<wgpu::Buffer>,
    indices: Option<wgpu::Buffer>,
}

struct Pipelines {
    plain_opaque: wgpu::RenderPipeline,
    plain: wgpu::RenderPipeline,
    picture_opaque: wgpu::RenderPipeline,
    picture: wgpu::RenderPipeline,
    uniforms: wgpu::Buffer,
    group: wgpu::BindGroup,
}

impl Pipelines {
    fn get(&self, kind: Kind) -> &wgpu::RenderPipeline {
        match kind {
            Kind::PlainOpaque => &self.plain_opaque,
            Kind::Plain => &self.plain,
            Kind::PictureOpaque => &self.picture_opaque,
            Kind::Picture => &self.picture,
        }
    }
}

/// One frame, ready to be drawn.
pub(super) struct Laid {
    pipelines: Arc<Pipelines>,
    corners: wgpu::Buffer,
    indices: wgpu::Buffer,
    sorted: Sorted,
    textures: HashMap<TextureId, wgpu::BindGroup>,
}

/// Draws of a frame that nothing else comes between.
pub(super) struct Part {
    /// The frame.
    pub laid: Arc<Laid>,
    /// Which of its draws.
    pub draws: Range<usize>,
    /// The first part brings the frame to the device.
    pub first: bool,
}

impl Device {
    /// Pipelines that draw into a target of `format`.
    pub fn new(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("window"),
            source: wgpu::ShaderSource::Wgsl(include_str!("window.wgsl").into()),
        });
        let own = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("window"),
            entries: &[uniform(0, wgpu::ShaderStages::VERTEX, UNIFORMS)],
        });
        let textures = device.create_bind_group_layout(&textures());
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("window"),
            size: UNIFORMS,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("window"),
            layout: &own,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: uniforms.as_entire_binding() }],
        });
        let pipeline = |pictured: bool, opaque: bool| {
            let groups = [Some(&own), Some(&textures)];
            let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some("window"),
                bind_group_layouts: if pictured { &groups } else { groups.get(..1).unwrap_or_default() },
                immediate_size: 0,
            });
            let target = wgpu::ColorTargetState {
                format,
                blend: (!opaque).then_some(OVER),
                write_mask: wgpu::ColorWrites::ALL,
            };
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some("window"),
                layout: Some(&layout),
                vertex: wgpu::VertexState {
                    module: &module,
                    entry_point: Some("vertex"),
                    compilation_options: Default::default(),
                    buffers: &[Some(wgpu::VertexBufferLayout {
                        array_stride: STRIDE,
                        step_mode: wgpu::VertexStepMode::Vertex,
                        attributes: &wgpu::vertex_attr_array![0 => Float32x2, 1 => Float32x2, 2 => Unorm8x4],
                    })],
                },
                primitive: wgpu::PrimitiveState::default(),
                depth_stencil: None,
                multisample: wgpu::MultisampleState::default(),
                fragment: Some(wgpu::FragmentState {
                    module: &module,
                    entry_point: Some(if pictured { "pictured" } else { "plain" }),
                    compilation_options: Default::default(),
                    targets: &[Some(target)],
                }),
                multiview_mask: None,
                cache: None,
            })
        };
        let pipelines = Pipelines {
            plain_opaque: pipeline(false, true),
            plain: pipeline(false, false),
            picture_opaque: pipeline(true, true),
            picture: pipeline(true, false),
            uniforms,
            group,
        };
        Self { pipelines: Arc::new(pipelines), corners: None, indices: None }
    }

    /// A frame of these triangles; `texture` finds the textures of egui's renderer.
    pub fn lay(
        &mut self,
        device: &wgpu::Device,
        sorted: Sorted,
        texture: impl Fn(TextureId) -> Option<wgpu::BindGroup>,
    ) -> Laid {
        let mut textures = HashMap::new();
        for draw in &sorted.draws {
            if let (false, Some(group)) = (textures.contains_key(&draw.texture), texture(draw.texture)) {
                textures.insert(draw.texture, group);
            }
        }
        let corners = roomy(device, &mut self.corners, sorted.corners.len(), wgpu::BufferUsages::VERTEX);
        let indices = roomy(device, &mut self.indices, sorted.indices.len(), wgpu::BufferUsages::INDEX);
        Laid { pipelines: self.pipelines.clone(), corners, indices, sorted, textures }
    }
}

/// As egui draws: colours that are multiplied by their alpha already, over what is there.
const OVER: wgpu::BlendState = wgpu::BlendState {
    color: wgpu::BlendComponent {
        src_factor: wgpu::BlendFactor::One,
        dst_factor: wgpu::BlendFactor::OneMinusSrcAlpha,
        operation: wgpu::BlendOperation::Add,
    },
    alpha: wgpu::BlendComponent {
        src_factor: wgpu::BlendFactor::OneMinusDstAlpha,
        dst_factor: wgpu::BlendFactor::One,
        operation: wgpu::BlendOperation::Add,
    },
};

fn uniform(binding: u32, visibility: wgpu::ShaderStages, bytes: u64) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: false,
            min_binding_size: NonZeroU64::new(bytes),
        },
        count: None,
    }
}

/// The layout of the textures of egui's renderer: an equal layout is the same one to the device.
fn textures() -> wgpu::BindGroupLayoutDescriptor<'static> {
    const FRAGMENT: wgpu::ShaderStages = wgpu::ShaderStages::FRAGMENT;
    const ENTRIES: [wgpu::BindGroupLayoutEntry; 3] = [
        wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: FRAGMENT,
            ty: wgpu::BindingType::Texture {
                multisampled: false,
                sample_type: wgpu::TextureSampleType::Float { filterable: true },
                view_dimension: wgpu::TextureViewDimension::D2,
            },
            count: None,
        },
        wgpu::BindGroupLayoutEntry {
            binding: 1,
            visibility: FRAGMENT,
            ty: wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering),
            count: None,
        },
        wgpu::BindGroupLayoutEntry {
            binding: 2,
            visibility: FRAGMENT,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: false,
                min_binding_size: NonZeroU64::new(16),
            },
            count: None,
        },
    ];
    wgpu::BindGroupLayoutDescriptor { label: Some("textures"), entries: &ENTRIES }
}

/// A buffer with room for `bytes`: the one that is there, or a larger one.
fn roomy(
    device: &wgpu::Device,
    buffer: &mut Option<wgpu::Buffer>,
    bytes: usize,
    usage: wgpu::BufferUsages,
) -> wgpu::Buffer {
    let fits = buffer.as_ref().filter(|b| b.size() >= bytes as u64).cloned();
    fits.unwrap_or_else(|| {
        let new = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("window"),
            size: (bytes as u64).next_power_of_two().max(1 << 16),
            usage: usage | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        *buffer = Some(new.clone());
        new
    })
}

impl Laid {
    /// What is drawn.
    pub fn draws(&self) -> &[Draw] {
        &self.sorted.draws
    }
}

impl CallbackTrait for Part {
    fn prepare(
        &self,
        _device: &wgpu::Device,
        queue: &wgpu::Queue,
        screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        _resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if !self.first {
            return Vec::new();
        }
        let laid = &self.laid;
        let [width, height] = screen.size_in_pixels.map(|side| side as f32 / screen.pixels_per_point);
        let uniforms = [width, height, 0.0, 0.0].map(f32::to_le_bytes).concat();
        queue.write_buffer(&laid.pipelines.uniforms, 0, &uniforms);
        for (buffer, bytes) in [(&laid.corners, &laid.sorted.corners), (&laid.indices, &laid.sorted.indices)]
        {
            if !bytes.is_empty() {
                queue.write_buffer(buffer, 0, bytes);
            }
        }
        Vec::new()
    }

    fn paint(
        &self,
        info: PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        _resources: &CallbackResources,
    ) {
        let laid = &self.laid;
        let [width, height] = info.screen_size_px;
        pass.set_viewport(0.0, 0.0, width as f32, height as f32, 0.0, 1.0);
        pass.set_bind_group(0, &laid.pipelines.group, &[]);
        pass.set_vertex_buffer(0, laid.corners.slice(..));
        pass.set_index_buffer(laid.indices.slice(..), wgpu::IndexFormat::Uint32);
        let mut now = None;
        for draw in laid.draws().get(self.draws.clone()).unwrap_or_default() {
            let Some([x, y, w, h]) = scissor(draw.clip, info.pixels_per_point, [width, height]) else {
                continue;
            };
            let textured = matches!(draw.kind, Kind::Picture | Kind::PictureOpaque);
            let texture = laid.textures.get(&draw.texture);
            if textured && texture.is_none() {
                continue;
            }
            if now.is_none_or(|(kind, _)| kind != draw.kind) {
                pass.set_pipeline(laid.pipelines.get(draw.kind));
            }
            if let Some(texture) = texture.filter(|_| textured) {
                pass.set_bind_group(1, texture, &[]);
            }
            if now.is_none_or(|(_, clip)| clip != [x, y, w, h]) {
                pass.set_scissor_rect(x, y, w, h);
            }
            now = Some((draw.kind, [x, y, w, h]));
            pass.draw_indexed(draw.indices.clone(), 0, 0..1);
        }
    }
}

/// A rectangle in pixels, inside the target; `None` when nothing of it is.
fn scissor(clip: Rect, scale: f32, [width, height]: [u32; 2]) -> Option<[u32; 4]> {
    // A conversion of what is too large or negative ends at the last number that there is.
    let pixel = |v: f32, most: u32| ((v * scale).round() as u32).min(most);
    let (left, top) = (pixel(clip.min.x, width), pixel(clip.min.y, height));
    let (right, bottom) = (pixel(clip.max.x, width), pixel(clip.max.y, height));
    (right > left && bottom > top).then(|| [left, top, right - left, bottom - top])
}

#[cfg(test)]
mod tests {
    use super::*;
    use eframe::egui::pos2;

    #[test]
    fn the_scissor_stays_inside_the_target() {
        let rect = |a, b, c, d| Rect::from_min_max(pos2(a, b), pos2(c, d));
        assert_eq!(scissor(rect(1.0, 2.0, 5.0, 9.0), 2.0, [100, 15]), Some([2, 4, 8, 11]));
        assert_eq!(scissor(Rect::EVERYTHING, 1.0, [7, 8]), Some([0, 0, 7, 8]));
        assert_eq!(scissor(rect(-9.0, 0.0, -1.0, 5.0), 1.0, [7, 8]), None);
        assert_eq!(scissor(Rect::NOTHING, 1.0, [7, 8]), None);
    }
}
