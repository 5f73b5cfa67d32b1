//! The emulated bus in memory, under a simulated clock.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::bus::{Line, Opener};
use super::super::clock::{Clock, SimulatedClock, Time};
use super::super::driver::DriverError;
use super::arm::EmulatedArm;

/// A line to an emulated arm. Waiting on it moves the simulated clock.
pub struct MemoryLine {
    arm: Arc<Mutex<EmulatedArm>>,
    clock: SimulatedClock,
    coming: VecDeque<(Time, Vec<u8>)>,
}

impl MemoryLine {
    /// An opener for [`super::super::feetech::FeetechBus`].
    pub fn opener(arm: &Arc<Mutex<EmulatedArm>>, clock: &SimulatedClock) -> Opener {
        let (arm, clock) = (Arc::clone(arm), clock.clone());
        Box::new(move || {
            let line = Self { arm: Arc::clone(&arm), clock: clock.clone(), coming: VecDeque::new() };
            line.plugged()
                .map_err(|e| DriverError::NotFound { port: "emulated arm".into(), why: e.to_string() })?;
            Ok(("an emulated bus".into(), Box::new(line)))
        })
    }

    fn plugged(&self) -> io::Result<()> {
        let arm = self.arm.lock().unwrap_or_else(PoisonError::into_inner);
        if arm.plugged { Ok(()) } else { Err(io::Error::new(io::ErrorKind::BrokenPipe, "the port hung up")) }
    }
}

impl Line for MemoryLine {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.plugged()?;
        self.clock.advance(Duration::from_micros(10) * u32::try_from(bytes.len()).unwrap_or(0));
        let mut arm = self.arm.lock().unwrap_or_else(PoisonError::into_inner);
        self.coming.extend(arm.receive(self.clock.now(), bytes));
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8], wait: Duration) -> io::Result<usize> {
        self.plugged()?;
        let until = self.clock.now() + wait;
        let Some((time, bytes)) = self.coming.front_mut().filter(|(t, _)| *t <= until) else {
            self.clock.sleep_until(until);
            return Ok(0);
        };
        self.clock.sleep_until(*time);
        let n = bytes.len().min(into.len());
        for (to, from) in into.iter_mut().zip(bytes.drain(..n)) {
            *to = from;
        }
        if bytes.is_empty() {
            self.coming.pop_front();
        }
        Ok(n)
    }

    fn discard(&mut self) -> io::Result<()> {
        self.plugged()?;
        let now = self.clock.now();
        while self.coming.front().is_some_and(|(t, _)| *t <= now) {
            self.coming.pop_front();
        }
        Ok(())
    }
}
