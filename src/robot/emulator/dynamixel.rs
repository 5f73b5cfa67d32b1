//! Dynamixel X servos in memory, under a simulated clock: registers, packets, motion, their bus watchdog.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::bus::{Line, Opener};
use super::super::calibration::Calibration;
use super::super::clock::{Clock, SimulatedClock, Time};
use super::super::dynamixel::bus::register;
use super::super::dynamixel::codec::{self, EVERYBODY};
use super::super::file::{DriverKind, RobotFile};

/// One servo.
#[derive(Clone, Debug)]
pub struct XServo {
    id: u8,
    registers: Vec<u8>,
    /// True position, steps.
    pub angle: f64,
    speed: f64,
    heard: Time,
    /// Whether its bus watchdog has struck.
    pub struck: bool,
}

/// One commanded goal that arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct XWritten {
    /// When.
    pub time: Time,
    /// At which servo.
    pub id: u8,
    /// Register.
    pub register: u16,
    /// Value.
    pub value: i32,
}

/// Servos on one line.
#[derive(Debug)]
pub struct XArm {
    /// The servos.
    pub servos: Vec<XServo>,
    /// Goals and torque that arrived.
    pub trace: Vec<XWritten>,
    /// Servos that do not answer.
    pub dead: BTreeSet<u8>,
    /// Hardware errors by hand.
    pub errors: Vec<(u8, u8)>,
    time: Time,
}

const STEP: Duration = Duration::from_millis(2);

impl XServo {
    fn new(id: u8, angle: f64) -> Self {
        let mut this =
            Self { id, registers: vec![0; 160], angle, speed: 0.0, heard: Time::ZERO, struck: false };
        this.put(register::MODEL, &1060u16.to_le_bytes());
        this.put(register::MODE, &[3]);
        this.put(register::MAX_POSITION, &3400i32.to_le_bytes());
        this.put(register::MAX_POSITION + 4, &700i32.to_le_bytes());
        this.put(register::GOAL_PWM, &885u16.to_le_bytes());
        this.put(register::GOAL_POSITION, &(angle as i32).to_le_bytes());
        this
    }

    fn put(&mut self, at: u16, bytes: &[u8]) {
        for (slot, b) in self.registers.iter_mut().skip(usize::from(at)).zip(bytes) {
            *slot = *b;
        }
    }

    fn long(&self, at: u16) -> i32 {
        let b = |i: usize| self.registers.get(usize::from(at) + i).copied().unwrap_or(0);
        i32::from_le_bytes([b(0), b(1), b(2), b(3)])
    }

    fn byte(&self, at: u16) -> u8 {
        self.registers.get(usize::from(at)).copied().unwrap_or(0)
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.byte(register::TORQUE_ENABLE) == 1
    }

    fn step(&mut self, now: Time) {
        let watchdog = u64::from(self.byte(register::BUS_WATCHDOG));
        if watchdog > 0 && now.saturating_sub(self.heard) > Duration::from_millis(watchdog * 20) {
            self.struck = true;
        }
        if !self.holds() || self.struck {
            self.speed = 0.0;
            return;
        }
        let cap = f64::from(self.long(register::PROFILE_ACCELERATION + 4)) * 0.229 * 4096.0 / 60.0;
        let goal = f64::from(self.long(register::GOAL_POSITION));
        let wanted = ((goal - self.angle) * 14.0).clamp(-cap, cap);
        self.speed += (wanted - self.speed).clamp(-40.0, 40.0);
        self.angle += self.speed * STEP.as_secs_f64();
    }
}

impl XArm {
    /// Six servos near the middle of their range.
    pub fn new() -> Self {
        let servos = (1..=6).map(|id| XServo::new(id, 2000.0 + f64::from(id) * 20.0)).collect();
        Self { servos, trace: Vec::new(), dead: BTreeSet::new(), errors: Vec::new(), time: Time::ZERO }
    }

    /// A robot file for it.
    pub fn robot_file(name: &str) -> RobotFile {
        let mut robot = RobotFile::so101(name);
        robot.driver = DriverKind::Dynamixel;
        for j in &mut robot.joints {
            j.calibration =
                Some(Calibration { drive_mode: 0, homing_offset: 0, range_min: 700, range_max: 3400 });
        }
        robot
    }

    /// Lets time pass.
    pub fn advance_to(&mut self, now: Time) {
        while self.time + STEP <= now {
            self.time += STEP;
            let time = self.time;
            self.servos.iter_mut().for_each(|s| s.step(time));
        }
    }

    fn write(&mut self, id: u8, at: u16, data: &[u8]) -> Option<u8> {
        let time = self.time;
        let servo = self.servos.iter_mut().find(|s| s.id == id)?;
        if at < register::TORQUE_ENABLE && servo.holds() {
            return Some(7);
        }
        if servo.struck && at >= register::GOAL_PWM {
            return Some(7);
        }
        servo.put(at, data);
        if at == register::BUS_WATCHDOG {
            servo.struck = false;
            servo.heard = time;
        }
        for (register, value) in [
            (register::TORQUE_ENABLE, i32::from(servo.byte(register::TORQUE_ENABLE))),
            (register::GOAL_POSITION, servo.long(register::GOAL_POSITION)),
        ] {
            if (at..at + data.len() as u16).contains(&register) {
                self.trace.push(XWritten { time, id, register, value });
            }
        }
        Some(0)
    }

    fn read(&mut self, id: u8, at: u16, size: u16) -> Vec<u8> {
        let error = self.errors.iter().find(|(e, _)| *e == id).map_or(0, |(_, bits)| *bits);
        let Some(servo) = self.servos.iter_mut().find(|s| s.id == id) else { return Vec::new() };
        servo.put(register::HARDWARE_ERROR, &[error]);
        servo.put(register::PRESENT, &60i16.to_le_bytes());
        let velocity = (servo.speed / (0.229 * 4096.0 / 60.0)) as i32;
        servo.put(register::PRESENT + 2, &velocity.to_le_bytes());
        let position = servo.angle.round() as i32;
        servo.put(register::PRESENT + 6, &position.to_le_bytes());
        servo.put(register::PRESENT + 18, &120u16.to_le_bytes());
        servo.put(register::PRESENT + 20, &[31]);
        let data =
            servo.registers.iter().skip(usize::from(at)).take(usize::from(size)).copied().collect::<Vec<_>>();
        codec::status(id, if error != 0 { 0x80 } else { 0 }, &data)
    }

    fn receive(&mut self, now: Time, bytes: &[u8]) -> Vec<u8> {
        self.advance_to(now);
        let mut out = Vec::new();
        for (id, body) in codec::packets(bytes) {
            let time = self.time;
            self.servos.iter_mut().for_each(|s| s.heard = time);
            let Some((kind, p)) = body.split_first() else { continue };
            let pair = |i: usize| {
                u16::from_le_bytes([p.get(i).copied().unwrap_or(0), p.get(i + 1).copied().unwrap_or(0)])
            };
            match (*kind, id) {
                (0x82, EVERYBODY) => {
                    for id in p.iter().skip(4).copied().collect::<Vec<_>>() {
                        if !self.dead.contains(&id) {
                            out.extend(self.read(id, pair(0), pair(2)));
                        }
                    }
                }
                (0x83, EVERYBODY) => {
                    let size = usize::from(pair(2));
                    for row in p.get(4..).unwrap_or_default().chunks_exact(size + 1) {
                        let Some((id, data)) = row.split_first() else { continue };
                        self.write(*id, pair(0), data);
                    }
                }
                (0x03, id) if !self.dead.contains(&id) => {
                    if let Some(error) = self.write(id, pair(0), p.get(2..).unwrap_or_default()) {
                        out.extend(codec::status(id, error, &[]));
                    }
                }
                _ => {}
            }
        }
        out
    }
}

impl Default for XArm {
    fn default() -> Self {
        Self::new()
    }
}

/// A line to emulated Dynamixel servos. Waiting on it moves the simulated clock.
pub struct XLine {
    arm: Arc<Mutex<XArm>>,
    clock: SimulatedClock,
    coming: VecDeque<u8>,
}

impl XLine {
    /// An opener for [`super::super::dynamixel::DynamixelBus`].
    pub fn opener(arm: &Arc<Mutex<XArm>>, clock: &SimulatedClock) -> Opener {
        let (arm, clock) = (Arc::clone(arm), clock.clone());
        Box::new(move || {
            let line = Self { arm: Arc::clone(&arm), clock: clock.clone(), coming: VecDeque::new() };
            Ok(("an emulated bus".into(), Box::new(line)))
        })
    }
}

impl Line for XLine {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.clock.advance(Duration::from_micros(10) * u32::try_from(bytes.len()).unwrap_or(0));
        let answer = self.arm.lock().unwrap_or_else(PoisonError::into_inner).receive(self.clock.now(), bytes);
        self.coming.extend(answer);
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8], wait: Duration) -> io::Result<usize> {
        if self.coming.is_empty() {
            self.clock.advance(wait);
            return Ok(0);
        }
        let n = self.coming.len().min(into.len());
        self.clock.advance(Duration::from_micros(10) * u32::try_from(n).unwrap_or(0));
        for (to, from) in into.iter_mut().zip(self.coming.drain(..n)) {
            *to = from;
        }
        Ok(n)
    }

    fn discard(&mut self) -> io::Result<()> {
        self.coming.clear();
        Ok(())
    }
}
