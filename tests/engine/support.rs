//! One engine, one folder, one model a test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forerun::engine::EngineClient;
use forerun::engine::protocol::{Actions, Event, ImagineSpec, Packet, Request, Start};
use forerun::{Frame, media};

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub client: EngineClient,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        forerun::models::testing::random_model(&dir.path().join("model"), 7).unwrap();
        Self { dir, client: EngineClient::in_process().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn model(&self) -> String {
        self.path("model").to_string_lossy().into_owned()
    }

    /// A picture of 40 x 30 with a gradient, so that it has to be fitted.
    pub fn picture(&self, name: &str) -> PathBuf {
        let data = (0..40 * 30).flat_map(|i: usize| [(i % 40 * 6) as u8, (i / 40 * 8) as u8, 90]).collect();
        let path = self.path(name);
        media::write_png(&path, &Frame::new(40, 30, data).unwrap()).unwrap();
        path
    }

    /// A wish for `steps` frames from two pictures.
    pub fn spec(&self, steps: usize, seeds: &[u64]) -> ImagineSpec {
        ImagineSpec {
            model: self.model(),
            start: Start::Files { paths: vec![self.picture("a.png"), self.picture("b.png")], at: None },
            prompt: "push the red cube".into(),
            actions: Actions::Track { channels: joints(), rows: (0..steps).map(|t| row(t as f32)).collect() },
            steps,
            seeds: seeds.to_vec(),
            refine: 2,
            device: "cpu".into(),
            out: Some(self.path("out")),
            clip: Default::default(),
        }
    }

    /// Runs a job to its end; all its events, the end last.
    pub fn run(&self, request: impl FnOnce(u64) -> Request) -> Vec<Packet<Event>> {
        self.run_with(request, vec![])
    }

    pub fn run_with(&self, request: impl FnOnce(u64) -> Request, blobs: Vec<Vec<u8>>) -> Vec<Packet<Event>> {
        let job = self.client.next_job();
        self.client.send(request(job), blobs);
        self.collect(job)
    }

    pub fn collect(&self, job: u64) -> Vec<Packet<Event>> {
        self.collect_within(job, 120)
    }

    pub fn collect_within(&self, job: u64, seconds: u64) -> Vec<Packet<Event>> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let mut events = Vec::new();
        while Instant::now() < deadline {
            let Some(packet) = self.client.recv_timeout(Duration::from_millis(100)) else { continue };
            let ended = packet.message.ended_job() == Some(job);
            events.push(packet);
            if ended {
                return events;
            }
        }
        panic!("the job never ended: {:?}", events.iter().map(|p| &p.message).collect::<Vec<_>>());
    }

    /// Runs a job that must fail; its text.
    pub fn fails(&self, request: impl FnOnce(u64) -> Request) -> String {
        failure(&self.run(request))
    }

    /// Names in a folder, hidden ones too; none when it is not there.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }
}

pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut names: Vec<_> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub fn joints() -> Vec<String> {
    forerun::models::testing::random_contract().actions.into_iter().map(|c| c.name).collect()
}

pub fn row(t: f32) -> Vec<f32> {
    let t = t % 50.0;
    vec![10.0 + t, -20.0, 30.0 - t, 40.0, 0.5, 25.0]
}

pub fn failure(events: &[Packet<Event>]) -> String {
    match events.last().map(|p| &p.message) {
        Some(Event::Failed { message, advice, .. }) => format!("{message} {advice}"),
        other => panic!("it did not fail: {other:?}"),
    }
}

/// Records of the futures that were told, by seed.
pub fn records(events: &[Packet<Event>]) -> Vec<serde_json::Value> {
    let record = |p: &Packet<Event>| match &p.message {
        Event::FutureDone { record, .. } => Some(record.clone()),
        _ => None,
    };
    events.iter().filter_map(record).collect()
}

/// Hashes of a record's frames.
pub fn hashes(record: &serde_json::Value) -> Vec<String> {
    record["frames"].as_array().unwrap().iter().map(|f| f["sha256"].as_str().unwrap().to_owned()).collect()
}

pub fn done(events: &[Packet<Event>]) -> String {
    match events.last().map(|p| &p.message) {
        Some(Event::Done { summary, .. }) => summary.clone(),
        other => panic!("it did not end well: {other:?}"),
    }
}
