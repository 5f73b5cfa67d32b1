//! One emulated STS3215: registers and motion.

use super::super::feetech::codec::{MODEL_STS3215, sign_and_magnitude, signed};
use super::arm::Faults;

/// Steps of a turn.
const TURN: f64 = 4096.0;
/// Free-running speed at 12 V, steps/s.
const FREE_SPEED: f64 = 3400.0;
/// Speed asked for per step of position error and unit of the P register.
const SPEED_PER_STEP: f64 = 0.45;
/// Fraction of the stall torque asked for per step of position error and unit of the P register.
const TORQUE_PER_STEP: f64 = 1.0 / 3600.0;

/// What hangs on a joint.
#[derive(Clone, Copy, Debug)]
pub struct Mechanics {
    /// Torque of its weight at the horizontal, fraction of the stall torque.
    pub weight: f64,
    /// Mechanical ends, steps of the shaft.
    pub ends: (f64, f64),
}

/// One servo.
#[derive(Clone, Debug)]
pub struct Servo {
    /// Registers; 0..40 are kept over a loss of power when they were written unlocked.
    pub registers: [u8; 128],
    stored: [u8; 40],
    mechanics: Mechanics,
    /// True angle of the shaft, steps.
    pub angle: f64,
    /// True speed, steps/s.
    pub speed: f64,
    /// Load, fraction of the stall torque.
    pub load: f64,
    celsius: f64,
    overloaded_for: f64,
    /// Whether it protects itself after an overload.
    pub tripped: bool,
    shown: f64,
}

/// (address, size, value) after leaving the factory.
const FACTORY: &[(usize, usize, u16)] = &[
    (0, 1, 3),
    (1, 1, 10),
    (3, 2, MODEL_STS3215),
    (7, 1, 250),
    (8, 1, 1),
    (11, 2, 4095),
    (13, 1, 70),
    (14, 1, 140),
    (15, 1, 40),
    (16, 2, 1000),
    (19, 1, 44),
    (21, 1, 16),
    (22, 1, 32),
    (28, 2, 500),
    (34, 1, 20),
    (35, 1, 200),
    (36, 1, 80),
];

impl Servo {
    /// A servo with this id that stands at `angle`, calibrated to the middle of its mechanical range.
    pub fn new(id: u8, mechanics: Mechanics, angle: f64) -> Self {
        let mut s = Self {
            registers: [0; 128],
            stored: [0; 40],
            mechanics,
            angle,
            speed: 0.0,
            load: 0.0,
            celsius: 31.0,
            overloaded_for: 0.0,
            tripped: false,
            shown: angle,
        };
        for (address, size, value) in FACTORY {
            s.put(*address, *size, *value);
        }
        s.put(5, 1, u16::from(id));
        let middle = (mechanics.ends.0 + mechanics.ends.1) / 2.0;
        let offset = (middle - 2048.0).round() as i32;
        s.put(31, 2, sign_and_magnitude(offset, 11));
        s.put(9, 2, (mechanics.ends.0 - f64::from(offset)).max(0.0) as u16);
        s.put(11, 2, (mechanics.ends.1 - f64::from(offset)).min(4095.0) as u16);
        s.stored.copy_from_slice(&s.registers[..40]);
        s.power_on();
        s
    }

    fn put(&mut self, address: usize, size: usize, value: u16) {
        let bytes = value.to_le_bytes();
        if let Some(slot) = self.registers.get_mut(address..address + size) {
            slot.copy_from_slice(&bytes[..size]);
        }
    }

    /// A register of two bytes.
    pub fn word(&self, address: usize) -> u16 {
        let byte = |a: usize| u16::from(self.registers.get(a).copied().unwrap_or(0));
        byte(address) | byte(address + 1) << 8
    }

    /// Its id.
    pub fn id(&self) -> u8 {
        self.registers[5]
    }

    /// Whether its torque is on.
    pub fn holds(&self) -> bool {
        self.registers[40] == 1
    }

    fn offset(&self) -> f64 {
        f64::from(signed(self.word(31), 11))
    }

    /// The position that an honest sensor reports.
    pub fn position(&self) -> i32 {
        (self.angle - self.offset()).round() as i32
    }

    /// Its goal.
    pub fn goal(&self) -> i32 {
        signed(self.word(42), 15)
    }

    /// Power comes back: memory is lost, what was stored returns, torque is off.
    pub fn power_on(&mut self) {
        let stored = self.stored;
        self.registers = [0; 128];
        self.registers[..40].copy_from_slice(&stored);
        self.put(42, 2, sign_and_magnitude(self.position(), 15));
        self.put(48, 2, self.word(16));
        self.tripped = false;
        self.overloaded_for = 0.0;
    }

    /// Writes registers as an instruction does; answers whether they exist and may be written.
    pub fn write(&mut self, address: usize, data: &[u8]) -> bool {
        let Some(slot) = self.registers.get_mut(address..address + data.len()) else {
            return false;
        };
        // Identity and measurements cannot be written.
        for (i, (r, b)) in slot.iter_mut().zip(data).enumerate() {
            if !matches!(address + i, 0..=4 | 56..=79) {
                *r = *b;
            }
        }
        if address <= 42 && 42 < address + data.len() || self.registers[40] == 0 {
            self.tripped = false;
            self.overloaded_for = 0.0;
        }
        if address < 40 && self.registers[55] == 0 {
            self.stored.copy_from_slice(&self.registers[..40]);
        }
        true
    }

    /// Alarm bits at the moment.
    pub fn alarms(&self, faults: &Faults) -> u8 {
        let mut bits = faults.alarms.get(&self.id()).copied().unwrap_or(0);
        let tenths = faults.volts * 10.0;
        if tenths < f64::from(self.registers[15]) || tenths > f64::from(self.registers[14]) {
            bits |= 0x01;
        }
        if self.heat(faults) > f64::from(self.registers[13]) {
            bits |= 0x04;
        }
        if self.tripped {
            bits |= 0x20;
        }
        bits
    }

    fn heat(&self, faults: &Faults) -> f64 {
        self.celsius + faults.heat.get(&self.id()).copied().unwrap_or(0.0)
    }

    /// Moves on by `dt` seconds.
    pub fn step(&mut self, dt: f64, faults: &Faults) {
        let weight = self.mechanics.weight * (1.0 + 2.5 * faults.payload);
        let tilt = (self.angle - 2048.0) * std::f64::consts::TAU / TURN;
        let pull = -weight * tilt.cos();
        let blocked = faults.stuck.contains(&self.id());
        if self.holds() {
            let mut most = f64::from(self.word(16).min(self.word(48))) / 1000.0;
            if self.tripped {
                most = most.min(f64::from(self.registers[34]) / 100.0);
            }
            let (low, high) = (i32::from(self.word(9)), i32::from(self.word(11)));
            let goal = f64::from(self.goal().clamp(low, high.max(low)));
            let error = goal - (self.angle - self.offset());
            let gain = f64::from(self.registers[21]);
            let cap = f64::from(signed(self.word(46), 15).unsigned_abs());
            let fastest = FREE_SPEED * (faults.volts / 12.0).clamp(0.0, 1.2);
            let fastest = if cap > 0.0 { fastest.min(cap) } else { fastest };
            let wanted = (error * gain * SPEED_PER_STEP).clamp(-fastest, fastest);
            let ramp = match self.registers[41] {
                0 => 25_400.0,
                a => f64::from(a) * 100.0,
            };
            let ask = error * gain * TORQUE_PER_STEP - pull;
            self.load = ask.clamp(-most, most);
            if blocked {
                self.speed = 0.0;
            } else {
                let change = (wanted - self.speed).clamp(-ramp * dt, ramp * dt);
                self.speed += change;
                // Too weak for its weight: it sinks.
                let missing = pull.abs() - most;
                if missing > 0.0 {
                    self.speed = pull.signum() * missing * 900.0;
                }
            }
        } else {
            self.load = 0.0;
            let falling = if blocked { 0.0 } else { pull * 2500.0 };
            self.speed += (falling - self.speed) * (dt / 0.1).min(1.0);
        }
        self.angle += self.speed * dt;
        let (low, high) = self.mechanics.ends;
        if self.angle < low || self.angle > high {
            self.angle = self.angle.clamp(low, high);
            self.speed = 0.0;
        }
        self.celsius += (self.load * self.load - (self.celsius - 30.0) * 0.012) * dt;
        let strained = self.load.abs() * 100.0 > f64::from(self.registers[36]);
        self.overloaded_for = if strained { self.overloaded_for + dt } else { 0.0 };
        if self.holds() && self.overloaded_for > f64::from(self.registers[35]) * 0.01 {
            self.tripped = true;
        }
        // Too little or too much voltage, or heat: it lets go.
        if self.alarms(faults) & self.registers[19] & 0x05 != 0 && !faults.alarms.contains_key(&self.id()) {
            self.registers[40] = 0;
        }
        if !faults.stale.contains(&self.id()) {
            self.shown = self.angle;
        }
    }

    /// Fills the registers that report measurements.
    pub fn measure(&mut self, faults: &Faults) {
        let jump = faults.jump.get(&self.id()).copied().unwrap_or(0);
        let position = (self.shown - self.offset()).round() as i32 + jump;
        self.put(56, 2, sign_and_magnitude(position, 15));
        self.put(58, 2, sign_and_magnitude(self.speed as i32, 15));
        self.put(60, 2, sign_and_magnitude((self.load * 1000.0) as i32, 10));
        self.registers[62] = (faults.volts * 10.0 - self.load.abs() * 1.5).round().clamp(0.0, 255.0) as u8;
        self.registers[63] = self.heat(faults).clamp(0.0, 255.0) as u8;
        self.registers[65] = self.alarms(faults);
        self.registers[66] = u8::from(self.speed.abs() > 20.0);
        self.put(69, 2, (self.load.abs() * 400.0) as u16);
        self.put(71, 2, self.word(42));
    }
}
