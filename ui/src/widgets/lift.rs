//! Turning frames into textures on a thread of its own: the window's thread neither converts nor copies pixels.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use eframe::egui::Context;
use eframe::egui_wgpu::wgpu;
use forerun::Frame;

use super::pane::upload;

/// A frame to be written into a texture that nothing draws from yet.
pub(super) struct Load {
    /// The texture, `scale` times as large as the frame.
    pub texture: wgpu::Texture,
    /// The frame.
    pub frame: Arc<Frame>,
    /// Pixels of the texture for one of the frame, each way.
    pub scale: usize,
}

/// The thread.
pub(super) struct Lift {
    sender: SyncSender<Vec<Load>>,
    landed: Receiver<()>,
}

impl Lift {
    /// Starts it; it wakes the window of `ctx` after each batch.
    pub fn new(ctx: &Context, queue: wgpu::Queue) -> Self {
        let (sender, batches) = sync_channel::<Vec<Load>>(1);
        let (answer, landed) = sync_channel(1);
        let ctx = ctx.clone();
        let body = move || {
            while let Ok(batch) = batches.recv() {
                for Load { texture, frame, scale } in batch {
                    let size = [frame.width * scale, frame.height * scale];
                    // The queue carries writes out before the next thing that is drawn.
                    upload(&queue, &texture, size, &frame.rgba(scale));
                }
                if answer.send(()).is_err() {
                    return;
                }
                ctx.request_repaint();
            }
        };
        // Without the thread the batches are refused, and the panes stay empty; the window itself works.
        let _ = std::thread::Builder::new().name("textures".into()).spawn(body);
        Self { sender, landed }
    }

    /// Takes a batch; `false` when it cannot.
    pub fn take(&self, batch: Vec<Load>) -> bool {
        self.sender.try_send(batch).is_ok()
    }

    /// Whether the batch is done.
    pub fn landed(&self) -> bool {
        self.landed.try_recv().is_ok()
    }

    /// Whether the batch is done within this time; waits no longer than it needs.
    pub fn landed_within(&self, patience: Duration) -> bool {
        !patience.is_zero() && self.landed.recv_timeout(patience).is_ok()
    }
}
