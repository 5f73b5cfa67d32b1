//! Writes every frame of a dataset to standard output as this library decodes it: for each episode and camera a line
//! of JSON (`episode`, `camera`, `frames`, `width`, `height`), then the frames as raw RGB bytes.
//!
//! `tests/python/compare_reading.py` holds them against what the public `lerobot` library reads.
//!
//! ```sh
//! cargo run --release --example dataset_frames -- DATASET > frames.bin
//! ```

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use forerun::dataset::Dataset;

/// Frames that are in memory at once.
const CHUNK: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::args_os().nth(1).ok_or("name a dataset folder")?);
    let set = Dataset::open(&root)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let cameras: Vec<String> = set.cameras().iter().map(|camera| camera.key.clone()).collect();
    for meta in set.episodes() {
        for camera in &cameras {
            for from in (0..meta.length).step_by(CHUNK) {
                let frames = set.clip(camera, meta.index, from..(from + CHUNK).min(meta.length))?;
                if let (0, Some(first)) = (from, frames.first()) {
                    writeln!(
                        out,
                        r#"{{"episode":{},"camera":"{camera}","frames":{},"width":{},"height":{}}}"#,
                        meta.index, meta.length, first.width, first.height
                    )?;
                }
                for frame in frames {
                    out.write_all(&frame.data)?;
                }
            }
        }
    }
    out.flush()?;
    Ok(())
}
