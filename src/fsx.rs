//! Files and folders that are either whole or not there: temporary name in the same folder, sync, rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Tells this run of the program from an earlier one with the same process number.
fn run_token() -> u64 {
    static TOKEN: OnceLock<u64> = OnceLock::new();
    *TOKEN.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_micros() as u64 & 0xffff_ffff_ffff
    })
}

/// A hidden sibling of `path`: `.NAME.PID-TOKEN.N.tmp`, recognised by [`sweep`].
fn temporary_sibling(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?
        .to_string_lossy();
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let hidden = format!(".{name}.{}-{:x}.{n}.tmp", std::process::id(), run_token());
    Ok(parent_of(path).join(hidden))
}

/// The folder that holds `path` (`.` for a bare name).
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Removes `folder` and what is below it as far as there is nothing in it; files stay, and what holds them.
/// For a job that made folders and then could not fill them.
pub fn prune_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            prune_empty(&entry.path());
        }
    }
    // Refused by the system for a folder that still holds something, which is the point.
    let _ = fs::remove_dir(folder);
}

/// Writes a whole file or nothing: a reader sees the old bytes or the new ones, never a part.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_sibling(path)?;
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_folder(parent_of(path));
    Ok(())
}

/// Bytes that lie, synced, beside their final place and only need a rename.
///
/// Files that belong together are staged first (this is where a full disk shows) and then committed one right
/// after another, so that the time in which a kill could part them is a few microseconds. Dropped without
/// [`Staged::commit`], it removes its temporary file.
#[derive(Debug)]
pub struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

/// Writes and syncs `bytes` under a temporary name beside `path`; missing parent folders are made.
pub fn stage(path: &Path, bytes: &[u8]) -> io::Result<Staged> {
    fs::create_dir_all(parent_of(path))?;
    let temporary = temporary_sibling(path)?;
    let staged = Staged { temporary, target: path.to_path_buf(), committed: false };
    let mut file = OpenOptions::new().write(true).create_new(true).open(&staged.temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(staged)
}

impl Staged {
    /// Gives the file its final name.
    pub fn commit(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.target)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes a rename durable where the system can do so (directories cannot be opened everywhere).
fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

/// A folder under construction. Dropped without [`PendingFolder::commit`] it vanishes; killed, it leaves a hidden
/// `.tmp` folder that [`sweep`] removes later.
#[derive(Debug)]
pub struct PendingFolder {
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl PendingFolder {
    /// Starts the folder `target`; its parents are made.
    pub fn new(target: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent_of(target))?;
        let temporary = temporary_sibling(target)?;
        fs::create_dir(&temporary)?;
        Ok(Self { temporary, target: target.to_path_buf(), committed: false })
    }

    /// Where to write for now.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Where it will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Syncs all files and gives the folder its name. An older folder of that name is replaced as a whole.
    pub fn commit(mut self) -> io::Result<PathBuf> {
        sync_tree(&self.temporary)?;
        if self.target.exists() {
            let old = temporary_sibling(&self.target)?;
            fs::rename(&self.target, &old)?;
            if let Err(error) = fs::rename(&self.temporary, &self.target) {
                fs::rename(&old, &self.target)?;
                return Err(error);
            }
            self.committed = true;
            let _ = fs::remove_dir_all(&old);
        } else {
            fs::rename(&self.temporary, &self.target)?;
            self.committed = true;
        }
        sync_folder(parent_of(&self.target));
        Ok(self.target.clone())
    }
}

impl Drop for PendingFolder {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(folder);
    Ok(())
}

/// Removes what killed runs left in `folder` (hidden `.tmp` files and folders of processes that live no more).
/// Returns how many were removed; a folder that cannot be read has none.
pub fn sweep(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let mut removed = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((pid, token)) = name.to_str().and_then(owner_of) else { continue };
        let ours = pid == std::process::id();
        let stale = if ours { token != run_token() } else { !process_lives(pid) };
        if !stale {
            continue;
        }
        let path = entry.path();
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed += usize::from(gone.is_ok());
    }
    removed
}

/// Process number and run token in a temporary name.
fn owner_of(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit('.');
    parts.next()?.parse::<u64>().ok()?;
    let (pid, token) = parts.next()?.split_once('-')?;
    parts.next()?;
    Some((pid.parse().ok()?, u64::from_str_radix(token, 16).ok()?))
}

#[cfg(unix)]
fn process_lives(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 sends nothing; the call only asks whether the process exists.
    let answer = unsafe { libc::kill(pid, 0) };
    answer == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(not(unix))]
fn process_lives(_pid: u32) -> bool {
    // Without a way to ask, what another process made is left alone.
    true
}

/// sha256 of bytes, lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// sha256 of a file's bytes, lower-case hex, read in pieces.
pub fn sha256_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(piece.get(..n).unwrap_or_default());
    }
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Copies a folder's files and subfolders into the existing folder `to`; links are not followed.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_atomic_write_replaces_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("taken");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("x"), b"x").unwrap();
        assert!(write_atomic(&target, b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_staged_file_appears_only_when_committed_and_leaves_nothing_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/a.json");
        let staged = stage(&path, b"one").unwrap();
        assert!(!path.exists());
        staged.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        drop(stage(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/seed-1");
        let pending = PendingFolder::new(&target).unwrap();
        fs::write(pending.path().join("a"), b"a").unwrap();
        assert!(!target.exists());
        drop(pending);
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 0);

        let pending = PendingFolder::new(&target).unwrap();
        fs::write(pending.path().join("a"), b"a").unwrap();
        pending.commit().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"a");

        let pending = PendingFolder::new(&target).unwrap();
        fs::write(pending.path().join("b"), b"b").unwrap();
        pending.commit().unwrap();
        assert!(target.join("b").exists() && !target.join("a").exists());
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn sweeping_removes_what_the_dead_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        // The largest process number of Linux is 2^22, so this one lives nowhere.
        fs::create_dir(dir.path().join(".seed-1.2000000000-ab.0.tmp")).unwrap();
        fs::write(dir.path().join(".mine.tmp"), b"").unwrap();
        fs::write(dir.path().join("kept"), b"").unwrap();
        let running = PendingFolder::new(&dir.path().join("seed-2")).unwrap();
        let removed = sweep(dir.path());
        #[cfg(unix)]
        assert_eq!(removed, 1);
        let _ = removed;
        assert!(running.path().exists());
        assert!(dir.path().join("kept").exists() && dir.path().join(".mine.tmp").exists());
    }

    #[test]
    fn only_empty_folders_are_pruned() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        fs::create_dir_all(dir.path().join("a/d")).unwrap();
        fs::write(dir.path().join("a/d/kept"), b"x").unwrap();
        prune_empty(&dir.path().join("a"));
        assert!(!dir.path().join("a/b").exists() && dir.path().join("a/d/kept").exists());
        fs::remove_file(dir.path().join("a/d/kept")).unwrap();
        prune_empty(&dir.path().join("a"));
        assert!(!dir.path().join("a").exists() && dir.path().exists());
    }

    #[test]
    fn the_hash_of_nothing_is_the_published_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_hex(b""), empty);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), b"").unwrap();
        assert_eq!(sha256_file(&dir.path().join("x")).unwrap(), empty);
    }
}
