//! The error that a person reads: one sentence what is wrong, one what to do.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::path::Path;

/// Why something could not be done, and what the person can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Failure {
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do, one sentence; empty when `message` says it already.
    pub advice: String,
}

impl Failure {
    /// A failure from its two sentences.
    pub fn new(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { message: message.into(), advice: advice.into() }
    }

    /// A failure from an error that already says what to do.
    pub fn from_error(error: impl Display) -> Self {
        Self::new(error.to_string(), "")
    }

    /// Both sentences.
    pub fn text(&self) -> String {
        if self.advice.is_empty() {
            self.message.clone()
        } else {
            format!("{} {}", self.message, self.advice)
        }
    }

    /// What the panic of a thread means: a bug of ours, with what it said.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("it stopped without a reason");
        Self::new(
            format!("This is a bug in Forerun: {said}."),
            "Nothing was lost; try again, and report it with the log.",
        )
    }

    /// What an input or output error on `path` means. `doing` completes "Could not …": `read`, `write`, `make`.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "Check the path.",
            io::ErrorKind::PermissionDenied => "Choose another folder, or change its permissions.",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "The disk is full: free some space and start again; nothing was left half written."
            }
            io::ErrorKind::ReadOnlyFilesystem => "That disk can only be read: choose another folder.",
            _ => "Check the path, the disk and its permissions.",
        };
        Self::new(format!("Could not {doing} {shown}: {error}."), advice)
    }
}

/// Does `work`; a panic in it is a failure like any other, so that whoever waits for the answer gets one. What `work`
/// shares with others must guard itself (locks that recover, channels): nothing is unwound but `work`.
///
/// # Errors
/// Those of `work`, and [`Failure::of_panic`].
pub fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Failure::of_panic(panic.as_ref())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_full_disk_says_so_and_names_the_file() {
        let error = io::Error::from(io::ErrorKind::StorageFull);
        let failure = Failure::io("write", Path::new("/x/future.json"), &error);
        assert!(failure.message.contains("/x/future.json"));
        assert!(failure.text().contains("free some space"));
    }

    #[test]
    fn without_advice_the_text_is_the_message() {
        assert_eq!(Failure::from_error("a. b.").text(), "a. b.");
    }

    #[test]
    fn a_panic_is_a_failure_with_what_it_said() {
        assert_eq!(caught(|| Ok(3)), Ok(3));
        let failure = caught::<()>(|| panic!("joint {} of 6", 9)).expect_err("it panicked");
        assert!(failure.text().contains("joint 9 of 6"), "{failure}");
        let silent = caught::<()>(|| std::panic::panic_any(7)).expect_err("it panicked");
        assert!(silent.text().contains("without a reason"), "{silent}");
        assert_eq!(caught::<()>(|| Err(failure.clone())), Err(failure));
    }
}
