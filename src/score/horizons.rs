//! The numbers of one horizon.

use forerun_models::{Contract, Frame};
use serde_json::{Value, json};

use super::blob;
use super::pixels::{Pool, changed, ssim};
use super::skill::{Objects, Sighting};
use super::windows::Window;

/// Sums over windows for one horizon.
#[derive(Default)]
pub struct Horizon {
    model: Pool,
    moved: Pool,
    freeze: Pool,
    dead: Pool,
    shuffled: Pool,
    ssim: (f64, u64),
    objects: Objects,
    windows: usize,
}

impl Horizon {
    /// Adds a window's frame `step`: what the model made of the true actions, and of another episode's.
    pub fn add(
        &mut self,
        window: &Window,
        step: usize,
        made: &Frame,
        shuffled: Option<&Frame>,
        contract: &Contract,
    ) {
        let Some((truth, start)) = step.checked_sub(1).and_then(|i| window.truth.get(i)).zip(window.start())
        else {
            return;
        };
        self.windows += 1;
        self.model.add(made, truth);
        let where_changed = changed(start, truth);
        self.moved.add_where(made, truth, |i| where_changed.get(i) == Some(&true));
        self.freeze.add(start, truth);
        if let Some(shuffled) = shuffled {
            self.shuffled.add(shuffled, truth);
        }
        if let Some(similarity) = ssim(made, truth) {
            self.ssim.0 += similarity;
            self.ssim.1 += 1;
        }
        let Some(scene) = &window.scene else { return };
        if let Some(dead) = scene.dead(step, contract) {
            self.dead.add(&dead, truth);
        }
        for object in &scene.spec.objects {
            let seen = blob::find(start, object.rgb).zip(blob::find(truth, object.rgb));
            // Where the truth hides it behind the arm, nobody can be asked where it is.
            if let Some((start, truth)) = seen {
                let imagined = blob::find(made, object.rgb);
                self.objects.add(&Sighting { start, truth, imagined }, made.width);
            }
        }
    }

    /// The numbers, with the keys of `score --json`; null where they cannot be computed.
    pub fn report(&self) -> Value {
        let psnr = self.model.psnr();
        let shuffled = self.shuffled.psnr();
        json!({
            "psnr": psnr,
            "ssim": (self.ssim.1 > 0).then(|| self.ssim.0 / self.ssim.1 as f64),
            "changed_psnr": self.moved.psnr(),
            "freeze_psnr": self.freeze.psnr(),
            "dead_psnr": self.dead.psnr(),
            "shuffled_psnr": shuffled,
            "delta_psnr": psnr.zip(shuffled).map(|(a, b)| a - b),
            "contact_skill": self.objects.contact_skill(),
            "object_error_px": self.objects.error_px(),
            "object_error_deg": self.objects.error_deg(),
            "windows": self.windows,
            "objects_moved": self.objects.moved,
            "objects_lost": self.objects.lost,
        })
    }
}
