//! The drawing for software drivers, pixel by pixel against egui's own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::device;
use eframe::egui::{self, Color32, CornerRadius, Pos2, Rect, Stroke, StrokeKind, TextureId, Ui, pos2, vec2};
use eframe::egui_wgpu::{Callback, RenderState, wgpu};
use egui_kittest::Harness;
use egui_kittest::wgpu::WgpuTestRenderer;
use forerun::Frame;
use forerun::compare::diff::PairView;
use forerun_ui::software::Software;
use forerun_ui::widgets::pair_view::{PairCallback, install, picture};
use forerun_ui::widgets::pane::picture_part;
use forerun_ui::{fonts, theme};

/// Everything that the window draws: surfaces, edges, letters, pictures, veils over them, clipped things, shaders.
struct Scene {
    picture: TextureId,
    pair: [wgpu::Texture; 2],
}

fn noise(salt: u32) -> Arc<Frame> {
    let side = 96;
    let of = |i: u32, shift: u32| ((i + salt).wrapping_mul(2_654_435_761) >> shift) as u8;
    let data = (0..side * side).flat_map(|i| [of(i, 24), of(i, 15), of(i, 7)]).collect();
    Arc::new(Frame::new(side as usize, side as usize, data).unwrap())
}

impl Scene {
    fn new(render: &RenderState) -> Self {
        let pair = [1, 2].map(|salt| picture(&render.device, &render.queue, &noise(salt)));
        let view = pair[0].create_view(&wgpu::TextureViewDescriptor::default());
        let mut renderer = render.renderer.write();
        install(&render.device, &render.queue, render.target_format, &mut renderer.callback_resources);
        let picture = renderer.register_native_texture(&render.device, &view, wgpu::FilterMode::Linear);
        Self { picture, pair }
    }

    fn show(&self, ui: &mut Ui) {
        let painter = ui.painter().clone();
        let rect = |x, y, w, h| Rect::from_min_size(pos2(x, y), vec2(w, h));
        painter.rect_filled(rect(0.0, 0.0, 600.0, 400.0), 0, Color32::from_rgb(20, 24, 31));
        painter.rect(
            rect(10.5, 10.25, 180.0, 120.0),
            CornerRadius::same(9),
            Color32::from_rgb(61, 89, 130),
            Stroke::new(1.5, Color32::from_rgb(220, 180, 70)),
            StrokeKind::Inside,
        );
        painter.rect_filled(rect(60.0, 40.0, 200.0, 150.0), 4, Color32::from_black_alpha(120));
        painter.circle(
            pos2(290.0, 80.0),
            45.0,
            Color32::from_rgb(90, 30, 90),
            Stroke::new(2.0, Color32::WHITE),
        );
        let whole = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
        picture_part(ui, Some(self.picture), rect(20.0, 150.0, 192.0, 192.0), whole, Color32::WHITE);
        let part = Rect::from_min_max(pos2(0.25, 0.25), pos2(0.5, 0.5));
        picture_part(ui, Some(self.picture), rect(230.3, 150.7, 77.0, 61.0), part, Color32::from_gray(110));
        picture_part(ui, Some(self.picture), rect(240.0, 230.0, 17.0, 17.0), whole, Color32::WHITE);
        let call = PairCallback {
            slot: 0,
            pictures: self.pair.clone(),
            view: PairView::Heat,
            seconds: 0.0,
            part: whole,
            scale: 1.0,
        };
        painter.add(Callback::new_paint_callback(rect(330.0, 150.0, 200.0, 200.0), call));
        // Over the shader, and cut at the edge of what it may draw into.
        painter.with_clip_rect(rect(400.0, 0.0, 90.0, 300.0)).line_segment(
            [pos2(320.0, 140.0), pos2(560.0, 380.0)],
            Stroke::new(5.0, Color32::from_rgb(120, 250, 120)),
        );
        ui.scope_builder(egui::UiBuilder::new().max_rect(rect(350.0, 10.0, 240.0, 130.0)), |ui| {
            ui.heading("Futures, side by side");
            ui.label("elbow +10 deg from step 4; 從第 4 步起");
            ui.button("Branch").clicked();
            let mut share = 0.3;
            ui.add(egui::Slider::new(&mut share, 0.0..=1.0).text("share"));
        });
    }
}

fn drawn(scale: f32, own: bool) -> Option<image::RgbaImage> {
    let render = device()?;
    let renderer = WgpuTestRenderer::from_render_state(render.clone());
    let scene = Scene::new(&render);
    let mut harness = Harness::builder()
        .with_size([600.0, 400.0])
        .with_pixels_per_point(scale)
        .with_context_setup(move |ctx| {
            fonts::install(ctx);
            theme::install(ctx);
            if own {
                ctx.add_plugin(Software::new(render));
            }
        })
        .renderer(renderer)
        .build_ui(move |ui| scene.show(ui));
    harness.run_steps(4);
    Some(harness.render().unwrap())
}

#[test]
fn the_window_looks_as_egui_draws_it() {
    for scale in [1.0, 1.5] {
        let (Some(theirs), Some(ours)) = (drawn(scale, false), drawn(scale, true)) else { return };
        assert_eq!(ours.dimensions(), theirs.dimensions());
        let mut colours = std::collections::HashSet::new();
        let mut off = 0;
        for (x, y, pixel) in ours.enumerate_pixels() {
            let wanted = theirs.get_pixel(x, y).0;
            let worst = pixel.0.iter().zip(wanted).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            assert!(worst <= 1, "pixel {x},{y} at {scale} is {:?}, not {wanted:?}", pixel.0);
            off += usize::from(worst > 0);
            colours.insert(wanted);
        }
        assert!(colours.len() > 500, "the scene is drawn: {} colours", colours.len());
        assert!(off * 50 < ours.pixels().len(), "{off} pixels differ by one level");
    }
}
