//! Line icons. Each is a small SVG file of our own in `assets/icons/` (paths of straight lines and cubic curves, and
//! circles, on a 24 x 24 grid), drawn as vector shapes: crisp at every size, coloured like the text beside it.

use std::sync::LazyLock;

use eframe::egui::{
    Color32, Painter, Pos2, Rect, Shape, Stroke, Vec2,
    epaint::{CircleShape, CubicBezierShape, PathShape},
};

macro_rules! icons {
    ($($(#[$doc:meta])* $name:ident = $file:literal),* $(,)?) => {
        /// An icon of the window.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter, strum::EnumCount)]
        #[allow(missing_docs)] // The names are the documentation.
        pub enum Icon { $($(#[$doc])* $name),* }

        impl Icon {
            fn source(self) -> &'static str {
                match self { $(Self::$name => include_str!(concat!("../../assets/icons/", $file, ".svg"))),* }
            }
        }
    };
}

icons! {
    World = "world", Play = "play", Pause = "pause", StepBack = "step_back", StepForward = "step_forward",
    Loop = "loop", Save = "save", Picture = "picture", Dice = "dice", Close = "close", Search = "search",
    Sun = "sun", Moon = "moon", ChevronDown = "chevron_down", ChevronRight = "chevron_right",
    ChevronLeft = "chevron_left", Plus = "plus", Minus = "minus", Warning = "warning", Check = "check",
    Info = "info", Curve = "curve", Log = "log", Undo = "undo", Redo = "redo", Folder = "folder",
    Trash = "trash", Refresh = "refresh", Copy = "copy", Model = "model", Text = "text", Sliders = "sliders",
    Spark = "spark", Stop = "stop", Grid = "grid", Expand = "expand",
    Compare = "compare", Pin = "pin", Mute = "mute", Swap = "swap", Branch = "branch", Export = "export",
    Pencil = "pencil", Vote = "vote", Data = "data", Train = "train", Policy = "policy", Record = "record",
    Doctor = "doctor", Link = "link",
    Robot = "robot",
}

/// A part of an icon, on the 24 x 24 grid.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Line(Vec<Pos2>, bool),
    Cubic([Pos2; 4]),
    Circle(Pos2, f32),
}

static PARTS: LazyLock<Vec<Vec<Part>>> = LazyLock::new(|| {
    use strum::IntoEnumIterator;
    Icon::iter().map(|icon| parse(icon.source()).unwrap_or_default()).collect()
});

impl Icon {
    /// Draws the icon into the square `rect`.
    pub fn paint(self, painter: &Painter, rect: Rect, colour: Color32) {
        let scale = rect.width().min(rect.height()) / 24.0;
        let origin = rect.center() - Vec2::splat(12.0 * scale);
        let stroke = Stroke::new((1.75 * scale).max(1.0), colour);
        let at = |p: Pos2| origin + p.to_vec2() * scale;
        for part in PARTS.get(self as usize).into_iter().flatten() {
            painter.add(match part {
                Part::Line(points, true) => {
                    Shape::Path(PathShape::closed_line(points.iter().map(|p| at(*p)).collect(), stroke))
                }
                Part::Line(points, false) => {
                    Shape::Path(PathShape::line(points.iter().map(|p| at(*p)).collect(), stroke))
                }
                Part::Cubic(points) => Shape::CubicBezier(CubicBezierShape::from_points_stroke(
                    points.map(at),
                    false,
                    Color32::TRANSPARENT,
                    stroke,
                )),
                Part::Circle(centre, radius) => {
                    Shape::Circle(CircleShape::stroke(at(*centre), radius * scale, stroke))
                }
            });
        }
    }
}

/// Reads the part of SVG that our icons use; `None` when a file uses more.
fn parse(source: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for element in source.split('<').skip(2) {
        let attribute = |name: &str| {
            let after = element.split_once(&format!(" {name}=\""))?.1;
            Some(after.split_once('"')?.0.to_owned())
        };
        if element.starts_with("circle") {
            let number = |name| attribute(name)?.parse::<f32>().ok();
            parts.push(Part::Circle(Pos2::new(number("cx")?, number("cy")?), number("r")?));
        } else if element.starts_with("path") {
            parse_path(&attribute("d")?, &mut parts)?;
        } else if !element.starts_with("/svg>") {
            return None;
        }
    }
    (!parts.is_empty()).then_some(parts)
}

fn parse_path(d: &str, parts: &mut Vec<Part>) -> Option<()> {
    let mut words = d.split_whitespace().flat_map(|w| {
        // `M7` and `M 7` are the same.
        let (letter, rest) = w.split_at(usize::from(w.starts_with(|c: char| c.is_ascii_alphabetic())));
        [letter, rest].into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>()
    });
    let (mut line, mut start): (Vec<Pos2>, Pos2) = (Vec::new(), Pos2::ZERO);
    let mut flush = |line: &mut Vec<Pos2>, closed: bool| {
        if line.len() > 1 {
            parts.push(Part::Line(std::mem::take(line), closed));
        }
    };
    let mut here = Pos2::ZERO;
    let mut curves = Vec::new();
    while let Some(command) = words.next() {
        let mut number = || words.next()?.parse::<f32>().ok();
        match command {
            "M" => {
                flush(&mut line, false);
                here = Pos2::new(number()?, number()?);
                (line, start) = (vec![here], here);
            }
            "L" => here = Pos2::new(number()?, number()?),
            "H" => here.x = number()?,
            "V" => here.y = number()?,
            "C" => {
                flush(&mut line, false);
                let from = here;
                let (a, b) = (Pos2::new(number()?, number()?), Pos2::new(number()?, number()?));
                here = Pos2::new(number()?, number()?);
                curves.push(Part::Cubic([from, a, b, here]));
                line = vec![here];
            }
            "Z" => {
                let whole = line.first() == Some(&start);
                if !whole {
                    line.push(start);
                }
                flush(&mut line, whole);
                continue;
            }
            _ => return None,
        }
        if matches!(command, "L" | "H" | "V") {
            line.push(here);
        }
    }
    flush(&mut line, false);
    parts.extend(curves);
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use strum::{EnumCount, IntoEnumIterator};

    #[test]
    fn every_icon_is_read_and_stays_on_its_grid() {
        assert_eq!(PARTS.len(), Icon::COUNT);
        for icon in Icon::iter() {
            let parts = parse(icon.source()).unwrap_or_else(|| panic!("{icon:?} is not one of our icons"));
            for part in parts {
                let points = match part {
                    Part::Line(points, _) => points,
                    Part::Cubic(points) => points.to_vec(),
                    Part::Circle(c, r) => vec![c - Vec2::splat(r), c + Vec2::splat(r)],
                };
                assert!(
                    points.iter().all(|p| p.x >= 1.0 && p.x <= 23.0 && p.y >= 1.0 && p.y <= 23.0),
                    "{icon:?}"
                );
            }
        }
    }

    #[test]
    fn other_svg_is_refused() {
        assert_eq!(parse("<svg><rect x=\"1\"/></svg>"), None);
        assert_eq!(parse("<svg><path d=\"M 1 1 A 3 3\"/></svg>"), None);
    }
}
