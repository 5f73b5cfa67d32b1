//! Numbers of the panes, frame by frame: against what really happened, and of the set against itself.

use std::sync::{Arc, Mutex};

use forerun::Frame;
use forerun::compare::metrics::{Metric, Seen, Strip, put_frame, spread, strips};
use forerun::compare::truth::{Truth, TruthPlace, place_of};
use forerun::engine::record::FutureRecord;

/// Recordings that are kept, so that a change of the set does not read them again.
const TRUTHS: usize = 4;

/// A pane to be measured.
#[derive(Clone, Debug)]
pub struct Measurand {
    /// The pane.
    pub id: u64,
    /// Its frames, from its own frame 0 on.
    pub frames: Vec<Arc<Frame>>,
    /// What the heads read off them.
    pub readings: Vec<Vec<(String, f32)>>,
    /// Frame of the common time base at which it starts.
    pub offset: usize,
    /// Its record; tells where it was recorded what really happened.
    pub record: Option<Arc<FutureRecord>>,
}

impl Measurand {
    fn seen(&self, index: usize) -> Option<Seen<'_>> {
        let frame = self.frames.get(index)?;
        Some(Seen { frame, reading: self.readings.get(index).map(Vec::as_slice).unwrap_or_default() })
    }
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Panes with their numbers of frames that it was measured for.
    pub of: Vec<(u64, usize)>,
    /// Strips of each pane; index 0 is the pane's own frame 0.
    pub panes: Vec<(u64, usize, Vec<Strip>)>,
    /// Strips of the whole set, on the common time base.
    pub set: Vec<Strip>,
    /// Recordings that could not be read.
    pub troubles: Vec<String>,
}

impl Measured {
    /// Every metric that has numbers, in the order of [`Metric`].
    pub fn metrics(&self) -> Vec<Metric> {
        let all = self.panes.iter().flat_map(|(_, _, strips)| strips).chain(&self.set);
        let mut found: Vec<Metric> = all.filter(|s| s.is_known()).map(|s| s.metric.clone()).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Lines of a metric: the pane (`None` = the set) and its values on the common time base.
    pub fn lines(&self, metric: &Metric) -> Vec<(Option<u64>, Vec<Option<f64>>)> {
        let of = |strips: &[Strip]| strips.iter().find(|s| s.metric == *metric).map(|s| s.values.clone());
        let panes = self.panes.iter().filter_map(|(id, offset, strips)| {
            let values = of(strips)?;
            Some((Some(*id), std::iter::repeat_n(None, *offset).chain(values).collect()))
        });
        panes.chain(of(&self.set).map(|v| (None, v))).collect()
    }
}

/// Recordings that were read.
#[derive(Clone, Debug, Default)]
pub struct Truths(Arc<Mutex<Vec<(String, Arc<Truth>)>>>);

impl Truths {
    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<(String, Arc<Truth>)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn of(&self, place: &TruthPlace, record: &FutureRecord) -> Result<Arc<Truth>, String> {
        let frame = &record.contract.frame;
        let key = format!("{place:?} {}x{} {}", frame.width, frame.height, record.steps);
        let known = self.kept().iter().find(|(k, _)| *k == key).map(|(_, truth)| truth.clone());
        if let Some(truth) = known {
            return Ok(truth);
        }
        let truth = Arc::new(Truth::load(place, &record.contract, record.steps).map_err(|f| f.text())?);
        let mut kept = self.kept();
        if kept.len() >= TRUTHS {
            kept.remove(0);
        }
        kept.push((key, truth.clone()));
        Ok(truth)
    }
}

/// Measures all panes. `recorded` is the pane of what really happened, when the set has one: its pictures serve where a
/// record does not say where its truth lies. Takes long: not for the window's thread.
pub fn measure(panes: &[Measurand], recorded: Option<&Measurand>, truths: &Truths) -> Measured {
    let mut out =
        Measured { of: panes.iter().map(|p| (p.id, p.frames.len())).collect(), ..Measured::default() };
    for pane in panes {
        let place = pane.record.as_ref().and_then(|r| Some((place_of(r)?, r)));
        let truth = match place.map(|(place, record)| truths.of(&place, record)) {
            Some(Ok(truth)) => Some(truth),
            Some(Err(trouble)) => {
                if !out.troubles.contains(&trouble) {
                    out.troubles.push(trouble);
                }
                None
            }
            None => recorded.map(|r| {
                // The recording's frames from the one on at which this pane starts.
                let skip = pane.offset.saturating_sub(r.offset);
                let frames = r.frames.iter().skip(skip).map(|f| (**f).clone()).collect();
                Arc::new(Truth::from_frames(frames, Vec::new()))
            }),
        };
        let Some(truth) = truth else { continue };
        let seen: Vec<Seen<'_>> = (0..pane.frames.len()).filter_map(|i| pane.seen(i)).collect();
        out.panes.push((pane.id, pane.offset, strips(&seen, &truth)));
    }
    let longest = panes.iter().map(|p| p.offset + p.frames.len()).max().unwrap_or(0);
    for index in 0..longest {
        let seen: Vec<Seen<'_>> = panes.iter().filter_map(|p| p.seen(index.checked_sub(p.offset)?)).collect();
        if seen.len() > 1 {
            put_frame(&mut out.set, index, spread(&seen));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pane(id: u64, offset: usize, levels: &[u8]) -> Measurand {
        let frames = levels.iter().map(|l| Arc::new(Frame::filled(16, 16, [*l; 3]))).collect();
        Measurand { id, frames, readings: Vec::new(), offset, record: None }
    }

    #[test]
    fn panes_are_measured_against_the_recording_of_the_set() {
        let truth = pane(0, 0, &[10, 20, 30, 40]);
        let panes = [pane(1, 0, &[10, 20, 30, 40]), pane(2, 2, &[30, 50])];
        let found = measure(&panes, Some(&truth), &Truths::default());
        let psnr = found.lines(&Metric::Psnr);
        assert_eq!(psnr[0], (Some(1), vec![Some(100.0); 4]));
        // The branch starts at frame 2; at frame 3 it is 10 levels off: 10 log10(255^2 / 100).
        assert_eq!(psnr[1].1[..3], [None, None, Some(100.0)]);
        assert!((psnr[1].1[3].unwrap() - 28.1308).abs() < 1e-3);
        // Two futures exist from frame 2 on; there they agree, at frame 3 they lie 10 apart: 10 / sqrt(2).
        let (of, spread) = &found.lines(&Metric::Spread)[0];
        assert_eq!((of, &spread[..3]), (&None, &[None, None, Some(0.0)][..]));
        assert!((spread[3].unwrap() - 50.0f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn without_a_recording_only_the_spread_is_known() {
        let found = measure(&[pane(1, 0, &[1, 2]), pane(2, 0, &[1, 4])], None, &Truths::default());
        assert_eq!(found.metrics(), [Metric::Spread]);
        assert_eq!(found.of, [(1, 2), (2, 2)]);
    }
}
