//! Exported files in a real browser: the clip is decoded and plays, pictures have their size and colours, numbers can be
//! read. Without a Chromium the test says that it was left out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use forerun::Frame;
use forerun::compare::metrics::{Metric, Strip};
use forerun::compare::numbers::{Numbers, NumbersFile, write};
use forerun::compare::picture::Picture;
use forerun::compare::sheet::{SheetFile, SheetLook, SheetPane, export};
use serde_json::Value;

/// Longest time until the browser has told what it saw.
const PATIENCE: Duration = Duration::from_secs(60);
/// Frames of the clip.
const FRAMES: u8 = 12;
/// Frames a second.
const RATE: f64 = 12.0;

/// Tells what a browser makes of the files, in one JSON object.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Forerun</title><body><script>
const pixels = (picture, width, height) => {
  const canvas = document.createElement("canvas");
  canvas.width = width; canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  return (x, y) => [...pen.getImageData(x, y, 1, 1).data.slice(0, 3)];
};
const still = async (name) => {
  const image = new Image();
  image.src = name;
  await image.decode();
  document.body.append(image);
  const at = pixels(image, image.naturalWidth, image.naturalHeight);
  return { width: image.naturalWidth, height: image.naturalHeight, middle: at(image.naturalWidth >> 1, image.naturalHeight >> 1) };
};
const clip = async (name) => {
  const video = document.createElement("video");
  video.muted = true; video.src = name;
  document.body.append(video);
  const seen = [];
  const ended = new Promise((good, bad) => {
    video.onended = good;
    video.onerror = () => bad(new Error(video.error.message));
  });
  await video.play();
  const note = () => { seen.push(video.currentTime); if (!video.ended) requestAnimationFrame(note); };
  note();
  await ended;
  const at = pixels(video, video.videoWidth, video.videoHeight);
  const moved = seen.filter((t, i) => i > 0 && t > seen[i - 1]).length;
  return { width: video.videoWidth, height: video.videoHeight, duration: video.duration, moved, end: video.currentTime,
    decoded: video.getVideoPlaybackQuality().totalVideoFrames, middle: at(video.videoWidth >> 1, video.videoHeight >> 1) };
};
(async () => {
  const told = {};
  try {
    told.clip = await clip("clip.mp4");
    told.gif = await still("clip.gif");
    told.sheet = await still("sheet.png");
    told.strip = await still("strip.png");
    told.numbers = await (await fetch("numbers.json")).json();
    told.csv = await (await fetch("numbers.csv")).text();
  } catch (error) { told.error = String(error); }
  await fetch("/told", { method: "POST", body: JSON.stringify(told) });
})();
</script></body>"#;

fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|file| file.is_file())
}

/// Ends the browser, whatever the test comes to.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers one request: the page, a file of `folder`, or what the browser tells.
fn answer(stream: TcpStream, folder: &Path, told: &Sender<Value>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (kind, bytes) = match path.as_str() {
        "" => ("text/html", PAGE.as_bytes().to_vec()),
        "told" => {
            let _ = told.send(serde_json::from_slice(&body).unwrap_or(Value::Null));
            ("text/plain", Vec::new())
        }
        name => {
            let kind = match Path::new(name).extension().and_then(|e| e.to_str()) {
                Some("mp4") => "video/mp4",
                Some("gif") => "image/gif",
                Some("png") => "image/png",
                Some("json") => "application/json",
                _ => "text/plain",
            };
            (kind, std::fs::read(folder.join(name)).unwrap_or_default())
        }
    };
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    )?;
    stream.write_all(&bytes)
}

/// Opens the page in a browser of its own and waits for what it tells.
fn seen(browser: &Path, folder: &Path) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, told) = channel();
    let place = folder.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (place, sender) = (place.clone(), sender.clone());
            // A browser opens connections ahead of need; none may hold up the others.
            std::thread::spawn(move || answer(stream, &place, &sender));
        }
    });
    let profile = tempfile::tempdir().unwrap();
    let child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--no-first-run", "--mute-audio"])
        .args(["--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--remote-debugging-port=0")
        .arg(format!("http://{address}/"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(child);
    told.recv_timeout(PATIENCE).expect("the browser told nothing")
}

#[test]
fn exported_clips_play_in_a_browser_and_pictures_and_numbers_are_read() {
    let Some(browser) = browser() else {
        eprintln!("SKIPPED: no Chromium was found (Debian: apt install chromium)");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let pane = |n: u8| {
        // A wide stripe that wanders: what plays must move.
        let frame = |k: u8| {
            let mut frame = Frame::filled(96, 64, [30, 40 * n, 90]);
            frame.data[..usize::from(k) * 900].fill(200);
            Picture::Here(Arc::new(frame))
        };
        SheetPane {
            label: format!("未來 {n}"),
            note: "elbow +10 deg from step 4".into(),
            pictures: (0..FRAMES).map(frame).collect(),
        }
    };
    let panes: Vec<SheetPane> = (1..=3).map(pane).collect();
    let look = SheetLook { title: "What if".into(), ..SheetLook::default() };
    let go = |name: &str, kind: SheetFile| {
        export(&dir.path().join(name), kind, &panes, &look, RATE, &mut |_, _| true).unwrap().size
    };
    let last = usize::from(FRAMES) - 1;
    let size = go("clip.mp4", SheetFile::Mp4);
    let sizes = [
        ("clip", size),
        ("gif", go("clip.gif", SheetFile::Gif)),
        ("sheet", go("sheet.png", SheetFile::Png { index: last })),
        ("strip", go("strip.png", SheetFile::Strip { from: 0, every: 4, most: 3 })),
    ];
    let strip =
        Strip { metric: Metric::Psnr, unit: "dB".into(), values: vec![None, Some(31.5), Some(30.25)] };
    let numbers = [Numbers { label: "未來 1".into(), folder: String::new(), strips: vec![strip] }];
    write(&dir.path().join("numbers.json"), &numbers, NumbersFile::Json).unwrap();
    write(&dir.path().join("numbers.csv"), &numbers, NumbersFile::Csv).unwrap();

    let told = seen(&browser, dir.path());
    assert_eq!(told["error"], Value::Null, "{told}");
    for (name, (width, height)) in sizes {
        let found = (told[name]["width"].as_u64(), told[name]["height"].as_u64());
        assert_eq!(found, (Some(width as u64), Some(height as u64)), "{name}: {told}");
    }
    // The clip ran to its end, frame by frame.
    let number = |name: &str| told["clip"][name].as_f64().unwrap();
    assert!((number("duration") - f64::from(FRAMES) / RATE).abs() < 0.02, "{told}");
    assert!((number("end") - number("duration")).abs() < 0.02, "{told}");
    assert!(number("moved") >= 3.0 && number("decoded") >= f64::from(FRAMES) / 2.0, "{told}");
    // Its last frame is the sheet of the last frame, but for what the codec loses.
    let middle = |name: &str| -> Vec<i64> {
        told[name]["middle"].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
    };
    let off = middle("clip").iter().zip(middle("sheet")).map(|(a, b)| (a - b).abs()).max();
    assert!(off.is_some_and(|off| off <= 24), "{told}");
    assert_eq!(told["numbers"]["futures"][0]["label"], "未來 1");
    assert_eq!(told["numbers"]["futures"][0]["strips"][0]["values"][1], 31.5);
    assert!(told["csv"].as_str().unwrap().contains("30.25"), "{told}");
}
