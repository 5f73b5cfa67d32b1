//! Packets of protocol 2.0: `FF FF FD 00 id length(2) instruction parameters crc(2)`.

use super::super::bus::{Format, Status};

/// Everybody.
pub const EVERYBODY: u8 = 0xfe;

/// Instructions that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Instruction {
    /// Write registers of one servo.
    Write = 0x03,
    /// Read the same registers of several servos.
    SyncRead = 0x82,
    /// Write the same registers of several servos; nobody answers.
    SyncWrite = 0x83,
}

const HEADER: [u8; 4] = [0xff, 0xff, 0xfd, 0x00];
const STATUS: u8 = 0x55;

/// CRC-16 with polynomial 0x8005, from 0, most significant bit first.
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |mut crc, b| {
        crc ^= u16::from(*b) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x8005 } else { crc << 1 };
        }
        crc
    })
}

/// Whatever looks like a header inside of a packet gets one more `FD`.
fn stuff(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    for b in bytes {
        out.push(*b);
        if out.ends_with(&[0xff, 0xff, 0xfd]) {
            out.push(0xfd);
        }
    }
    out
}

fn unstuff(bytes: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    let mut skip = false;
    for b in bytes {
        if std::mem::take(&mut skip) && *b == 0xfd {
            continue;
        }
        out.push(*b);
        skip = out.ends_with(&[0xff, 0xff, 0xfd]);
    }
    out
}

fn packet(id: u8, body: &[u8]) -> Vec<u8> {
    let body = stuff(body);
    let length = u16::try_from(body.len() + 2).unwrap_or(u16::MAX);
    let mut out = HEADER.to_vec();
    out.push(id);
    out.extend(length.to_le_bytes());
    out.extend(body);
    out.extend(crc(&out).to_le_bytes());
    out
}

/// An instruction.
pub fn instruction(id: u8, instruction: Instruction, parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![instruction as u8];
    body.extend(parameters);
    packet(id, &body)
}

/// A servo's answer, as an emulated servo sends it.
pub fn status(id: u8, error: u8, data: &[u8]) -> Vec<u8> {
    let mut body = vec![STATUS, error];
    body.extend(data);
    packet(id, &body)
}

/// Packets with a sound checksum in what came, in their order: (id, body).
pub fn packets(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|r| r.len() >= 10) {
        if !rest.starts_with(&HEADER) {
            at += 1;
            continue;
        }
        let (Some(id), Some(low), Some(high)) = (rest.get(4), rest.get(5), rest.get(6)) else { break };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let whole = rest.get(..7 + length).filter(|_| length >= 3);
        let sound = whole.and_then(|p| {
            let (body, sum) = p.split_at_checked(p.len() - 2)?;
            (crc(body).to_le_bytes() == sum).then_some(body)
        });
        match sound {
            Some(body) => {
                found.push((*id, unstuff(body.get(7..).unwrap_or_default())));
                at += 7 + length;
            }
            None => at += 1,
        }
    }
    found
}

/// Answers with `size` bytes of data in what came.
pub fn answers(bytes: &[u8], size: usize) -> Vec<Status> {
    let statuses = packets(bytes).into_iter().filter_map(|(id, body)| match body.as_slice() {
        [STATUS, error, data @ ..] if data.len() == size => {
            Some(Status { id, error: *error, data: data.to_vec() })
        }
        _ => None,
    });
    statuses.collect()
}

/// Protocol 2.0.
pub struct ProtocolTwo;

impl Format for ProtocolTwo {
    const FRAME: usize = 11;

    fn read(ids: &[u8], address: u16, size: u16) -> Vec<u8> {
        let mut parameters = address.to_le_bytes().to_vec();
        parameters.extend(size.to_le_bytes());
        parameters.extend(ids);
        instruction(EVERYBODY, Instruction::SyncRead, &parameters)
    }

    fn write(id: u8, address: u16, data: &[u8]) -> Vec<u8> {
        let mut parameters = address.to_le_bytes().to_vec();
        parameters.extend(data);
        instruction(id, Instruction::Write, &parameters)
    }

    fn write_all(address: u16, rows: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let size = rows.first().map_or(0, |(_, d)| d.len());
        let mut parameters = address.to_le_bytes().to_vec();
        parameters.extend((size as u16).to_le_bytes());
        for (id, data) in rows {
            parameters.push(*id);
            parameters.extend(data);
        }
        instruction(EVERYBODY, Instruction::SyncWrite, &parameters)
    }

    fn answers(received: &[u8], size: usize) -> Vec<Status> {
        answers(received, size)
    }

    /// Bit 7 tells of a hardware alert, not of this instruction.
    fn refusal(error: u8) -> Option<u8> {
        Some(error & 0x7f).filter(|code| *code != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_the_manual() {
        // Read Present Position of servo 1 (the manual's example has instruction 2; the checksum is the same rule).
        let bytes = [0xff, 0xff, 0xfd, 0x00, 0x01, 0x07, 0x00, 0x02, 0x84, 0x00, 0x04, 0x00];
        assert_eq!(crc(&bytes).to_le_bytes(), [0x1d, 0x15]);
        let answer =
            [0xff, 0xff, 0xfd, 0x00, 0x01, 0x08, 0x00, 0x55, 0x00, 0xa6, 0x00, 0x00, 0x00, 0x8c, 0xc0];
        assert_eq!(answers(&answer, 4), [Status { id: 1, error: 0, data: vec![0xa6, 0, 0, 0] }]);
        assert_eq!(status(1, 0, &[0xa6, 0, 0, 0]), answer);
    }

    #[test]
    fn what_looks_like_a_header_is_stuffed_and_damage_is_not_taken() {
        let data = [0xff, 0xff, 0xfd, 0x01, 0xff, 0xff, 0xfd];
        let bytes = status(3, 0x80, &data);
        assert_eq!(answers(&bytes, 7), [Status { id: 3, error: 0x80, data: data.to_vec() }]);
        let mut noisy = vec![0xff, 0xff, 0x12];
        noisy.extend(&bytes);
        assert_eq!(answers(&noisy, 7).len(), 1);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x04;
            assert!(answers(&bad, 7).iter().all(|s| s.data == data), "byte {at}");
            assert!(answers(&bytes[..at], 7).is_empty());
        }
    }
}
