//! The bus of STS servos as a [`Driver`].

use std::sync::Arc;

use super::super::bus::{Bus, Opener, PATIENT_RETRIES, RETRIES, Status};
use super::super::calibration::{Calibration, DEGREES_PER_STEP};
use super::super::clock::{Clock, Time};
use super::super::driver::{Alarms, Driver, DriverError, Feedback, Identity, Reading, Standing};
use super::super::file::RobotFile;
use super::super::numbers::Unit;
use super::super::safety::order::{CalibrationOrder, GoalOrder, PrepareOrder, TorqueOrder};
use super::codec::{self, MODEL_STS3215, ProtocolZero, register, signed, word};

/// Readings of one cycle: 56..70, and one or two bytes more. The size changes from request to request, so that a late
/// answer to an earlier request can never be taken for the answer to this one.
const READING_SIZES: [u16; 3] = [15, 16, 17];
/// The largest torque and protection current of a gripper (register units).
const GRIPPER_TORQUE: u16 = 500;
const GRIPPER_CURRENT: u16 = 250;

#[derive(Clone, Debug)]
struct Joint {
    name: String,
    id: u8,
    unit: Unit,
    calibration: Calibration,
    last: Option<(Time, Raw)>,
    /// Settings as they were before we narrowed them.
    kept: Option<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Kept {
    return_delay: u8,
    range: [u8; 4],
    max_torque: u16,
    current: u16,
}

/// What a servo's registers 56..70 say.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Raw {
    error: u8,
    position: i32,
    speed: i32,
    load: i32,
    volts: u8,
    celsius: u8,
    current: u16,
}

impl Raw {
    fn of(status: &Status) -> Option<Self> {
        let d = &status.data;
        Some(Self {
            // The answer's error byte and register 65 hold the same bits.
            error: status.error | *d.get(9)?,
            position: signed(word(d, 0)?, 15),
            speed: signed(word(d, 2)?, 15),
            load: signed(word(d, 4)? & 0x7ff, 10),
            volts: *d.get(6)?,
            celsius: *d.get(7)?,
            current: word(d, 13)?,
        })
    }

    /// Whether this reading can follow the last one: the checksum has one byte, so what looks surprising is asked for
    /// again before it is believed.
    fn plausible(&self, last: Option<&(Time, Self)>, now: Time) -> bool {
        let sane = self.celsius <= 120 && (20..=200).contains(&self.volts) && self.load.abs() <= 1000;
        let Some((then, last)) = last else {
            return false;
        };
        // 400 deg/s, and a little.
        let steps = 60.0 + 4600.0 * now.saturating_sub(*then).as_secs_f64();
        sane && f64::from((self.position - last.position).abs()) <= steps
            && self.error == last.error
            && self.volts.abs_diff(last.volts) <= 15
            && self.celsius.abs_diff(last.celsius) <= 4
    }

    /// Whether two readings right after one another tell the same.
    fn agrees(&self, other: &Self) -> bool {
        (self.position - other.position).abs() <= 80
            && self.error == other.error
            && self.volts.abs_diff(other.volts) <= 15
            && self.celsius.abs_diff(other.celsius) <= 2
    }
}

/// Six (or any number of) STS servos on one line.
pub struct FeetechBus {
    joints: Vec<Joint>,
    bus: Bus<ProtocolZero>,
    clock: Arc<dyn Clock>,
    size_turn: usize,
}

fn le(value: u16) -> [u8; 2] {
    value.to_le_bytes()
}

impl FeetechBus {
    /// A bus for the joints of a robot file; `opener` opens its line, also again after a replug.
    pub fn new(robot: &RobotFile, opener: Opener, clock: Arc<dyn Clock>) -> Self {
        let whole = Calibration { drive_mode: 0, homing_offset: 0, range_min: 0, range_max: 4095 };
        let joints = robot.joints.iter().map(|j| Joint {
            name: j.name.clone(),
            id: j.id,
            unit: j.unit,
            calibration: j.calibration.unwrap_or(whole),
            last: None,
            kept: None,
        });
        Self {
            joints: joints.collect(),
            bus: Bus::new(robot, opener, Arc::clone(&clock)),
            clock,
            size_turn: 0,
        }
    }

    /// Who is there, of which kind, and how it is set.
    fn identify(&mut self, port: &str) -> Result<Identity, DriverError> {
        let models = self.bus.read_all(register::MODEL, 2, PATIENT_RETRIES)?;
        for (joint, status) in self.joints.iter().zip(&models) {
            let model = word(&status.data, 0).unwrap_or(0);
            if model != MODEL_STS3215 {
                let why =
                    format!("its motor is model {model}, this arm has STS3215 (777); is it the right arm?");
                return Err(DriverError::Wrong { joint: joint.name.clone(), why });
            }
        }
        let firmware = self.bus.read_all(register::FIRMWARE, 2, PATIENT_RETRIES)?;
        if let Some(odd) = firmware.iter().position(|s| Some(&s.data) != firmware.first().map(|f| &f.data)) {
            let name = self.joints.get(odd).map_or_else(String::new, |j| j.name.clone());
            let why =
                "its firmware differs from the other motors'; update all to the same version".to_string();
            return Err(DriverError::Wrong { joint: name, why });
        }
        let version = firmware.first().map(|f| f.data.clone()).unwrap_or_default();
        let ranges = self.bus.read_all(register::MIN_POSITION, 4, PATIENT_RETRIES)?;
        let offsets = self.bus.read_all(register::HOMING_OFFSET, 2, PATIENT_RETRIES)?;
        let torque = self.bus.read_all(register::TORQUE_ENABLE, 1, PATIENT_RETRIES)?;
        let calibration = ranges.iter().zip(&offsets).zip(&self.joints).map(|((r, o), joint)| Calibration {
            drive_mode: joint.calibration.drive_mode,
            homing_offset: signed(word(&o.data, 0).unwrap_or(0), 11),
            range_min: i32::from(word(&r.data, 0).unwrap_or(0)),
            range_max: i32::from(word(&r.data, 2).unwrap_or(0)),
        });
        Ok(Identity {
            description: format!(
                "{} STS3215 motors on {port}, firmware {}",
                self.joints.len(),
                version.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
            ),
            calibration: Some(calibration.collect()),
            stiff: torque.iter().map(|s| s.data.first() == Some(&1)).collect(),
        })
    }

    /// Narrows the servo's own limits. The lock is set first: then these registers are changed in memory only, and the
    /// calibration that is stored in the servo stays as it is.
    fn narrow(&mut self, index: usize, low: f64, high: f64) -> Result<(), DriverError> {
        let Some(joint) = self.joints.get(index).cloned() else {
            return Ok(());
        };
        let id = joint.id;
        let mut one = |address: u16, size: u16| -> Result<Vec<u8>, DriverError> {
            let found = self.bus.read_block(&[id], address, size, PATIENT_RETRIES)?;
            let why = "its settings could not be read".to_string();
            let missing = || DriverError::NoAnswer { joints: vec![joint.name.clone()], why };
            found.into_iter().flatten().next().map(|s| s.data).ok_or_else(missing)
        };
        if one(register::MODE, 1)? != [0] {
            let why = "its motor is not in position mode; set its mode register (33) to 0 first".into();
            return Err(DriverError::Wrong { joint: joint.name.clone(), why });
        }
        if joint.kept.is_none() {
            let (delay, range) = (one(register::RETURN_DELAY, 1)?, one(register::MIN_POSITION, 4)?);
            let (torque, current) = (one(register::MAX_TORQUE, 2)?, one(register::PROTECTION_CURRENT, 2)?);
            // An agent that was killed leaves its narrowed range behind until the power goes: then what was there before
            // is the robot file's range.
            let c = &joint.calibration;
            let (low, high) = (word(&range, 0).unwrap_or(0), word(&range, 2).unwrap_or(4095));
            let ours = (1..80).contains(&(i32::from(low) - c.range_min))
                || (1..80).contains(&(c.range_max - i32::from(high)));
            let (low, high) = if ours {
                (u16::try_from(c.range_min).unwrap_or(0), u16::try_from(c.range_max).unwrap_or(4095))
            } else {
                (low, high)
            };
            let kept = Kept {
                return_delay: delay.first().copied().unwrap_or(250),
                range: [le(low)[0], le(low)[1], le(high)[0], le(high)[1]],
                max_torque: word(&torque, 0).unwrap_or(1000),
                current: word(&current, 0).unwrap_or(500),
            };
            if let Some(j) = self.joints.get_mut(index) {
                j.kept = Some(kept);
            }
        }
        self.bus.write(id, register::LOCK, &[1])?;
        self.bus.write(id, register::RETURN_DELAY, &[0])?;
        let (a, b) = (self.steps(index, low)?, self.steps(index, high)?);
        let mut range = Vec::from(le(a.min(b).saturating_sub(1)));
        range.extend(le((a.max(b) + 1).min(4095)));
        self.bus.write(id, register::MIN_POSITION, &range)?;
        let kept = self.joints.get(index).and_then(|j| j.kept);
        if let (Unit::Percent, Some(kept)) = (joint.unit, kept) {
            self.bus.write(id, register::MAX_TORQUE, &le(kept.max_torque.min(GRIPPER_TORQUE)))?;
            self.bus.write(id, register::PROTECTION_CURRENT, &le(kept.current.min(GRIPPER_CURRENT)))?;
        }
        Ok(())
    }

    fn widen_again(&mut self, index: usize) -> Result<(), DriverError> {
        let Some((id, unit, Some(kept))) = self.joints.get(index).map(|j| (j.id, j.unit, j.kept)) else {
            return Ok(());
        };
        self.bus.write(id, register::MIN_POSITION, &kept.range)?;
        self.bus.write(id, register::RETURN_DELAY, &[kept.return_delay])?;
        if unit == Unit::Percent {
            self.bus.write(id, register::MAX_TORQUE, &le(kept.max_torque))?;
            self.bus.write(id, register::PROTECTION_CURRENT, &le(kept.current))?;
        }
        if let Some(j) = self.joints.get_mut(index) {
            j.kept = None;
        }
        Ok(())
    }

    /// The step of a position, inside the calibrated range.
    fn steps(&self, index: usize, position: f64) -> Result<u16, DriverError> {
        let joint = self.joints.get(index).ok_or(DriverError::Closed)?;
        let c = &joint.calibration;
        // A limp arm rests against its ends, a little beyond the range that calibration found.
        let slack = 40;
        let steps = c.to_steps(joint.unit, position).ok_or_else(|| DriverError::Wrong {
            joint: joint.name.clone(),
            why: format!("{position} is no position"),
        })?;
        let steps = steps.clamp((c.range_min - slack).max(0), (c.range_max + slack).min(4095));
        Ok(u16::try_from(steps).unwrap_or(0))
    }

    fn reading(joint: &Joint, raw: &Raw) -> Reading {
        let per = joint.calibration.degrees_per(joint.unit);
        let turn = if joint.unit == Unit::Percent && joint.calibration.drive_mode == 1 { -1.0 } else { 1.0 };
        Reading {
            position: joint.calibration.from_steps(joint.unit, f64::from(raw.position)),
            steps: raw.position,
            speed: f64::from(raw.speed) * DEGREES_PER_STEP / per * turn,
            load: f64::from(raw.load) / 1000.0 * turn,
            volts: f64::from(raw.volts) / 10.0,
            celsius: f64::from(raw.celsius),
            amps: f64::from(raw.current) * 0.0065,
            alarms: Alarms {
                voltage: raw.error & 0x01 != 0,
                sensor: raw.error & 0x02 != 0,
                heat: raw.error & 0x04 != 0,
                current: raw.error & 0x08 != 0,
                overload: raw.error & 0x20 != 0,
            },
        }
    }
}

impl Driver for FeetechBus {
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
            j.last = None;
        }
    }

    fn read(&mut self) -> Result<Feedback, DriverError> {
        self.bus.repeated = 0;
        let ids: Vec<u8> = self.joints.iter().map(|j| j.id).collect();
        let mut sound: Vec<Option<Raw>> = vec![None; ids.len()];
        let mut doubtful: Vec<Option<Raw>> = vec![None; ids.len()];
        for _ in 0..=RETRIES {
            let wanted: Vec<u8> =
                ids.iter().zip(&sound).filter(|(_, s)| s.is_none()).map(|(id, _)| *id).collect();
            if wanted.is_empty() {
                break;
            }
            self.size_turn = (self.size_turn + 1) % READING_SIZES.len();
            let size = READING_SIZES.get(self.size_turn).copied().unwrap_or(15);
            let found = self.bus.read_block(&wanted, register::PRESENT_POSITION, size, 0)?;
            let now = self.clock.now();
            for status in found.into_iter().flatten() {
                let Some(i) = ids.iter().position(|id| *id == status.id) else {
                    continue;
                };
                let (Some(raw), Some(joint), Some(slot), Some(doubt)) =
                    (Raw::of(&status), self.joints.get(i), sound.get_mut(i), doubtful.get_mut(i))
                else {
                    continue;
                };
                let confirmed = doubt.is_some_and(|d: Raw| d.agrees(&raw));
                if confirmed || raw.plausible(joint.last.as_ref(), now) {
                    *slot = Some(raw);
                } else {
                    *doubt = Some(raw);
                }
            }
        }
        let raws = self.bus.demand(sound)?;
        let now = self.clock.now();
        let mut out = Feedback { joints: Vec::with_capacity(raws.len()), retries: self.bus.repeated };
        for (joint, raw) in self.joints.iter_mut().zip(raws) {
            joint.last = Some((now, raw));
            out.joints.push(Self::reading(joint, &raw));
        }
        Ok(out)
    }

    fn standing(&mut self) -> Result<Vec<Standing>, DriverError> {
        let ids: Vec<u8> = self.joints.iter().map(|j| j.id).collect();
        let found = self.bus.read_block(&ids, register::TORQUE_ENABLE, 10, RETRIES)?;
        let rows = self.bus.demand(found)?;
        let standing = self.joints.iter().zip(&rows).map(|(j, s)| Standing {
            torque: s.data.first() == Some(&1),
            goal: j.calibration.from_steps(j.unit, f64::from(signed(word(&s.data, 2).unwrap_or(0), 15))),
            torque_limit: f64::from(word(&s.data, 8).unwrap_or(0)) / 1000.0,
        });
        Ok(standing.collect())
    }

    fn prepare(&mut self, order: &PrepareOrder) -> Result<(), DriverError> {
        for i in 0..self.joints.len() {
            match order.bounds().and_then(|b| b.get(i)) {
                Some((low, high)) => self.narrow(i, *low, *high)?,
                None => self.widen_again(i)?,
            }
        }
        Ok(())
    }

    fn command(&mut self, order: &GoalOrder) -> Result<(), DriverError> {
        let mut rows = Vec::with_capacity(self.joints.len());
        for (i, goal) in order.joints().iter().enumerate() {
            let Some(joint) = self.joints.get(i) else {
                continue;
            };
            let per_unit = joint.calibration.degrees_per(joint.unit) / DEGREES_PER_STEP;
            let speed = (goal.speed_cap() * per_unit).clamp(1.0, 3400.0) as u16;
            // In hundreds of steps/s²; 0 would mean "as hard as it can".
            let acceleration = (goal.acceleration_cap() * per_unit / 100.0).ceil().clamp(1.0, 254.0) as u8;
            let torque = (goal.torque().clamp(0.0, 1.0) * 1000.0).round() as u16;
            let mut row = vec![acceleration];
            row.extend(le(self.steps(i, goal.position())?));
            row.extend([0, 0]);
            row.extend(le(speed));
            row.extend(le(torque));
            rows.push((joint.id, row));
        }
        self.bus.write_all(register::ACCELERATION, &rows)
    }

    fn torque(&mut self, order: &TorqueOrder) -> Result<(), DriverError> {
        self.bus.switch_torque(register::TORQUE_ENABLE, order.on())
    }

    fn store_calibration(&mut self, order: &CalibrationOrder) -> Result<(), DriverError> {
        self.bus.demand_limp(register::TORQUE_ENABLE)?;
        let ids: Vec<u8> = self.joints.iter().map(|j| j.id).collect();
        for (id, c) in ids.iter().zip(order.joints()) {
            let mut range = Vec::from(le(u16::try_from(c.range_min).unwrap_or(0)));
            range.extend(le(u16::try_from(c.range_max).unwrap_or(4095)));
            self.bus.write(*id, register::LOCK, &[0])?;
            self.bus.write(
                *id,
                register::HOMING_OFFSET,
                &le(codec::sign_and_magnitude(c.homing_offset, 11)),
            )?;
            self.bus.write(*id, register::MIN_POSITION, &range)?;
            self.bus.write(*id, register::LOCK, &[1])?;
        }
        let ranges = self.bus.read_all(register::MIN_POSITION, 4, PATIENT_RETRIES)?;
        let offsets = self.bus.read_all(register::HOMING_OFFSET, 2, PATIENT_RETRIES)?;
        for (((joint, c), r), o) in self.joints.iter_mut().zip(order.joints()).zip(&ranges).zip(&offsets) {
            let stored = (
                signed(word(&o.data, 0).unwrap_or(0), 11),
                i32::from(word(&r.data, 0).unwrap_or(0)),
                i32::from(word(&r.data, 2).unwrap_or(0)),
            );
            if stored != (c.homing_offset, c.range_min, c.range_max) {
                let why = "its calibration did not stay; try again, then check its cable".into();
                return Err(DriverError::Wrong { joint: joint.name.clone(), why });
            }
            joint.calibration = *c;
            joint.kept = None;
            joint.last = None;
        }
        Ok(())
    }
}

/// A bus on the serial port that the robot file names.
#[cfg(target_os = "linux")]
pub fn on_serial_port(robot: &RobotFile, clock: Arc<dyn Clock>) -> FeetechBus {
    FeetechBus::new(robot, super::super::bus::opener(robot), clock)
}
