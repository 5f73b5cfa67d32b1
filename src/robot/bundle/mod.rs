//! Bundles: a policy packed for a robot, signed and hashed; installing them so that a crash leaves the old or the new
//! one whole; and the stages that a new one goes through before it may move an arm at full speed.

pub mod from_policy;
pub mod install;
pub mod manifest;
pub mod pack;
pub mod stages;
mod tar;

pub use install::Store;
pub use manifest::Manifest;
pub use pack::{Bundle, SigningKey, read, write};
pub use stages::{Progress, Stage};

use std::path::PathBuf;

/// Why a bundle was refused or could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("{path}: {source}. Check the path, its permissions and the space on the disk")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no bundle, or damaged.
    #[error("this is not a whole bundle ({0}). Copy or pack it again")]
    Damaged(String),
    /// It was written by a newer version.
    #[error("this bundle has format {found}, this version reads up to {newest}; update Forerun")]
    Newer {
        /// Its format.
        found: u32,
        /// The newest that is read.
        newest: u32,
    },
    /// Its signature does not fit.
    #[error(
        "the signature of this bundle does not fit its contents: somebody or something changed it. Do not use it; pack it again"
    )]
    Signature,
    /// It is signed by somebody who is not trusted.
    #[error(
        "this bundle is signed with the key {0}, which is not trusted here. If you know whose it is, trust that key first"
    )]
    Stranger(String),
    /// A goal policy: a robot is told by words, and nothing would say which picture to go for.
    #[error(
        "{0} goes for pictures, and a robot is told by words. Pack a policy of the kind direct (forerun policy train --kind direct)"
    )]
    GoalPolicy(String),
    /// It is for another robot.
    #[error("this bundle does not fit this robot: {}", .0.join("; "))]
    Mismatch(Vec<String>),
    /// A key file cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// There is nothing to go back to.
    #[error("there is no earlier bundle to go back to")]
    NothingBefore,
}

pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> BundleError + use<> {
    let path = path.to_path_buf();
    move |source| BundleError::Io { path, source }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes of hexadecimal digits; `None` for anything else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() % 2 != 0 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect()
}
