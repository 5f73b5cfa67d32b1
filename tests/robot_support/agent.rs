//! The agent of the tests of what talks to it, and a robot that waits for a busy machine.
#![allow(clippy::unwrap_used, dead_code)] // Each test program uses a part of this.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use forerun::robot::file::RobotFile;

/// Numbers for a machine that has little time for it.
pub fn patient(robot: &mut RobotFile) {
    robot.port.answer_ms = 20;
    robot.watch.bus_hold_cycles = 40;
    robot.watch.bus_fault_ms = 5000;
    robot.watch.silent_hold_ms = 4000;
    robot.watch.silent_park_ms = 12_000;
    robot.watch.lease_ms = 8000;
    robot.watch.command_age_ms = 2000;
    robot.watch.starved_fault_ms = 8000;
    robot.raised = Some(robot.name.clone());
}

/// The agent of a robot file as a process of its own, on a free port; ends with this value.
pub struct Agent {
    pub child: Child,
    /// Where it listens.
    pub address: String,
}

impl Agent {
    /// Starts it and waits until it listens.
    pub fn start(robot: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forerun-agent"))
            .args(["--listen", "127.0.0.1:0", "--robot"])
            .arg(robot)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = ready["listen"].as_str().unwrap().to_owned();
        Self { child, address }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
