//! Robots: the robot file, the safety layer in front of every motor, drivers, the agent that owns a port, bundles.
//!
//! Whatever wants to move an arm proposes; only [`safety`] commands. A [`driver::Driver`] moves motors on orders that
//! nothing outside the safety layer can make.

pub mod agent;
pub mod bench;
pub mod bundle;
pub mod bus;
pub mod calibration;
pub mod clock;
pub mod driver;
pub mod dynamixel;
#[cfg(unix)]
pub mod emulator;
pub mod feetech;
pub mod file;
pub mod gamepad;
pub mod numbers;
pub mod openpi;
pub mod push;
pub mod ros2;
pub mod safety;
pub mod tabletop;

use std::io::Write;
use std::path::Path;

/// Writes a file so that a crash leaves either the old one or the whole new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

/// Makes a rename in a folder durable.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Folders cannot be synced here; the rename itself is atomic.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> std::io::Result<()> {
    Ok(())
}
