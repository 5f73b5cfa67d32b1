//! A half-duplex serial bus of servos: one request at a time, answers checked and asked for again, nobody believed who
//! answers out of turn. What packets look like is the business of a [`Format`]: `feetech` and `dynamixel` have one each.

pub mod line;
pub mod serial;

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::driver::DriverError;
use super::file::RobotFile;

pub use line::{Line, Opener};

/// Requests are repeated at once so many times.
pub const RETRIES: usize = 2;
/// While nothing moves (opening, settings) there is time for more.
pub const PATIENT_RETRIES: usize = 8;
/// More bytes than this come from no bus that works.
const MOST_BYTES: usize = 8192;

/// One sound answer of a servo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who says so.
    pub id: u8,
    /// Alarms, or what was wrong with the instruction: the format's business.
    pub error: u8,
    /// Data.
    pub data: Vec<u8>,
}

/// What packets look like.
pub trait Format {
    /// Bytes of an answer without data.
    const FRAME: usize;
    /// A request to several servos for `size` bytes at `address`; they answer in the order of their ids.
    fn read(ids: &[u8], address: u16, size: u16) -> Vec<u8>;
    /// A request to one servo to write, which it confirms.
    fn write(id: u8, address: u16, data: &[u8]) -> Vec<u8>;
    /// A request to several servos to write rows of the same length; nobody confirms.
    fn write_all(address: u16, rows: &[(u8, Vec<u8>)]) -> Vec<u8>;
    /// The sound answers with `size` bytes of data in what came, in their order.
    fn answers(received: &[u8], size: usize) -> Vec<Status>;
    /// Why a confirmation is a refusal, where it is one.
    fn refusal(error: u8) -> Option<u8>;
}

/// Servos on one line.
pub struct Bus<F> {
    /// (id, name of the joint).
    joints: Vec<(u8, String)>,
    opener: Opener,
    line: Option<Box<dyn Line>>,
    clock: Arc<dyn Clock>,
    answer_wait: Duration,
    /// Requests that were repeated since this was last set to 0.
    pub repeated: u32,
    format: PhantomData<fn() -> F>,
}

/// What an error of the line means. A port that takes nothing in for a while is clogged, not gone: its servos do not answer.
fn lost(joints: &[(u8, String)], e: &io::Error) -> DriverError {
    if e.kind() == io::ErrorKind::TimedOut {
        let joints = joints.iter().map(|j| j.1.clone()).collect();
        return DriverError::NoAnswer { joints, why: "the port takes nothing in".into() };
    }
    DriverError::Gone { why: e.to_string() }
}

impl<F: Format> Bus<F> {
    /// A bus for the joints of a robot file; `opener` opens its line, also again after a replug.
    pub fn new(robot: &RobotFile, opener: Opener, clock: Arc<dyn Clock>) -> Self {
        Self {
            joints: robot.joints.iter().map(|j| (j.id, j.name.clone())).collect(),
            opener,
            line: None,
            clock,
            answer_wait: Duration::from_millis(robot.port.answer_ms),
            repeated: 0,
            format: PhantomData,
        }
    }

    /// Opens the line; its name.
    pub fn open(&mut self) -> Result<String, DriverError> {
        self.line = None;
        let (port, line) = (self.opener)()?;
        self.line = Some(line);
        Ok(port)
    }

    /// Closes it.
    pub fn close(&mut self) {
        self.line = None;
    }

    /// Ids of all joints, in the order of the robot file.
    pub fn ids(&self) -> Vec<u8> {
        self.joints.iter().map(|(id, _)| *id).collect()
    }

    fn name(&self, id: u8) -> String {
        self.joints.iter().find(|j| j.0 == id).map_or_else(|| id.to_string(), |j| j.1.clone())
    }

    /// Sends a request and collects its answers until all have come or the line stays quiet.
    fn exchange(&mut self, request: &[u8], ids: &[u8], size: usize) -> Result<Vec<Status>, DriverError> {
        let line = self.line.as_mut().ok_or(DriverError::Closed)?;
        line.discard().map_err(|e| lost(&self.joints, &e))?;
        line.send(request).map_err(|e| lost(&self.joints, &e))?;
        let mut received: Vec<u8> = Vec::with_capacity(512);
        let mut buffer = [0u8; 512];
        let started = self.clock.now();
        let mut heard = started;
        // Adapters without echo suppression send back what we sent.
        let echo = |received: &[u8]| if received.starts_with(request) { request.len() } else { 0 };
        let sound = |received: &[u8]| F::answers(received.get(echo(received)..).unwrap_or_default(), size);
        loop {
            let now = self.clock.now();
            // Quiet for the waiting time, or babbling for three times as long.
            let end = (heard + self.answer_wait).min(started + self.answer_wait * 3);
            if now >= end || received.len() > MOST_BYTES {
                break;
            }
            let n = line.receive(&mut buffer, end - now).map_err(|e| lost(&self.joints, &e))?;
            if n == 0 {
                continue;
            }
            heard = self.clock.now();
            received.extend(buffer.get(..n).unwrap_or_default());
            let enough = received.len() >= echo(&received) + ids.len() * (size + F::FRAME);
            if enough && sound(&received).len() >= ids.len() {
                break;
            }
        }
        let mut found = sound(&received);
        // Servos answer in the order in which they were asked; an id that comes twice, or not in its place, is not
        // trusted.
        let all: Vec<u8> = found.iter().map(|s| s.id).collect();
        let mut last = None;
        found.retain(|s| {
            let place = ids.iter().position(|id| *id == s.id);
            let once = all.iter().filter(|id| **id == s.id).count() == 1;
            let good = place.is_some() && once && place > last;
            if good {
                last = place;
            }
            good
        });
        if found.len() < ids.len() {
            self.repeated = self.repeated.saturating_add(1);
        }
        Ok(found)
    }

    /// Reads `size` bytes at `address` of several servos, asking again for those that are missing.
    pub fn read_block(
        &mut self,
        ids: &[u8],
        address: u16,
        size: u16,
        retries: usize,
    ) -> Result<Vec<Option<Status>>, DriverError> {
        let mut out: Vec<Option<Status>> = vec![None; ids.len()];
        for _ in 0..=retries {
            let missing: Vec<u8> =
                ids.iter().zip(&out).filter(|(_, s)| s.is_none()).map(|(id, _)| *id).collect();
            if missing.is_empty() {
                break;
            }
            let request = F::read(&missing, address, size);
            for status in self.exchange(&request, &missing, usize::from(size))? {
                let place = ids.iter().position(|id| *id == status.id);
                if let Some(slot) = place.and_then(|i| out.get_mut(i)) {
                    *slot = Some(status);
                }
            }
        }
        Ok(out)
    }

    /// As `read_block` of all joints, and every joint must have answered.
    pub fn read_all(&mut self, address: u16, size: u16, retries: usize) -> Result<Vec<Status>, DriverError> {
        let found = self.read_block(&self.ids(), address, size, retries)?;
        self.demand(found)
    }

    /// What all joints said, or who did not.
    pub fn demand<T>(&self, found: Vec<Option<T>>) -> Result<Vec<T>, DriverError> {
        let silent: Vec<String> =
            self.joints.iter().zip(&found).filter(|(_, s)| s.is_none()).map(|(j, _)| j.1.clone()).collect();
        if silent.is_empty() {
            return Ok(found.into_iter().flatten().collect());
        }
        let why = if silent.len() == self.joints.len() {
            "nothing answers; is the power supply of the motors on?"
        } else {
            "the others answer"
        };
        Err(DriverError::NoAnswer { joints: silent, why: why.into() })
    }

    /// Writes registers of one servo and waits for its receipt.
    pub fn write(&mut self, id: u8, address: u16, data: &[u8]) -> Result<(), DriverError> {
        let request = F::write(id, address, data);
        for _ in 0..=PATIENT_RETRIES {
            let Some(error) = self.exchange(&request, &[id], 0)?.first().map(|s| s.error) else { continue };
            return match F::refusal(error) {
                None => Ok(()),
                Some(code) => {
                    let why = format!("it refused a setting (register {address}, error {code})");
                    Err(DriverError::Wrong { joint: self.name(id), why })
                }
            };
        }
        Err(DriverError::NoAnswer { joints: vec![self.name(id)], why: "a setting was not confirmed".into() })
    }

    /// Writes the same registers of several servos at once; nobody confirms.
    pub fn write_all(&mut self, address: u16, rows: &[(u8, Vec<u8>)]) -> Result<(), DriverError> {
        let line = self.line.as_mut().ok_or(DriverError::Closed)?;
        line.send(&F::write_all(address, rows)).map_err(|e| lost(&self.joints, &e))
    }

    /// Switches the torque of all joints and looks whether they did.
    pub fn switch_torque(&mut self, register: u16, on: bool) -> Result<(), DriverError> {
        for id in self.ids() {
            self.write(id, register, &[u8::from(on)])?;
        }
        let now = self.read_all(register, 1, PATIENT_RETRIES)?;
        let odd = self.joints.iter().zip(&now).find(|(_, s)| s.data != [u8::from(on)]);
        match odd {
            Some((joint, _)) => Err(DriverError::Wrong {
                joint: joint.1.clone(),
                why: format!("it did not switch its torque {}", if on { "on" } else { "off" }),
            }),
            None => Ok(()),
        }
    }

    /// A joint that holds, where there is one: calibrations are changed in limp arms only.
    pub fn demand_limp(&mut self, register: u16) -> Result<(), DriverError> {
        let torque = self.read_all(register, 1, PATIENT_RETRIES)?;
        match self.joints.iter().zip(&torque).find(|(_, s)| s.data != [0]) {
            Some((joint, _)) => Err(DriverError::Wrong {
                joint: joint.1.clone(),
                why: "it holds; release its torque before its calibration is changed, or it would jump"
                    .into(),
            }),
            None => Ok(()),
        }
    }
}

/// Opens the serial port that a robot file names, again after every replug.
#[cfg(target_os = "linux")]
pub fn opener(robot: &RobotFile) -> Opener {
    let port = robot.port.clone();
    Box::new(move || {
        let path = serial::find(&port)?;
        let line = serial::open(&path, port.baud)?;
        Ok((path.display().to_string(), Box::new(line)))
    })
}
