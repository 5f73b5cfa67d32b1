//! The engine itself: takes requests, runs jobs, tells events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::{JobContext, JobEnd, Sink};
use super::lane::{CancelFound, Lane, Registry};
use super::places::Places;
use super::protocol::{Event, JobId, PROTOCOL_VERSION, Packet, Request};
use super::{device, jobs};
use crate::failure::Failure;

/// How long jobs get to clean up when the engine ends; what they were writing has a temporary name.
const GRACE: Duration = Duration::from_secs(3);

/// A running engine. Dropped, it cancels its jobs and waits a moment for them to clean up.
pub struct Engine {
    registry: Registry,
    sink: Sink,
    /// Jobs that need the whole machine, one at a time.
    heavy: Lane,
    /// Quick questions, answered beside a heavy job.
    light: Lane,
    /// What lasts (training, evaluating policies): one at a time, beside what a person looks at meanwhile.
    training: Lane,
    /// Models on their way: downloads and copies last, but need no processor.
    moving: Lane,
    tools: Arc<jobs::Tools>,
}

impl Engine {
    /// Starts an engine whose events go to `sink` (called from several threads; may wait, which holds back the
    /// job that tells).
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(sink: Sink) -> Result<Self, Failure> {
        let registry = Registry::default();
        let no_threads = |e: std::io::Error| {
            Failure::new(
                format!("The system gives no more threads: {e}."),
                "Close other programs and try again.",
            )
        };
        let heavy = Lane::new("engine-heavy", 1, registry.clone(), sink.clone()).map_err(no_threads)?;
        let light = Lane::new("engine-light", 2, registry.clone(), sink.clone()).map_err(no_threads)?;
        let training = Lane::new("engine-training", 1, registry.clone(), sink.clone()).map_err(no_threads)?;
        let moving = Lane::new("engine-moving", 1, registry.clone(), sink.clone()).map_err(no_threads)?;
        Ok(Self { registry, sink, heavy, light, training, moving, tools: Arc::default() })
    }

    /// Takes one request. `false` when it was the last one ([`Request::Shutdown`]).
    pub fn handle(&self, packet: Packet<Request>) -> bool {
        let Packet { message, blobs } = packet;
        match message {
            Request::Hello { version } => self.hello(version),
            Request::Cancel { job } => {
                if self.registry.cancel(job) == CancelFound::Waiting {
                    self.tell(Event::Cancelled { job });
                }
            }
            Request::Shutdown => {
                self.registry.cancel_all();
                return false;
            }
            Request::ListModels { job, project } => {
                self.light(job, move |_, context| {
                    let (models, broken) = Places::standard(project.as_deref()).list();
                    for failure in broken {
                        context.log("warn", failure.text());
                    }
                    let summary = format!("{} models", models.len());
                    context.send(Event::Models { job: context.job, models }, Vec::new());
                    Ok(summary)
                });
            }
            Request::Warm { job, model, device } => {
                self.heavy(job, move |tools, context| jobs::warm(tools, context, &model, &device));
            }
            Request::Imagine { job, spec } => {
                self.heavy(job, move |tools, context| jobs::imagine(tools, context, spec, blobs));
            }
            Request::Again { job, record, model, out } => {
                self.heavy(job, move |tools, context| jobs::again(tools, context, &record, model, out));
            }
            Request::Score { job, spec } => {
                self.heavy(job, move |tools, context| jobs::score(tools, context, &spec));
            }
            Request::Reason { job, spec } => {
                self.heavy(job, move |_, context| jobs::reason(context, &spec));
            }
            Request::Record { job, spec } => {
                self.heavy(job, move |_, context| jobs::record(context, &spec));
            }
            Request::PostTrain { job, spec } => {
                self.long(job, move |_, context| jobs::post_train(context, &spec));
            }
            Request::ImportDataset { job, project, paths } => {
                self.light(job, move |_, context| jobs::import(context, &project, &paths));
            }
            Request::ReadDataset { job, folder } => {
                self.light(job, move |_, context| jobs::read_dataset(context, &folder));
            }
            Request::ReadEpisode { job, spec } => {
                self.light(job, move |_, context| jobs::read_episode(context, &spec));
            }
            Request::Examine { job, folder, view } => {
                self.light(job, move |_, context| jobs::examine_dataset(context, &folder, &view));
            }
            Request::Train { job, spec } => {
                self.long(job, move |_, context| jobs::train(context, &spec));
            }
            Request::PolicyTrain { job, spec } => {
                self.long(job, move |_, context| jobs::train_policy(context, &spec));
            }
            Request::PolicyEvaluate { job, spec } => {
                self.long(job, move |tools, context| jobs::evaluate_policy(tools, context, &spec));
            }
            Request::PolicyImprove { job, spec } => {
                self.long(job, move |tools, context| jobs::improve_policy(tools, context, &spec));
            }
            Request::PolicyRank { job, spec } => {
                self.long(job, move |tools, context| jobs::rank_policies(tools, context, &spec));
            }
            Request::PolicyTwin { job, spec } => {
                self.heavy(job, move |tools, context| jobs::twin_episode(tools, context, &spec));
            }
            Request::BundleTry { job, spec } => {
                self.long(job, move |tools, context| jobs::try_bundle(tools, context, &spec));
            }
            Request::Plan { job, spec } => {
                self.heavy(job, move |tools, context| jobs::plan(tools, context, &spec, blobs));
            }
            Request::WorldFrame { job, look, seed } => {
                self.light(job, move |_, context| jobs::world_frame(context, &look, seed));
            }
            Request::Preview { job, start, model } => {
                self.light(job, move |tools, context| jobs::preview(tools, context, start, &model, blobs));
            }
            Request::OpenFuture { job, folder } => {
                self.light(job, move |_, context| jobs::open_future(context, &folder));
            }
            Request::SaveFuture { job, folder, to } => {
                self.light(job, move |_, context| jobs::save_future(context, &folder, &to));
            }
            Request::FetchModel { job, spec } => {
                self.moving.submit(job, move |context| jobs::fetch_model(context, &spec));
            }
            Request::ImportModel { job, folder, name, copy } => {
                self.moving
                    .submit(job, move |context| jobs::import_model(context, &folder, name.as_deref(), copy));
            }
            Request::CheckModel { job, model } => {
                self.moving.submit(job, move |context| jobs::check_model(context, &model));
            }
            Request::AcceptTerms { job, licence } => {
                self.light(job, move |_, _| jobs::accept_terms(&licence));
            }
            Request::RemoveModel { job, name } => {
                self.moving.submit(job, move |context| jobs::remove_model(context, &name));
            }
        }
        true
    }

    fn tell(&self, message: Event) {
        (self.sink)(Packet { message, blobs: Vec::new() });
    }

    fn hello(&self, version: u32) {
        if version == PROTOCOL_VERSION {
            self.tell(Event::Ready {
                version: PROTOCOL_VERSION,
                software: env!("CARGO_PKG_VERSION").to_owned(),
                devices: device::names(),
            });
        } else {
            let text = format!(
                "the window speaks version {version} and this engine version {PROTOCOL_VERSION}: \
                 use the same version of Forerun on both sides"
            );
            self.tell(Event::Log { level: "error".into(), text });
        }
    }

    fn heavy(
        &self,
        job: JobId,
        body: impl FnOnce(&jobs::Tools, &JobContext) -> Result<String, JobEnd> + Send + 'static,
    ) {
        if !self.registry.is_empty() {
            let what = "waiting for the job before it".to_owned();
            self.tell(Event::Progress { job, done: 0, total: 0, seconds_left: None, what });
        }
        let tools = self.tools.clone();
        self.heavy.submit(job, move |context| body(&tools, context));
    }

    /// Jobs that last: one at a time, beside what a person looks at meanwhile.
    fn long(
        &self,
        job: JobId,
        body: impl FnOnce(&jobs::Tools, &JobContext) -> Result<String, JobEnd> + Send + 'static,
    ) {
        let tools = self.tools.clone();
        self.training.submit(job, move |context| body(&tools, context));
    }

    fn light(
        &self,
        job: JobId,
        body: impl FnOnce(&jobs::Tools, &JobContext) -> Result<String, JobEnd> + Send + 'static,
    ) {
        let tools = self.tools.clone();
        self.light.submit(job, move |context| body(&tools, context));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.registry.cancel_all();
        let deadline = Instant::now() + GRACE;
        while !self.registry.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
