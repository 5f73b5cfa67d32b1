//! The project folder of a window: its name, its scratch folder, where its futures are kept.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A project folder. Nothing is created before there is something to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    folder: PathBuf,
    untitled: bool,
}

impl Project {
    /// The project in `folder`, or the untitled one of this user.
    pub fn new(folder: Option<PathBuf>) -> Self {
        match folder {
            Some(folder) => Self { folder: std::path::absolute(&folder).unwrap_or(folder), untitled: false },
            None => Self { folder: data_home().join("forerun").join("untitled"), untitled: true },
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its name, `None` for the untitled project.
    pub fn name(&self) -> Option<String> {
        (!self.untitled)
            .then(|| self.folder.file_name().unwrap_or(self.folder.as_os_str()).to_string_lossy().into())
    }

    /// The file that holds layout and setup.
    pub fn window_file(&self) -> PathBuf {
        self.own().join("window.json")
    }

    /// The folder for futures that nobody has asked to keep; one folder a run.
    pub fn scratch(&self) -> PathBuf {
        self.own().join("scratch")
    }

    /// The folder of kept futures.
    pub fn futures(&self) -> PathBuf {
        self.folder.join("futures")
    }

    /// The folder for pasted pictures.
    pub fn pasted(&self) -> PathBuf {
        self.own().join("pasted")
    }

    fn own(&self) -> PathBuf {
        self.folder.join(".forerun")
    }
}

fn data_home() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    variable("XDG_DATA_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .or_else(|| variable("HOME").map(|home| home.join(".local").join("share")))
        .unwrap_or_else(std::env::temp_dir)
}

/// A name for a run that sorts by time: `20261123-123005-7` (UTC, then the job's number).
pub fn run_name(job: u64) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    format!("{}-{job}", stamp(seconds))
}

/// Seconds since 1970 as `20261123-123005` (UTC). Days are turned into a date by counting from a March the first,
/// so that the leap day is the last one of its year (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_dates() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(951_782_400 + 3_723), "20000229-010203");
        assert_eq!(stamp(1_798_675_199), "20261230-235959");
    }

    #[test]
    fn names_come_from_the_folder() {
        assert_eq!(Project::new(Some("some/where/桌面".into())).name().as_deref(), Some("桌面"));
        assert_eq!(Project::new(None).name(), None);
        assert!(Project::new(Some("x".into())).folder().is_absolute());
    }
}
