//! The emulated arm: bytes in, bytes out, and everything that can go wrong in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::calibration::Calibration;
use super::super::clock::Time;
use super::super::feetech::codec::{EVERYBODY, checksum, signed};
use super::super::file::RobotFile;
use super::servo::{Mechanics, Servo};

/// What goes wrong. Probabilities are per answer (`drop`: per byte).
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Bytes are lost.
    pub drop: f64,
    /// Checksums are wrong.
    pub bad_sum: f64,
    /// Stray bytes come before an answer.
    pub noise: f64,
    /// An answer does not come.
    pub mute: f64,
    /// An answer carries another servo's id.
    pub swap_id: f64,
    /// Answers come this much later.
    pub delay: Duration,
    /// ... and up to this much later still, another time each answer.
    pub jitter: Duration,
    /// Every received byte is sent back first.
    pub echo: bool,
    /// Servos that do not answer.
    pub dead: BTreeSet<u8>,
    /// Servos whose reported position stands still.
    pub stale: BTreeSet<u8>,
    /// Servos that cannot move.
    pub stuck: BTreeSet<u8>,
    /// Steps that are added to the reported position.
    pub jump: BTreeMap<u8, i32>,
    /// Alarm bits set by hand.
    pub alarms: BTreeMap<u8, u8>,
    /// Degrees added to the temperature.
    pub heat: BTreeMap<u8, f64>,
    /// Supply voltage.
    pub volts: f64,
    /// Extra weight in the gripper, 0..=1.
    pub payload: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            drop: 0.0,
            bad_sum: 0.0,
            noise: 0.0,
            mute: 0.0,
            swap_id: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            echo: false,
            dead: BTreeSet::new(),
            stale: BTreeSet::new(),
            stuck: BTreeSet::new(),
            jump: BTreeMap::new(),
            alarms: BTreeMap::new(),
            heat: BTreeMap::new(),
            volts: 12.0,
            payload: 0.0,
        }
    }
}

/// One command that arrived at a servo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Written {
    /// When.
    pub time: Time,
    /// At which servo.
    pub id: u8,
    /// Register (40 torque, 41 acceleration, 42 goal, 46 speed, 48 torque limit, 9 and 11 range, ...).
    pub register: u8,
    /// Value.
    pub value: i32,
    /// True position at that moment, steps.
    pub present: i32,
}

/// Registers of two bytes that the trace names, with the bit of their sign.
const WORDS: &[(usize, u32)] =
    &[(9, 15), (11, 15), (16, 15), (28, 15), (31, 11), (42, 15), (44, 15), (46, 15), (48, 15)];

/// Six servos on one line.
pub struct EmulatedArm {
    /// The servos, ids 1 to 6.
    pub servos: Vec<Servo>,
    /// What goes wrong at the moment.
    pub faults: Faults,
    /// Every command that arrived.
    pub trace: Vec<Written>,
    /// Whether the cable is plugged in.
    pub plugged: bool,
    time: Time,
    random: u64,
    inbox: Vec<u8>,
}

/// Motion is computed in steps of this length.
const STEP: Duration = Duration::from_millis(2);
/// One byte on the wire at 1 Mbaud.
const BYTE: Duration = Duration::from_micros(10);

impl EmulatedArm {
    /// A calibrated arm that hangs as a limp one does.
    pub fn new(seed: u64) -> Self {
        let joints = [
            (0.0, (700.0, 3400.0), 2100.0),
            (0.28, (820.0, 3290.0), 1024.0),
            (0.2, (860.0, 3140.0), 1024.0),
            (0.07, (810.0, 3240.0), 1024.0),
            (0.0, (100.0, 4000.0), 2000.0),
            (0.0, (1900.0, 3480.0), 2300.0),
        ];
        let servos = joints.iter().zip(1u8..).map(|((weight, ends, angle), id)| {
            Servo::new(id, Mechanics { weight: *weight, ends: *ends }, *angle)
        });
        Self {
            servos: servos.collect(),
            faults: Faults::default(),
            trace: Vec::new(),
            plugged: true,
            time: Time::ZERO,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            inbox: Vec::new(),
        }
    }

    /// A robot file for this arm, with its calibration.
    pub fn robot_file(&self, name: &str) -> RobotFile {
        let mut robot = RobotFile::so101(name);
        for (joint, servo) in robot.joints.iter_mut().zip(&self.servos) {
            joint.calibration = Some(Calibration {
                drive_mode: 0,
                homing_offset: signed(servo.word(31), 11),
                range_min: i32::from(servo.word(9)),
                range_max: i32::from(servo.word(11)),
            });
        }
        robot
    }

    /// A number in 0..1.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Lets the arm move until a point in time.
    pub fn advance_to(&mut self, now: Time) {
        // After a long pause only the last seconds matter: everything has come to rest before.
        self.time = self.time.max(now.saturating_sub(Duration::from_secs(20)));
        while self.time + STEP <= now {
            for s in &mut self.servos {
                s.step(STEP.as_secs_f64(), &self.faults);
            }
            self.time += STEP;
        }
    }

    /// A loss and return of power.
    pub fn power_cycle(&mut self) {
        for s in &mut self.servos {
            s.power_on();
        }
    }

    /// Takes bytes from the line at a point in time; gives back what is answered, with the times of arrival.
    pub fn receive(&mut self, now: Time, bytes: &[u8]) -> Vec<(Time, Vec<u8>)> {
        self.advance_to(now);
        let mut out = Vec::new();
        if self.faults.echo {
            out.push((now, bytes.to_vec()));
        }
        self.inbox.extend(bytes);
        while let Some((id, instruction, parameters)) = self.next_packet() {
            let at = out.last().map_or(now, |(t, _)| *t);
            self.obey(at, id, instruction, &parameters, &mut out);
        }
        out
    }

    fn next_packet(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        loop {
            let start = self.inbox.windows(2).position(|w| w == [0xff, 0xff])?;
            self.inbox.drain(..start);
            let size = usize::from(*self.inbox.get(3)?);
            if size < 2 || self.inbox.get(2) == Some(&0xff) {
                self.inbox.drain(..1);
                continue;
            }
            let packet = self.inbox.get(..4 + size)?.to_vec();
            let (body, sum) = (packet.get(2..3 + size)?, packet.get(3 + size)?);
            if checksum(body) != *sum {
                self.inbox.drain(..2);
                continue;
            }
            self.inbox.drain(..4 + size);
            return Some((*packet.get(2)?, *packet.get(4)?, packet.get(5..3 + size)?.to_vec()));
        }
    }

    fn obey(&mut self, now: Time, id: u8, instruction: u8, p: &[u8], out: &mut Vec<(Time, Vec<u8>)>) {
        match (instruction, p) {
            (0x82, [address, size, ids @ ..]) => {
                for id in ids {
                    self.answer(now, *id, Some((*address, *size)), out);
                }
            }
            (0x83, [address, size, rows @ ..]) if *size > 0 => {
                for row in rows.chunks_exact(usize::from(*size) + 1) {
                    if let [id, data @ ..] = row {
                        self.write(now, *id, *address, data);
                    }
                }
            }
            (0x01, _) if id != EVERYBODY => self.answer(now, id, None, out),
            (0x02, [address, size]) => self.answer(now, id, Some((*address, *size)), out),
            (0x03, [address, data @ ..]) => {
                if self.write(now, id, *address, data) {
                    self.answer(now, id, None, out);
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, now: Time, id: u8, address: u8, data: &[u8]) -> bool {
        if self.faults.dead.contains(&id) {
            return false;
        }
        let Some(servo) = self.servos.iter_mut().find(|s| s.id() == id) else {
            return false;
        };
        let present = servo.position();
        if !servo.write(usize::from(address), data) {
            return false;
        }
        let touched = usize::from(address)..usize::from(address) + data.len();
        for register in [40usize, 41, 55] {
            if touched.contains(&register) {
                let value = i32::from(servo.registers[register]);
                self.trace.push(Written { time: now, id, register: register as u8, value, present });
            }
        }
        for (register, bit) in WORDS {
            if touched.contains(register) {
                let value = signed(servo.word(*register), *bit);
                self.trace.push(Written { time: now, id, register: *register as u8, value, present });
            }
        }
        true
    }

    fn answer(&mut self, now: Time, id: u8, registers: Option<(u8, u8)>, out: &mut Vec<(Time, Vec<u8>)>) {
        if self.faults.dead.contains(&id) || self.chance() < self.faults.mute {
            return;
        }
        let faults = self.faults.clone();
        let Some(servo) = self.servos.iter_mut().find(|s| s.id() == id) else {
            return;
        };
        servo.measure(&faults);
        let error = servo.alarms(&faults);
        let delay = Duration::from_micros(2) * u32::from(servo.registers[7]);
        let data = match registers {
            Some((address, size)) => {
                let (a, n) = (usize::from(address), usize::from(size));
                servo.registers.get(a..a + n).map(<[u8]>::to_vec).unwrap_or_default()
            }
            None => Vec::new(),
        };
        let shown = if self.chance() < faults.swap_id { id % 6 + 1 } else { id };
        let mut packet = vec![0xff, 0xff, shown, data.len() as u8 + 2, error];
        packet.extend(data);
        let mut sum = checksum(packet.get(2..).unwrap_or_default());
        if self.chance() < faults.bad_sum {
            sum ^= 1 + (self.chance() * 254.0) as u8;
        }
        packet.push(sum);
        if self.chance() < faults.noise {
            let stray = (self.chance() * 255.0) as u8;
            packet.insert(0, stray);
        }
        if faults.drop > 0.0 {
            packet.retain(|_| self.chance() >= faults.drop);
        }
        let late = faults.delay + faults.jitter.mul_f64(self.chance());
        let before = out.last().map_or(now, |(t, _)| (*t).max(now));
        let took = BYTE * u32::try_from(packet.len()).unwrap_or(0);
        out.push((before + delay + late + took, packet));
    }
}
