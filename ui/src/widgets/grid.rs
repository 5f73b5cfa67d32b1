//! How many columns of panes show the pictures largest.

use eframe::egui::{Rect, Vec2, vec2};

/// Cells for `n` panes in `area`, row by row. `aspect` is width over height of the pictures, `extra` the height that
/// captions take in each cell, `gap` the distance between cells. Cells are centred; the last row too.
pub fn cells(n: usize, area: Rect, aspect: f32, extra: f32, gap: f32) -> Vec<Rect> {
    if n == 0 || area.width() <= 0.0 || area.height() <= 0.0 {
        return Vec::new();
    }
    let picture = |columns: usize| {
        let rows = n.div_ceil(columns);
        let width = (area.width() - gap * (columns - 1) as f32) / columns as f32;
        let height = (area.height() - gap * (rows - 1) as f32) / rows as f32 - extra;
        width.min(height * aspect).max(8.0)
    };
    // The fewest columns among equals, so that one pane more does not reshuffle the others without need.
    let columns = (1..=n).max_by(|a, b| picture(*a).total_cmp(&picture(*b)).then(b.cmp(a))).unwrap_or(1);
    let cell = vec2(picture(columns), picture(columns) / aspect + extra);
    let rows = n.div_ceil(columns);
    let step = cell + Vec2::splat(gap);
    let height = step.y * rows as f32 - gap;
    let top = area.center().y - height / 2.0;
    (0..n)
        .map(|i| {
            let (row, column) = (i / columns, i % columns);
            let in_row = (n - row * columns).min(columns);
            let left = area.center().x - (step.x * in_row as f32 - gap) / 2.0;
            Rect::from_min_size([left + step.x * column as f32, top + step.y * row as f32].into(), cell)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(w: f32, h: f32) -> Rect {
        Rect::from_min_size([10.0, 20.0].into(), vec2(w, h))
    }

    #[test]
    fn shapes_follow_the_area() {
        let columns = |n, w, h| {
            let cells = cells(n, area(w, h), 1.0, 40.0, 8.0);
            cells.iter().filter(|c| (c.top() - cells[0].top()).abs() < 0.5).count()
        };
        assert_eq!(columns(4, 1000.0, 800.0), 2);
        assert_eq!(columns(4, 1600.0, 400.0), 4);
        assert_eq!(columns(4, 300.0, 1400.0), 1);
        assert_eq!(columns(9, 1000.0, 1000.0), 3);
    }

    #[test]
    fn cells_stay_inside_and_never_overlap() {
        for n in 1..=17 {
            for (w, h) in [(1000.0, 700.0), (500.0, 900.0), (1900.0, 500.0)] {
                let cells = cells(n, area(w, h), 1.0, 40.0, 8.0);
                assert_eq!(cells.len(), n);
                for (i, a) in cells.iter().enumerate() {
                    assert!(area(w, h).expand(0.5).contains_rect(*a), "{n} in {w}x{h}: {a:?}");
                    assert!(cells.iter().skip(i + 1).all(|b| !a.shrink(0.5).intersects(b.shrink(0.5))));
                }
            }
        }
    }

    #[test]
    fn no_room_is_no_crash() {
        assert!(cells(3, Rect::NOTHING, 1.0, 40.0, 8.0).is_empty());
        assert_eq!(cells(3, area(5.0, 5.0), 1.0, 40.0, 8.0).len(), 3);
        assert!(cells(0, area(100.0, 100.0), 1.0, 40.0, 8.0).is_empty());
    }
}
