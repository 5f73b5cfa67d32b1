//! Colours by name, sizes on a grid of 4, and the style of egui made from them.
//!
//! `assets/themes/tokens.toml` is the one place with colours; nothing else in the window names a number.

use std::sync::{Arc, LazyLock};

use eframe::egui::{
    self, Color32, Context, CornerRadius, FontFamily, FontId, Margin, Stroke, TextStyle, Theme, Ui, Vec2,
    epaint::Shadow,
};
use serde::Deserialize;

/// Gaps and paddings, in points.
pub mod space {
    /// Between things that are one.
    pub const XS: f32 = 4.0;
    /// Between things of a group.
    pub const S: f32 = 8.0;
    /// Around the content of a card.
    pub const M: f32 = 12.0;
    /// Between groups.
    pub const L: f32 = 16.0;
    /// Between sections.
    pub const XL: f32 = 24.0;
}

/// Height of buttons, fields and rows, in points.
pub const ROW: f32 = 28.0;
/// Corner radius of controls, in points.
pub const RADIUS: u8 = 6;
/// Corner radius of cards, in points.
pub const CARD_RADIUS: u8 = 8;

/// Colours of one theme; `assets/themes/tokens.toml` says what each is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // Documented line by line in the file of tokens.
pub struct Tokens {
    pub base: Colour,
    pub panel: Colour,
    pub raised: Colour,
    pub control: Colour,
    pub control_hover: Colour,
    pub control_active: Colour,
    pub input: Colour,
    pub line: Colour,
    pub line_strong: Colour,
    pub text: Colour,
    pub text_soft: Colour,
    pub text_faint: Colour,
    pub accent: Colour,
    pub accent_fill: Colour,
    pub accent_fill_hover: Colour,
    pub accent_soft: Colour,
    pub on_accent: Colour,
    pub good: Colour,
    pub warn: Colour,
    pub warn_soft: Colour,
    pub bad: Colour,
    pub bad_soft: Colour,
    pub stop: Colour,
    pub shade: Colour,
    pub series: [Colour; 8],
}

/// A colour, written `#rrggbb` or `#rrggbbaa` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Colour(pub Color32);

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Color32::from_hex(&text).map(Self).map_err(|_| format!("{text} is not a colour like #1b1f27"))
    }
}

impl From<Colour> for Color32 {
    fn from(colour: Colour) -> Self {
        colour.0
    }
}

impl std::ops::Deref for Colour {
    type Target = Color32;

    fn deref(&self) -> &Color32 {
        &self.0
    }
}

#[derive(Deserialize)]
struct Both {
    dark: Tokens,
    light: Tokens,
}

/// The file is compiled in and a test parses it, so the fall-back is never seen; it keeps this infallible.
static TOKENS: LazyLock<Option<(Arc<Tokens>, Arc<Tokens>)>> = LazyLock::new(|| {
    let both: Both = toml::from_str(include_str!("../../assets/themes/tokens.toml")).ok()?;
    Some((Arc::new(both.dark), Arc::new(both.light)))
});

/// The colours of a theme.
pub fn tokens_of(theme: Theme) -> Arc<Tokens> {
    match (&*TOKENS, theme) {
        (Some((dark, _)), Theme::Dark) => dark.clone(),
        (Some((_, light)), Theme::Light) => light.clone(),
        (None, _) => Arc::new(Tokens::grey()),
    }
}

/// The colours that `ui` is drawn with.
pub fn tokens(ui: &Ui) -> Arc<Tokens> {
    tokens_of(ui.ctx().theme())
}

impl Tokens {
    fn grey() -> Self {
        let [back, front] = [Colour(Color32::BLACK), Colour(Color32::GRAY)];
        Self {
            base: back,
            panel: back,
            raised: back,
            control: back,
            control_hover: back,
            control_active: back,
            input: back,
            line: front,
            line_strong: front,
            text: front,
            text_soft: front,
            text_faint: front,
            accent: front,
            accent_fill: back,
            accent_fill_hover: back,
            accent_soft: back,
            on_accent: front,
            good: front,
            warn: front,
            warn_soft: back,
            bad: front,
            bad_soft: back,
            stop: back,
            shade: back,
            series: [front; 8],
        }
    }
}

/// The heavier face of the window's font.
pub fn semibold() -> FontFamily {
    FontFamily::Name("semibold".into())
}

/// Text style of screen titles.
pub fn title() -> TextStyle {
    TextStyle::Name("title".into())
}

/// Text style of section heads and buttons that matter.
pub fn strong() -> TextStyle {
    TextStyle::Name("strong".into())
}

/// Sets both themes of a context.
pub fn install(ctx: &Context) {
    for theme in [Theme::Dark, Theme::Light] {
        let tokens = tokens_of(theme);
        ctx.style_mut_of(theme, |style| apply(style, &tokens, theme == Theme::Dark));
    }
}

fn apply(style: &mut egui::Style, t: &Tokens, dark: bool) {
    let prop = FontFamily::Proportional;
    style.text_styles = [
        (TextStyle::Small, FontId::new(11.5, prop.clone())),
        (TextStyle::Body, FontId::new(13.0, prop.clone())),
        (TextStyle::Button, FontId::new(13.0, prop)),
        (TextStyle::Monospace, FontId::new(12.0, FontFamily::Monospace)),
        (strong(), FontId::new(13.0, semibold())),
        (TextStyle::Heading, FontId::new(15.0, semibold())),
        (title(), FontId::new(20.0, semibold())),
    ]
    .into();
    style.animation_time = 0.08;
    style.explanation_tooltips = false;

    let s = &mut style.spacing;
    s.item_spacing = Vec2::new(space::S, space::S);
    s.button_padding = Vec2::new(space::M, space::XS);
    s.interact_size = Vec2::new(ROW, ROW);
    s.menu_margin = Margin::same(6);
    s.window_margin = Margin::same(16);
    s.tooltip_width = 320.0;
    s.scroll.floating = true;
    s.scroll.bar_width = 6.0;
    s.scroll.floating_allocated_width = 0.0;

    style.interaction.tooltip_delay = 0.4;
    style.interaction.selectable_labels = false;

    let v = &mut style.visuals;
    *v = if dark { egui::Visuals::dark() } else { egui::Visuals::light() };
    v.override_text_color = None;
    v.weak_text_color = Some(*t.text_soft);
    v.hyperlink_color = *t.accent;
    v.faint_bg_color = *t.raised;
    v.extreme_bg_color = *t.input;
    v.text_edit_bg_color = Some(*t.input);
    v.code_bg_color = *t.raised;
    v.warn_fg_color = *t.warn;
    v.error_fg_color = *t.bad;
    v.window_corner_radius = CornerRadius::same(10);
    v.menu_corner_radius = CornerRadius::same(CARD_RADIUS);
    v.window_fill = *t.panel;
    v.window_stroke = Stroke::new(1.0, *t.line);
    let shadow = Shadow {
        offset: [0, 8],
        blur: 24,
        spread: 0,
        color: Color32::from_black_alpha(if dark { 120 } else { 40 }),
    };
    v.window_shadow = shadow;
    v.popup_shadow = shadow;
    v.panel_fill = *t.panel;
    v.selection.bg_fill = *t.accent_soft;
    v.selection.stroke = Stroke::new(1.0, *t.accent);
    v.slider_trailing_fill = true;
    v.striped = false;

    let radius = CornerRadius::same(RADIUS);
    let w = &mut v.widgets;
    w.noninteractive.bg_fill = *t.panel;
    w.noninteractive.weak_bg_fill = *t.panel;
    w.noninteractive.bg_stroke = Stroke::new(1.0, *t.line);
    w.noninteractive.fg_stroke = Stroke::new(1.0, *t.text);
    w.noninteractive.corner_radius = radius;
    for (state, fill, border, fore) in [
        (&mut w.inactive, *t.control, *t.control, *t.text),
        (&mut w.hovered, *t.control_hover, *t.line_strong, *t.text),
        (&mut w.active, *t.control_active, *t.accent, *t.text),
        (&mut w.open, *t.control_hover, *t.line_strong, *t.text),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = Stroke::new(1.0, border);
        state.fg_stroke = Stroke::new(1.2, fore);
        state.corner_radius = radius;
        state.expansion = 0.0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Relative luminance of WCAG 2.
    fn luminance(c: Color32) -> f32 {
        let [r, g, b, _] = egui::Rgba::from(c).to_array();
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn the_file_of_tokens_is_complete() {
        assert!(TOKENS.is_some());
    }

    #[test]
    fn text_can_be_read_on_every_surface() {
        for theme in [Theme::Dark, Theme::Light] {
            let t = tokens_of(theme);
            for (fore, back) in [
                (t.text, t.base),
                (t.text, t.control_active),
                (t.text_soft, t.base),
                (t.text_soft, t.raised),
                (t.text_faint, t.panel),
                (t.text_faint, t.raised),
                (t.accent, t.panel),
                (t.accent, t.accent_soft),
                (t.on_accent, t.accent_fill),
                (t.on_accent, t.stop),
                (t.good, t.panel),
                (t.warn, t.warn_soft),
                (t.warn, t.panel),
                (t.bad, t.bad_soft),
            ] {
                let found = contrast(*fore, *back);
                assert!(
                    found >= 4.5 || fore == t.on_accent && found >= 4.4,
                    "{theme:?}: {found:.2} {fore:?} on {back:?}"
                );
            }
        }
    }
}
