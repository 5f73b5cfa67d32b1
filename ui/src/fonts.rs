//! The embedded fonts. They come before the fonts of the system, so that the window looks the same on every machine
//! and Chinese appears in Traditional forms (`assets/fonts/README.md`).

use std::sync::Arc;

use eframe::egui::{Context, FontData, FontDefinitions, FontFamily};

use crate::theme;

/// Installs the embedded fonts; call it before the first pass.
pub fn install(ctx: &Context) {
    let mut fonts = FontDefinitions::default();
    let embedded: [(&str, &'static [u8]); 3] = [
        ("inter", include_bytes!("../../assets/fonts/Inter-Regular-subset.otf")),
        ("inter-semibold", include_bytes!("../../assets/fonts/Inter-SemiBold-subset.otf")),
        ("noto-tc", include_bytes!("../../assets/fonts/NotoSansCJKtc-Regular-subset.otf")),
    ];
    for (name, bytes) in embedded {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let mut chain = |family: FontFamily, first: &[&str]| {
        let rest = fonts.families.get(&family).cloned().unwrap_or_default();
        let names = first.iter().map(|n| (*n).to_owned()).chain(rest).collect();
        fonts.families.insert(family, names);
    };
    chain(FontFamily::Proportional, &["inter", "noto-tc"]);
    chain(theme::semibold(), &["inter-semibold", "noto-tc"]);
    if let Some(mono) = fonts.families.get_mut(&FontFamily::Monospace) {
        mono.insert(mono.len().min(1), "noto-tc".to_owned());
    }
    ctx.set_fonts(fonts);
}
