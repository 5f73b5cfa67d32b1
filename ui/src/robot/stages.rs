//! Bundles in the window: installing, the checklist of stages, running them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use forerun::Failure;
use forerun::engine::protocol::{BundleTrySpec, Event, Request};
use forerun::engine::{EngineClient, places};
use forerun::robot::agent::protocol::{AgentView, Ask};
use forerun::robot::bundle::{SigningKey, Stage, Store, from_policy};
use forerun::robot::push::engine_brain::EngineBrain;
use forerun::robot::push::pilot::{FlightPlan, Hand, fly};
use forerun::robot::push::{Installed, Outcome, store_of};

use super::control::Session;
use super::{BundleShown, Shared, StageShown, Wish};

/// Length of a run that the window starts.
const RUN: Duration = Duration::from_secs(31);

/// The bundles of the connected robot.
#[derive(Default)]
pub(super) struct Bench {
    installed: Option<Installed>,
    running: Option<(Stage, JoinHandle<(Installed, Result<Outcome, Failure>)>)>,
    cancel: Arc<AtomicBool>,
    /// What policies are told.
    pub prompt: String,
    /// Dataset to which runs are recorded, and from which replay takes its episodes.
    pub record: Option<PathBuf>,
}

fn store(session: &Session) -> Result<Store, String> {
    let folder = match &session.file {
        Some(file) => store_of(file),
        None => {
            let own = places::own_data().ok_or("there is no folder for this person's data")?;
            let plain = session.robot.name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
            own.join("robots").join(plain.take(60).collect::<String>())
        }
    };
    let store = Store::open(&folder).map_err(|e| e.to_string())?;
    // What this person packed, this person trusts.
    if let Some(key) = own_key().filter(|k| k.is_file())
        && let Ok(key) = SigningKey::open_or_create(&key)
    {
        store.trust(&key.public()).map_err(|e| e.to_string())?;
    }
    Ok(store)
}

/// Where this person's key for signing is kept.
fn own_key() -> Option<PathBuf> {
    places::own_data().map(|d| d.join("signing-key"))
}

/// Packs a policy for the connected robot and signs it with this person's key; the file is kept beside the robot file.
fn pack(session: &Session, policy: &Path) -> Result<PathBuf, String> {
    let key = own_key().ok_or("there is no folder for this person's data")?;
    let home = key.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(home).map_err(|e| format!("{}: {e}", home.display()))?;
    let folder = session.file.as_deref().and_then(Path::parent).unwrap_or(home);
    let plain =
        |name: &str| name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect::<String>();
    let name = policy.file_name().unwrap_or_default().to_string_lossy();
    let out = folder.join(format!("{}-{}.bundle", plain(&name), plain(&session.robot.name)));
    let key = SigningKey::open_or_create(&key).map_err(|e| e.to_string())?;
    from_policy::pack(policy, &session.robot, &out, &key).map_err(|e| e.to_string())?;
    Ok(out)
}

fn show(shared: &Shared, installed: Option<&Installed>) {
    let shown = installed.map(|i| BundleShown {
        name: i.manifest.name.clone(),
        id: i.id.clone(),
        next: i.progress.next(),
        warnings: i.warnings.clone(),
        stages: Stage::ALL
            .into_iter()
            .map(|stage| {
                let s = i.progress.standing(stage);
                StageShown {
                    stage,
                    done: i.progress.done(stage),
                    skipped: s.skipped,
                    clean: s.clean,
                    needed: stage.clean_runs_needed(),
                    last: s.last,
                }
            })
            .collect(),
    });
    shared.edit(|s| s.bundle = shown);
}

impl Bench {
    /// Looks up what is installed on a robot.
    pub fn open(&mut self, shared: &Shared, session: &Session) {
        self.installed = store(session)
            .ok()
            .filter(|s| s.current().is_some())
            .and_then(|s| Installed::current(&session.robot, s).ok());
        show(shared, self.installed.as_ref());
    }

    pub fn take(&mut self, shared: &Arc<Shared>, session: &mut Session, wish: Wish) -> Result<(), String> {
        if self.running.is_some() {
            return Err("A stage is running. Stop it first.".into());
        }
        match wish {
            Wish::Pack(policy) => {
                let file = pack(session, &policy)?;
                self.take(shared, session, Wish::Install(file))
            }
            Wish::Install(file) => {
                let installed = Installed::install(&file, &session.robot, store(session)?);
                self.installed = Some(installed.map_err(|e| e.text())?);
                show(shared, self.installed.as_ref());
                shared.edit(|s| s.trouble = None);
                Ok(())
            }
            Wish::RollBack => {
                let store = store(session)?;
                store.roll_back().map_err(|e| e.to_string())?;
                self.open(shared, session);
                Ok(())
            }
            Wish::Skip(stage, typed) => {
                let installed = self.installed.as_mut().ok_or("No bundle is installed.")?;
                installed.progress.skip(stage, &typed).map_err(|e| e.to_string())?;
                installed.save().map_err(|e| e.text())?;
                show(shared, self.installed.as_ref());
                Ok(())
            }
            Wish::Run(stage) => self.start(shared, session, stage),
            _ => Ok(()),
        }
    }

    fn start(&mut self, shared: &Arc<Shared>, session: &mut Session, stage: Stage) -> Result<(), String> {
        let installed = self.installed.take().ok_or("No bundle is installed.")?;
        if let Err(e) = installed.progress.may_start(stage) {
            self.installed = Some(installed);
            return Err(e.to_string());
        }
        let live = matches!(stage, Stage::Shadow | Stage::Cautious | Stage::Normal);
        if live {
            // Control may have been lost while the window hung; only who has it can give it on.
            let given = session.take_lease();
            let given = given.and_then(|()| session.client.ask(Ask::GiveBack).map_err(|e| e.to_string()));
            if let Err(why) = given {
                self.installed = Some(installed);
                return Err(why);
            }
            session.leased = false;
        }
        let of = |j: &forerun::robot::bundle::manifest::BundleJoint| {
            j.data.map(|(low, high)| (format!("{}.pos", j.name), low, high))
        };
        let plan = FlightPlan {
            address: session.address.clone(),
            token: None,
            stage,
            time: RUN,
            data: installed.manifest.joints.iter().filter_map(of).collect(),
            record: self.record.clone().filter(|_| live),
            task: self.prompt.clone(),
        };
        self.cancel = Arc::new(AtomicBool::new(false));
        let (theirs, cancel) = (Arc::clone(shared), Arc::clone(&self.cancel));
        let (prompt, dataset) = (self.prompt.clone(), self.record.clone());
        shared.edit(|s| {
            s.running = Some(stage);
            s.outcome = None;
            s.trouble = None;
        });
        let body = move || {
            let outcome = work(&theirs, &installed, stage, &plan, prompt, dataset, &cancel);
            (installed, outcome)
        };
        self.running = Some((stage, std::thread::spawn(body)));
        Ok(())
    }

    /// Takes the result of a stage that has ended; the number of recorded frames, where there are any.
    pub fn ended(&mut self, shared: &Arc<Shared>, session: Option<&mut Session>) -> Option<Option<usize>> {
        if shared.stop.load(Ordering::SeqCst) {
            self.cancel.store(true, Ordering::SeqCst);
        }
        if !self.running.as_ref().is_some_and(|(_, thread)| thread.is_finished()) {
            return None;
        }
        let (stage, thread) = self.running.take()?;
        if let Some(session) = session
            && !session.leased
            && let Err(why) = session.take_lease()
        {
            shared.trouble(why);
        }
        let Ok((mut installed, outcome)) = thread.join() else {
            shared.edit(|s| s.running = None);
            shared.trouble("The stage ended early.");
            return None;
        };
        let mut frames = None;
        match outcome {
            Ok(outcome) => {
                frames = outcome.report["recorded_frames"].as_u64().and_then(|n| usize::try_from(n).ok());
                match installed.note(stage, &outcome) {
                    Ok(Some(_)) => shared.trouble(
                        "This bundle faulted twice in its first minute; the one before is live again.",
                    ),
                    Ok(None) => {}
                    Err(e) => shared.trouble(e.text()),
                }
                shared.edit(|s| s.outcome = Some((stage, outcome.clean, outcome.words)));
            }
            Err(e) => shared.trouble(e.text()),
        }
        shared.edit(|s| s.running = None);
        self.installed = Some(installed);
        show(shared, self.installed.as_ref());
        Some(frames)
    }
}

/// The person at the window: a key or a button is the dead-man key.
struct WindowHand {
    shared: Arc<Shared>,
}

impl Hand for WindowHand {
    fn dead_man(&mut self) -> bool {
        self.shared.dead_man()
    }

    fn stop(&mut self) -> bool {
        // A window that hangs is a person who is gone.
        self.shared.stop.load(Ordering::SeqCst) || !self.shared.window_is_alive()
    }

    fn show(&mut self, view: &AgentView) {
        let view = view.clone();
        self.shared.edit(|s| s.view = Some(view));
    }
}

fn work(
    shared: &Arc<Shared>,
    installed: &Installed,
    stage: Stage,
    plan: &FlightPlan,
    prompt: String,
    dataset: Option<PathBuf>,
    cancel: &AtomicBool,
) -> Result<Outcome, Failure> {
    match stage {
        Stage::Replay | Stage::Rehearse => {
            let policy = installed.folder.clone();
            let model = "tabletop".to_owned();
            try_bundle(BundleTrySpec { policy, stage, dataset, model, episodes: 10, steps: 60 }, cancel)
        }
        Stage::Shadow | Stage::Cautious | Stage::Normal => {
            let prompt = Some(prompt).filter(|p| !p.trim().is_empty());
            let mut brain = EngineBrain::new(own_engine()?, &installed.folder, prompt)?;
            fly(plan, &mut brain, &mut WindowHand { shared: Arc::clone(shared) })
        }
    }
}

/// How often a person's Stop is looked at while an engine works.
const GLANCE: Duration = Duration::from_millis(100);

/// An engine for a stage alone: the window runs no model, and the engine that serves the screens neither waits for the
/// robot nor can take it down. Dropped, it leaves.
fn own_engine() -> Result<EngineClient, Failure> {
    let exe = std::env::current_exe().map_err(|e| {
        Failure::new(format!("Forerun cannot find its own program: {e}."), "Start it by its full path.")
    })?;
    EngineClient::spawn_child(&exe)
}

/// A stage that needs no arm.
fn try_bundle(spec: BundleTrySpec, cancel: &AtomicBool) -> Result<Outcome, Failure> {
    let engine = own_engine()?;
    let job = engine.next_job();
    engine.send(Request::BundleTry { job, spec }, Vec::new());
    let (mut asked, mut outcome) = (false, None);
    loop {
        if cancel.load(Ordering::SeqCst) && !asked {
            asked = true;
            engine.send(Request::Cancel { job }, Vec::new());
        }
        let Some(packet) = engine.recv_timeout(GLANCE) else { continue };
        match packet.message {
            Event::Report { value, .. } => outcome = serde_json::from_value(value["outcome"].clone()).ok(),
            Event::Done { .. } => {
                return outcome
                    .ok_or_else(|| Failure::new("The engine told no outcome.", "Run the stage again."));
            }
            Event::Cancelled { .. } => {
                return Err(Failure::new("Stopped.", "The stage has to be run again."));
            }
            Event::Failed { message, advice, .. } => return Err(Failure { message, advice }),
            // An engine that cannot even start has no job that fails.
            Event::EngineGone { reason, restarting: false } => {
                return Err(Failure::new(reason, "Run the stage again."));
            }
            _ => {}
        }
    }
}
