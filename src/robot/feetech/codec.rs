//! Packets of the Feetech STS/SMS bus (SCServo protocol 0) and the registers of the STS3215.
//!
//! Instruction `FF FF id len inst params.. sum`, answer `FF FF id len error params.. sum`, `len` = params + 2,
//! `sum` = the complement of the sum of everything from `id` on. Numbers of two bytes come low byte first; signed ones
//! are sign and magnitude.

use super::super::bus::{Format, Status};

/// Address of all servos at once.
pub const EVERYBODY: u8 = 0xfe;
/// Model number of the STS3215.
pub const MODEL_STS3215: u16 = 777;

/// Registers: address and size in bytes.
#[allow(missing_docs)]
pub mod register {
    pub const FIRMWARE: u16 = 0;
    pub const MODEL: u16 = 3;
    pub const RETURN_DELAY: u16 = 7;
    pub const MIN_POSITION: u16 = 9;
    pub const MAX_TORQUE: u16 = 16;
    pub const PROTECTION_CURRENT: u16 = 28;
    pub const HOMING_OFFSET: u16 = 31;
    pub const MODE: u16 = 33;
    pub const TORQUE_ENABLE: u16 = 40;
    pub const ACCELERATION: u16 = 41;
    pub const GOAL_POSITION: u16 = 42;
    pub const TORQUE_LIMIT: u16 = 48;
    pub const LOCK: u16 = 55;
    pub const PRESENT_POSITION: u16 = 56;
}

/// Instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Instruction {
    /// Are you there?
    Ping = 0x01,
    /// Read registers of one servo.
    Read = 0x02,
    /// Write registers of one servo.
    Write = 0x03,
    /// Read the same registers of several servos; they answer one after another.
    SyncRead = 0x82,
    /// Write the same registers of several servos; nobody answers.
    SyncWrite = 0x83,
}

/// Complement of the sum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u8 {
    !bytes.iter().fold(0u8, |s, b| s.wrapping_add(*b))
}

/// An instruction packet. Parameters beyond 250 bytes do not fit a packet; callers send less.
pub fn instruction(id: u8, instruction: Instruction, parameters: &[u8]) -> Vec<u8> {
    let mut p = Vec::with_capacity(parameters.len() + 6);
    p.extend([0xff, 0xff, id, (parameters.len() as u8).wrapping_add(2), instruction as u8]);
    p.extend(parameters);
    p.push(checksum(p.get(2..).unwrap_or_default()));
    p
}

/// Takes all sound answers with `size` data bytes out of what was received, in the order in which they came. `complete`
/// tells whether the line is quiet, so that nothing more can follow.
///
/// The checksum has one byte only, so one broken packet in 256 passes it. Where bytes were lost, a packet swallows the
/// start of the next one: therefore a packet counts only when the next header (or the end) follows it.
pub fn answers(received: &[u8], size: usize) -> Vec<Status> {
    let whole = size + 6;
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(p) = received.get(at..at + whole) {
        let sound = p.first() == Some(&0xff)
            && p.get(1) == Some(&0xff)
            && p.get(2).is_some_and(|id| *id < EVERYBODY)
            && p.get(3).map(|l| usize::from(*l)) == Some(size + 2)
            && p.last() == Some(&checksum(p.get(2..whole - 1).unwrap_or_default()));
        let rest = received.get(at + whole..).unwrap_or_default();
        let swallowed = !rest.is_empty() && !rest.starts_with(&[0xff, 0xff]);
        if sound && !swallowed {
            if let (Some(id), Some(error), Some(data)) = (p.get(2), p.get(4), p.get(5..whole - 1)) {
                out.push(Status { id: *id, error: *error, data: data.to_vec() });
            }
            at += whole;
        } else if sound {
            // Followed by noise, or damaged: not trusted, the request is repeated.
            at += whole;
        } else {
            at += 1;
        }
    }
    out
}

/// Protocol 0. Its registers have addresses of one byte.
pub struct ProtocolZero;

impl Format for ProtocolZero {
    const FRAME: usize = 6;

    fn read(ids: &[u8], address: u16, size: u16) -> Vec<u8> {
        let mut parameters = vec![address as u8, size as u8];
        parameters.extend(ids);
        instruction(EVERYBODY, Instruction::SyncRead, &parameters)
    }

    fn write(id: u8, address: u16, data: &[u8]) -> Vec<u8> {
        let mut parameters = vec![address as u8];
        parameters.extend(data);
        instruction(id, Instruction::Write, &parameters)
    }

    fn write_all(address: u16, rows: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let size = rows.first().map_or(0, |(_, d)| d.len());
        let mut parameters = vec![address as u8, size as u8];
        for (id, data) in rows {
            parameters.push(*id);
            parameters.extend(data);
        }
        instruction(EVERYBODY, Instruction::SyncWrite, &parameters)
    }

    fn answers(received: &[u8], size: usize) -> Vec<Status> {
        answers(received, size)
    }

    /// The error byte tells of alarms; writing is confirmed all the same.
    fn refusal(_: u8) -> Option<u8> {
        None
    }
}

/// A number of two bytes.
pub fn word(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*data.get(at)?, *data.get(at + 1)?]))
}

/// A sign-and-magnitude number whose sign is bit `bit`.
pub fn signed(value: u16, bit: u32) -> i32 {
    let magnitude = i32::from(value & ((1u16 << bit) - 1));
    if value >> bit & 1 == 1 { -magnitude } else { magnitude }
}

/// The sign-and-magnitude form of a number; too large magnitudes are cut.
pub fn sign_and_magnitude(value: i32, bit: u32) -> u16 {
    let most = (1u32 << bit) - 1;
    let magnitude = value.unsigned_abs().min(most) as u16;
    if value < 0 { magnitude | (1u16 << bit) } else { magnitude }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn status(id: u8, data: &[u8]) -> Vec<u8> {
        let mut p = vec![0xff, 0xff, id, data.len() as u8 + 2, 0];
        p.extend(data);
        p.push(checksum(&p[2..]));
        p
    }

    #[test]
    fn packets_are_as_the_manual_shows_them() {
        // Ping of servo 1, and reading two bytes at 56: examples of the protocol manual.
        assert_eq!(instruction(1, Instruction::Ping, &[]), [0xff, 0xff, 1, 2, 1, 0xfb]);
        assert_eq!(instruction(1, Instruction::Read, &[0x38, 2]), [0xff, 0xff, 1, 4, 2, 0x38, 2, 0xbe]);
    }

    #[test]
    fn signs_and_magnitudes_go_there_and_back() {
        for v in [-2047, -1, 0, 1, 777, 2047] {
            assert_eq!(signed(sign_and_magnitude(v, 11), 11), v);
            assert_eq!(signed(sign_and_magnitude(v, 15), 15), v);
        }
        assert_eq!(sign_and_magnitude(-12, 11), 0x80c);
        assert_eq!(sign_and_magnitude(-99_999, 11), 0xfff);
    }

    #[test]
    fn broken_answers_are_left_out() {
        let mut line = vec![7, 0xff];
        line.extend(status(1, &[1, 2]));
        let mut bad = status(2, &[3, 4]);
        bad[6] ^= 1;
        line.extend(bad);
        line.extend(status(3, &[5, 6]));
        line.extend(status(4, &[7]));
        let ids: Vec<u8> = answers(&line, 2).iter().map(|s| s.id).collect();
        assert_eq!(ids, [1, 3]);
        assert_eq!(answers(&line, 1).iter().map(|s| s.id).collect::<Vec<_>>(), [4]);
        assert_eq!(answers(&[], 2), []);
        assert_eq!(answers(&[0xff; 40], 2), []);
    }

    #[test]
    fn lost_bytes_never_make_wrong_numbers() {
        // Every way of losing one or two bytes out of six answers: what comes through is what was sent.
        let data = |id: u8| vec![id, id.wrapping_mul(37), 0xff, 0xff, id];
        let all: Vec<u8> = (1..=6).flat_map(|id| status(id, &data(id))).collect();
        for a in 0..all.len() {
            for b in a..all.len() {
                let left: Vec<u8> =
                    all.iter().enumerate().filter(|(i, _)| *i != a && *i != b).map(|(_, x)| *x).collect();
                for s in answers(&left, 5) {
                    assert_eq!(s.data, data(s.id), "without bytes {a} and {b}");
                }
            }
        }
    }
}
