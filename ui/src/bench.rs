//! How fast the window is: the real Compare screen in a real window, full of panes that play and are scrubbed.
//!
//! No engine runs; the panes show pictures of the virtual world that lie in files. What is measured is the window: from
//! the beginning of one frame to the beginning of the next with everything that the driver does in between, and the time
//! of the window's own thread alone. Scrubbing is a pointer that drags along the timeline; it is measured from the
//! pointer's event to the end of the frame that shows what it asked for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use eframe::egui::{self, Context, Event, Modifiers, PointerButton, Pos2, RawInput, Rect, Ui, pos2, vec2};
use eframe::egui_wgpu::{SurfaceConfig, wgpu};
use forerun::engine::protocol::{self, JobId, Packet, Reading, Request};
use forerun::failure::Failure;
use forerun::world::{Behaviour, EpisodeSettings, generate_episode};
use forerun::{Frame, media};
use serde_json::{Value, json};

use crate::app::{StartError, Studio, display_missing, start_error};
use crate::background::FilePicker;
use crate::compare::{Edit, Part, Source};
use crate::futures::{MEMORY_LIMIT, Run, RunState};
use crate::link::Link;
use crate::project::Project;
use crate::screens::Screen;
use crate::shell::transport_bar::timeline_line;
use crate::transport::Input;
use crate::widgets::pane::Slot;
use crate::{fonts, theme};

/// Frames a second of the panes.
const RATE: f32 = 24.0;
/// Seconds before a measurement: textures are made, the cache fills.
const WARM: f64 = 2.0;
/// Places that are scrubbed to.
const SCRUBS: usize = 40;
/// Longest wait for a scrubbed frame, seconds.
const PATIENCE: f64 = 5.0;
/// Most time of a frame of the window, p50, with a graphics card and with the software driver, milliseconds.
const BARS: (f64, f64) = (16.0, 40.0);
/// Most time until the frame under the cursor is on the screen, p50, milliseconds.
const SCRUB_BAR: f64 = 50.0;

/// A set of panes.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    panes: usize,
    side: usize,
    frames: usize,
}

/// Frames of the first and the last set fit into the memory for frames; those of the second do not, and are read again
/// from their files while they play and are scrubbed.
const CASES: [Case; 3] = [
    Case { name: "nine_512", panes: 9, side: 512, frames: 64 },
    Case { name: "nine_512_beyond_memory", panes: 9, side: 512, frames: 96 },
    Case { name: "sixty_four_128", panes: 64, side: 128, frames: 96 },
];

/// An engine that never answers.
struct Silent;

impl Link for Silent {
    fn next_job(&self) -> JobId {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
    fn send(&self, _request: Request, _blobs: Vec<Vec<u8>>) {}
    fn try_recv(&self) -> Option<Packet<protocol::Event>> {
        None
    }
    fn set_wake(&self, _wake: Box<dyn Fn() + Send + Sync>) {}
}

/// A person who chooses nothing.
struct Nobody;

impl FilePicker for Nobody {
    fn frames(&self, _title: &str) -> Vec<PathBuf> {
        Vec::new()
    }
    fn folder(&self, _title: &str) -> Option<PathBuf> {
        None
    }
    fn save(&self, _title: &str, _name: &str) -> Option<PathBuf> {
        None
    }
}

/// Numbers of one set of panes.
#[derive(Clone, Debug, Default)]
struct Numbers {
    /// Times from one frame's beginning to the next one's, ms.
    frames: Vec<f64>,
    /// Times of the window's thread alone, ms.
    thread: Vec<f64>,
    /// Times from the wish for another frame until it was on the screen, ms.
    scrubs: Vec<f64>,
    /// Wishes that were not fulfilled in time.
    missed: usize,
    /// Different frames shown a second while playing.
    shown: f64,
    /// Largest memory for frames, bytes.
    memory: usize,
}

fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (part * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

impl Numbers {
    fn value(&self, software: bool) -> Value {
        let pair = |v: &[f64]| json!({ "p50": percentile(v, 0.5), "p95": percentile(v, 0.95) });
        let bar = if software { BARS.1 } else { BARS.0 };
        let (frame, scrub) = (percentile(&self.frames, 0.5), percentile(&self.scrubs, 0.5));
        json!({
            "frame_ms": pair(&self.frames),
            "window_thread_ms": pair(&self.thread),
            "scrub_ms": pair(&self.scrubs),
            "scrubs_missed": self.missed,
            "ticks_per_second": self.shown,
            "frames_measured": self.frames.len(),
            "memory_mb": self.memory.div_ceil(1 << 20),
            "memory_limit_mb": MEMORY_LIMIT >> 20,
            "frame_bar_ms": bar,
            "within": frame <= bar && scrub <= SCRUB_BAR && self.missed == 0,
        })
    }
}

/// What the window does now.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Lay,
    Warm(f64),
    Play {
        since: f64,
        ticks: usize,
        last: usize,
    },
    /// `asked`: the frame that the pointer is at, and since when.
    Scrub {
        done: usize,
        asked: Option<(usize, Instant)>,
    },
}

struct Bench {
    studio: Studio,
    folder: PathBuf,
    seconds: f64,
    case: usize,
    phase: Phase,
    last: Option<Instant>,
    /// Where the pointer holds the timeline.
    pressed: Option<Pos2>,
    now: Numbers,
    out: Arc<Mutex<Vec<(Case, Numbers)>>>,
    trouble: Arc<Mutex<Option<Failure>>>,
}

/// Opens the window, measures for about `seconds` a set, and closes it.
///
/// # Errors
/// There is no display or no driver; the temporary folder cannot be written.
pub fn window(seconds: f64) -> Result<Value, StartError> {
    display_missing()?;
    let folder = tempfile::tempdir().map_err(|e| StartError::Other(e.to_string()))?;
    let (out, trouble) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
    let adapter = Arc::new(Mutex::new((String::new(), false)));
    let viewport =
        egui::ViewportBuilder::default().with_title("Forerun").with_inner_size(vec2(1400.0, 900.0));
    let mut options = eframe::NativeOptions { viewport, dithering: false, ..Default::default() };
    // A frame is to take what it takes, and not to wait for the screen.
    options.wgpu_options.surface =
        SurfaceConfig { present_mode: wgpu::PresentMode::AutoNoVsync, ..SurfaceConfig::LOW_LATENCY };
    let place = folder.path().to_owned();
    let (results, wrong, driver) = (out.clone(), trouble.clone(), adapter.clone());
    let run = eframe::run_native(
        "forerun-bench",
        options,
        Box::new(move |cc| {
            fonts::install(&cc.egui_ctx);
            theme::install(&cc.egui_ctx);
            if let Some(render) = &cc.wgpu_render_state {
                let info = render.adapter.get_info();
                let software = info.device_type == wgpu::DeviceType::Cpu;
                *driver.lock().unwrap_or_else(PoisonError::into_inner) = (info.name, software);
            }
            let project = Project::new(Some(place.join("project")));
            let mut studio = Studio::new(
                &cc.egui_ctx,
                Box::new(Silent),
                project,
                Arc::new(Nobody),
                cc.wgpu_render_state.clone(),
            );
            studio.view.screen = Screen::Compare;
            studio.view.compare.part = Part::Panes;
            // Measuring pictures is other threads' work and is not what is measured here.
            studio.view.compare.numbers = false;
            Ok(Box::new(Bench {
                studio,
                folder: place,
                seconds,
                case: 0,
                phase: Phase::Lay,
                last: None,
                pressed: None,
                now: Numbers::default(),
                out: results,
                trouble: wrong,
            }))
        }),
    );
    run.map_err(start_error)?;
    if let Some(failure) = trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(StartError::Other(failure.text()));
    }
    let (name, software) = adapter.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut value = json!({ "driver": name, "software_driver": software, "window": [1400, 900] });
    if let Value::Object(object) = &mut value {
        for (case, numbers) in out.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            object.insert(case.name.to_owned(), numbers.value(software));
        }
    }
    Ok(value)
}

/// Pictures of an episode of the virtual world in files.
fn draw(folder: &Path, side: usize, frames: usize) -> Result<Vec<(PathBuf, Arc<Frame>)>, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| Failure::io("make", folder, &e))?;
    let settings = EpisodeSettings {
        behaviour: Behaviour::Play,
        size: side,
        frames: Some(frames),
        ..EpisodeSettings::default()
    };
    let episode = generate_episode(&settings, 1).map_err(Failure::from_error)?;
    let write = |(i, frame): (usize, Frame)| {
        let file = folder.join(format!("{i:05}.png"));
        media::write_png(&file, &frame).map_err(Failure::from_error)?;
        Ok((file, Arc::new(frame)))
    };
    episode.frames.into_iter().enumerate().map(write).collect()
}

impl Bench {
    /// Fills the screen with the panes of a case; every pane runs some frames behind the one before it.
    fn lay(&mut self, case: Case) -> Result<(), Failure> {
        let pictures = draw(&self.folder.join(case.name), case.side, case.frames)?;
        let studio = &mut self.studio;
        studio.runs = Default::default();
        studio.compare.doc.edit("bench", |doc| doc.apply(Edit::Clear));
        let mut sources = Vec::new();
        for pane in 0..case.panes {
            let folder = self.folder.join(case.name).join(format!("seed-{pane}"));
            let mut run = Run::opened(Silent.next_job(), &folder, pane as u64, 0.0);
            run.rate_hz = RATE;
            run.state = RunState::Done;
            let shifted: Vec<_> = (0..pictures.len()).map(|i| (i + 7 * pane) % pictures.len()).collect();
            for (index, at) in shifted.iter().enumerate() {
                if let Some((_, frame)) = pictures.get(*at) {
                    // Each pane has frames of its own, as futures have.
                    let own = Arc::new((**frame).clone());
                    run.put(pane as u64, index, own, Reading::default());
                }
            }
            let files = shifted.iter().filter_map(|at| pictures.get(*at)).map(|(file, _)| file.clone());
            if let Some(future) = run.futures.first_mut() {
                future.note_files(files.collect());
            }
            studio.runs.open(run);
            studio.runs.release(MEMORY_LIMIT, |_, _| Some(0));
            sources.push(Source::Future { folder, seed: pane as u64 });
        }
        studio.compare.doc.edit("bench", |doc| doc.apply(Edit::Add(sources)));
        studio.compare.doc.settle();
        Ok(())
    }

    /// Whether every pane shows its own frame at `index`.
    fn shows(&self, index: usize) -> bool {
        let studio = &self.studio;
        studio.compare.doc.get().panes.iter().all(|pane| {
            let Some((_, future)) = studio.runs.find(&pane.source) else { return false };
            let shown = studio.textures.shown(&Slot::Compare(pane.id, false));
            let wanted = future.frame(index).filter(|_| future.away(index).is_none());
            // Panes outside the visible part of a scrolled grid have no texture.
            shown.is_none_or(|shown| wanted.is_some_and(|(wanted, _)| Arc::ptr_eq(shown, wanted)))
        })
    }

    /// Moves the pointer along the timeline.
    fn point(&mut self, ctx: &Context, input: &mut RawInput) {
        let button = |pos, pressed| Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        let Phase::Scrub { done, asked: None } = self.phase else {
            let over = !matches!(self.phase, Phase::Scrub { .. });
            if let Some(pos) = self.pressed.take_if(|_| over) {
                input.events.extend([button(pos, false), Event::PointerGone]);
            }
            return;
        };
        let line = ctx.data(|d| d.get_temp::<Rect>(timeline_line()));
        let (Some(line), Some(case)) = (line, CASES.get(self.case).filter(|_| done < SCRUBS)) else { return };
        // Places far apart, none of them near the one before.
        let index = (done * 37 + 11) % case.frames;
        let part = index as f32 / case.frames.saturating_sub(1).max(1) as f32;
        let pos = pos2(line.left() + line.width() * part, line.center().y);
        input.events.push(Event::PointerMoved(pos));
        if self.pressed.replace(pos).is_none() {
            input.events.push(button(pos, true));
        }
        self.phase = Phase::Scrub { done, asked: Some((index, Instant::now())) };
    }

    fn go(&mut self, ctx: &Context, began: Instant) {
        let Some(case) = CASES.get(self.case).copied() else {
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            return;
        };
        let now = self.studio.now;
        self.now.memory = self.now.memory.max(self.studio.runs.bytes());
        match self.phase {
            Phase::Lay => {
                if let Err(failure) = self.lay(case) {
                    *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                    self.case = CASES.len();
                }
                self.phase = Phase::Warm(now);
            }
            Phase::Warm(since) => {
                if !self.studio.transport.playing() {
                    self.studio.transport.apply(Input::Toggle, now);
                }
                if now - since > WARM {
                    self.now = Numbers::default();
                    let last = self.studio.transport.frame();
                    self.phase = Phase::Play { since: now, ticks: 0, last };
                }
            }
            Phase::Play { since, ticks, last } => {
                let frame = self.studio.transport.frame();
                let ticks = ticks + usize::from(frame != last);
                self.phase = Phase::Play { since, ticks, last: frame };
                if now - since > self.seconds {
                    self.now.shown = ticks as f64 / (now - since);
                    self.studio.transport.apply(Input::Pause, now);
                    self.phase = Phase::Scrub { done: 0, asked: None };
                }
            }
            Phase::Scrub { done, asked: Some((index, since)) } => {
                // This frame's beginning is the last one's end: what it drew is on the screen.
                let waited = began.duration_since(since).as_secs_f64();
                if self.shows(index) && self.studio.textures.settled() {
                    self.now.scrubs.push(waited * 1e3);
                    self.phase = Phase::Scrub { done: done + 1, asked: None };
                } else if waited > PATIENCE {
                    self.now.missed += 1;
                    self.phase = Phase::Scrub { done: done + 1, asked: None };
                }
            }
            Phase::Scrub { done, asked: None } if done < SCRUBS => {}
            Phase::Scrub { .. } => {
                let numbers = std::mem::take(&mut self.now);
                self.out.lock().unwrap_or_else(PoisonError::into_inner).push((case, numbers));
                self.case += 1;
                self.phase = Phase::Lay;
            }
        }
    }
}

impl eframe::App for Bench {
    fn raw_input_hook(&mut self, ctx: &Context, input: &mut RawInput) {
        self.point(ctx, input);
    }

    fn logic(&mut self, ctx: &Context, frame: &mut eframe::Frame) {
        let began = Instant::now();
        let playing = matches!(self.phase, Phase::Play { .. });
        if let (Some(last), true) = (self.last, playing) {
            self.now.frames.push(began.duration_since(last).as_secs_f64() * 1e3);
            self.now.thread.extend(frame.info().cpu_usage.map(|s| f64::from(s) * 1e3));
        }
        self.last = Some(began);
        self.go(ctx, began);
        self.studio.logic(ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.studio.ui(ui);
        // One frame after the other, without a rest.
        ui.ctx().request_repaint();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let values = [5.0, 1.0, 2.0, 4.0, 3.0];
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.95)), (3.0, 5.0));
        assert!(percentile(&[], 0.5).is_nan());
        let fast = Numbers { frames: vec![20.0; 9], scrubs: vec![30.0], ..Numbers::default() };
        assert_eq!(
            (fast.value(true)["within"].as_bool(), fast.value(false)["within"].as_bool()),
            (Some(true), Some(false))
        );
    }
}
