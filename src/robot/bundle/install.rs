//! Installed bundles: each in a folder named by its hash, `current` a link that is moved by one rename.
//!
//! A kill at any moment leaves `current` at the old or at the new bundle, whole. What an unfinished installation left
//! behind is cleared by the next one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use super::pack::{self, Bundle};
use super::{BundleError, io};

/// So many bundles are kept.
pub const KEPT: usize = 5;
/// A bundle that faults so often ...
pub const FAULTS: u32 = 2;
/// ... in its first seconds of running is rolled back.
pub const TRIAL_SECONDS: f64 = 60.0;

/// A folder of installed bundles.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// A store in this folder, which is made where it is missing.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        fs::create_dir_all(folder).map_err(io(folder))?;
        Ok(Self(folder.to_path_buf()))
    }

    fn bundle(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    /// Public keys that are trusted here, one a line in `trusted-keys.txt`.
    pub fn trusted(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("trusted-keys.txt")).unwrap_or_default();
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(Into::into).collect()
    }

    /// Trusts a public key from now on.
    pub fn trust(&self, key: &str) -> Result<(), BundleError> {
        if super::unhex(key).is_none_or(|b| b.len() != 32) {
            return Err(BundleError::Key("a public key has 64 hexadecimal digits".into()));
        }
        let mut keys = self.trusted();
        if !keys.iter().any(|k| k == key) {
            keys.push(key.to_lowercase());
        }
        let path = self.0.join("trusted-keys.txt");
        super::super::write_whole(&path, format!("{}\n", keys.join("\n")).as_bytes()).map_err(io(&path))
    }

    /// Installs a bundle and makes it the current one.
    pub fn install(&self, file: &Path) -> Result<Bundle, BundleError> {
        self.clear_unfinished();
        let building = self.0.join(format!("unfinished-{}", std::process::id()));
        let _ = fs::remove_dir_all(&building);
        fs::create_dir(&building).map_err(io(&building))?;
        let outcome = self.unpack(file, &building);
        let bundle = match outcome {
            Ok(bundle) => bundle,
            Err(e) => {
                let _ = fs::remove_dir_all(&building);
                return Err(e);
            }
        };
        let home = self.bundle(&bundle.id);
        if home.exists() {
            // The same contents, by their hash; but only if they are still whole.
            if self.verify(&bundle.id).is_ok() {
                let _ = fs::remove_dir_all(&building);
            } else {
                let broken = self.0.join(format!("unfinished-broken-{}", std::process::id()));
                fs::rename(&home, &broken).map_err(io(&home))?;
                fs::rename(&building, &home).map_err(io(&home))?;
                let _ = fs::remove_dir_all(&broken);
            }
        } else {
            fs::rename(&building, &home).map_err(io(&home))?;
        }
        super::super::sync_folder(&self.0).map_err(io(&self.0))?;
        self.make_current(&bundle.id)?;
        self.forget_old();
        Ok(bundle)
    }

    fn unpack(&self, file: &Path, into: &Path) -> Result<Bundle, BundleError> {
        let mut open: Option<(PathBuf, BufWriter<File>)> = None;
        let close = |open: &mut Option<(PathBuf, BufWriter<File>)>| -> Result<(), BundleError> {
            if let Some((path, mut out)) = open.take() {
                out.flush().map_err(io(&path))?;
                out.get_ref().sync_all().map_err(io(&path))?;
            }
            Ok(())
        };
        let mut folders = vec![into.to_path_buf()];
        let bundle = pack::read(file, &self.trusted(), |name, piece| {
            let path = into.join(name);
            if open.as_ref().is_none_or(|(p, _)| *p != path) {
                close(&mut open)?;
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(io(folder))?;
                    if !folders.iter().any(|f| f == folder) {
                        folders.push(folder.to_path_buf());
                    }
                }
                open = Some((path.clone(), BufWriter::new(File::create(&path).map_err(io(&path))?)));
            }
            match &mut open {
                Some((path, out)) => out.write_all(piece).map_err(io(path)),
                None => Ok(()),
            }
        })?;
        close(&mut open)?;
        for folder in folders.iter().rev() {
            super::super::sync_folder(folder).map_err(io(folder))?;
        }
        Ok(bundle)
    }

    /// Points `current` at a bundle, and remembers the order of installation.
    fn make_current(&self, id: &str) -> Result<(), BundleError> {
        // The history first: a bundle that is current must be in it; one that never became current does no harm there.
        let mut history = self.history();
        history.retain(|h| h != id);
        history.push(id.to_string());
        self.write_history(&history)?;
        self.point(id)
    }

    fn point(&self, id: &str) -> Result<(), BundleError> {
        let link = self.0.join("current");
        let new = self.0.join(format!("unfinished-link-{}", std::process::id()));
        let _ = fs::remove_file(&new);
        link_to(id, &new).map_err(io(&new))?;
        fs::rename(&new, &link).map_err(io(&link))?;
        super::super::sync_folder(&self.0).map_err(io(&self.0))
    }

    /// Installed bundles in the order of their installation, the newest last.
    pub fn history(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("history.txt")).unwrap_or_default();
        text.lines()
            .map(str::trim)
            .filter(|l| super::unhex(l).is_some_and(|b| b.len() == 32))
            .map(Into::into)
            .collect()
    }

    fn write_history(&self, history: &[String]) -> Result<(), BundleError> {
        let path = self.0.join("history.txt");
        super::super::write_whole(&path, format!("{}\n", history.join("\n")).as_bytes()).map_err(io(&path))
    }

    /// The bundle that is live now, with its folder; `None` before the first installation.
    pub fn current(&self) -> Option<(String, PathBuf)> {
        let id = read_link(&self.0.join("current"))?;
        Some((id.clone(), self.bundle(&id)))
    }

    /// Checks an installed bundle, file by file.
    pub fn verify(&self, id: &str) -> Result<Manifest, BundleError> {
        use sha2::Digest;
        let folder = self.bundle(id);
        let path = folder.join("manifest.json");
        let bytes = fs::read(&path).map_err(io(&path))?;
        if super::hex(&sha2::Sha256::digest(&bytes)) != id {
            return Err(BundleError::Damaged("its manifest was changed".into()));
        }
        let manifest = Manifest::parse(&bytes)?;
        for m in &manifest.members {
            let path = folder.join(&m.path);
            let mut file = File::open(&path).map_err(io(&path))?;
            let mut hash = sha2::Sha256::new();
            std::io::copy(&mut file, &mut hash).map_err(io(&path))?;
            if super::hex(&hash.finalize()) != m.sha256 {
                return Err(BundleError::Damaged(format!("{} was changed", m.path)));
            }
        }
        Ok(manifest)
    }

    /// Goes back to the bundle before the current one, checking it first.
    pub fn roll_back(&self) -> Result<String, BundleError> {
        let (now, _) = self.current().ok_or(BundleError::NothingBefore)?;
        let history = self.history();
        let at = history.iter().position(|h| *h == now).unwrap_or(history.len());
        let before = history.iter().take(at).rev().find(|id| self.verify(id).is_ok());
        let id = before.ok_or(BundleError::NothingBefore)?;
        self.point(id)?;
        Ok(id.clone())
    }

    /// Notes a fault of the current bundle after so many seconds of running in all; rolls back and answers with the
    /// earlier bundle when it was one too many in its first minute.
    pub fn note_fault(&self, seconds_run: f64) -> Result<Option<String>, BundleError> {
        let Some((id, _)) = self.current() else {
            return Ok(None);
        };
        if seconds_run > TRIAL_SECONDS {
            return Ok(None);
        }
        let path = self.0.join(format!("{id}.faults"));
        let faults =
            fs::read_to_string(&path).ok().and_then(|t| t.trim().parse::<u32>().ok()).unwrap_or(0) + 1;
        super::super::write_whole(&path, faults.to_string().as_bytes()).map_err(io(&path))?;
        if faults < FAULTS {
            return Ok(None);
        }
        match self.roll_back() {
            Ok(earlier) => Ok(Some(earlier)),
            Err(BundleError::NothingBefore) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Where the stages of a bundle on a robot are kept.
    pub fn stages_file(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.stages.json"))
    }

    /// Seconds that a bundle has run in all.
    pub fn seconds_run(&self, id: &str) -> f64 {
        let text = fs::read_to_string(self.0.join(format!("{id}.seconds"))).unwrap_or_default();
        text.trim().parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0).unwrap_or(0.0)
    }

    /// Notes the end of a run of the current bundle: its time is added up, a fault is counted. When it was one fault too
    /// many in the bundle's first minute, the earlier bundle is current again, and its name comes back.
    pub fn note_run(&self, seconds: f64, fault: bool) -> Result<Option<String>, BundleError> {
        let Some((id, _)) = self.current() else {
            return Ok(None);
        };
        let all = self.seconds_run(&id) + seconds.max(0.0);
        let path = self.0.join(format!("{id}.seconds"));
        super::super::write_whole(&path, format!("{all:.3}").as_bytes()).map_err(io(&path))?;
        if fault { self.note_fault(all) } else { Ok(None) }
    }

    fn forget_old(&self) {
        let mut history = self.history();
        let current = self.current().map(|(id, _)| id);
        while history.len() > KEPT {
            let Some(at) = history.iter().position(|h| Some(h) != current.as_ref()) else {
                break;
            };
            let old = history.remove(at);
            // Out of the history first: a kill in between leaves a folder too many, never a bundle too few.
            if self.write_history(&history).is_err() {
                return;
            }
            let _ = fs::remove_dir_all(self.bundle(&old));
            for kind in ["faults", "seconds", "stages.json"] {
                let _ = fs::remove_file(self.0.join(format!("{old}.{kind}")));
            }
        }
    }

    fn clear_unfinished(&self) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for e in entries.flatten() {
            if e.file_name().to_string_lossy().starts_with("unfinished-") {
                let _ = fs::remove_dir_all(e.path());
                let _ = fs::remove_file(e.path());
            }
        }
    }
}

#[cfg(unix)]
fn link_to(id: &str, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(id, link)
}

#[cfg(unix)]
fn read_link(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.to_str().map(Into::into)
}

/// Where links need special rights, `current` is a file that holds the name.
#[cfg(not(unix))]
fn link_to(id: &str, link: &Path) -> std::io::Result<()> {
    let mut file = File::create(link)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()
}

#[cfg(not(unix))]
fn read_link(link: &Path) -> Option<String> {
    fs::read_to_string(link).ok().map(|t| t.trim().to_string())
}
