//! Numbers of the panes, frame by frame: against what really happened, and of the set against itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use forerun::Frame;
use forerun::compare::live::{Drive, LiveFrame, LiveWorld, WorldPlan, same_world};
use forerun::compare::metrics::{self, Metric, Seen, Strip, put_frame, spread};
use forerun::compare::picture::Picture;
use forerun::compare::truth::{Truth, TruthPlace, place_of};
use forerun::engine::protocol::Start;
use forerun::engine::record::{FutureRecord, STATE_PREFIX};

/// Bytes of the recordings that are kept, so that a change of the set does not read them again; the last one stays
/// whatever its size.
const TRUTHS: usize = 64 << 20;

/// A pane to be measured.
#[derive(Clone, Debug)]
pub struct Measurand {
    /// The pane.
    pub id: u64,
    /// Its frames, from its own frame 0 on; those that are not in memory are read one after the other.
    pub frames: Vec<Picture>,
    /// What the heads read off them.
    pub readings: Vec<Vec<(String, f32)>>,
    /// Frame of the common time base at which it starts.
    pub offset: usize,
    /// Its record; tells where it was recorded what really happened.
    pub record: Option<Arc<FutureRecord>>,
    /// Names and colours of the objects, for the virtual world.
    pub colours: Vec<(String, [u8; 3])>,
}

/// What a pane was measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The recording of the episode that it started from.
    Recording,
    /// The virtual world under the same numbers.
    World,
}

impl Measurand {
    fn reading(&self, index: usize) -> &[(String, f32)] {
        self.readings.get(index).map(Vec::as_slice).unwrap_or_default()
    }

    /// What the virtual world says about frame `index`, as the truth of one frame.
    fn truth(&self, index: usize, first: &Arc<Frame>) -> Option<Truth> {
        let frame = self.frames.get(index)?.read().ok()?;
        let (states, labels): (Vec<_>, Vec<_>) =
            self.reading(index).iter().cloned().partition(|(name, _)| name.starts_with(STATE_PREFIX));
        let states = states.into_iter().map(|(n, v)| (n.trim_start_matches(STATE_PREFIX).to_owned(), v));
        Some(Truth {
            frames: vec![first.clone(), frame],
            readings: vec![Vec::new(), labels],
            states: vec![Vec::new(), states.collect()],
            colours: self.colours.clone(),
        })
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
    /// What each pane was measured against.
    pub against: Vec<(u64, Against)>,
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

/// Recordings that were read, and numbers of futures that the virtual world was run beside.
#[derive(Clone, Debug, Default)]
pub struct Truths {
    recordings: Arc<Mutex<Vec<(String, Arc<Truth>)>>>,
    physics: Arc<Mutex<Vec<(Weak<FutureRecord>, Vec<Strip>)>>>,
}

impl Truths {
    fn kept(&self) -> MutexGuard<'_, Vec<(String, Arc<Truth>)>> {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn physics(&self) -> MutexGuard<'_, Vec<(Weak<FutureRecord>, Vec<Strip>)>> {
        self.physics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pane against the virtual world under its own numbers, run for that alone; `None` where that is not the truth: a
    /// recording shows what these numbers really did, or the virtual world did not make the start.
    fn beside_physics(&self, pane: &Measurand) -> Option<Vec<Strip>> {
        let record = pane.record.as_ref()?;
        let known =
            |(of, _): &&(Weak<FutureRecord>, Vec<Strip>)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(record));
        if let Some((_, strips)) = self.physics().iter().find(known) {
            return Some(strips.clone());
        }
        let start = serde_json::from_value(record.start.source.clone());
        if matches!(start, Ok(Start::Episode { .. })) && record.actions.kind == "episode" {
            return None;
        }
        let plan = WorldPlan::of(record).ok()?;
        let recorded = || place_of(record).is_some();
        if plan.drive == Drive::Held || plan.drive == Drive::Imagined && recorded() {
            return None;
        }
        let colours = plan.colours();
        let mut live = LiveWorld::new(plan).ok()?;
        let mut strips = Vec::new();
        let mut first = None;
        for (index, picture) in pane.frames.iter().enumerate() {
            let Ok(Some(LiveFrame { frame, labels, state })) = live.advance() else { break };
            let there = Arc::new(frame);
            let first = first.get_or_insert_with(|| there.clone()).clone();
            let truth = Truth {
                frames: vec![first, there],
                readings: vec![Vec::new(), labels],
                states: vec![Vec::new(), state],
                colours: colours.clone(),
            };
            put_against(&mut strips, pane, index, picture, &truth);
        }
        let mut kept = self.physics();
        kept.retain(|(of, _)| of.strong_count() > 0);
        kept.push((Arc::downgrade(record), strips.clone()));
        Some(strips)
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
        kept.push((key, truth.clone()));
        let bytes = |t: &Truth| t.frames.iter().map(|f| f.data.len()).sum::<usize>();
        while kept.len() > 1 && kept.iter().map(|(_, t)| bytes(t)).sum::<usize>() > TRUTHS {
            kept.remove(0);
        }
        Ok(truth)
    }
}

/// Measures all panes. The truth of a pane is the virtual world that the set shows beside it (`worlds`, each with the
/// record of the future that it runs beside); else the world that can be run for it, where no recording shows the same;
/// else the recording that its record tells of; else `recorded`, the pane of what really happened. Takes long: not for
/// the window's thread; `so_far` hears what is known after each pane.
pub fn measure(
    panes: &[Measurand],
    recorded: Option<&Measurand>,
    worlds: &[Measurand],
    truths: &Truths,
    so_far: &mut dyn FnMut(&Measured),
) -> Measured {
    let mut out =
        Measured { of: panes.iter().map(|p| (p.id, p.frames.len())).collect(), ..Measured::default() };
    for pane in panes {
        let world = own_world(pane, worlds).map(|world| beside_world(pane, world));
        let (against, strips) = match world.or_else(|| truths.beside_physics(pane)) {
            Some(strips) => (Against::World, strips),
            None => {
                let place = pane.record.as_ref().and_then(|r| Some((place_of(r)?, r)));
                let strips = match place.map(|(place, record)| truths.of(&place, record)) {
                    Some(Ok(truth)) => beside_recording(pane, &truth),
                    Some(Err(trouble)) => {
                        if !out.troubles.contains(&trouble) {
                            out.troubles.push(trouble);
                        }
                        continue;
                    }
                    None => match recorded {
                        // The recording's frames from the one on at which this pane starts.
                        Some(r) => beside_pane(pane, r, pane.offset.saturating_sub(r.offset)),
                        None => continue,
                    },
                };
                (Against::Recording, strips)
            }
        };
        out.against.push((pane.id, against));
        out.panes.push((pane.id, pane.offset, strips));
        so_far(&out);
    }
    let longest = panes.iter().map(|p| p.offset + p.frames.len()).max().unwrap_or(0);
    for index in 0..longest {
        let read = |p: &Measurand| {
            let at = index.checked_sub(p.offset)?;
            Some((p.frames.get(at)?.read().ok()?, at))
        };
        let frames: Vec<_> = panes.iter().map(|p| (p, read(p))).collect();
        let seen: Vec<Seen<'_>> = frames
            .iter()
            .filter_map(|(p, read)| {
                let (frame, at) = read.as_ref()?;
                Some(Seen { frame, reading: p.reading(*at) })
            })
            .collect();
        if seen.len() > 1 {
            put_frame(&mut out.set, index, spread(&seen));
        }
    }
    out
}

/// The world of the set that does the same as the one that would run beside this pane.
fn own_world<'a>(pane: &Measurand, worlds: &'a [Measurand]) -> Option<&'a Measurand> {
    let record = pane.record.as_ref()?;
    worlds.iter().find(|w| w.record.as_ref().is_some_and(|beside| same_world(record, beside)))
}

fn beside_recording(pane: &Measurand, truth: &Truth) -> Vec<Strip> {
    let mut strips = Vec::new();
    for (index, picture) in pane.frames.iter().enumerate() {
        let Ok(frame) = picture.read() else { continue };
        let seen = Seen { frame: &frame, reading: pane.reading(index) };
        put_frame(&mut strips, index, metrics::measure(seen, truth, index));
    }
    strips
}

fn beside_world(pane: &Measurand, world: &Measurand) -> Vec<Strip> {
    let mut strips = Vec::new();
    let Some(first) = world.frames.first().and_then(|p| p.read().ok()) else { return strips };
    for (index, picture) in pane.frames.iter().enumerate() {
        let Some(truth) = world.truth(index, &first) else { continue };
        put_against(&mut strips, pane, index, picture, &truth);
    }
    strips
}

/// Puts the numbers of one frame against the truth of that frame alone (index 1 of `truth`; its index 0 is the start).
fn put_against(strips: &mut Vec<Strip>, pane: &Measurand, index: usize, picture: &Picture, truth: &Truth) {
    let Ok(frame) = picture.read() else { return };
    // At the start, only pixels are compared: nobody has imagined anything yet.
    let reading: &[_] = if index == 0 { &[] } else { pane.reading(index) };
    put_frame(strips, index, metrics::measure(Seen { frame: &frame, reading }, truth, 1));
}

fn beside_pane(pane: &Measurand, recorded: &Measurand, skip: usize) -> Vec<Strip> {
    let mut strips = Vec::new();
    let Some(first) = recorded.frames.get(skip).and_then(|p| p.read().ok()) else { return strips };
    for (index, picture) in pane.frames.iter().enumerate() {
        let there = recorded.frames.get(skip + index).and_then(|p| p.read().ok());
        let Some(there) = there else { continue };
        let truth = Truth::from_frames(vec![first.clone(), there], Vec::new());
        put_against(&mut strips, pane, index, picture, &truth);
    }
    strips
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pane(id: u64, offset: usize, levels: &[u8]) -> Measurand {
        let frames = levels.iter().map(|l| Picture::Here(Arc::new(Frame::filled(16, 16, [*l; 3])))).collect();
        Measurand { id, frames, readings: Vec::new(), offset, record: None, colours: Vec::new() }
    }

    #[test]
    fn panes_are_measured_against_the_recording_of_the_set() {
        let truth = pane(0, 0, &[10, 20, 30, 40]);
        let panes = [pane(1, 0, &[10, 20, 30, 40]), pane(2, 2, &[30, 50])];
        let mut known = Vec::new();
        let found = measure(&panes, Some(&truth), &[], &Truths::default(), &mut |so_far| {
            known.push(so_far.panes.len());
        });
        assert_eq!(known, [1, 2], "what is known is told pane by pane");
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
        let found =
            measure(&[pane(1, 0, &[1, 2]), pane(2, 0, &[1, 4])], None, &[], &Truths::default(), &mut |_| {});
        assert_eq!(found.metrics(), [Metric::Spread]);
        assert_eq!(found.of, [(1, 2), (2, 2)]);
    }
}
