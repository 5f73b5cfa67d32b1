//! What programs and the agent say to each other: JSON messages, each after its length (4 bytes, big end first).

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::calibration::{Calibration, CalibrationDifference};
use super::super::numbers::Mode;
use super::super::safety::any::View;
use super::super::safety::shadow::ShadowReport;

/// Version of these messages; both ends refuse another one.
pub const AGENT_PROTOCOL: u32 = 1;
/// Longest message, bytes. 1000 actions of 32 joints fit.
pub const LONGEST: usize = 1 << 20;

/// A message with a number that its answer repeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// Number of the question; 0 in messages that nobody asked for.
    pub id: u64,
    /// The message.
    #[serde(flatten)]
    pub message: T,
}

/// A chunk of actions, by channel name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkMessage {
    /// Counts up.
    pub number: u64,
    /// Channel of each column: `shoulder_pan.pos`. Every joint exactly once, in any order.
    pub channels: Vec<String>,
    /// When the observation was made that it answers, seconds on the agent's clock (`View::seconds`).
    pub observed: f64,
    /// When it was sent, seconds on the agent's clock as far as the sender knows it: the last `View::seconds` plus the
    /// time since then.
    pub sent: f64,
    /// Seconds between its actions.
    pub period: f64,
    /// One row an action. A number that JSON cannot hold (NaN, infinity) is null, and a fault.
    pub rows: Vec<Vec<Option<f64>>>,
}

/// From a program to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// First message of a connection.
    Hello {
        /// [`AGENT_PROTOCOL`].
        version: u32,
        /// Secret of the agent's token file, where it has one.
        #[serde(default)]
        token: Option<String>,
        /// Who asks, for other people to see.
        name: String,
    },
    /// Take control, or join the control that another connection has (`key`).
    Lease {
        /// Key of the lease to join: for a policy that runs beside the window that controls.
        #[serde(default)]
        key: Option<String>,
    },
    /// Give control back. A moving arm is held.
    GiveBack,
    /// The controlling program is alive; send ten a second.
    Heartbeat {
        /// Whether the dead-man key is held.
        dead_man: bool,
    },
    /// Open the robot's port.
    Connect,
    /// Close it (limp arms only).
    Disconnect,
    /// Stiffen the arm where it is.
    Arm,
    /// Go slowly to a pose.
    GoTo {
        /// (joint, position).
        pose: Vec<(String, f64)>,
    },
    /// Show which joint this is: move it a little, there and back, with little torque (ready arms only).
    Wiggle {
        /// Joint.
        joint: String,
    },
    /// Start a run.
    Run {
        /// How boldly.
        mode: Mode,
        /// q01 and q99 of the policy's training data by channel, where known.
        #[serde(default)]
        data: Vec<(String, f64, f64)>,
    },
    /// Follow these actions.
    Chunk(ChunkMessage),
    /// Go where the sliders stand: valid for 200 ms.
    Target {
        /// (joint, position); joints that are not named stay.
        pose: Vec<(String, f64)>,
    },
    /// Stop. Anybody may, at any time, without a lease.
    Stop {
        /// What was pressed.
        by: String,
    },
    /// After a stop: be ready again.
    Resume,
    /// Go slowly to the rest pose and hold there.
    Park,
    /// After a fault: be held again.
    Acknowledge,
    /// The release button goes down.
    BeginRelease,
    /// The release button was held for a second: torque off, the arm falls.
    Release,
    /// Start a shadow run.
    StartShadow,
    /// End it.
    EndShadow,
    /// A camera's picture was seen.
    Camera {
        /// Camera.
        name: String,
        /// When it was taken, seconds on the agent's clock.
        taken: f64,
        /// Mean of its bytes.
        mean: f64,
        /// Standard deviation of its bytes.
        deviation: f64,
        /// Hash of its bytes.
        hash: u64,
    },
    /// Differences between the robot file's calibration and the motors'.
    Calibration,
    /// Make both the same (limp arms only), after a person has seen the difference. What is replaced is kept in a file.
    UseCalibration {
        /// True: the robot file's goes into the motors. False: the motors' goes into the robot file.
        from_file: bool,
    },
    /// Store a new calibration of every joint in the motors and in the robot file (limp arms only). What is replaced is
    /// kept in a file.
    Calibrate {
        /// (joint, its calibration); every joint once.
        joints: Vec<(String, Calibration)>,
    },
    /// Write the black box to a file now.
    BlackBox,
    /// The newest picture of a camera; of the first one when no name is given.
    Look {
        /// Which camera.
        #[serde(default)]
        camera: Option<String>,
    },
    /// How is it?
    View,
}

/// From the agent to a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub enum Tell {
    /// Answer to `Hello`.
    Welcome {
        /// [`AGENT_PROTOCOL`].
        version: u32,
        /// Software version.
        software: String,
        /// The robot file, as TOML.
        robot: String,
    },
    /// It is done.
    Done,
    /// It was not done.
    Denied {
        /// Why, and what to do.
        why: String,
    },
    /// Answer to `Lease`.
    Leased {
        /// To share control with another connection.
        key: String,
    },
    /// How it is; also sent unasked, as often as the robot file says.
    View(Box<AgentView>),
    /// Answer to `Calibration`.
    Calibration {
        /// Joint by joint; empty when they agree.
        differences: Vec<CalibrationDifference>,
        /// What the motors hold, joint by joint; empty for motors that hold none.
        #[serde(default)]
        stored: Vec<(String, Calibration)>,
    },
    /// Answer to `EndShadow`.
    Shadow {
        /// How it went.
        report: Option<ShadowReport>,
    },
    /// Answer to `Look`.
    Picture {
        /// Camera.
        camera: String,
        /// When it was taken, seconds on the agent's clock.
        taken: f64,
        /// Pixels in a row (large pictures are made smaller before they travel).
        width: usize,
        /// Number of rows.
        height: usize,
        /// Base64 of `height * width * 3` bytes, R G B.
        rgb: String,
    },
    /// Answer to `BlackBox`.
    Written {
        /// Which file.
        path: String,
    },
}

/// The robot and the agent, for a person to look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// The robot.
    #[serde(flatten)]
    pub robot: View,
    /// Who controls it.
    pub controller: Option<String>,
    /// Connected programs.
    pub clients: usize,
    /// Control period since the last run began, milliseconds: median, 99th percentile, longest.
    pub period_ms: [f64; 3],
    /// Ticks that came more than half a period late, since then.
    pub late: u64,
}

/// Writes one message.
pub fn send<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).ok().filter(|n| *n as usize <= LONGEST);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?;
    let mut frame = Vec::with_capacity(bytes.len() + 4);
    frame.extend(length.to_be_bytes());
    frame.extend(bytes);
    to.write_all(&frame)?;
    to.flush()
}

/// Reads one message. A length beyond [`LONGEST`] is refused before anything is set aside for it.
pub fn receive<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0u8; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut bytes = vec![0u8; length];
    from.read_exact(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn messages_go_there_and_back() {
        let chunk = ChunkMessage {
            number: 3,
            channels: vec!["a.pos".into()],
            observed: 1.0,
            sent: 1.1,
            period: 0.1,
            rows: vec![vec![Some(1.0)], vec![None]],
        };
        for ask in [
            Ask::Chunk(chunk),
            Ask::Stop { by: "Esc".into() },
            Ask::Run { mode: Mode::Cautious, data: vec![] },
        ] {
            let mut bytes = Vec::new();
            send(&mut bytes, &Numbered { id: 7, message: ask.clone() }).unwrap();
            let back: Numbered<Ask> = receive(&mut bytes.as_slice()).unwrap();
            assert_eq!(back, Numbered { id: 7, message: ask });
        }
        let tell = Tell::View(Box::default());
        let mut bytes = Vec::new();
        send(&mut bytes, &Numbered { id: 0, message: tell.clone() }).unwrap();
        let back: Numbered<Tell> = receive(&mut bytes.as_slice()).unwrap();
        assert_eq!(back.message, tell);
    }

    #[test]
    fn lies_about_the_length_are_refused() {
        let huge = [0xff, 0xff, 0xff, 0xff, b'{'];
        assert!(receive::<Numbered<Ask>>(&mut huge.as_slice()).is_err());
        let short = [0, 0, 0, 9, b'{'];
        assert!(receive::<Numbered<Ask>>(&mut short.as_slice()).is_err());
    }
}
