//! Small pictures of futures on disk: read by a thread of their own, a bounded number kept.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use eframe::egui::Context;
use forerun::{Frame, media};

use crate::background::Background;
use crate::message::{Message, Wish};

/// Most small pictures that are kept: about 25 MB.
const KEPT: usize = 512;
/// Longest side of a small picture; larger ones are made smaller.
const SIDE: usize = 128;
/// Pictures that may wait to be read.
const QUEUE: usize = 64;

/// Small pictures by their file.
#[derive(Debug, Default)]
pub struct Thumbs {
    sender: Option<SyncSender<PathBuf>>,
    /// `None` = asked for, or cannot be read.
    known: HashMap<PathBuf, (Option<Arc<Frame>>, u64)>,
    uses: u64,
}

impl Thumbs {
    /// Starts the thread that reads.
    pub fn new(ctx: &Context, background: &Background) -> Self {
        let (sender, files) = sync_channel::<PathBuf>(QUEUE);
        let (answer, ctx) = (background.sender(), ctx.clone());
        let body = move || {
            while let Ok(file) = files.recv() {
                let frame = media::read_picture(&file).ok().map(|f| Arc::new(smaller(f)));
                if answer.send(Message::Compare(Wish::Thumb(file, frame))).is_err() {
                    return;
                }
                ctx.request_repaint();
            }
        };
        let started = std::thread::Builder::new().name("thumbnails".into()).spawn(body).is_ok();
        Self { sender: started.then_some(sender), ..Self::default() }
    }

    /// The small picture of a file, if it is here; else it is asked for.
    pub fn get(&mut self, file: &Path) -> Option<Arc<Frame>> {
        self.uses += 1;
        if let Some((frame, used)) = self.known.get_mut(file) {
            *used = self.uses;
            return frame.clone();
        }
        // When many wait already, it is asked for again in a later frame.
        if self.sender.as_ref().is_some_and(|s| s.try_send(file.to_owned()).is_ok()) {
            self.known.insert(file.to_owned(), (None, self.uses));
        }
        None
    }

    /// Takes a picture that was read.
    pub fn put(&mut self, file: PathBuf, frame: Option<Arc<Frame>>) {
        self.known.insert(file, (frame, self.uses));
        if self.known.len() > KEPT {
            let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used).map(|(file, _)| file.clone());
            if let Some(file) = oldest {
                self.known.remove(&file);
            }
        }
    }
}

/// Every n-th pixel of a picture that is larger than a small picture has to be.
fn smaller(frame: Frame) -> Frame {
    let by = frame.width.max(frame.height).div_ceil(SIDE).max(1);
    if by == 1 {
        return frame;
    }
    let (width, height) = (frame.width / by, frame.height / by);
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            // The mean of a block, so that thin things do not vanish.
            let mut sums = [0usize; 3];
            for pixel in (0..by * by).filter_map(|i| frame.pixel(x * by + i % by, y * by + i / by)) {
                sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += usize::from(v));
            }
            data.extend(sums.map(|s| (s / (by * by)) as u8));
        }
    }
    Frame { width, height, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_become_small_ones() {
        let mut frame = Frame::filled(512, 256, [100, 0, 0]);
        frame.data.iter_mut().skip(512 * 3 * 128).for_each(|v| *v = 200);
        let small = smaller(frame);
        assert_eq!((small.width, small.height), (128, 64));
        assert_eq!((small.pixel(3, 3), small.pixel(3, 60)), (Some([100, 0, 0]), Some([200; 3])));
    }

    #[test]
    fn the_least_used_picture_goes_first() {
        let mut thumbs = Thumbs::default();
        for i in 0..KEPT {
            thumbs.put(format!("{i}").into(), Some(Arc::new(Frame::filled(1, 1, [0; 3]))));
            thumbs.get(Path::new(&format!("{i}")));
        }
        thumbs.get(Path::new("0"));
        thumbs.put("new".into(), None);
        assert!(thumbs.known.contains_key(Path::new("0")) && !thumbs.known.contains_key(Path::new("1")));
    }
}
