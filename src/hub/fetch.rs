//! Downloading a model: file by file, from where a try before broke off, checked by size and hash.
//!
//! Files come into `.fetch/NAME` beside the person's own models and stay there until all are whole; only then the
//! folder gets its name. A broken download goes on where it was with the same command.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::listing::{self, Remote};
use super::{catalogue, endpoint};
use crate::engine::places::{is_name, own_models};
use crate::failure::Failure;
use crate::fsx;

/// File that says where a model came from.
pub const SOURCE_FILE: &str = "forerun-source.json";
/// Tries of one file that bring nothing new before it is given up.
const TRIES: usize = 5;
/// Longest silence of a server before the file is asked for again.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a waiting download looks whether it should stop.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes read at one time.
const BLOCK: usize = 256 << 10;

/// What to download.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FetchSpec {
    /// A short name of the catalogue, or a repository: `owner/name`.
    pub model: String,
    /// Branch, tag or commit; the catalogue's when absent.
    #[serde(default)]
    pub revision: Option<String>,
    /// Address of the hub.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Token for gated models.
    #[serde(default)]
    pub token: Option<String>,
    /// Name to give the model here.
    #[serde(default)]
    pub name: Option<String>,
    /// Folder of the person's own models; the usual one when absent.
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

/// How far a download is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes of all files, as far as the hub told.
    pub total: u64,
    /// File that is coming.
    pub file: String,
}

/// Where a model came from, and what its files should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Version of this file.
    pub format: u32,
    /// Address of the hub.
    pub endpoint: String,
    /// Repository.
    pub repository: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Size and sha256 of every file, as it is here.
    pub files: BTreeMap<String, FileSum>,
}

/// Size and hash of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileSum {
    /// Bytes.
    pub size: u64,
    /// sha256, lower-case hex.
    pub sha256: String,
    /// Whether the hub itself told the hash.
    pub told: bool,
}

/// Why a download did not come to its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// A person stopped it; what is here is kept for the next try.
    Cancelled,
    /// Something is wrong.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Downloads a model. `tell` hears how far it is; `cancelled` is asked several times a second.
///
/// # Errors
/// Cancelled, the hub refuses, the disk is full, or a file is not what the hub said it would be.
pub fn fetch(
    spec: &FetchSpec,
    tell: &mut dyn FnMut(&Progress),
    cancelled: &dyn Fn() -> bool,
) -> Result<PathBuf, Stop> {
    let known = catalogue::find(&spec.model);
    let repository = known.map_or(spec.model.as_str(), |entry| entry.repository);
    let revision = spec.revision.as_deref().or(known.map(|entry| entry.revision)).unwrap_or("main");
    if repository.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Err(Failure::new(
            format!("{} is neither a known model nor a repository.", spec.model),
            "Give a name of `forerun models list --published`, or OWNER/NAME.",
        )
        .into());
    }
    let own = spec.folder.clone().or_else(own_models).ok_or_else(|| {
        Failure::new("This account has no folder for application data.", "Set HOME, then try again.")
    })?;
    let default = known.map_or_else(|| repository.rsplit('/').next().unwrap_or("model"), |e| e.name);
    let name = spec.name.as_deref().unwrap_or(default);
    if !is_name(name) {
        return Err(Failure::new(
            format!("{name} cannot be the name of a model."),
            "Give it another one with --name: letters, digits, - and _.",
        )
        .into());
    }
    let target = own.join(name);
    if target.exists() {
        return Err(Failure::new(
            format!("A model called {name} is there already ({}).", target.display()),
            "Give the new one another name with --name, or remove the old one.",
        )
        .into());
    }
    let endpoint = endpoint(spec.endpoint.as_deref());
    let client = Client::new(&endpoint, spec.token.clone());
    tell(&Progress { file: repository.to_owned(), ..Progress::default() });
    let files = listing::list(&client, repository, revision)?;
    let staging = own.join(".fetch").join(name);
    let failed = |e: std::io::Error| Failure::io("write", &staging, &e);
    fs::create_dir_all(&staging).map_err(failed)?;
    same_source(&staging, repository, revision)?;
    let total: u64 = files.iter().filter_map(|f| f.size).sum();
    room(&staging, total)?;
    let mut source = Source {
        format: 1,
        endpoint,
        repository: repository.to_owned(),
        revision: revision.to_owned(),
        files: BTreeMap::new(),
    };
    let mut done = 0;
    for file in &files {
        let transfer = Transfer { client: &client, repository, revision, file, staging: &staging };
        let mut tell_file = |here: u64| {
            tell(&Progress { done: done + here, total: total.max(done + here), file: file.path.clone() });
        };
        let sum = transfer.run(&mut tell_file, cancelled)?;
        done += sum.size;
        source.files.insert(file.path.clone(), sum);
    }
    let text = serde_json::to_vec_pretty(&source).unwrap_or_default();
    let _ = fs::remove_file(staging.join(NOTE_FILE));
    fsx::write_atomic(&staging.join(SOURCE_FILE), &text).map_err(failed)?;
    fs::rename(&staging, &target).map_err(|e| Failure::io("write", &target, &e))?;
    fsx::prune_empty(&own.join(".fetch"));
    Ok(target)
}

/// File in an unfinished download that says of what it is.
const NOTE_FILE: &str = ".source";

/// Parts of another model or revision must not be taken for parts of this one.
fn same_source(staging: &Path, repository: &str, revision: &str) -> Result<(), Failure> {
    let note = staging.join(NOTE_FILE);
    let wanted = format!("{repository} {revision}");
    if fs::read_to_string(&note).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let failed = |e: std::io::Error| Failure::io("write", staging, &e);
    fs::remove_dir_all(staging).map_err(failed)?;
    fs::create_dir_all(staging).map_err(failed)?;
    fs::write(&note, wanted).map_err(failed)
}

/// Whether the disk has room for what is still to come.
fn room(staging: &Path, total: u64) -> Result<(), Failure> {
    let here = size_of(staging);
    let needed = total.saturating_sub(here);
    match crate::train::post::free_disk(staging) {
        Some(free) if free < needed => Err(Failure::new(
            format!(
                "The download needs {} more on the disk, there are {} free.",
                crate::engine::published::gigabytes(needed),
                crate::engine::published::gigabytes(free)
            ),
            "Free some space, or set XDG_DATA_HOME to a larger disk.",
        )),
        _ => Ok(()),
    }
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size =
        |path: PathBuf| if path.is_dir() { size_of(&path) } else { path.metadata().map_or(0, |m| m.len()) };
    entries.flatten().map(|entry| size(entry.path())).sum()
}

/// One file on its way.
struct Transfer<'a> {
    client: &'a Client,
    repository: &'a str,
    revision: &'a str,
    file: &'a Remote,
    staging: &'a Path,
}

/// What one request brought.
enum Outcome {
    /// The answer ended where it should.
    Complete,
    /// It broke off, for this reason.
    Broke(String),
}

impl Transfer<'_> {
    fn run(&self, tell: &mut dyn FnMut(u64), cancelled: &dyn Fn() -> bool) -> Result<FileSum, Stop> {
        let path = self.staging.join(&self.file.path);
        let part = path.with_file_name(format!(
            "{}.part",
            path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
        ));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Failure::io("make", parent, &e))?;
        }
        if path.is_file() {
            let sum = self.sum(&path)?;
            if self.fits(&sum) {
                tell(sum.size);
                return Ok(sum);
            }
            fs::remove_file(&path).map_err(|e| Failure::io("write", &path, &e))?;
        }
        let (mut failures, mut wrong) = (0, 0);
        loop {
            if cancelled() {
                return Err(Stop::Cancelled);
            }
            let before = part.metadata().map_or(0, |m| m.len());
            let outcome = self.request(&part, before, tell, cancelled)?;
            let now = part.metadata().map_or(0, |m| m.len());
            match outcome {
                Outcome::Complete if self.file.size.is_none_or(|size| size == now) => {
                    let sum = self.sum(&part)?;
                    if self.fits(&sum) {
                        fs::rename(&part, &path).map_err(|e| Failure::io("write", &path, &e))?;
                        return Ok(sum);
                    }
                    // What came is not what was promised: once more from the beginning, then it is the hub's fault.
                    wrong += 1;
                    fs::remove_file(&part).map_err(|e| Failure::io("write", &part, &e))?;
                    if wrong > 1 {
                        return Err(self.wrong(&sum).into());
                    }
                }
                Outcome::Complete | Outcome::Broke(_) => {
                    if self.file.size.is_some_and(|size| now > size) {
                        fs::remove_file(&part).map_err(|e| Failure::io("write", &part, &e))?;
                    }
                    failures = if now > before { 0 } else { failures + 1 };
                    if failures >= TRIES {
                        let reason = match outcome {
                            Outcome::Broke(reason) => reason,
                            Outcome::Complete => format!("it ended after {now} bytes"),
                        };
                        return Err(Failure::new(
                            format!("{} did not come through: {reason}.", self.file.path),
                            "Check the connection and start again: what is here already is kept.",
                        )
                        .into());
                    }
                    self.wait(failures, cancelled)?;
                }
            }
        }
    }

    /// A breath between tries, longer each time.
    fn wait(&self, failures: usize, cancelled: &dyn Fn() -> bool) -> Result<(), Stop> {
        for _ in 0..failures * 2 {
            if cancelled() {
                return Err(Stop::Cancelled);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// One request, appended to `part`.
    fn request(
        &self,
        part: &Path,
        from: u64,
        tell: &mut dyn FnMut(u64),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Outcome, Stop> {
        let address = listing::address(self.repository, self.revision, &self.file.path);
        let answer = match self.client.get(&address, from) {
            Ok(answer) => answer,
            Err(failure) => return Ok(Outcome::Broke(failure.message)),
        };
        let start = match answer.status {
            206 => from,
            // The server gives the whole file whatever was asked for.
            200 => 0,
            // Nothing behind what is here: it is whole, or of another version.
            416 => {
                let whole = self.file.size == Some(from);
                if !whole {
                    fs::remove_file(part).map_err(|e| Failure::io("write", part, &e))?;
                }
                return Ok(if whole { Outcome::Complete } else { Outcome::Broke("it starts anew".into()) });
            }
            500..=599 | 429 => {
                let failure = self.client.explain(answer.status, self.repository, &self.file.path);
                return Ok(Outcome::Broke(failure.message));
            }
            status => {
                let what = format!("file {} of {}", self.file.path, self.repository);
                return Err(self.client.explain(status, self.repository, &what).into());
            }
        };
        let failed = |e: std::io::Error| Failure::io("write", part, &e);
        let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(failed)?;
        if start == 0 && from > 0 {
            file.set_len(0).map_err(failed)?;
        }
        let mut here = start;
        let expected = answer.total.or(self.file.size);
        // A silent server must not keep anybody from stopping: another thread waits for it.
        let (sender, blocks) = mpsc::sync_channel::<std::io::Result<Vec<u8>>>(8);
        let mut body = answer.body;
        std::thread::spawn(move || {
            loop {
                let mut block = vec![0u8; BLOCK];
                let read = body.read(&mut block).map(|count| {
                    block.truncate(count);
                    block
                });
                let last = !matches!(&read, Ok(block) if !block.is_empty());
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        let mut silent = Duration::ZERO;
        loop {
            if cancelled() {
                file.sync_all().map_err(failed)?;
                return Err(Stop::Cancelled);
            }
            match blocks.recv_timeout(LOOK) {
                Ok(Ok(block)) if block.is_empty() => break,
                Ok(Ok(block)) => {
                    file.write_all(&block).map_err(failed)?;
                    here += block.len() as u64;
                    silent = Duration::ZERO;
                    tell(here);
                }
                Ok(Err(error)) => {
                    file.sync_all().map_err(failed)?;
                    return Ok(Outcome::Broke(error.to_string()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    silent += LOOK;
                    if silent >= SILENCE {
                        return Ok(Outcome::Broke("the server fell silent".into()));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        file.sync_all().map_err(failed)?;
        Ok(match expected {
            Some(expected) if here < expected => Outcome::Broke(format!("it broke off after {here} bytes")),
            _ => Outcome::Complete,
        })
    }

    fn sum(&self, path: &Path) -> Result<FileSum, Failure> {
        let failed = |e: std::io::Error| Failure::io("read", path, &e);
        let size = File::open(path).and_then(|f| f.metadata()).map_err(failed)?.len();
        let sha256 = fsx::sha256_file(path).map_err(failed)?;
        Ok(FileSum { size, sha256, told: self.file.sha256.is_some() })
    }

    fn fits(&self, sum: &FileSum) -> bool {
        let size = self.file.size.is_none_or(|size| size == sum.size);
        size && self.file.sha256.as_ref().is_none_or(|hash| hash.eq_ignore_ascii_case(&sum.sha256))
    }

    fn wrong(&self, sum: &FileSum) -> Failure {
        let told = self.file.sha256.as_deref().unwrap_or("unknown");
        Failure::new(
            format!(
                "{} came twice with other contents than the hub says: sha256 {}, not {told}.",
                self.file.path, sum.sha256
            ),
            "Do not use it. Try again later or at another address of the hub.",
        )
    }
}
