//! An agent that another program of ours starts for itself, and that ends with it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// A running agent. It holds the arm, parks and ends when this value is dropped, and also when the program that started
/// it is killed: it watches its input.
#[derive(Debug)]
pub struct AgentChild {
    child: Child,
    /// Where it listens.
    pub address: String,
}

/// Parking takes up to five seconds.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where the program `forerun-agent` is: beside this one, or above it (tests).
pub fn program() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let name = format!("forerun-agent{}", std::env::consts::EXE_SUFFIX);
    exe.ancestors().skip(1).take(3).map(|folder| folder.join(&name)).find(|path| path.is_file())
}

impl AgentChild {
    /// Starts an agent for a robot file on a free port of this machine.
    ///
    /// # Errors
    /// No such program beside this one; a robot file that cannot be used.
    pub fn start(robot: &Path) -> Result<Self, Failure> {
        let program = program().ok_or_else(|| {
            Failure::new(
                "The program forerun-agent is not beside this one.",
                "Build it with cargo build --release, or start it yourself and give its address.",
            )
        })?;
        let mut child = Command::new(&program)
            .args(["--listen", "127.0.0.1:0", "--with-parent", "--robot"])
            .arg(robot)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::io("start", &program, &e))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let address = serde_json::from_str::<serde_json::Value>(&line)
            .ok()
            .and_then(|v| v["listen"].as_str().map(str::to_owned));
        let Some(address) = address else {
            let mut why = String::new();
            if let Some(err) = child.stderr.take() {
                let _ = err.take(4096).read_to_string(&mut why);
            }
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::new(format!("The robot's agent did not start: {}", why.trim()), ""));
        };
        // What it complains about later goes where our own complaints go.
        if let Some(mut err) = child.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::stderr()));
        }
        Ok(Self { child, address })
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for AgentChild {
    fn drop(&mut self) {
        // The end of its input asks it to park and end.
        drop(self.child.stdin.take());
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
