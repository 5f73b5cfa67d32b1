//! The action-following gauge: does the imagined world do what the numbers say?
//!
//! Where there is truth: by how much the true actions explain the pictures better than another episode's (delta-PSNR,
//! Bruce et al., "Genie", 2024). Without truth: each channel is moved by a known amount with everything else, the noise
//! included, held fast; whatever then changes in the future is the model's response to that channel.

use forerun_models::{Contract, Frame};
use serde::{Deserialize, Serialize};

use super::metrics::{Seen, apart_mm};
use crate::engine::jobs::track_of;
use crate::engine::protocol::{Actions, ImagineSpec};
use crate::engine::record::STATE_PREFIX;
use crate::engine::start::resolve;
use crate::failure::Failure;
use crate::score::pixels::{Pool, changed};

/// A probe moves a channel by this share of its range.
pub const PROBE: f32 = 0.125;
/// A share of pixels under this is no response: one pixel in four thousand, 4 of 128 x 128.
const SEEN: f64 = 1.0 / 4096.0;

/// PSNR of futures with the true actions minus that of futures with other actions, dB, squared errors pooled over all
/// frames; `None` where frames are missing. Each list: imagined frames and the true ones at the same index.
pub fn delta_psnr(right: &[(&Frame, &Frame)], wrong: &[(&Frame, &Frame)]) -> Option<f64> {
    let pooled = |pairs: &[(&Frame, &Frame)]| {
        let mut pool = Pool::default();
        for (made, truth) in pairs {
            pool.add(made, truth);
        }
        pool.psnr()
    };
    Some(pooled(right)? - pooled(wrong)?)
}

/// One future to imagine for the gauge: the base with one channel moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The channel that was moved.
    pub channel: String,
    /// Its unit.
    pub unit: String,
    /// By how much, in `unit`: mean over the steps, so that a probe that met the end of its range tells the truth.
    pub by: f32,
    /// What to imagine; nothing is written.
    pub spec: ImagineSpec,
}

/// The same future with its actions written out as a track, whatever drove it; a free one stays free. Reads the start
/// and the action file: not for the window's thread. `blobs` are the pictures beside the request.
///
/// # Errors
/// The start or the actions cannot be read.
pub fn as_track(spec: &ImagineSpec, blobs: &[Vec<u8>], contract: &Contract) -> Result<ImagineSpec, Failure> {
    let resolved = resolve(&spec.start, blobs, contract)?;
    let actions = match track_of(&spec.actions, &spec.start, &resolved, contract, spec.steps)? {
        Some(rows) => {
            Actions::Track { channels: contract.actions.iter().map(|c| c.name.clone()).collect(), rows }
        }
        None => Actions::Free,
    };
    Ok(ImagineSpec { actions, ..spec.clone() })
}

/// One probe a channel: the base's track with that channel moved by [`PROBE`] of its range, toward the side with more
/// room. Base and probes share one seed, so that a difference is caused by the channel alone.
///
/// # Errors
/// The base is not driven by a track ([`as_track`] writes one out).
pub fn probes(base: &ImagineSpec, contract: &Contract) -> Result<Vec<Probe>, Failure> {
    let Actions::Track { channels, rows } = &base.actions else {
        return Err(Failure::new(
            "Only a future that numbers drive can be asked whether it follows them.",
            "Give it an action track, or hold the present state.",
        ));
    };
    let mut probes = Vec::new();
    for (column, name) in channels.iter().enumerate() {
        let Some(channel) = contract.actions.iter().find(|c| c.name == *name) else { continue };
        let values: Vec<f32> = rows.iter().filter_map(|row| row.get(column).copied()).collect();
        if values.is_empty() {
            continue;
        }
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let way = if mean <= f32::midpoint(channel.min, channel.max) { 1.0 } else { -1.0 };
        let by = way * PROBE * (channel.max - channel.min);
        let mut moved = rows.clone();
        let mut sum = 0.0;
        for value in moved.iter_mut().filter_map(|row| row.get_mut(column)) {
            let to = (*value + by).clamp(channel.min, channel.max);
            sum += to - *value;
            *value = to;
        }
        let spec = ImagineSpec {
            actions: Actions::Track { channels: channels.clone(), rows: moved },
            seeds: base.seeds.iter().take(1).copied().collect(),
            out: None,
            ..base.clone()
        };
        let (channel, unit) = (name.clone(), channel.unit.clone());
        probes.push(Probe { channel, unit, by: sum / values.len() as f32, spec });
    }
    Ok(probes)
}

/// How the future answered to one channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The channel that was moved.
    pub channel: String,
    /// Its unit.
    pub unit: String,
    /// By how much.
    pub by: f32,
    /// Share of the pixels that changed (by more than 8 of 255) at the last frame, 0..=1.
    pub pixels: f64,
    /// Root mean squared difference of the pixels over all frames, 0..=255.
    pub rms: f64,
    /// Way of the imagined gripper at the last frame, mm; `None` where the model has no such head.
    pub gripper_mm: Option<f64>,
    /// Change of the same joint in the state that the model believes in, over the change that was asked for, at the last
    /// frame: 1 = it follows fully, 0 = not at all, under 0 = the wrong way; `None` where the model tells no state.
    pub followed: Option<f64>,
    /// Values of `followed` at frame 1, 2, ...
    pub course: Vec<Option<f64>>,
}

impl Response {
    /// Compares a probe's future with its base, frame by frame (frame 1 first).
    ///
    /// # Errors
    /// No frames, or frames of two sizes.
    pub fn new(probe: &Probe, base: &[Seen<'_>], moved: &[Seen<'_>]) -> Result<Self, Failure> {
        let mut pool = Pool::default();
        let mut response = Self {
            channel: probe.channel.clone(),
            unit: probe.unit.clone(),
            by: probe.by,
            ..Self::default()
        };
        for (a, b) in base.iter().zip(moved) {
            super::diff::check(a.frame, b.frame)?;
            pool.add(a.frame, b.frame);
            let flags = changed(a.frame, b.frame);
            response.pixels = flags.iter().filter(|f| **f).count() as f64 / flags.len().max(1) as f64;
            response.gripper_mm = apart_mm(a.reading, b.reading, "gripper");
            let name = format!("{STATE_PREFIX}{}", probe.channel);
            let joint = |s: &Seen<'_>| s.reading.iter().find(|(n, _)| *n == name).map(|(_, v)| f64::from(*v));
            response.followed = joint(a)
                .zip(joint(b))
                .map(|(a, b)| (b - a) / f64::from(probe.by))
                .filter(|share| share.is_finite());
            response.course.push(response.followed);
        }
        let Some(mse) = pool.mse() else {
            return Err(Failure::new(
                "There is no frame to compare.",
                "Wait for the futures, or ask for more steps.",
            ));
        };
        response.rms = mse.sqrt();
        Ok(response)
    }

    /// One number for the gauge, 0 (deaf) to 1 (follows): how far the joint followed, at most all the way; where the
    /// model tells no state, whether the picture answered at all.
    pub fn gauge(&self) -> f64 {
        match self.followed {
            Some(share) => share.clamp(0.0, 1.0),
            None if self.pixels >= SEEN => 1.0,
            None => 0.0,
        }
    }
}

/// The gauge of a model: mean over its channels, and the channel that it follows least. `None` without channels.
pub fn gauge(responses: &[Response]) -> Option<(f64, &Response)> {
    let least = responses.iter().min_by(|a, b| a.gauge().total_cmp(&b.gauge()))?;
    let mean = responses.iter().map(Response::gauge).sum::<f64>() / responses.len() as f64;
    Some((mean, least))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::protocol::Start;
    use forerun_models::{Channel, ChannelMode};

    fn contract() -> Contract {
        let mut contract = crate::engine::record::tests::example().contract;
        let channel = |name: &str, min, max| Channel {
            name: name.into(),
            unit: "deg".into(),
            min,
            max,
            mode: ChannelMode::Absolute,
            mean: 0.0,
            std: 1.0,
        };
        contract.actions = vec![channel("pan.pos", -100.0, 100.0), channel("lift.pos", 0.0, 40.0)];
        contract.state = contract.actions.clone();
        contract
    }

    fn base() -> ImagineSpec {
        ImagineSpec {
            model: "m".into(),
            start: Start::Blobs {
                sizes: vec![(8, 8)],
                states: vec![vec![("pan.pos".into(), 3.0), ("lift.pos".into(), 39.0)]],
                world: None,
            },
            prompt: String::new(),
            actions: Actions::Track {
                channels: vec!["pan.pos".into(), "lift.pos".into()],
                rows: vec![vec![-50.0, 2.0], vec![-30.0, 1.0]],
            },
            steps: 2,
            seeds: vec![5, 6],
            refine: 2,
            device: "cpu".into(),
            out: Some("o".into()),
            clip: Default::default(),
        }
    }

    fn named(values: &[(&str, f32)]) -> Vec<(String, f32)> {
        values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    }

    #[test]
    fn a_probe_moves_one_channel_towards_the_side_with_room() {
        let probes = probes(&base(), &contract()).unwrap();
        assert_eq!(probes.len(), 2);
        let rows = |p: &Probe| match &p.spec.actions {
            Actions::Track { rows, .. } => rows.clone(),
            _ => Vec::new(),
        };
        assert_eq!((probes[0].by, rows(&probes[0])), (25.0, vec![vec![-25.0, 2.0], vec![-5.0, 1.0]]));
        assert_eq!((probes[1].by, rows(&probes[1])), (5.0, vec![vec![-50.0, 7.0], vec![-30.0, 6.0]]));
        assert!(probes.iter().all(|p| p.spec.seeds == [5] && p.spec.out.is_none()));
        let free = ImagineSpec { actions: Actions::Free, ..base() };
        assert!(super::probes(&free, &contract()).unwrap_err().text().contains("action track"));
    }

    #[test]
    fn whatever_drives_a_future_is_written_out_as_a_track() {
        let blobs = [vec![0u8; 8 * 8 * 3]];
        let held = ImagineSpec { actions: Actions::Hold, ..base() };
        let track = as_track(&held, &blobs, &contract()).unwrap();
        let wanted = Actions::Track {
            channels: vec!["pan.pos".into(), "lift.pos".into()],
            rows: vec![vec![3.0, 39.0]; 2],
        };
        assert_eq!(track.actions, wanted);
        // From 39 of 40 there is only room downward.
        assert!(probes(&track, &contract()).unwrap()[1].by < 0.0);
        let free = ImagineSpec { actions: Actions::Free, ..base() };
        assert_eq!(as_track(&free, &blobs, &contract()).unwrap().actions, Actions::Free);
    }

    #[test]
    fn a_response_tells_pixels_gripper_and_how_far_the_joint_followed() {
        let probe = probes(&base(), &contract()).unwrap().remove(0);
        let (still, mut moved) = (Frame::filled(4, 4, [50; 3]), Frame::filled(4, 4, [50; 3]));
        moved.data[..12].fill(90);
        let before =
            named(&[("state.pan.pos", -40.0), ("gripper.x", 0.1), ("gripper.y", 0.0), ("gripper.z", 0.0)]);
        let after =
            named(&[("state.pan.pos", -22.5), ("gripper.x", 0.1), ("gripper.y", 0.03), ("gripper.z", 0.0)]);
        let a = [Seen { frame: &still, reading: &before }; 2];
        let b = [Seen { frame: &still, reading: &before }, Seen { frame: &moved, reading: &after }];
        let response = Response::new(&probe, &a, &b).unwrap();
        assert_eq!(response.pixels, 0.25);
        assert!((response.gripper_mm.unwrap() - 30.0).abs() < 1e-3);
        assert!((response.followed.unwrap() - 0.7).abs() < 1e-6);
        assert_eq!(response.course.len(), 2);
        // A quarter of one of two pictures is off by 40: the root of 1600 / 8.
        assert!((response.rms - 200.0f64.sqrt()).abs() < 1e-9);
        let deaf = Response::new(&probe, &a, &a).unwrap();
        assert_eq!((deaf.gauge(), deaf.rms), (0.0, 0.0));
        let all = [response, deaf];
        let (mean, least) = gauge(&all).unwrap();
        assert!((mean - 0.35).abs() < 1e-6 && least.rms == 0.0);
        assert!(Response::new(&probe, &[], &[]).is_err() && gauge(&[]).is_none());
    }

    #[test]
    fn a_model_without_a_state_is_judged_by_its_pixels() {
        let probe = probes(&base(), &contract()).unwrap().remove(0);
        let (a, b) = (Frame::filled(4, 4, [50; 3]), Frame::filled(4, 4, [80; 3]));
        let seen = |frame| [Seen { frame, reading: &[] as &[(String, f32)] }];
        let response = Response::new(&probe, &seen(&a), &seen(&b)).unwrap();
        assert_eq!((response.followed, response.gripper_mm, response.gauge()), (None, None, 1.0));
        let small = Frame::filled(2, 2, [0; 3]);
        assert!(Response::new(&probe, &seen(&a), &seen(&small)).is_err());
    }

    #[test]
    fn delta_psnr_pools_before_it_turns_into_db() {
        let truth = Frame::filled(2, 2, [100; 3]);
        let (near, far) = (Frame::filled(2, 2, [101; 3]), Frame::filled(2, 2, [110; 3]));
        let delta = delta_psnr(&[(&near, &truth)], &[(&far, &truth)]).unwrap();
        assert!((delta - 20.0).abs() < 1e-9);
        assert_eq!(delta_psnr(&[], &[(&far, &truth)]), None);
    }
}
