//! One number a frame: a future against truth, and a set of seeds against itself.

use forerun_models::Frame;
use forerun_models::dreamer::heads::OBJECT_COLOURS;
use serde::{Deserialize, Serialize};

use super::set::SetView;
use super::truth::Truth;
use crate::engine::record::STATE_PREFIX;
use crate::score::blob::{self, axis_difference};
use crate::score::pixels::{Pool, changed, ssim};

/// Direction is compared only where the truth has one: its long axis is this much longer than its short one.
const ELONGATED: f32 = 1.6;

/// What a strip measures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "metric", rename_all = "snake_case")]
pub enum Metric {
    /// Peak signal-to-noise ratio, dB; equal pictures give 100.
    Psnr,
    /// Structural similarity, -1..=1.
    Ssim,
    /// PSNR of the pixels that truly changed since the start (by more than 8 of 255), dB.
    ChangedPsnr,
    /// Distance of an object from where it truly is, read by the model's heads, mm.
    ObjectPose {
        /// Colour that names it.
        object: String,
    },
    /// Distance of an object's centre in the picture, found by its colour, px.
    ObjectPixels {
        /// Colour that names it.
        object: String,
    },
    /// Difference of an object's long axis in the picture, deg; only while it truly has one.
    ObjectAngle {
        /// Colour that names it.
        object: String,
    },
    /// Distance of the gripper from where it truly is, read by the model's heads, mm.
    GripperPose,
    /// Mean absolute error of the joint angles that the model believes in, deg.
    Joints,
    /// Spread of the futures' pixels at this frame, on 0..=255 ([`SetView::spread`]).
    Spread,
    /// Spread of what the heads read for the gripper: root mean squared distance from its mean, mm.
    GripperSpread,
}

impl Metric {
    /// Name of the column: `psnr`, `object_pose.red`.
    pub fn name(&self) -> String {
        match self {
            Self::Psnr => "psnr".into(),
            Self::Ssim => "ssim".into(),
            Self::ChangedPsnr => "changed_psnr".into(),
            Self::ObjectPose { object } => format!("object_pose.{object}"),
            Self::ObjectPixels { object } => format!("object_pixels.{object}"),
            Self::ObjectAngle { object } => format!("object_angle.{object}"),
            Self::GripperPose => "gripper_pose".into(),
            Self::Joints => "joints".into(),
            Self::Spread => "spread".into(),
            Self::GripperSpread => "gripper_spread".into(),
        }
    }

    /// Unit; empty for a pure number.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Psnr | Self::ChangedPsnr => "dB",
            Self::Ssim => "",
            Self::ObjectPose { .. } | Self::GripperPose | Self::GripperSpread => "mm",
            Self::ObjectPixels { .. } => "px",
            Self::ObjectAngle { .. } | Self::Joints => "deg",
            Self::Spread => "/255",
        }
    }

    /// Whether more is better; `None` for a spread, which is neither.
    pub fn more_is_better(&self) -> Option<bool> {
        match self {
            Self::Psnr | Self::Ssim | Self::ChangedPsnr => Some(true),
            Self::Spread | Self::GripperSpread => None,
            _ => Some(false),
        }
    }
}

/// One number a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strip {
    /// What it is.
    #[serde(flatten)]
    pub metric: Metric,
    /// Unit; empty for a pure number.
    pub unit: String,
    /// Value at frame 0 (the start), 1, 2, ...; `None` where it cannot be told.
    pub values: Vec<Option<f64>>,
}

impl Strip {
    /// A strip of this metric.
    pub fn new(metric: Metric, values: Vec<Option<f64>>) -> Self {
        Self { unit: metric.unit().to_owned(), metric, values }
    }

    /// Whether it has any number at all.
    pub fn is_known(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }

    /// Mean of the known values.
    pub fn mean(&self) -> Option<f64> {
        let known: Vec<f64> = self.values.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

/// What an imagined frame is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The picture.
    pub frame: &'a Frame,
    /// What the heads read off it.
    pub reading: &'a [(String, f32)],
}

/// Numbers of one frame against the truth at the same index.
///
/// `index` 0 is the start: pictures are compared there, too, but nothing has changed and nobody imagined anything, so
/// only the pixels' metrics have a value. Numbers whose truth or reading is not known are left out.
pub fn measure(seen: Seen<'_>, truth: &Truth, index: usize) -> Vec<(Metric, f64)> {
    let mut found = Vec::new();
    let Some((now, start)) = truth.frames.get(index).zip(truth.frames.first()) else { return found };
    let mut put = |metric: Metric, value: Option<f64>| found.extend(value.map(|value| (metric, value)));
    let mut all = Pool::default();
    all.add(seen.frame, now);
    put(Metric::Psnr, all.psnr());
    put(Metric::Ssim, ssim(seen.frame, now));
    let moved = changed(start, now);
    let mut where_changed = Pool::default();
    where_changed.add_where(seen.frame, now, |i| moved.get(i) == Some(&true));
    put(Metric::ChangedPsnr, where_changed.psnr());
    let labels = truth.readings.get(index).map(Vec::as_slice).unwrap_or_default();
    for object in OBJECT_COLOURS {
        put(Metric::ObjectPose { object: object.into() }, apart_mm(seen.reading, labels, object));
    }
    put(Metric::GripperPose, apart_mm(seen.reading, labels, "gripper"));
    put(Metric::Joints, joints(seen.reading, truth.states.get(index).map(Vec::as_slice).unwrap_or_default()));
    for (object, rgb) in &truth.colours {
        let Some((there, here)) = blob::find(now, *rgb).zip(blob::find(seen.frame, *rgb)) else { continue };
        let apart = f64::from((there.x - here.x).hypot(there.y - here.y));
        put(Metric::ObjectPixels { object: object.clone() }, Some(apart));
        if there.elongation >= ELONGATED {
            let turned = f64::from(axis_difference(there.degrees, here.degrees));
            put(Metric::ObjectAngle { object: object.clone() }, Some(turned));
        }
    }
    found
}

/// The value of a name.
fn value(named: &[(String, f32)], name: &str) -> Option<f32> {
    named.iter().find(|(n, v)| n == name && v.is_finite()).map(|(_, v)| *v)
}

/// Position of `thing` (metres).
pub(super) fn position(named: &[(String, f32)], thing: &str) -> Option<[f64; 3]> {
    let axis = |axis: &str| value(named, &format!("{thing}.{axis}")).map(f64::from);
    Some([axis("x")?, axis("y")?, axis("z")?])
}

/// Distance in mm of where two lists of readings put a thing.
pub(super) fn apart_mm(a: &[(String, f32)], b: &[(String, f32)], thing: &str) -> Option<f64> {
    let (a, b) = (position(a, thing)?, position(b, thing)?);
    let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
    Some(squares.sqrt() * 1e3)
}

/// Mean absolute difference of the joints that both sides know; the gripper's opening is no angle and is left out.
fn joints(reading: &[(String, f32)], state: &[(String, f32)]) -> Option<f64> {
    let pairs: Vec<f64> = state
        .iter()
        .filter(|(name, _)| name.ends_with(".pos") && name != "gripper.pos")
        .filter_map(|(name, truth)| {
            let imagined = value(reading, &format!("{STATE_PREFIX}{name}"))?;
            truth.is_finite().then(|| f64::from((imagined - truth).abs()))
        })
        .collect();
    (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64)
}

/// Strips of a whole future against truth, one value a frame from frame 0 on, in the order of [`Metric`]. Strips without
/// any value are left out.
pub fn strips(frames: &[Seen<'_>], truth: &Truth) -> Vec<Strip> {
    let mut strips: Vec<Strip> = Vec::new();
    for (index, seen) in frames.iter().enumerate() {
        put_frame(&mut strips, index, measure(*seen, truth, index));
    }
    strips
}

/// Adds the numbers of frame `index` to strips, so that they can grow while frames arrive.
pub fn put_frame(strips: &mut Vec<Strip>, index: usize, numbers: Vec<(Metric, f64)>) {
    for (metric, number) in numbers {
        let at = strips.iter().position(|s| s.metric == metric).unwrap_or_else(|| {
            strips.push(Strip::new(metric, Vec::new()));
            strips.len() - 1
        });
        let Some(strip) = strips.get_mut(at) else { continue };
        if strip.values.len() <= index {
            strip.values.resize(index + 1, None);
        }
        if let Some(place) = strip.values.get_mut(index) {
            *place = Some(number);
        }
    }
    strips.sort_by(|a, b| a.metric.cmp(&b.metric));
}

/// Spread over the futures of a set at one frame; fewer than two pictures of one size give nothing.
pub fn spread(seen: &[Seen<'_>]) -> Vec<(Metric, f64)> {
    let frames: Vec<&Frame> = seen.iter().map(|s| s.frame).collect();
    let mut found = Vec::new();
    if let Ok(view) = SetView::new(&frames) {
        found.push((Metric::Spread, view.spread()));
    }
    let grippers: Vec<[f64; 3]> = seen.iter().filter_map(|s| position(s.reading, "gripper")).collect();
    if grippers.len() >= 2 {
        let n = grippers.len() as f64;
        let mean = |i: usize| grippers.iter().filter_map(|p| p.get(i)).sum::<f64>() / n;
        let means = [mean(0), mean(1), mean(2)];
        let squares: f64 =
            grippers.iter().map(|p| p.iter().zip(&means).map(|(v, m)| (v - m).powi(2)).sum::<f64>()).sum();
        found.push((Metric::GripperSpread, (squares / (n - 1.0)).sqrt() * 1e3));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn named(values: &[(&str, f32)]) -> Vec<(String, f32)> {
        values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    }

    fn of(numbers: &[(Metric, f64)], metric: &Metric) -> Option<f64> {
        numbers.iter().find(|(m, _)| m == metric).map(|(_, v)| *v)
    }

    /// A red bar of 12 x 4 on grey, its left upper corner at (x, y).
    fn bar(x: usize, y: usize) -> Frame {
        let mut frame = Frame::filled(40, 40, [120; 3]);
        for (dy, dx) in (0..4).flat_map(|dy| (0..12).map(move |dx| (dy, dx))) {
            let i = ((y + dy) * 40 + x + dx) * 3;
            frame.data[i..i + 3].copy_from_slice(&[200, 20, 20]);
        }
        frame
    }

    fn truth() -> Truth {
        Truth {
            frames: vec![bar(4, 10).into(), bar(10, 10).into()],
            readings: vec![
                Vec::new(),
                named(&[
                    ("red.x", 0.2),
                    ("red.y", 0.0),
                    ("red.z", 0.02),
                    ("gripper.x", 0.1),
                    ("gripper.y", 0.1),
                    ("gripper.z", 0.1),
                ]),
            ],
            states: vec![Vec::new(), named(&[("pan.pos", 10.0), ("lift.pos", -5.0), ("gripper.pos", 50.0)])],
            colours: vec![("red".into(), [200, 20, 20])],
        }
    }

    #[test]
    fn pixels_poses_and_joints_are_measured_in_their_units() {
        let frame = bar(13, 14);
        let reading = named(&[
            ("red.x", 0.203),
            ("red.y", 0.004),
            ("red.z", 0.02),
            ("gripper.x", 0.1),
            ("gripper.y", 0.1),
            ("gripper.z", 0.112),
            ("state.pan.pos", 13.0),
            ("state.lift.pos", -4.0),
            ("state.gripper.pos", 0.0),
        ]);
        let numbers = measure(Seen { frame: &frame, reading: &reading }, &truth(), 1);
        let red = || "red".to_owned();
        let near = |metric: &Metric, wanted: f64| {
            let value = of(&numbers, metric).unwrap();
            assert!((value - wanted).abs() < 1e-3, "{metric:?}: {value}, not {wanted}");
        };
        near(&Metric::ObjectPose { object: red() }, 5.0);
        near(&Metric::GripperPose, 12.0);
        near(&Metric::Joints, 2.0);
        near(&Metric::ObjectPixels { object: red() }, 5.0);
        near(&Metric::ObjectAngle { object: red() }, 0.0);
        assert!(of(&numbers, &Metric::Psnr).unwrap() < 30.0);
        // Where the truth moved, the picture is worse than on the whole.
        assert!(of(&numbers, &Metric::ChangedPsnr).unwrap() < of(&numbers, &Metric::Psnr).unwrap());
    }

    #[test]
    fn what_is_not_known_has_no_value_and_no_strip() {
        let frames = [bar(4, 10), bar(10, 10), bar(10, 10)];
        let seen: Vec<_> = frames.iter().map(|frame| Seen { frame, reading: &[] }).collect();
        let strips = strips(&seen, &truth());
        let names: Vec<String> = strips.iter().map(|s| s.metric.name()).collect();
        assert_eq!(names, ["psnr", "ssim", "changed_psnr", "object_pixels.red", "object_angle.red"]);
        // The truth ends after frame 1; nothing has changed at frame 0.
        assert_eq!(strips[0].values, [Some(100.0), Some(100.0)]);
        assert_eq!(strips[2].values, [None, Some(100.0)]);
        assert_eq!((strips[0].mean(), strips[0].is_known()), (Some(100.0), true));
        let blind = Truth { colours: Vec::new(), ..truth() };
        assert!(measure(seen[0], &blind, 9).is_empty());
    }

    #[test]
    fn spread_is_of_pixels_and_of_what_the_heads_read() {
        let frames = [Frame::filled(2, 2, [10; 3]), Frame::filled(2, 2, [14; 3])];
        let at = |x: f32| named(&[("gripper.x", x), ("gripper.y", 0.0), ("gripper.z", 0.0)]);
        let readings = [at(0.10), at(0.12)];
        let seen: Vec<_> =
            frames.iter().zip(&readings).map(|(frame, reading)| Seen { frame, reading }).collect();
        let numbers = spread(&seen);
        assert!((of(&numbers, &Metric::Spread).unwrap() - 8.0f64.sqrt()).abs() < 1e-6);
        // Variance of 100 and 120 mm: 2 * 10^2 / 1.
        assert!((of(&numbers, &Metric::GripperSpread).unwrap() - 200.0f64.sqrt()).abs() < 1e-3);
        assert!(spread(&seen[..1]).is_empty());
    }

    #[test]
    fn strips_grow_in_any_order() {
        let mut strips = Vec::new();
        put_frame(&mut strips, 2, vec![(Metric::Spread, 3.0)]);
        put_frame(&mut strips, 0, vec![(Metric::Psnr, 9.0), (Metric::Spread, 1.0)]);
        assert_eq!(strips[0].metric, Metric::Psnr);
        assert_eq!(strips[1].values, [Some(1.0), None, Some(3.0)]);
        assert_eq!(strips[1].unit, "/255");
    }
}
