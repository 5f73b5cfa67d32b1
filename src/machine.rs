//! What this machine is, for `forerun doctor` and for records of measurements.

use std::path::Path;

use serde_json::{Value, json};

use crate::engine::{backend, device};

/// Sets the process up for training and imagining; call it first in `main`, before any thread starts
/// (see [`kernels::prepare_process`](crate::models::kernels::prepare_process)).
pub fn prepare_process() {
    crate::models::kernels::prepare_process();
}

/// A machine in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Operating system and architecture.
    pub system: String,
    /// Name of the processor; empty when unknown.
    pub processor: String,
    /// Cores that this program may use.
    pub cores: usize,
    /// Kernels that run here.
    pub kernels: String,
    /// Memory in bytes: all, and free for programs; 0 when unknown.
    pub memory: (u64, u64),
    /// Devices that this build can use.
    pub devices: Vec<String>,
    /// Whether there is a display to open a window on.
    pub display: bool,
    /// Cameras and serial ports by their path.
    pub cameras: Vec<String>,
    /// Serial ports by their path.
    pub ports: Vec<String>,
}

impl Machine {
    /// Looks at this machine.
    pub fn look() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let other = cfg!(any(windows, target_os = "macos"));
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernels: backend::kernels(),
            memory: (kilobytes("MemTotal"), kilobytes("MemAvailable")),
            devices: device::names(),
            display: other || set("DISPLAY") || set("WAYLAND_DISPLAY"),
            cameras: entries("/dev", &["video"]),
            ports: [entries("/dev/serial/by-id", &[""]), entries("/dev", &["ttyUSB", "ttyACM"])].concat(),
        }
    }

    /// Lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        vec![
            format!("system      {}", self.system),
            format!("processor   {} ({} cores, kernels {})", self.processor, self.cores, self.kernels),
            format!("memory      {:.1} GiB, {:.1} GiB free", gib(self.memory.0), gib(self.memory.1)),
            format!("devices     {}", list(&self.devices)),
            format!(
                "display     {}",
                if self.display { "yes" } else { "none: the command line works, the window does not" }
            ),
            format!("cameras     {}", list(&self.cameras)),
            format!("ports       {}", list(&self.ports)),
        ]
    }

    /// The same for a program.
    pub fn value(&self) -> Value {
        json!({
            "system": self.system, "processor": self.processor, "cores": self.cores, "kernels": self.kernels,
            "memory_bytes": self.memory.0, "memory_free_bytes": self.memory.1, "devices": self.devices,
            "display": self.display, "cameras": self.cameras, "ports": self.ports,
        })
    }
}

/// First value of `key` in a file of `key : value` lines.
fn field(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// Most memory that this process has used so far, bytes; 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    kilobytes_in("/proc/self/status", "VmHWM")
}

fn kilobytes(key: &str) -> u64 {
    kilobytes_in("/proc/meminfo", key)
}

fn kilobytes_in(file: &str, key: &str) -> u64 {
    let text = field(file, key).unwrap_or_default();
    text.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

fn entries(folder: &str, beginnings: &[&str]) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(Path::new(folder)) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| beginnings.iter().any(|b| e.file_name().to_string_lossy().starts_with(b)))
        .map(|e| e.path().display().to_string())
        .collect();
    names.sort();
    names
}
