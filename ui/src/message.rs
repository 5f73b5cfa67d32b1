//! What widgets send and background threads report. Nothing but the app carries them out.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::ColorImage;
use forerun::engine::protocol::JobId;

use crate::commands::Command;
use crate::doc::Edit;
use crate::log::Level;
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
    /// Close whatever sheet is open.
    CloseSheet,
    /// A line for the log, shown as a toast too.
    Tell(Level, String),
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

    /// Takes all messages out.
    pub fn take(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.0)
    }
}
