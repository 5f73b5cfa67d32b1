//! Work that must not hold up the window: file dialogs, writing files, decoding what was pasted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use eframe::egui::{ColorImage, Context};
use forerun::failure::{Failure, caught};

use crate::log::Level;
use crate::message::Message;
use crate::state_file::{self, State};

/// Answers that may wait; more than a person can cause between two frames.
const QUEUE: usize = 256;

/// Starts threads and brings their answers back as messages.
pub struct Background {
    sender: SyncSender<Message>,
    receiver: Receiver<Message>,
    saver: SyncSender<(PathBuf, State)>,
    picker: Arc<dyn FilePicker>,
}

/// Asks a person for files. Behind a trait, so that tests answer without a dialog.
pub trait FilePicker: Send + Sync {
    /// Pictures or one clip; empty when the person chose none.
    fn frames(&self, title: &str) -> Vec<PathBuf>;
    /// A folder.
    fn folder(&self, title: &str) -> Option<PathBuf>;
    /// A bundle for a robot.
    fn bundle(&self, title: &str) -> Option<PathBuf> {
        self.frames(title).into_iter().next()
    }
    /// A file to write; `name` is suggested.
    fn save(&self, title: &str, name: &str) -> Option<PathBuf>;
}

/// The dialogs of the desktop.
pub struct DesktopPicker;

impl FilePicker for DesktopPicker {
    fn frames(&self, title: &str) -> Vec<PathBuf> {
        rfd::FileDialog::new()
            .set_title(title)
            .add_filter(
                "PNG, JPEG, WebP, BMP, GIF, TIFF, MP4",
                &["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "mp4", "mov", "m4v"],
            )
            .pick_files()
            .unwrap_or_default()
    }

    fn bundle(&self, title: &str) -> Option<PathBuf> {
        rfd::FileDialog::new().set_title(title).add_filter("*.bundle", &["bundle"]).pick_file()
    }

    fn folder(&self, title: &str) -> Option<PathBuf> {
        rfd::FileDialog::new().set_title(title).pick_folder()
    }

    fn save(&self, title: &str, name: &str) -> Option<PathBuf> {
        rfd::FileDialog::new().set_title(title).set_file_name(name).save_file()
    }
}

impl Background {
    /// Threads that wake the window of `ctx` when they answer.
    pub fn new(ctx: &Context, picker: Arc<dyn FilePicker>, cannot_save: String) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let (saver, states) = sync_channel::<(PathBuf, State)>(16);
        let (answers, ctx) = (sender.clone(), ctx.clone());
        let body = move || {
            while let Ok((path, state)) = states.recv() {
                if let Err(error) = state_file::write(&path, &state) {
                    let text = crate::i18n::fill(&cannot_save, &[("reason", &error)]);
                    let _ = answers.try_send(Message::Tell(Level::Warn, text));
                    ctx.request_repaint();
                }
            }
        };
        // Without this thread nothing is kept, but the window works; the send that fails is not worth a crash.
        let _ = std::thread::Builder::new().name("saver".into()).spawn(body);
        Self { sender, receiver, saver, picker }
    }

    /// The oldest answer, if one waits.
    pub fn try_recv(&self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }

    /// Sends answers from a thread of one's own.
    pub fn sender(&self) -> SyncSender<Message> {
        self.sender.clone()
    }

    /// Asks a person for files.
    pub fn picker(&self) -> Arc<dyn FilePicker> {
        self.picker.clone()
    }

    /// Writes the state soon.
    pub fn save(&self, path: PathBuf, state: State) -> bool {
        self.saver.try_send((path, state)).is_ok()
    }

    /// Runs `work` on a thread of its own; its message comes back to the app. A panic in it is told to the person; work
    /// that somebody waits for catches its own ([`caught`]) and answers. `false` when no thread could be started.
    pub fn run(
        &self,
        ctx: &Context,
        name: &str,
        work: impl FnOnce() -> Option<Message> + Send + 'static,
    ) -> bool {
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        let body = move || {
            let told = |failure: Failure| Some(Message::Tell(Level::Error, failure.text()));
            if let Some(message) = caught(|| Ok(work())).unwrap_or_else(told) {
                let _ = sender.send(message);
                ctx.request_repaint();
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(body).is_ok()
    }

    /// Asks for pictures or a clip.
    pub fn pick_frames(&self, ctx: &Context, title: String) {
        let picker = self.picker.clone();
        self.run(ctx, "dialog", move || {
            let files = picker.frames(&title);
            (!files.is_empty()).then_some(Message::Files(files))
        });
    }

    /// Asks for a bundle to install on the robot.
    pub fn pick_bundle(&self, ctx: &Context, title: String) {
        let picker = self.picker.clone();
        self.run(ctx, "dialog", move || {
            picker.bundle(&title).map(|f| Message::Robot(crate::robot::Wish::Install(f)))
        });
    }

    /// Asks for a project folder.
    pub fn pick_project(&self, ctx: &Context, title: String) {
        let picker = self.picker.clone();
        self.run(ctx, "dialog", move || picker.folder(&title).map(Message::Project));
    }

    /// Asks for a dataset folder; its first episode is the start.
    pub fn pick_dataset(&self, ctx: &Context, title: String) {
        let picker = self.picker.clone();
        self.run(ctx, "dialog", move || {
            picker.folder(&title).map(|f| Message::Episode(format!("{}#0", f.display())))
        });
    }

    /// Removes futures of past sessions that nobody kept within a week.
    pub fn sweep(&self, ctx: &Context, scratch: PathBuf) {
        self.run(ctx, "sweep", move || {
            for entry in std::fs::read_dir(scratch).ok()?.flatten() {
                let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
                if age.is_some_and(|age| age.as_secs() > 7 * 24 * 3600) {
                    // What cannot be removed now is tried again at the next start.
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
            None
        });
    }

    /// Keeps a pasted picture as a file in `folder` and starts from it.
    pub fn keep_pasted(&self, ctx: &Context, image: Arc<ColorImage>, folder: PathBuf, trouble: String) {
        self.run(ctx, "paste", move || {
            Some(match write_pasted(&image, &folder) {
                Ok(path) => Message::Files(vec![path]),
                Err(error) => Message::Tell(Level::Error, crate::i18n::fill(&trouble, &[("reason", &error)])),
            })
        });
    }
}

fn write_pasted(image: &ColorImage, folder: &std::path::Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let [width, height] = image.size;
    let rgb: Vec<u8> = image.pixels.iter().flat_map(|c| [c.r(), c.g(), c.b()]).collect();
    let picture =
        image::RgbImage::from_raw(width.try_into()?, height.try_into()?, rgb).ok_or("its size is wrong")?;
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    picture.write_to(&mut std::io::BufWriter::new(file.as_file_mut()), image::ImageFormat::Png)?;
    file.as_file().sync_all()?;
    let path = folder.join(format!("{}.png", crate::project::run_name(u64::from(std::process::id()))));
    file.persist(&path).map_err(|e| e.error)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use eframe::egui::Color32;

    #[test]
    fn a_panic_in_the_background_is_told() {
        let ctx = Context::default();
        let background = Background::new(&ctx, Arc::new(DesktopPicker), String::new());
        assert!(background.run(&ctx, "test", || panic!("no such row")));
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let told = std::iter::from_fn(|| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            (std::time::Instant::now() < until).then(|| background.try_recv())
        });
        let Some(Message::Tell(Level::Error, text)) = told.flatten().next() else {
            panic!("nothing was told")
        };
        assert!(text.contains("no such row"), "{text}");
    }

    #[test]
    fn a_pasted_picture_becomes_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let image = ColorImage::filled([5, 3], Color32::from_rgb(10, 200, 30));
        let path = write_pasted(&image, &folder.path().join("new")).unwrap();
        let read = image::open(path).unwrap().to_rgb8();
        assert_eq!((read.dimensions(), read.get_pixel(4, 2).0), ((5, 3), [10, 200, 30]));
    }
}
