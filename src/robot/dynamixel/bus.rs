//! The bus of Dynamixel X servos as a [`Driver`].

use std::sync::Arc;

use super::super::bus::{Bus, Opener, PATIENT_RETRIES, RETRIES};
use super::super::calibration::{Calibration, DEGREES_PER_STEP};
use super::super::clock::{Clock, Time};
use super::super::driver::{Alarms, Driver, DriverError, Feedback, Identity, Reading, Standing};
use super::super::file::RobotFile;
use super::super::numbers::Unit;
use super::super::safety::order::{CalibrationOrder, GoalOrder, PrepareOrder, TorqueOrder};
use super::codec::ProtocolTwo;

/// Registers of the X series (address).
pub mod register {
    /// Model number (2).
    pub const MODEL: u16 = 0;
    /// Operating mode (1): 3 position, 5 position with current limit.
    pub const MODE: u16 = 11;
    /// Homing offset (4): present = actual + offset.
    pub const HOMING_OFFSET: u16 = 20;
    /// Largest and smallest goal (4 each).
    pub const MAX_POSITION: u16 = 48;
    /// Torque (1). The registers above can be written only while it is off.
    pub const TORQUE_ENABLE: u16 = 64;
    /// Hardware error (1).
    pub const HARDWARE_ERROR: u16 = 70;
    /// Bus watchdog (1), x 20 ms; 0 off, writing 0 clears it.
    pub const BUS_WATCHDOG: u16 = 98;
    /// Goal PWM (2): the torque limit in position mode, 885 = all.
    pub const GOAL_PWM: u16 = 100;
    /// Profile acceleration (4).
    pub const PROFILE_ACCELERATION: u16 = 108;
    /// Goal position (4).
    pub const GOAL_POSITION: u16 = 116;
    /// Present load or current (2), speed (4), position (4), ... up to the temperature at 146.
    pub const PRESENT: u16 = 126;
}

/// Registers 126..147; one or two more in turn, so that a late answer cannot pass for the answer to a later request.
const READING_SIZES: [u16; 3] = [21, 22, 23];
/// Registers 100..132 that are written every tick: goal PWM, current, velocity, profile, goal position.
const COMMAND: (u16, u16) = (register::GOAL_PWM, 20);
/// Full PWM.
const FULL_PWM: f64 = 885.0;
/// Steps a second of one velocity unit (0.229 turns a minute of 4096 steps).
const VELOCITY_UNIT: f64 = 0.229 * 4096.0 / 60.0;
/// Steps/s² of one acceleration unit (214.577 turns/min²).
const ACCELERATION_UNIT: f64 = 214.577 * 4096.0 / 3600.0;
/// The servos hold by themselves when nothing comes for this long (x 20 ms): longer than our own watchdogs.
const WATCHDOG: u8 = 50;
/// Hardware errors are asked for every so many readings.
const ALARM_TURN: u32 = 10;

#[derive(Clone, Debug)]
struct Joint {
    name: String,
    id: u8,
    unit: Unit,
    calibration: Calibration,
    last: Option<(Time, i32)>,
    alarms: u8,
}

/// Dynamixel X servos on one line.
pub struct DynamixelBus {
    joints: Vec<Joint>,
    bus: Bus<ProtocolTwo>,
    clock: Arc<dyn Clock>,
    turn: u32,
}

fn word(data: &[u8], at: usize) -> i32 {
    let b = |i: usize| data.get(at + i).copied().unwrap_or(0);
    i32::from(i16::from_le_bytes([b(0), b(1)]))
}

fn long(data: &[u8], at: usize) -> i32 {
    let b = |i: usize| data.get(at + i).copied().unwrap_or(0);
    i32::from_le_bytes([b(0), b(1), b(2), b(3)])
}

impl DynamixelBus {
    /// A bus for the joints of a robot file; `opener` opens its line, also again after a replug.
    pub fn new(robot: &RobotFile, opener: Opener, clock: Arc<dyn Clock>) -> Self {
        let whole = Calibration { drive_mode: 0, homing_offset: 0, range_min: 0, range_max: 4095 };
        let joints = robot.joints.iter().map(|j| Joint {
            name: j.name.clone(),
            id: j.id,
            unit: j.unit,
            calibration: j.calibration.unwrap_or(whole),
            last: None,
            alarms: 0,
        });
        Self { joints: joints.collect(), bus: Bus::new(robot, opener, Arc::clone(&clock)), clock, turn: 0 }
    }

    fn identify(&mut self, port: &str) -> Result<Identity, DriverError> {
        let models = self.bus.read_all(register::MODEL, 2, PATIENT_RETRIES)?;
        for (joint, status) in self.joints.iter().zip(&models) {
            let model = word(&status.data, 0);
            if !(1000..1300).contains(&model) {
                let why = format!("its motor is model {model}, which is none of the Dynamixel X series");
                return Err(DriverError::Wrong { joint: joint.name.clone(), why });
            }
        }
        let offsets = self.bus.read_all(register::HOMING_OFFSET, 4, PATIENT_RETRIES)?;
        let ranges = self.bus.read_all(register::MAX_POSITION, 8, PATIENT_RETRIES)?;
        let torque = self.bus.read_all(register::TORQUE_ENABLE, 1, PATIENT_RETRIES)?;
        let calibration = offsets.iter().zip(&ranges).zip(&self.joints).map(|((o, r), joint)| Calibration {
            drive_mode: joint.calibration.drive_mode,
            homing_offset: long(&o.data, 0),
            range_min: long(&r.data, 4),
            range_max: long(&r.data, 0),
        });
        let kinds: std::collections::BTreeSet<i32> = models.iter().map(|m| word(&m.data, 0)).collect();
        Ok(Identity {
            description: format!("{} Dynamixel motors (models {kinds:?}) on {port}", self.joints.len()),
            calibration: Some(calibration.collect()),
            stiff: torque.iter().map(|s| s.data.first() == Some(&1)).collect(),
        })
    }

    fn steps(joint: &Joint, position: f64) -> Result<i32, DriverError> {
        let c = &joint.calibration;
        let steps = c.to_steps(joint.unit, position).ok_or_else(|| DriverError::Wrong {
            joint: joint.name.clone(),
            why: format!("{position} is no position"),
        })?;
        let slack = 40;
        Ok(steps.clamp(c.range_min - slack, c.range_max + slack))
    }

    fn reading(joint: &Joint, data: &[u8]) -> Reading {
        let per = joint.calibration.degrees_per(joint.unit);
        let turn = if joint.unit == Unit::Percent && joint.calibration.drive_mode == 1 { -1.0 } else { 1.0 };
        let steps = long(data, 6);
        Reading {
            position: joint.calibration.from_steps(joint.unit, f64::from(steps)),
            steps,
            speed: f64::from(long(data, 2)) * VELOCITY_UNIT * DEGREES_PER_STEP / per * turn,
            load: f64::from(word(data, 0)) / 1000.0 * turn,
            volts: f64::from(word(data, 18)) / 10.0,
            celsius: f64::from(data.get(20).copied().unwrap_or(0)),
            amps: f64::from(word(data, 0).abs()) * 0.001,
            alarms: Alarms {
                voltage: joint.alarms & 0x01 != 0,
                sensor: joint.alarms & 0x08 != 0,
                heat: joint.alarms & 0x04 != 0,
                current: joint.alarms & 0x10 != 0,
                overload: joint.alarms & 0x20 != 0,
            },
        }
    }

    fn watchdog(&mut self, ticks: u8) -> Result<(), DriverError> {
        for id in self.bus.ids() {
            self.bus.write(id, register::BUS_WATCHDOG, &[ticks])?;
        }
        Ok(())
    }
}

impl Driver for DynamixelBus {
    fn open(&mut self) -> Result<Identity, DriverError> {
        self.close();
        let port = self.bus.open()?;
        let identity = self.identify(&port);
        if identity.is_err() {
            self.bus.close();
        }
        identity
    }

    fn close(&mut self) {
        self.bus.close();
        for j in &mut self.joints {
            (j.last, j.alarms) = (None, 0);
        }
    }

    fn read(&mut self) -> Result<Feedback, DriverError> {
        self.bus.repeated = 0;
        self.turn = self.turn.wrapping_add(1);
        let size = READING_SIZES.get(self.turn as usize % READING_SIZES.len()).copied().unwrap_or(21);
        let rows = self.bus.read_all(register::PRESENT, size, RETRIES)?;
        // An alert, or every now and then: what is wrong with the motor.
        if self.turn % ALARM_TURN == 0 || rows.iter().any(|s| s.error & 0x80 != 0) {
            let errors = self.bus.read_all(register::HARDWARE_ERROR, 1, RETRIES)?;
            for (joint, status) in self.joints.iter_mut().zip(&errors) {
                joint.alarms = status.data.first().copied().unwrap_or(0);
            }
        }
        let now = self.clock.now();
        let mut out = Feedback { joints: Vec::with_capacity(rows.len()), retries: self.bus.repeated };
        for (joint, status) in self.joints.iter_mut().zip(&rows) {
            joint.last = Some((now, long(&status.data, 6)));
            out.joints.push(Self::reading(joint, &status.data));
        }
        Ok(out)
    }

    fn standing(&mut self) -> Result<Vec<Standing>, DriverError> {
        let torque = self.bus.read_all(register::TORQUE_ENABLE, 1, RETRIES)?;
        let command = self.bus.read_all(COMMAND.0, COMMAND.1, RETRIES)?;
        let rows = self.joints.iter().zip(torque.iter().zip(&command));
        let standing = rows.map(|(j, (t, c))| Standing {
            torque: t.data.first() == Some(&1),
            goal: j.calibration.from_steps(j.unit, f64::from(long(&c.data, 16))),
            torque_limit: f64::from(word(&c.data, 0)) / FULL_PWM,
        });
        Ok(standing.collect())
    }

    fn prepare(&mut self, order: &PrepareOrder) -> Result<(), DriverError> {
        if order.bounds().is_none() {
            return self.watchdog(0);
        }
        let modes = self.bus.read_all(register::MODE, 1, PATIENT_RETRIES)?;
        for (joint, status) in self.joints.iter().zip(&modes) {
            if !matches!(status.data.first(), Some(3 | 5)) {
                let why = "its motor is not in position mode; set its register 11 to 3 first".into();
                return Err(DriverError::Wrong { joint: joint.name.clone(), why });
            }
        }
        // A watchdog that has struck makes goals read-only until it is cleared.
        self.watchdog(0)?;
        self.watchdog(WATCHDOG)
    }

    fn command(&mut self, order: &GoalOrder) -> Result<(), DriverError> {
        let mut rows = Vec::with_capacity(self.joints.len());
        for (joint, goal) in self.joints.iter().zip(order.joints()) {
            let per_unit = joint.calibration.degrees_per(joint.unit) / DEGREES_PER_STEP;
            let pwm = (goal.torque().clamp(0.0, 1.0) * FULL_PWM).round() as i16;
            // 0 would mean "as fast as it can".
            let speed = (goal.speed_cap() * per_unit / VELOCITY_UNIT).ceil().clamp(1.0, 32_767.0) as u32;
            let ramp = (goal.acceleration_cap() * per_unit / ACCELERATION_UNIT).ceil().clamp(1.0, 32_767.0);
            let mut row = pwm.to_le_bytes().to_vec();
            // Goal current and velocity are not used in position mode; they are sent as they rest.
            row.extend([0; 6]);
            row.extend((ramp as u32).to_le_bytes());
            row.extend(speed.to_le_bytes());
            row.extend(Self::steps(joint, goal.position())?.to_le_bytes());
            rows.push((joint.id, row));
        }
        self.bus.write_all(COMMAND.0, &rows)
    }

    fn torque(&mut self, order: &TorqueOrder) -> Result<(), DriverError> {
        self.bus.switch_torque(register::TORQUE_ENABLE, order.on())
    }

    fn store_calibration(&mut self, order: &CalibrationOrder) -> Result<(), DriverError> {
        self.bus.demand_limp(register::TORQUE_ENABLE)?;
        let pairs: Vec<(u8, Calibration)> =
            self.bus.ids().into_iter().zip(order.joints().iter().copied()).collect();
        for (id, c) in pairs {
            self.bus.write(id, register::HOMING_OFFSET, &c.homing_offset.to_le_bytes())?;
            let mut range = c.range_max.to_le_bytes().to_vec();
            range.extend(c.range_min.to_le_bytes());
            self.bus.write(id, register::MAX_POSITION, &range)?;
        }
        for (joint, c) in self.joints.iter_mut().zip(order.joints()) {
            (joint.calibration, joint.last) = (*c, None);
        }
        Ok(())
    }
}

/// A bus on the serial port that the robot file names.
#[cfg(target_os = "linux")]
pub fn on_serial_port(robot: &RobotFile, clock: Arc<dyn Clock>) -> DynamixelBus {
    DynamixelBus::new(robot, super::super::bus::opener(robot), clock)
}
