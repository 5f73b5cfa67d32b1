//! Views of a pair of pictures, drawn by the graphics card; where there is none, by the processor with the same
//! formulas ([`forerun::compare::diff`]).

use std::collections::HashMap;

use super::pane::upload;
use eframe::egui::{PaintCallbackInfo, Rect};
use eframe::egui_wgpu::{CallbackResources, CallbackTrait, ScreenDescriptor, wgpu};
use forerun::Frame;
use forerun::compare::diff::{PairView, WipeAxis, flicker_shows_second, heat_table};

/// Bytes of the uniforms.
const UNIFORMS: u64 = 48;

/// A view of a pair, to be painted by the graphics card.
pub struct PairCallback {
    /// Views that are on the screen at once have numbers of their own: all are prepared before any is painted.
    pub slot: u64,
    /// The two pictures, of one size, pixel by pixel.
    pub pictures: [wgpu::Texture; 2],
    /// How they are looked at.
    pub view: PairView,
    /// Seconds of the clock, for the flicker.
    pub seconds: f64,
    /// The part of the pictures that is shown, 0..=1.
    pub part: Rect,
    /// Pixels of the screen for one of the pictures; 1 softens them.
    pub scale: f32,
}

impl PairCallback {
    fn size(&self) -> (u32, u32) {
        let [a, _] = &self.pictures;
        (a.width(), a.height())
    }

    fn uniforms(&self) -> [u8; UNIFORMS as usize] {
        let (mut mode, mut flag, mut share, mut gain, mut line) = (4u32, 0u32, 0u32, 1.0f32, 0.0f32);
        match self.view {
            PairView::Wipe { at, axis } => {
                let level = axis == WipeAxis::Level;
                let extent = if level { self.size().1 } else { self.size().0 };
                (mode, flag) = (0, u32::from(level));
                line = at.clamp(0.0, 1.0) * extent as f32;
            }
            PairView::Onion { mix } => (mode, share) = (1, (mix.clamp(0.0, 1.0) * 255.0).round() as u32),
            PairView::Signed { gain: by } => (mode, gain) = (2, by),
            PairView::Heat => mode = 3,
            PairView::Flicker { hz } => flag = u32::from(flicker_shows_second(self.seconds, hz)),
        }
        let mut out = [0; UNIFORMS as usize];
        let part = [self.part.left(), self.part.top(), self.part.width(), self.part.height()];
        let words = [mode, flag, share, gain.to_bits(), line.to_bits(), self.scale.to_bits()]
            .into_iter()
            .chain([self.size().0, self.size().1])
            .chain(part.map(f32::to_bits));
        for (bytes, word) in out.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}

/// What the views of pairs keep on the graphics card.
struct PairGpu {
    pipeline: wgpu::RenderPipeline,
    layout: wgpu::BindGroupLayout,
    colours: wgpu::TextureView,
    slots: HashMap<u64, SlotGpu>,
}

struct SlotGpu {
    uniforms: wgpu::Buffer,
    pictures: [wgpu::Texture; 2],
    group: wgpu::BindGroup,
}

/// Makes what is needed to paint pairs into a target of `format`; call it once for a renderer.
pub fn install(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    format: wgpu::TextureFormat,
    to: &mut CallbackResources,
) {
    let shader = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("pair"),
        source: wgpu::ShaderSource::Wgsl(include_str!("pair.wgsl").into()),
    });
    let texture = |binding| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty: wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Float { filterable: false },
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        },
        count: None,
    };
    let uniforms = wgpu::BindGroupLayoutEntry {
        binding: 0,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: false,
            min_binding_size: std::num::NonZeroU64::new(UNIFORMS),
        },
        count: None,
    };
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("pair"),
        entries: &[uniforms, texture(1), texture(2), texture(3)],
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("pair"),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("pair"),
        layout: Some(&pipeline_layout),
        vertex: wgpu::VertexState {
            module: &shader,
            entry_point: Some("vertex"),
            compilation_options: Default::default(),
            buffers: &[],
        },
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: &shader,
            entry_point: Some("fragment"),
            compilation_options: Default::default(),
            targets: &[Some(format.into())],
        }),
        multiview_mask: None,
        cache: None,
    });
    let table: Vec<u8> = heat_table().iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
    let colours = make_texture(device, [256, 1]);
    upload(queue, &colours, [256, 1], &table);
    let colours = colours.create_view(&wgpu::TextureViewDescriptor::default());
    to.insert(PairGpu { pipeline, layout, colours, slots: HashMap::new() });
}

fn make_texture(device: &wgpu::Device, size: [usize; 2]) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: Some("pair"),
        size: super::pane::extent(size),
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: wgpu::TextureFormat::Rgba8Unorm,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

impl PairGpu {
    fn prepare(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, call: &PairCallback) {
        if self.slots.get(&call.slot).is_none_or(|s| s.pictures != call.pictures) {
            let slot = self.make_slot(device, &call.pictures);
            self.slots.insert(call.slot, slot);
        }
        if let Some(slot) = self.slots.get(&call.slot) {
            queue.write_buffer(&slot.uniforms, 0, &call.uniforms());
        }
    }

    fn make_slot(&self, device: &wgpu::Device, pictures: &[wgpu::Texture; 2]) -> SlotGpu {
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("pair"),
            size: UNIFORMS,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let [a, b] = pictures.each_ref().map(|t| t.create_view(&wgpu::TextureViewDescriptor::default()));
        let entry = |binding, resource| wgpu::BindGroupEntry { binding, resource };
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("pair"),
            layout: &self.layout,
            entries: &[
                entry(0, uniforms.as_entire_binding()),
                entry(1, wgpu::BindingResource::TextureView(&a)),
                entry(2, wgpu::BindingResource::TextureView(&b)),
                entry(3, wgpu::BindingResource::TextureView(&self.colours)),
            ],
        });
        SlotGpu { uniforms, pictures: pictures.clone(), group }
    }

    fn paint(&self, slot: u64, pass: &mut wgpu::RenderPass<'_>) {
        if let Some(slot) = self.slots.get(&slot) {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &slot.group, &[]);
            pass.draw(0..3, 0..1);
        }
    }
}

impl CallbackTrait for PairCallback {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if let Some(gpu) = resources.get_mut::<PairGpu>() {
            gpu.prepare(device, queue, self);
        }
        Vec::new()
    }

    fn paint(
        &self,
        _info: PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        if let Some(gpu) = resources.get::<PairGpu>() {
            gpu.paint(self.slot, pass);
        }
    }
}

/// A picture as the shaders take it. Waits for nothing, but converts and copies: for tests.
pub fn picture(device: &wgpu::Device, queue: &wgpu::Queue, frame: &Frame) -> wgpu::Texture {
    let size = [frame.width.max(1), frame.height.max(1)];
    let texture = make_texture(device, size);
    upload(queue, &texture, size, &frame.rgba(1));
    texture
}

/// Draws a view at the size of its pictures with the shader and reads it back: what is on the screen, pixel by pixel.
/// For tests and exports; it waits for the device.
///
/// # Errors
/// The device is lost or too slow; in words.
pub fn read_back(device: &wgpu::Device, queue: &wgpu::Queue, call: &PairCallback) -> Result<Frame, String> {
    let size = [call.size().0 as usize, call.size().1 as usize];
    let format = wgpu::TextureFormat::Rgba8Unorm;
    let mut resources = CallbackResources::default();
    install(device, queue, format, &mut resources);
    let gpu = resources.get_mut::<PairGpu>().ok_or("the pipeline was not made")?;
    gpu.prepare(device, queue, call);
    let target = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("pair target"),
        size: super::pane::extent(size),
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let row = (size[0] * 4).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT as usize);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("pair read-back"),
        size: (row * size[1]) as u64,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let view = target.create_view(&wgpu::TextureViewDescriptor::default());
    {
        let attachment = wgpu::RenderPassColorAttachment {
            view: &view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations {
                load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                store: wgpu::StoreOp::Store,
            },
        };
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("pair"),
            color_attachments: &[Some(attachment)],
            ..Default::default()
        });
        gpu.paint(call.slot, &mut pass);
    }
    encoder.copy_texture_to_buffer(
        target.as_image_copy(),
        wgpu::TexelCopyBufferInfo {
            buffer: &buffer,
            layout: wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(row as u32),
                rows_per_image: Some(size[1] as u32),
            },
        },
        super::pane::extent(size),
    );
    queue.submit([encoder.finish()]);
    let slice = buffer.slice(..);
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    slice.map_async(wgpu::MapMode::Read, move |result| {
        let _ = sender.send(result);
    });
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| e.to_string())?;
    receiver.recv().map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let bytes = slice.get_mapped_range().map_err(|e| e.to_string())?;
    let mut data = Vec::with_capacity(size[0] * size[1] * 3);
    for line in bytes.chunks_exact(row) {
        for pixel in line.chunks_exact(4).take(size[0]) {
            if let [r, g, b, _] = *pixel {
                data.extend_from_slice(&[r, g, b]);
            }
        }
    }
    Frame::new(size[0], size[1], data).ok_or_else(|| "the picture is not whole".to_owned())
}
