//! The messages between a window (or a script) and an engine.
//!
//! A message is a serde value plus raw pictures beside it ([`Packet`]). The same messages run in process, over
//! the pipes of a child process, and (later) over a WebSocket.

use std::path::PathBuf;

use forerun_models::common::Storage;
pub use forerun_models::published::ClipSettings;
use forerun_models::{Contract, Fit};
use serde::{Deserialize, Serialize};

use super::published::ClipInfo;
use crate::dataset::doctor::View;
use crate::hub::fetch::FetchSpec;
use crate::train::post::Method;

pub use super::specs::{
    BundleTrySpec, EpisodeSpec, PlanSpec, PolicyEvaluateSpec, PolicyImproveSpec, PolicyRankSpec,
    PolicyTrainSpec, PolicyTwinSpec, TrainSpec,
};

/// Version of these messages; both ends refuse another one with a clear message.
pub const PROTOCOL_VERSION: u32 = 2;

/// Number of a job, chosen by the asking side, unique in a connection.
pub type JobId = u64;

/// A message with the raw pictures that belong to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet<T> {
    /// The message itself.
    pub message: T,
    /// Raw RGB8 bytes, in the order in which the message mentions them.
    pub blobs: Vec<Vec<u8>>,
}

/// Where the frames that a future starts from come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Start {
    /// No frame at all: the model imagines the start from the words.
    Nothing,
    /// Picture files in order, or one clip; the last `history` frames up to frame `at` are used.
    Files {
        /// Pictures in order, or one clip.
        paths: Vec<PathBuf>,
        /// Frame to start from, counted from 0; the last one when absent.
        at: Option<usize>,
    },
    /// An episode of a dataset; its recorded states and actions come along.
    Episode {
        /// Dataset folder.
        dataset: PathBuf,
        /// Episode number.
        episode: usize,
        /// Frame to start from, counted from 0.
        at: usize,
    },
    /// A frame of a saved future: a branch. The start frames, imagined frames and actions before it come along.
    Future {
        /// Folder of the future (`…/seed-S`, with its `future.json`).
        folder: PathBuf,
        /// Frame to start from: 0 is the last start frame, 1 the first imagined one.
        at: usize,
    },
    /// Pictures sent beside the message (pasted, branched from a future, drawn by the virtual world).
    Blobs {
        /// (width, height) of each blob, in order.
        sizes: Vec<(usize, usize)>,
        /// State of each picture by channel name, where it is known (same length as `sizes`, or empty).
        #[serde(default)]
        states: Vec<Vec<(String, f32)>>,
        /// The scene of the virtual world that the last picture was drawn from, when it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        world: Option<WorldScene>,
    },
}

/// A scene of the virtual world as [`Request::WorldFrame`] asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldScene {
    /// Look: `plain`, `rich` or a number.
    pub look: String,
    /// Seed of the scene.
    pub seed: u64,
}

/// The numbers that drive a future.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actions {
    /// None: the words alone (or nothing) drive the future.
    Free,
    /// Repeat the present state.
    Hold,
    /// One row a step; columns by name.
    Track {
        /// Channel names, one a column.
        channels: Vec<String>,
        /// `steps` rows of `channels.len()` numbers, in the contract's units.
        rows: Vec<Vec<f32>>,
    },
    /// A file: CSV (header = channel names), Parquet or JSON.
    File(PathBuf),
    /// The recorded actions of an episode, from the start frame on.
    Episode {
        /// Dataset folder.
        dataset: PathBuf,
        /// Episode number.
        episode: usize,
    },
}

/// One job of imagining: everything that decides the pixels, but for the model's weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagineSpec {
    /// Model folder, or a name that `models list` shows.
    pub model: String,
    /// Where it starts.
    pub start: Start,
    /// Words, in any language; empty for none.
    pub prompt: String,
    /// Numbers.
    pub actions: Actions,
    /// Number of frames to imagine.
    pub steps: usize,
    /// One future a seed.
    pub seeds: Vec<u64>,
    /// Denoising steps a frame, 1..=8.
    pub refine: usize,
    /// Device: `cpu`, `cuda`, `cuda:0`, `metal`.
    pub device: String,
    /// Folder to write `seed-S/` into; nothing is written when absent.
    pub out: Option<PathBuf>,
    /// Choices for models that make whole clips.
    #[serde(default)]
    pub clip: ClipSettings,
}

/// One job of recording: our own virtual world makes a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordSpec {
    /// Which world: `tabletop`.
    pub world: String,
    /// `play`, `expert`, `noisy` or `idle`.
    pub behaviour: String,
    /// Number of episodes.
    pub episodes: usize,
    /// Seed of the first episode's scene.
    pub seed: u64,
    /// Look: `plain`, `rich` or a number.
    pub look: String,
    /// Width and height of the pictures in pixels.
    pub size: usize,
    /// Pictures a second.
    pub fps: u32,
    /// What the pictures show.
    #[serde(default)]
    pub picture: crate::world::Picture,
    /// Dataset folder to write.
    pub out: PathBuf,
}

/// One job of scoring: a model's futures against a dataset's recorded ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreSpec {
    /// Model folder, or a name that `models list` shows.
    pub model: String,
    /// Dataset folder.
    pub dataset: PathBuf,
    /// First and last episode (both included); all when absent.
    pub episodes: Option<(usize, usize)>,
    /// Steps ahead to judge at.
    pub horizons: Vec<usize>,
    /// Number of windows, spread over the episodes; chosen from their length when absent.
    pub windows: Option<usize>,
    /// Denoising steps a frame, 1..=8.
    pub refine: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Device: `cpu`, `cuda`, `cuda:0`, `metal`.
    pub device: String,
    /// Also check that words move the right thing the right way (`text.*`).
    #[serde(default)]
    pub text: bool,
    /// Also check that this many frames in a row stay sharp and keep their objects (`long.*`).
    #[serde(default)]
    pub long: Option<usize>,
    /// Also set the newest episodes beside their imagined twins, so many frames of each (`twins.*`).
    #[serde(default)]
    pub twins: Option<usize>,
}

/// One job of post-training: a model of one world becomes a model of the person's own. What is absent is chosen from
/// the data and the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostTrainSpec {
    /// Model to start from: a folder, or a name that `models list` shows.
    pub base: String,
    /// Datasets of the new body or place.
    pub datasets: Vec<PathBuf>,
    /// Camera to look through; the first one when empty.
    #[serde(default)]
    pub camera: String,
    /// Corrections of each dataset, in their order; what is missing is read as it is.
    #[serde(default)]
    pub views: Vec<View>,
    /// Model folder to write.
    pub out: PathBuf,
    /// Minutes of training, or else `iterations`.
    pub minutes: Option<f32>,
    /// Iterations of training, exactly repeatable.
    pub iterations: Option<u64>,
    /// `auto`, `full` or `lora`.
    #[serde(default)]
    pub method: Method,
    /// Episodes of the base's own world to replay against forgetting; by default when absent.
    #[serde(default)]
    pub replay: Option<usize>,
    /// How pictures of another shape become the model's; as the base's own were when absent.
    #[serde(default)]
    pub fit: Option<Fit>,
    /// Go on from the folder's checkpoint.
    #[serde(default)]
    pub resume: bool,
    /// Device to learn on: `cpu`, `cuda`, `cuda:0`, `metal`; the processor when empty.
    #[serde(default)]
    pub device: String,
}

/// A question about a clip, for a published reasoner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReasonSpec {
    /// Folder of the reasoner.
    pub model: PathBuf,
    /// A future (its folder or `future.json`) or a clip.
    pub clip: PathBuf,
    /// What to ask; whether it is plausible, and why, when empty.
    #[serde(default)]
    pub question: String,
    /// Draw from the likeliest tokens up to this probability; the likeliest one when absent.
    #[serde(default)]
    pub top_p: Option<f64>,
    /// Boldness of the draws.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// Most tokens of the answer.
    #[serde(default)]
    pub longest: Option<usize>,
    /// How the weights of large layers are kept.
    #[serde(default)]
    pub storage: Storage,
    /// Device: `cpu`, `cuda`, `cuda:0`, `metal`.
    pub device: String,
}

/// What the model's heads read off an imagined frame.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Name and value of each read-out (object and gripper pose in metres and degrees, contact, progress).
    pub values: Vec<(String, f32)>,
}

/// From the window to the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// First message.
    Hello {
        /// The asking side's [`PROTOCOL_VERSION`].
        version: u32,
    },
    /// Names and contracts of the models that can be used.
    ListModels {
        /// Job number of the answer.
        job: JobId,
        /// Project folder, whose `models/` is listed too.
        project: Option<PathBuf>,
    },
    /// Load a model now, so that the first future starts at once.
    Warm {
        /// Job number.
        job: JobId,
        /// Model folder or name.
        model: String,
        /// Device.
        device: String,
    },
    /// Imagine futures; frames stream back.
    Imagine {
        /// Job number.
        job: JobId,
        /// What to imagine.
        spec: ImagineSpec,
    },
    /// A new frame from the virtual world.
    WorldFrame {
        /// Job number.
        job: JobId,
        /// Look: `plain`, `rich` or a number.
        look: String,
        /// Seed of the scene.
        seed: u64,
    },
    /// Pictures of a start, decoded and fitted to the model, without imagining (preview of what was dropped).
    Preview {
        /// Job number.
        job: JobId,
        /// What to look at.
        start: Start,
        /// Model whose size and familiarity check is applied.
        model: String,
    },
    /// Make a dataset with the virtual world.
    Record {
        /// Job number.
        job: JobId,
        /// What to record.
        spec: RecordSpec,
    },
    /// Score a model on a dataset; the numbers come as [`Event::Report`].
    Score {
        /// Job number.
        job: JobId,
        /// What to score.
        spec: ScoreSpec,
    },
    /// Post-train a model. Its course comes as [`Event::Report`]s with a `stage` each: `note`, `ready` (the
    /// pre-flight), `before`, `training` (a line of the log; at a judgement with the preview as one PNG blob), `done`.
    /// Cancelled, it leaves a checkpoint to resume from.
    PostTrain {
        /// Job number.
        job: JobId,
        /// What to train.
        spec: PostTrainSpec,
    },
    /// Take what a person chose into a project: a LeRobot dataset by a link, clips as a new dataset. The entry comes as
    /// [`Event::Report`].
    ImportDataset {
        /// Job number.
        job: JobId,
        /// Project folder.
        project: PathBuf,
        /// Files or one folder.
        paths: Vec<PathBuf>,
    },
    /// What is in a dataset, as [`Event::Report`].
    ReadDataset {
        /// Job number.
        job: JobId,
        /// Dataset folder.
        folder: PathBuf,
    },
    /// One episode: numbers as [`Event::Report`], then pictures as [`Event::Pictures`] whose note is the camera.
    ReadEpisode {
        /// Job number.
        job: JobId,
        /// Which one.
        spec: EpisodeSpec,
    },
    /// What the doctor finds in a dataset as `view` shows it, as [`Event::Report`].
    Examine {
        /// Job number.
        job: JobId,
        /// Dataset folder.
        folder: PathBuf,
        /// Corrections to look through.
        view: View,
    },
    /// Train a world model. Its course comes as [`Event::Report`]s with a `stage` each: `note`, `training`, `done`.
    Train {
        /// Job number.
        job: JobId,
        /// What to train.
        spec: TrainSpec,
    },
    /// Learn a policy. Its course comes as [`Event::Report`]s with a `stage` each: `note`, `training`, `done`.
    PolicyTrain {
        /// Job number.
        job: JobId,
        /// What to learn.
        spec: PolicyTrainSpec,
    },
    /// How often a policy succeeds. [`Event::Report`]s with a `stage` each: `pace` (how long it will take, measured),
    /// then, where more was asked for, `evaluated` with the numbers.
    PolicyEvaluate {
        /// Job number.
        job: JobId,
        /// What to try.
        spec: PolicyEvaluateSpec,
    },
    /// One round of imagined experience; stages `imagined`, then those of `PolicyTrain`.
    PolicyImprove {
        /// Job number.
        job: JobId,
        /// What to do.
        spec: PolicyImproveSpec,
    },
    /// Whether a model ranks policies as physics does; the numbers come as [`Event::Report`].
    PolicyRank {
        /// Job number.
        job: JobId,
        /// What to rank.
        spec: PolicyRankSpec,
    },
    /// One episode in physics and in imagination at once: frames as [`Event::FutureFrame`] of seed 0 (physics), 1
    /// (imagination) and 2 (the picture that the agent goes for, where it goes for one, with the index of the frame from
    /// which it was imagined), the end as [`Event::Report`].
    PolicyTwin {
        /// Job number.
        job: JobId,
        /// Which one.
        spec: PolicyTwinSpec,
    },
    /// Try a bundle's policy without an arm (replay, rehearse); how it went comes as [`Event::Report`] (`outcome`).
    BundleTry {
        /// Job number.
        job: JobId,
        /// What to try.
        spec: BundleTrySpec,
    },
    /// The next actions of a policy that moves a robot, as [`Event::Report`] (`rows`).
    Plan {
        /// Job number.
        job: JobId,
        /// What it sees.
        spec: PlanSpec,
    },
    /// Imagine the future of a record again, bit for bit, from the start frames beside it.
    Again {
        /// Job number.
        job: JobId,
        /// A `future.json`, or the folder that holds it.
        record: PathBuf,
        /// Model to use instead of the recorded name, when that has moved.
        #[serde(default)]
        model: Option<String>,
        /// Folder to write `seed-S/` into; nothing is written when absent.
        out: Option<PathBuf>,
    },
    /// Read a saved future: its frames come as [`Event::FutureFrame`], its record as [`Event::FutureDone`].
    OpenFuture {
        /// Job number.
        job: JobId,
        /// Folder of the future, or its `future.json`.
        folder: PathBuf,
    },
    /// Copy a saved future (record, frames, clip, start) to another folder, whole or not at all.
    SaveFuture {
        /// Job number.
        job: JobId,
        /// Folder of the future (`…/seed-S`).
        folder: PathBuf,
        /// Folder to make; must not exist yet.
        to: PathBuf,
    },
    /// Ask a published reasoner about a clip. The answer comes as [`Event::Report`] (`reasoning`, `answer`), before that
    /// what has been written so far (`so_far`).
    Reason {
        /// Job number.
        job: JobId,
        /// What to ask about what.
        spec: ReasonSpec,
    },
    /// Download a published model. The one request that uses the network.
    FetchModel {
        /// Job number.
        job: JobId,
        /// What to download.
        spec: FetchSpec,
    },
    /// Take a folder among the person's own models.
    ImportModel {
        /// Job number.
        job: JobId,
        /// The folder.
        folder: PathBuf,
        /// Name to give it; the folder's own when absent.
        name: Option<String>,
        /// Copy a published model too, instead of referring to where it lies.
        #[serde(default)]
        copy: bool,
    },
    /// Check every file of a model.
    CheckModel {
        /// Job number.
        job: JobId,
        /// Name or folder.
        model: String,
    },
    /// A person has read the terms of a licence.
    AcceptTerms {
        /// Job number.
        job: JobId,
        /// Name of the licence.
        licence: String,
    },
    /// Remove a model of the person's own.
    RemoveModel {
        /// Job number.
        job: JobId,
        /// Its name.
        name: String,
    },
    /// Stop a job within a second; it leaves a whole result or none.
    Cancel {
        /// Job to stop.
        job: JobId,
    },
    /// Finish and leave.
    Shutdown,
}

/// From the engine to the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Answer to `Hello`.
    Ready {
        /// The engine's [`PROTOCOL_VERSION`].
        version: u32,
        /// Software version.
        software: String,
        /// Devices that can be chosen.
        devices: Vec<String>,
    },
    /// Answer to `ListModels`.
    Models {
        /// Job number.
        job: JobId,
        /// What was found.
        models: Vec<ModelInfo>,
    },
    /// A model is in memory.
    Warmed {
        /// Job number.
        job: JobId,
        /// Which one.
        model: ModelInfo,
    },
    /// How far a job is.
    Progress {
        /// Job number.
        job: JobId,
        /// Work done so far.
        done: u64,
        /// All work.
        total: u64,
        /// Seconds left, when they can be told.
        seconds_left: Option<f32>,
        /// What is being done, in words.
        what: String,
    },
    /// One frame of one future (one blob). `index` 0 is the last start frame, 1 the first imagined one.
    FutureFrame {
        /// Job number.
        job: JobId,
        /// Which future.
        seed: u64,
        /// Frame number.
        index: usize,
        /// Picture width.
        width: usize,
        /// Picture height.
        height: usize,
        /// What the heads read.
        reading: Reading,
    },
    /// What a clip looks like after a denoising step: one small picture (a blob) per part. It stands in for frames until
    /// they are decoded.
    FuturePreview {
        /// Job number.
        job: JobId,
        /// Which future.
        seed: u64,
        /// Denoising steps done.
        done: usize,
        /// Denoising steps in all.
        total: usize,
        /// First frame that a picture stands for, the frame behind the last one, the picture's width and height.
        parts: Vec<(usize, usize, usize, usize)>,
    },
    /// Pictures that were asked for (`WorldFrame`, `Preview`): one blob each.
    Pictures {
        /// Job number.
        job: JobId,
        /// (width, height) of each blob.
        sizes: Vec<(usize, usize)>,
        /// State of each picture by channel name, where known.
        states: Vec<Vec<(String, f32)>>,
        /// One-step denoising residual against the contract's `familiar_residual`; above 1 = never seen the like.
        unfamiliar: Option<f32>,
        /// What a person should know (how it was fitted, what it shows).
        note: String,
    },
    /// One future is whole.
    FutureDone {
        /// Job number.
        job: JobId,
        /// Which future.
        seed: u64,
        /// Folder with its record, when it was written.
        folder: Option<PathBuf>,
        /// The record (`future.json`).
        record: serde_json::Value,
    },
    /// Numbers that a job found (`Score`), before its `Done`.
    Report {
        /// Job number.
        job: JobId,
        /// The numbers, with the keys of the command line's `--json`.
        value: serde_json::Value,
    },
    /// The engine's process has ended (crash, out of memory, killed). Each of its unfinished jobs has had its own
    /// `Failed` just before. Made by the client, never sent over a wire.
    EngineGone {
        /// What happened, in words.
        reason: String,
        /// Whether a new engine is being started; `Ready` follows when it answers.
        restarting: bool,
    },
    /// A job ended well.
    Done {
        /// Job number.
        job: JobId,
        /// One sentence.
        summary: String,
    },
    /// A job was cancelled.
    Cancelled {
        /// Job number.
        job: JobId,
    },
    /// A job failed; the text says what to do.
    Failed {
        /// Job number.
        job: JobId,
        /// What went wrong.
        message: String,
        /// What to do.
        advice: String,
    },
    /// A line for the log.
    Log {
        /// `info`, `warn` or `error`.
        level: String,
        /// The line.
        text: String,
    },
}

/// A model as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name.
    pub name: String,
    /// Folder.
    pub folder: PathBuf,
    /// sha256 of `model.safetensors`, lower-case hex.
    pub sha256: String,
    /// Number of weights.
    pub parameters: u64,
    /// Its contract.
    pub contract: Contract,
    /// More about models that make whole clips.
    #[serde(default)]
    pub clip: Option<ClipInfo>,
}

impl Request {
    /// The job that this request starts, and that therefore will end with `Done`, `Cancelled` or `Failed`.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::Hello { .. } | Self::Cancel { .. } | Self::Shutdown => None,
            Self::ListModels { job, .. }
            | Self::Warm { job, .. }
            | Self::Imagine { job, .. }
            | Self::WorldFrame { job, .. }
            | Self::Preview { job, .. }
            | Self::Record { job, .. }
            | Self::Score { job, .. }
            | Self::PostTrain { job, .. }
            | Self::Train { job, .. }
            | Self::ImportDataset { job, .. }
            | Self::ReadDataset { job, .. }
            | Self::ReadEpisode { job, .. }
            | Self::Examine { job, .. }
            | Self::PolicyTrain { job, .. }
            | Self::PolicyEvaluate { job, .. }
            | Self::PolicyImprove { job, .. }
            | Self::PolicyRank { job, .. }
            | Self::PolicyTwin { job, .. }
            | Self::BundleTry { job, .. }
            | Self::Plan { job, .. }
            | Self::Again { job, .. }
            | Self::OpenFuture { job, .. }
            | Self::SaveFuture { job, .. }
            | Self::FetchModel { job, .. }
            | Self::ImportModel { job, .. }
            | Self::CheckModel { job, .. }
            | Self::Reason { job, .. }
            | Self::AcceptTerms { job, .. }
            | Self::RemoveModel { job, .. } => Some(*job),
        }
    }
}

impl Event {
    /// The job that this event ends.
    pub fn ended_job(&self) -> Option<JobId> {
        match self {
            Self::Done { job, .. } | Self::Cancelled { job } | Self::Failed { job, .. } => Some(*job),
            _ => None,
        }
    }
}
