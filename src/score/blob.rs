//! Where a coloured thing is, from the pixels alone.

use forerun_models::Frame;

/// A connected patch of one colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blob {
    /// Centre in pixels from the left edge (pixel centres at .5).
    pub x: f32,
    /// Centre in pixels from the top edge.
    pub y: f32,
    /// Number of pixels.
    pub area: usize,
    /// Direction of its long axis in degrees, 0..180, counted from the x axis towards the y axis (downward).
    pub degrees: f32,
    /// Length of the long axis over the short one, at least 1; the direction means nothing near 1.
    pub elongation: f32,
}

/// Largest difference of hue that is still the same colour, in degrees: shading and codecs shift hue by a few.
const HUE: f32 = 22.0;
/// Smallest share of the colour's own saturation.
const SATURATION: f32 = 0.45;
/// Smallest saturation and brightness at which a hue means anything.
const VISIBLE: (f32, f32) = (0.22, 0.10);
/// A patch under this share of the picture is noise (10 pixels of 128 x 128).
const SMALLEST: f32 = 0.0006;

/// The largest connected patch of the colour `rgb`, whatever its shade; `None` when there is none to speak of.
pub fn find(frame: &Frame, rgb: [u8; 3]) -> Option<Blob> {
    let (hue, saturation, _) = hsv(rgb);
    let (w, h) = (frame.width, frame.height);
    let same = |r, g, b| {
        let (ph, ps, pv) = hsv([r, g, b]);
        let apart = (ph - hue).abs();
        apart.min(360.0 - apart) <= HUE && ps >= (saturation * SATURATION).max(VISIBLE.0) && pv >= VISIBLE.1
    };
    let mask: Vec<bool> =
        frame.data.chunks_exact(3).map(|p| matches!(p, [r, g, b] if same(*r, *g, *b))).collect();
    let patch = largest(&mask, w, h);
    let least = ((w * h) as f32 * SMALLEST).max(3.0) as usize;
    (patch.len() >= least).then(|| moments(&patch, w))
}

/// Pixel numbers of the largest patch of `true` pixels that touch each other (8 neighbours).
fn largest(mask: &[bool], w: usize, h: usize) -> Vec<usize> {
    let mut seen = vec![false; mask.len()];
    let mut best = Vec::new();
    for start in 0..mask.len() {
        let mut patch = Vec::new();
        let mut open = vec![start];
        while let Some(i) = open.pop() {
            match (mask.get(i), seen.get_mut(i)) {
                (Some(true), Some(seen)) if !*seen => *seen = true,
                _ => continue,
            }
            patch.push(i);
            let (x, y) = (i % w, i / w);
            for ny in y.saturating_sub(1)..=(y + 1).min(h.saturating_sub(1)) {
                for nx in x.saturating_sub(1)..=(x + 1).min(w.saturating_sub(1)) {
                    open.push(ny * w + nx);
                }
            }
        }
        if patch.len() > best.len() {
            best = patch;
        }
    }
    best
}

/// Centre and axes from the first and second moments of the patch's pixels.
fn moments(patch: &[usize], w: usize) -> Blob {
    let n = patch.len() as f64;
    let at = |i: &usize| ((i % w) as f64 + 0.5, (i / w) as f64 + 0.5);
    let (mx, my) = patch.iter().map(at).fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    // A pixel is a square of its own: 1/12 each way.
    let (mut xx, mut yy, mut xy) = (1.0 / 12.0, 1.0 / 12.0, 0.0);
    for (x, y) in patch.iter().map(at) {
        xx += (x - mx).powi(2) / n;
        yy += (y - my).powi(2) / n;
        xy += (x - mx) * (y - my) / n;
    }
    let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
    let spread = ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt();
    let (long, short) = ((xx + yy + spread) / 2.0, (xx + yy - spread) / 2.0);
    Blob {
        x: mx as f32,
        y: my as f32,
        area: patch.len(),
        degrees: angle.to_degrees().rem_euclid(180.0) as f32,
        elongation: (long / short.max(1e-9)).sqrt() as f32,
    }
}

/// Angle between two axes in degrees, 0..90: an axis has no head.
pub fn axis_difference(a: f32, b: f32) -> f32 {
    let apart = (a - b).rem_euclid(180.0);
    apart.min(180.0 - apart)
}

/// Hue in degrees, saturation and value 0..1.
fn hsv([r, g, b]: [u8; 3]) -> (f32, f32, f32) {
    let (r, g, b) = (f32::from(r) / 255.0, f32::from(g) / 255.0, f32::from(b) / 255.0);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let span = max - min;
    if span <= 0.0 {
        return (0.0, 0.0, max);
    }
    let sixth = if max == r {
        ((g - b) / span).rem_euclid(6.0)
    } else if max == g {
        (b - r) / span + 2.0
    } else {
        (r - g) / span + 4.0
    };
    (sixth * 60.0, span / max, max)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn paint(frame: &mut Frame, x: std::ops::Range<usize>, y: std::ops::Range<usize>, rgb: [u8; 3]) {
        for y in y {
            for x in x.clone() {
                let i = (y * frame.width + x) * 3;
                frame.data[i..i + 3].copy_from_slice(&rgb);
            }
        }
    }

    #[test]
    fn a_shaded_square_is_found_at_its_centre_and_crumbs_are_not() {
        let mut frame = Frame::filled(64, 64, [150, 140, 130]);
        paint(&mut frame, 10..20, 30..36, [200, 30, 30]);
        paint(&mut frame, 10..20, 36..40, [90, 15, 12]); // its shaded side
        paint(&mut frame, 50..52, 5..7, [200, 30, 30]); // a crumb of the same colour
        paint(&mut frame, 40..60, 40..60, [30, 60, 200]);
        let blob = find(&frame, [210, 35, 30]).unwrap();
        assert_eq!((blob.x.round(), blob.y.round(), blob.area), (15.0, 35.0, 100));
        assert!((blob.elongation - 1.0).abs() < 0.01);
        assert_eq!(find(&frame, [30, 200, 40]), None);
    }

    #[test]
    fn the_axis_of_a_bar_is_found() {
        let mut flat = Frame::filled(64, 64, [100; 3]);
        paint(&mut flat, 10..40, 20..24, [20, 160, 40]);
        let blob = find(&flat, [20, 160, 40]).unwrap();
        assert!(axis_difference(blob.degrees, 0.0) < 0.1 && blob.elongation > 6.0);
        let mut steep = Frame::filled(64, 64, [100; 3]);
        for i in 0..30 {
            paint(&mut steep, 10 + i..14 + i, 10 + i..12 + i, [20, 160, 40]);
        }
        let blob = find(&steep, [20, 160, 40]).unwrap();
        assert!(axis_difference(blob.degrees, 45.0) < 4.0, "{}", blob.degrees);
    }

    #[test]
    fn in_pictures_of_the_virtual_world_each_object_is_found_where_it_is() {
        use crate::world::{Renderer, SceneDistribution, project_point};
        let (mut seen, mut far) = (0, Vec::new());
        for seed in 0..40 {
            let scene = SceneDistribution::default().sample(seed, true);
            let frame = Renderer::new(&scene, 128, 128).render(&scene.start_joints(), &scene.start_poses());
            for object in &scene.objects {
                let [x, y] = project_point(&scene, object.pose.position, 128, 128).unwrap();
                let Some(blob) = find(&frame, object.rgb) else { continue };
                seen += 1;
                // The arm may hide a part; a hidden half shifts the centre by a quarter of a cube (12 pixels).
                if (blob.x - x).hypot(blob.y - y) > 4.0 {
                    far.push((seed, object.colour, blob, x, y));
                }
            }
        }
        assert!(seen >= 40, "{seen} objects were seen");
        assert!(far.len() * 20 <= seen, "{} of {seen}: {far:?}", far.len());
    }

    #[test]
    fn axes_have_no_head() {
        assert_eq!(axis_difference(179.0, 1.0), 2.0);
        assert_eq!(axis_difference(10.0, 100.0), 90.0);
        assert_eq!(axis_difference(0.0, 180.0), 0.0);
    }
}
