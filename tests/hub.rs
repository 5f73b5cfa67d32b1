//! Downloads from a hub on this machine that fails on purpose: it drops connections, lies about sums, falls silent,
//! answers 404, 401 and 500, and forgets what ranges are.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forerun::fsx::sha256_hex;
use forerun::hub::fetch::{Progress, SOURCE_FILE, Source, Stop};
use forerun::hub::{FetchSpec, fetch, installed};
use forerun::models::testing::published::{Tiny, tiny};

/// What the hub does to requests of one file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// Closes the connection after this many bytes, this many times.
    Drop(usize, usize),
    /// Sends other bytes of the right length.
    Lie,
    /// Sends a few bytes, then nothing.
    Silence,
    /// Answers with this status, this many times.
    Status(u16, usize),
    /// Ignores ranges.
    Whole,
}

struct Hub {
    address: String,
    files: BTreeMap<String, Vec<u8>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    troubles: Mutex<BTreeMap<String, Trouble>>,
    asked: Mutex<Vec<String>>,
    token: Mutex<Option<String>>,
    stop: AtomicBool,
    requests: AtomicUsize,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.state.stop.store(true, SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

const REPOSITORY: &str = "someone/tiny-model";

impl Hub {
    /// A hub with one tiny model, and files that nobody needs.
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        tiny(Tiny::Predict2, dir.path(), 3, 2).unwrap();
        let mut files = BTreeMap::new();
        collect(dir.path(), dir.path(), &mut files);
        files.insert("README.md".to_owned(), b"words".to_vec());
        files.insert("model.pt".to_owned(), vec![0; 100]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let (shared, copy) = (state.clone(), files.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stop.load(SeqCst) {
                    return;
                }
                let (state, files) = (shared.clone(), copy.clone());
                std::thread::spawn(move || answer(stream, &state, &files));
            }
        });
        Self { address, files, state }
    }

    fn trouble(&self, file: &str, trouble: Trouble) {
        self.state.troubles.lock().unwrap().insert(file.to_owned(), trouble);
    }

    fn spec(&self, own: &Path) -> FetchSpec {
        FetchSpec {
            model: REPOSITORY.into(),
            endpoint: Some(self.address.clone()),
            folder: Some(own.to_path_buf()),
            ..FetchSpec::default()
        }
    }

    fn fetch(&self, own: &Path) -> Result<PathBuf, Stop> {
        fetch(&self.spec(own), &mut |_: &Progress| {}, &|| false)
    }

    fn fails(&self, own: &Path) -> String {
        match self.fetch(own) {
            Err(Stop::Failed(failure)) => failure.text(),
            other => panic!("it did not fail: {other:?}"),
        }
    }
}

const WEIGHTS: &str = "transformer/diffusion_pytorch_model.safetensors";

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

fn answer(mut stream: TcpStream, state: &State, files: &BTreeMap<String, Vec<u8>>) {
    state.requests.fetch_add(1, SeqCst);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    if reader.read_line(&mut first).is_err() {
        return;
    }
    let (mut range, mut token) = (0usize, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(from) = lower.strip_prefix("range: bytes=") {
            range = from.trim().trim_end_matches('-').parse().unwrap_or(0);
        }
        if lower.starts_with("authorization: bearer ") {
            token = Some(line[22..].trim().to_owned());
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    state.asked.lock().unwrap().push(format!("{path} from {range}"));
    let status = |stream: &mut TcpStream, code: u16| {
        let _ = write!(stream, "HTTP/1.1 {code} No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    };
    if state.token.lock().unwrap().is_some() && *state.token.lock().unwrap() != token {
        return status(&mut stream, 401);
    }
    if path.starts_with(&format!("/api/models/{REPOSITORY}/revision/main")) {
        let list: Vec<_> = files
            .iter()
            .map(|(name, data)| match name.ends_with(".safetensors") {
                true => serde_json::json!({
                    "rfilename": name, "size": data.len(),
                    "lfs": { "sha256": sha256_hex(data), "size": data.len() },
                }),
                false => serde_json::json!({ "rfilename": name, "size": data.len() }),
            })
            .collect();
        let body = serde_json::json!({ "siblings": list }).to_string();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        return;
    }
    let name = path.trim_start_matches(&format!("/{REPOSITORY}/resolve/main/")).to_owned();
    let Some(data) = files.get(&name) else { return status(&mut stream, 404) };
    let mut data = data.clone();
    let mut most = usize::MAX;
    let mut silent = false;
    let mut troubles = state.troubles.lock().unwrap();
    match troubles.get(&name).copied() {
        Some(Trouble::Drop(bytes, times)) if times > 0 => {
            troubles.insert(name.clone(), Trouble::Drop(bytes, times - 1));
            most = bytes;
        }
        Some(Trouble::Status(code, times)) if times > 0 => {
            troubles.insert(name.clone(), Trouble::Status(code, times - 1));
            return status(&mut stream, code);
        }
        Some(Trouble::Lie) => data.iter_mut().for_each(|b| *b ^= 1),
        Some(Trouble::Silence) => {
            most = 10;
            silent = true;
        }
        Some(Trouble::Whole) => range = 0,
        _ => {}
    }
    drop(troubles);
    let rest = data.get(range..).unwrap_or_default();
    let head = match range {
        0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", rest.len()),
        _ => format!(
            "HTTP/1.1 206 Part\r\nContent-Length: {}\r\nContent-Range: bytes {range}-{}/{}\r\n",
            rest.len(),
            data.len() - 1,
            data.len()
        ),
    };
    let _ = write!(stream, "{head}Connection: close\r\n\r\n");
    let _ = stream.write_all(&rest[..rest.len().min(most)]);
    let _ = stream.flush();
    while silent && !state.stop.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_model_comes_whole_and_only_what_is_read() {
    let (hub, own) = (Hub::open(), tempfile::tempdir().unwrap());
    let mut last = Progress::default();
    let folder = fetch(&hub.spec(own.path()), &mut |p: &Progress| last = p.clone(), &|| false).unwrap();
    assert_eq!(folder, own.path().join("tiny-model"));
    assert!(last.done == last.total && last.total > 50_000, "{last:?}");
    for (name, data) in &hub.files {
        let here = std::fs::read(folder.join(name)).ok();
        let wanted = !["README.md", "model.pt"].contains(&name.as_str());
        assert_eq!(here.as_ref(), wanted.then_some(data), "{name}");
    }
    let source: Source = serde_json::from_slice(&std::fs::read(folder.join(SOURCE_FILE)).unwrap()).unwrap();
    assert_eq!(source.files[WEIGHTS].sha256, sha256_hex(&hub.files[WEIGHTS]));
    assert!(source.files[WEIGHTS].told && !source.files["model_index.json"].told);
    assert!(!own.path().join(".fetch").exists());
    // It is a model, and whole; a changed byte is found and named.
    assert!(installed::check(&folder, &mut |_: usize, _: usize, _: &str| true).unwrap() > 5);
    let mut bytes = std::fs::read(folder.join(WEIGHTS)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(folder.join(WEIGHTS), bytes).unwrap();
    let text = installed::check(&folder, &mut |_: usize, _: usize, _: &str| true).unwrap_err().text();
    assert!(text.contains("diffusion_pytorch_model"), "{text}");
    // No second one of the name; removed, it is gone.
    assert!(hub.fails(own.path()).contains("there already"));
    installed::remove("tiny-model", Some(own.path().to_path_buf())).unwrap();
    assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 0);
    assert!(installed::remove("tiny-model", Some(own.path().to_path_buf())).is_err());
}

#[test]
fn a_dropped_connection_goes_on_where_it_was() {
    let (hub, own) = (Hub::open(), tempfile::tempdir().unwrap());
    hub.trouble(WEIGHTS, Trouble::Drop(1000, 3));
    hub.trouble("model_index.json", Trouble::Status(503, 2));
    let folder = hub.fetch(own.path()).unwrap();
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), hub.files[WEIGHTS]);
    let asked = hub.state.asked.lock().unwrap().clone();
    let of: Vec<_> =
        asked.iter().filter(|a| a.contains(WEIGHTS)).map(|a| a.rsplit(' ').next().unwrap()).collect();
    assert_eq!(of, ["0", "1000", "2000", "3000"]);
}

#[test]
fn a_hub_without_ranges_starts_the_file_again() {
    let (hub, own) = (Hub::open(), tempfile::tempdir().unwrap());
    let part = own.path().join(".fetch/tiny-model").join(format!("{WEIGHTS}.part"));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(own.path().join(".fetch/tiny-model/.source"), format!("{REPOSITORY} main")).unwrap();
    std::fs::write(&part, vec![7; 500]).unwrap();
    hub.trouble(WEIGHTS, Trouble::Whole);
    let folder = hub.fetch(own.path()).unwrap();
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), hub.files[WEIGHTS]);
}

#[test]
fn a_wrong_sum_is_never_installed() {
    let (hub, own) = (Hub::open(), tempfile::tempdir().unwrap());
    hub.trouble(WEIGHTS, Trouble::Lie);
    let text = hub.fails(own.path());
    assert!(text.contains(WEIGHTS) && text.contains("sha256"), "{text}");
    assert!(!own.path().join("tiny-model").exists());
    // A part of another version is found out by its sum and fetched again.
    hub.state.troubles.lock().unwrap().clear();
    let part = own.path().join(".fetch/tiny-model").join(format!("{WEIGHTS}.part"));
    std::fs::write(&part, vec![7; 500]).unwrap();
    hub.fetch(own.path()).unwrap();
}

#[test]
fn refusals_say_what_to_do() {
    let (hub, own) = (Hub::open(), tempfile::tempdir().unwrap());
    hub.trouble(WEIGHTS, Trouble::Status(404, 9));
    assert!(hub.fails(own.path()).contains("has no file"));
    hub.trouble(WEIGHTS, Trouble::Drop(0, 99));
    assert!(hub.fails(own.path()).contains("what is here already is kept"));
    let mut spec = hub.spec(own.path());
    spec.model = "someone/else".into();
    let Err(Stop::Failed(failure)) = fetch(&spec, &mut |_: &Progress| {}, &|| false) else {
        panic!("it exists")
    };
    assert!(failure.text().contains("someone/else"), "{}", failure.text());
    spec.model = "nonsense".into();
    let Err(Stop::Failed(failure)) = fetch(&spec, &mut |_: &Progress| {}, &|| false) else {
        panic!("it exists")
    };
    assert!(failure.text().contains("OWNER/NAME"), "{}", failure.text());
    // Gated: without a token, with a wrong one, with the right one.
    *hub.state.token.lock().unwrap() = Some("secret".into());
    hub.state.troubles.lock().unwrap().clear();
    assert!(hub.fails(own.path()).contains("--token-file"));
    let mut spec = FetchSpec { token: Some("wrong".into()), ..hub.spec(own.path()) };
    let Err(Stop::Failed(failure)) = fetch(&spec, &mut |_: &Progress| {}, &|| false) else {
        panic!("let in")
    };
    assert!(failure.text().contains("this token"), "{}", failure.text());
    spec.token = Some("secret".into());
    fetch(&spec, &mut |_: &Progress| {}, &|| false).unwrap();
    // Nobody is there.
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let spec = FetchSpec { endpoint: Some(address.clone()), name: Some("b".into()), ..hub.spec(own.path()) };
    let Err(Stop::Failed(failure)) = fetch(&spec, &mut |_: &Progress| {}, &|| false) else {
        panic!("let in")
    };
    assert!(failure.text().contains(&address), "{}", failure.text());
}

#[test]
fn a_silent_hub_cannot_keep_anybody_from_stopping_and_what_came_is_kept() {
    let (hub, own) = (Hub::open(), tempfile::tempdir().unwrap());
    hub.trouble(WEIGHTS, Trouble::Silence);
    let began = Instant::now();
    let mut came = None;
    let seen = std::cell::Cell::new(false);
    let stopped = fetch(
        &hub.spec(own.path()),
        &mut |p: &Progress| {
            if p.file == WEIGHTS {
                seen.set(true);
                came.get_or_insert_with(Instant::now);
            }
        },
        &|| seen.get(),
    );
    assert_eq!(stopped, Err(Stop::Cancelled));
    let waited = came.map_or(began.elapsed(), |came| came.elapsed());
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    let part = own.path().join(".fetch/tiny-model").join(format!("{WEIGHTS}.part"));
    assert_eq!(std::fs::metadata(&part).unwrap().len(), 10);
    // The next try goes on from there.
    hub.state.troubles.lock().unwrap().clear();
    hub.state.asked.lock().unwrap().clear();
    hub.fetch(own.path()).unwrap();
    let asked = hub.state.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|a| a.contains(WEIGHTS) && a.ends_with("from 10")), "{asked:?}");
}

#[test]
fn nothing_asks_the_network_by_itself() {
    let (hub, own) = (Hub::open(), tempfile::tempdir().unwrap());
    let folder = hub.fetch(own.path()).unwrap();
    let before = hub.state.requests.load(SeqCst);
    let places = forerun::engine::places::Places { folders: vec![own.path().to_path_buf()] };
    let (models, broken) = places.list();
    assert_eq!((models.len(), broken.len()), (1, 0));
    assert!(models[0].clip.as_ref().unwrap().guardrail_clause);
    installed::check(&folder, &mut |_: usize, _: usize, _: &str| true).unwrap();
    assert_eq!(hub.state.requests.load(SeqCst), before);
}
