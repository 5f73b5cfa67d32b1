//! What becomes of objects and of uncertainty: contact skill, object error, spread against error.

use super::blob::{Blob, axis_difference};

/// Smallest true movement of an object that counts, as a share of the picture's width.
pub const MOVED: f32 = 0.02;
/// A lost object counts as an error of this share of the picture's width, or of its movement where that is more.
const LOST: f32 = 0.1;
/// Direction is compared only where the truth has one: its long axis is this much longer than its short one.
const ELONGATED: f32 = 1.6;

/// One object in one window, as the pixels show it.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// In the true start frame.
    pub start: Blob,
    /// In the true frame at the horizon.
    pub truth: Blob,
    /// In the imagined frame; `None` when the model lost it.
    pub imagined: Option<Blob>,
}

/// Sums over sightings of one horizon.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    error: f64,
    displacement: f64,
    errors_px: Vec<f32>,
    errors_deg: Vec<f32>,
    /// Sightings in which the object truly moved.
    pub moved: usize,
    /// Of those, how often the model lost it.
    pub lost: usize,
}

impl Objects {
    /// Adds a sighting in pictures of `width` pixels; one in which the object stood still adds nothing.
    pub fn add(&mut self, sighting: &Sighting, width: usize) {
        let Sighting { start, truth, imagined } = sighting;
        let displacement = distance(start, truth);
        if displacement < MOVED * width as f32 {
            return;
        }
        self.moved += 1;
        self.displacement += f64::from(displacement);
        let error = match imagined {
            Some(imagined) => distance(imagined, truth),
            None => {
                self.lost += 1;
                displacement.max(LOST * width as f32)
            }
        };
        self.error += f64::from(error);
        self.errors_px.push(error);
        if let Some(imagined) = imagined.filter(|_| truth.elongation >= ELONGATED) {
            self.errors_deg.push(axis_difference(imagined.degrees, truth.degrees));
        }
    }

    /// 1 - E|error| / E|displacement|: 0 = dead object, 1 = perfect; `None` when nothing moved.
    pub fn contact_skill(&self) -> Option<f64> {
        (self.displacement > 0.0).then(|| 1.0 - self.error / self.displacement)
    }

    /// Median position error in pixels where the object moved.
    pub fn error_px(&self) -> Option<f64> {
        median(&self.errors_px)
    }

    /// Median direction error in degrees where the object moved and has a direction.
    pub fn error_deg(&self) -> Option<f64> {
        median(&self.errors_deg)
    }
}

fn distance(a: &Blob, b: &Blob) -> f32 {
    (a.x - b.x).hypot(a.y - b.y)
}

/// The middle value; the mean of the two middle ones for an even number.
pub fn median(values: &[f32]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let middle = sorted.len() / 2;
    let upper = f64::from(*sorted.get(middle)?);
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((upper + f64::from(*sorted.get(middle.checked_sub(1)?)?)) / 2.0)
}

/// Spread of an ensemble against the error of its mean: 1 = as unsure as it is wrong, below 1 = too sure.
///
/// sqrt((n + 1) / n * mean variance) / root mean squared error of the ensemble mean: Fortin, Abaza, Anctil, Turcotte,
/// "Why should ensemble spread match the RMSE of the ensemble mean?", 2014.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    variance: f64,
    error: f64,
    count: u64,
    members: usize,
}

impl Spread {
    /// Adds the members' values of one number and its truth; fewer than two members add nothing.
    pub fn add(&mut self, members: &[f32], truth: f32) {
        let n = members.len();
        if n < 2 {
            return;
        }
        let mean = members.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        self.variance += members.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        self.error += (mean - f64::from(truth)).powi(2);
        self.count += 1;
        self.members = n;
    }

    /// The ratio; `None` without numbers or without any error.
    pub fn ratio(&self) -> Option<f64> {
        if self.count == 0 || self.error <= 0.0 {
            return None;
        }
        let n = self.members as f64;
        Some(((n + 1.0) / n * self.variance / self.error).sqrt())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(x: f32, degrees: f32, elongation: f32) -> Blob {
        Blob { x, y: 0.0, area: 50, degrees, elongation }
    }

    fn sighting(start: f32, truth: f32, imagined: Option<f32>) -> Sighting {
        let imagined = imagined.map(|x| at(x, 0.0, 1.0));
        Sighting { start: at(start, 0.0, 1.0), truth: at(truth, 0.0, 1.0), imagined }
    }

    #[test]
    fn a_dead_object_has_skill_zero_a_perfect_one_has_one() {
        let (mut dead, mut perfect) = (Objects::default(), Objects::default());
        for to in [10.0, 20.0, 40.0] {
            dead.add(&sighting(0.0, to, Some(0.0)), 100);
            perfect.add(&sighting(0.0, to, Some(to)), 100);
        }
        assert_eq!(dead.contact_skill(), Some(0.0));
        assert_eq!(perfect.contact_skill(), Some(1.0));
        assert_eq!(dead.error_px(), Some(20.0));
        assert_eq!(Objects::default().contact_skill(), None);
    }

    #[test]
    fn what_stood_still_does_not_count_and_what_is_lost_counts_fully() {
        let mut objects = Objects::default();
        objects.add(&sighting(0.0, 1.9, Some(50.0)), 100); // under 2 %
        assert_eq!(objects.moved, 0);
        objects.add(&sighting(0.0, 30.0, None), 100);
        objects.add(&sighting(0.0, 5.0, None), 100); // lost: 10 pixels
        assert_eq!((objects.moved, objects.lost), (2, 2));
        // 1 - (30 + 10) / (30 + 5)
        assert!((objects.contact_skill().unwrap() + 1.0 / 7.0).abs() < 1e-6);
    }

    #[test]
    fn direction_counts_only_where_there_is_one() {
        let mut objects = Objects::default();
        let imagined = Some(at(9.0, 80.0, 1.1));
        objects.add(&Sighting { start: at(0.0, 0.0, 1.0), truth: at(9.0, 0.0, 1.1), imagined }, 100);
        assert_eq!(objects.error_deg(), None);
        let imagined = Some(at(9.0, 5.0, 3.0));
        objects.add(&Sighting { start: at(0.0, 0.0, 3.0), truth: at(9.0, 175.0, 3.0), imagined }, 100);
        assert_eq!(objects.error_deg(), Some(10.0));
    }

    #[test]
    fn the_median_of_few() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
    }

    #[test]
    fn an_ensemble_as_wide_as_its_error_has_ratio_one() {
        let mut spread = Spread::default();
        assert_eq!(spread.ratio(), None);
        // Members 0 and 2: variance 2, mean 1; truth 1 + sqrt(3): error 3 = (2 + 1) / 2 * 2.
        spread.add(&[0.0, 2.0], 1.0 + 3.0f32.sqrt());
        assert!((spread.ratio().unwrap() - 1.0).abs() < 1e-5);
        let mut sure = Spread::default();
        sure.add(&[1.0, 1.0], 5.0);
        assert_eq!(sure.ratio(), Some(0.0));
    }
}
