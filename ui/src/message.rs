//! What widgets send and background threads report. Nothing but the app carries them out.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::ColorImage;
use forerun::engine::protocol::{ImagineSpec, JobId};

use crate::commands::Command;
use crate::compare::{self, Look, Part};
use crate::data::DataWish;
use crate::doc::Edit;
use crate::log::Level;
use crate::policy::PolicyWish;
use crate::train::TrainWish;
use crate::transport::Input;

/// A wish of a person or the answer of a background thread.
#[derive(Clone, Debug)]
pub enum Message {
    /// Carry out a command.
    Do(Command),
    /// Change the setup.
    Edit(Edit),
    /// Drive the transport.
    Transport(Input),
    /// Select the pane with this number.
    SelectPane(usize),
    /// Show one pane alone, or all again.
    Maximise(usize),
    /// Take the starter scene with this number.
    PickScene(usize),
    /// Change something on the Compare screen.
    Compare(Wish),
    /// Change something on the Data screen.
    Data(DataWish),
    /// Change something on the Train screen.
    Train(TrainWish),
    /// Change something on the Policy screen.
    Policy(PolicyWish),
    /// Something for the robot.
    Robot(crate::robot::Wish),
    /// Choose a bundle to install on the robot.
    PickBundle,
    /// Set the recorded episodes of the robot beside their imagined twins.
    Twins,
    /// Start from these files (dropped or chosen).
    Files(Vec<PathBuf>),
    /// Start from this `DATASET#EPISODE`.
    Episode(String),
    /// Choose the folder of a dataset.
    BrowseDataset,
    /// A picture was pasted.
    PastedImage(Arc<ColorImage>),
    /// Open this project folder.
    Project(PathBuf),
    /// Stop a job.
    CancelJob(JobId),
    /// Run the last failed job again.
    Retry,
    /// Close the banner.
    DismissBanner,
    /// Close a toast.
    DismissToast(u64),
    /// Put text on the clipboard.
    Copy(String),
    /// Show or hide the curve of a channel.
    ToggleCurve(String),
    /// Ask a reasoner about the selected future.
    Ask(crate::verdict::Ask),
    /// Put away what a reasoner said, or stop it.
    CloseVerdict,
    /// A wish that concerns the Models screen.
    Models(crate::shelf::Wish),
    /// Close whatever sheet is open.
    CloseSheet,
    /// A line for the log, shown as a toast too.
    Tell(Level, String),
}

/// A wish that concerns the Compare screen.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Change the set.
    Edit(compare::Edit),
    /// Select a pane.
    Select(u64),
    /// Open what a pane shows once more.
    Retry(u64),
    /// Show a pane alone, or all again.
    Alone(u64),
    /// Show another part of the screen.
    Part(Part),
    /// Look at the panes in another way.
    Look(Look),
    /// Where the line of the wipe stands.
    Split(f32),
    /// How much of the second picture shines through.
    Onion(f32),
    /// Amplification of the signed difference.
    Gain(f32),
    /// Zoom all panes by a factor; the point (0..=1 of the visible part) stays.
    Zoom(f32, eframe::egui::Vec2),
    /// Move the pictures of all panes, in widths and heights of a pane.
    Shift(eframe::egui::Vec2),
    /// Show this metric.
    Metric(String),
    /// Choose a future of the project by its folder.
    Choose(PathBuf),
    /// Search the gallery.
    Query(String),
    /// The typing of a name has ended: keep it?
    Renamed(bool),
    /// Imagine this branch.
    Branch(crate::shell::sheets::Branch),
    /// Export.
    Export(compare::export::Export),
    /// Stop the export.
    StopExport,
    /// Vary something else along an axis of the sweep.
    AxisKind(compare::sweep::Which, compare::sweep::AxisKind),
    /// Vary another channel.
    AxisChannel(compare::sweep::Which, String),
    /// Other values along an axis.
    AxisValues(compare::sweep::Which, String),
    /// Leave the blind round.
    EndBlind,
    /// Mean and spread of these frames were computed.
    SetMade(Vec<Arc<forerun::Frame>>, Option<compare::views::SetPictures>),
    /// Distances of the set's futures were computed.
    MiddleMade(compare::views::Middle),
    /// The panes were measured; `true` when this is all of it.
    Measured(Arc<compare::numbers::Measured>, bool),
    /// The project's futures were read.
    Library(Arc<compare::library::Snapshot>),
    /// A small picture was read.
    Thumb(PathBuf, Option<Arc<forerun::Frame>>),
    /// The project's futures cannot be read or written; why.
    Trouble(String),
    /// The futures of the action-following gauge were laid out: the probes and their base.
    Probes(Result<Box<(Vec<forerun::compare::follow::Probe>, ImagineSpec)>, String>),
    /// A sweep was laid out.
    SweepLaid(Result<Box<forerun::compare::sweep::Sweep>, String>),
    /// The blind round is over.
    Standings(Vec<forerun::compare::votes::Standing>),
    /// An export ended: where it is, why it failed, or that none was wanted.
    Exported(Option<Result<PathBuf, String>>),
    /// A frame was read again from its file, or cannot be; why.
    Loaded(compare::loader::Place, Result<Arc<forerun::Frame>, String>),
    /// The virtual world has begun beside a future: what moves its arm, the colours of its objects, its steps.
    WorldBegun {
        /// Number of the run that holds it.
        job: JobId,
        /// What moves the arm.
        drive: forerun::compare::live::Drive,
        /// Names and colours of the objects.
        colours: Vec<(String, [u8; 3])>,
        /// Steps that it will run.
        steps: usize,
        /// Record of the future that it runs beside.
        record: Arc<forerun::engine::record::FutureRecord>,
    },
    /// A frame of the virtual world.
    WorldFrame {
        /// Number of the run that holds it.
        job: JobId,
        /// Frame number.
        index: usize,
        /// The frame with its labels.
        frame: Box<forerun::compare::live::LiveFrame>,
        /// The file that has it, where one was written.
        file: Option<PathBuf>,
    },
    /// The virtual world has ended beside a future; why, if not well.
    WorldEnded {
        /// Number of the run that holds it.
        job: JobId,
        /// The pane's name for it.
        source: compare::Source,
        /// Why it ended early.
        trouble: Option<String>,
    },
    /// What really happened was read from its recording.
    Truth {
        /// Number of the run that holds it.
        job: JobId,
        /// The pane's name for it.
        source: compare::Source,
        /// Its frames and the files that have them (none for short ones), or why there are no frames.
        frames: Result<(Vec<Arc<forerun::Frame>>, Vec<PathBuf>), String>,
    },
}

/// Where widgets put their messages.
#[derive(Debug, Default)]
pub struct Outbox(Vec<Message>);

impl Outbox {
    /// Sends a message.
    pub fn send(&mut self, message: Message) {
        self.0.push(message);
    }

    /// Sends a command.
    pub fn command(&mut self, command: Command) {
        self.send(Message::Do(command));
    }

    /// Sends an edit.
    pub fn edit(&mut self, edit: Edit) {
        self.send(Message::Edit(edit));
    }

    /// Sends a wish of the Compare screen.
    pub fn compare(&mut self, wish: Wish) {
        self.send(Message::Compare(wish));
    }

    /// Sends a wish to the robot.
    pub fn robot(&mut self, wish: crate::robot::Wish) {
        self.send(Message::Robot(wish));
    }

    /// Takes all messages out.
    pub fn take(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.0)
    }
}
