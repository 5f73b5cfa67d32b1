//! One controller at a time: a lease that ends when nothing comes from its holder.

use std::io::Read;
use std::time::Duration;

use super::super::clock::Time;

#[derive(Debug)]
struct Held {
    key: String,
    /// The connection that took it, and those that joined with its key.
    holders: Vec<u64>,
    name: String,
    heard: Time,
}

/// Who controls the robot.
#[derive(Debug, Default)]
pub(super) struct Lease(Option<Held>);

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// It took the lease: everything.
    Controls,
    /// It joined with the key: proposals.
    Proposes,
    /// It looks.
    Looks,
}

impl Lease {
    /// Takes the lease when nobody has it, or joins it with its key. The key, or who has it.
    pub fn take(&mut self, now: Time, peer: u64, name: &str, key: Option<&str>) -> Result<String, String> {
        match &mut self.0 {
            Some(held) if held.holders.first() == Some(&peer) => {
                held.heard = now;
                Ok(held.key.clone())
            }
            Some(held) if key == Some(held.key.as_str()) => {
                if !held.holders.contains(&peer) {
                    held.holders.push(peer);
                }
                Ok(held.key.clone())
            }
            Some(held) => Err(format!("{} controls the robot. Ask them to give control back", held.name)),
            None if key.is_some() => Err("the control that this key belongs to has ended".into()),
            None => {
                let key = random_key();
                self.0 = Some(Held { key: key.clone(), holders: vec![peer], name: name.into(), heard: now });
                Ok(key)
            }
        }
    }

    /// Something came from a connection; what it may do.
    pub fn heard(&mut self, now: Time, peer: u64) -> Right {
        let Some(held) = &mut self.0 else {
            return Right::Looks;
        };
        if held.holders.first() == Some(&peer) {
            held.heard = now;
            Right::Controls
        } else if held.holders.contains(&peer) {
            Right::Proposes
        } else {
            Right::Looks
        }
    }

    /// A connection ended or gave back; true when control ended with it.
    pub fn give_back(&mut self, peer: u64) -> bool {
        let Some(held) = &mut self.0 else {
            return false;
        };
        if held.holders.first() == Some(&peer) {
            self.0 = None;
            return true;
        }
        held.holders.retain(|h| *h != peer);
        false
    }

    /// Ends the lease when its holder has been silent for too long; how long.
    pub fn expire(&mut self, now: Time, limit: Duration) -> Option<Duration> {
        let silence = now.saturating_sub(self.0.as_ref()?.heard);
        (silence >= limit).then(|| {
            self.0 = None;
            silence
        })
    }

    /// Who controls.
    pub fn holder(&self) -> Option<&str> {
        self.0.as_ref().map(|h| h.name.as_str())
    }
}

/// 16 random bytes in hexadecimal digits.
fn random_key() -> String {
    let mut bytes = [0u8; 16];
    let random = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    if random.is_err() {
        // Systems without it: the hasher of the standard library is seeded by the system.
        use std::hash::{BuildHasher, Hasher};
        for chunk in bytes.chunks_mut(8) {
            let n = std::hash::RandomState::new().build_hasher().finish();
            for (b, v) in chunk.iter_mut().zip(n.to_le_bytes()) {
                *b = v;
            }
        }
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn one_controls_others_look_and_friends_propose() {
        let s = Duration::from_secs;
        let mut lease = Lease::default();
        assert_eq!(lease.heard(s(0), 1), Right::Looks);
        let key = lease.take(s(0), 1, "window", None).unwrap();
        assert!(lease.take(s(0), 2, "other", None).unwrap_err().contains("window controls"));
        assert!(lease.take(s(0), 2, "other", Some("wrong")).is_err());
        lease.take(s(0), 3, "policy", Some(&key)).unwrap();
        assert_eq!(
            [lease.heard(s(1), 1), lease.heard(s(1), 2), lease.heard(s(1), 3)],
            [Right::Controls, Right::Looks, Right::Proposes]
        );
        // The policy's messages do not keep the window's lease alive.
        lease.heard(s(2), 3);
        assert!(lease.expire(s(2), s(1)).is_some());
        assert_eq!(lease.holder(), None);
        assert_eq!(lease.heard(s(2), 3), Right::Looks);
        assert_ne!(lease.take(s(3), 2, "other", None).unwrap(), key);
        assert!(lease.give_back(2) && !lease.give_back(2));
    }
}
