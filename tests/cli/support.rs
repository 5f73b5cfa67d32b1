//! Running the program in a home of its own.

use std::path::Path;
use std::process::{Command, Output};

/// A home folder that no other test sees, with the program in it.
pub struct Home {
    /// The folder.
    pub dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `forerun` with these arguments in the home folder.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(exe())
            .args(arguments)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("XDG_DATA_HOME", self.dir.path().join("data"))
            .output()
            .unwrap()
    }

    /// Runs and expects exit code 1, a reason on stderr with all `words`, and nothing else in the home than before.
    pub fn fails(&self, arguments: &[&str], words: &[&str]) -> String {
        let before = self.listing();
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{arguments:?}: {word:?} is not in {text:?}");
        }
        assert!(!text.contains("panicked") && !text.contains("backtrace"), "{text}");
        assert_eq!(self.listing(), before, "{arguments:?} left something behind");
        text
    }

    /// As [`Home::fails`], where no file may grow beyond `kilobytes`: to a program that is a full disk.
    #[cfg(unix)]
    pub fn fails_on_a_full_disk(&self, kilobytes: u32, arguments: &[&str], words: &[&str]) {
        let before = self.listing();
        // The signal is left to the error code, as a full disk gives no signal either.
        let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$@\"");
        let output = Command::new("bash")
            .args(["-c", &script, "bash"])
            .arg(exe())
            .args(arguments)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("XDG_DATA_HOME", self.dir.path().join("data"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{arguments:?}: {word:?} is not in {text:?}");
        }
        assert!(!text.contains("panicked"), "{text}");
        assert_eq!(self.listing(), before, "{arguments:?} left something behind");
    }

    /// All files and folders of the home, for comparing.
    pub fn listing(&self) -> Vec<String> {
        let mut all = Vec::new();
        list(self.dir.path(), &mut all);
        all.sort();
        all
    }
}

fn list(folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        all.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), all);
        }
    }
}

/// The program.
pub fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_forerun"))
}

/// The JSON object in the last line of stdout.
pub fn last_json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {text:?}"))
}
