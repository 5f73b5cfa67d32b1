//! A robot in whichever state it is at run time: what the agent's loop holds. Requests that do not fit the state are
//! answered in words; the typed states underneath decide what is possible at all.

use serde::{Deserialize, Serialize};

use super::super::clock::Time;
use super::super::file::RobotFile;
use super::super::numbers::Mode;
use super::blackbox::BlackBox;
use super::core::Core;
use super::shadow::ShadowReport;
use super::states::{Armed, Disconnected, Fault, Hold, Limp, Park, Ready, Robot, Running};
use super::trip::Trip;
use super::watch::millis;

/// A robot in any state.
pub enum AnyRobot {
    /// No port is open.
    Disconnected(Robot<Disconnected>),
    /// Connected, only read.
    Limp(Robot<Limp>),
    /// Torque is rising.
    Armed(Robot<Armed>),
    /// Stiff and waiting.
    Ready(Robot<Ready>),
    /// Following proposals.
    Running(Robot<Running>),
    /// Stopped.
    Hold(Robot<Hold>),
    /// Stopped because something is wrong.
    Fault(Robot<Fault>),
}

macro_rules! from_state {
    ($($state:ident),*) => {$(
        impl From<Robot<$state>> for AnyRobot {
            fn from(robot: Robot<$state>) -> Self {
                Self::$state(robot)
            }
        }
    )*};
}
from_state!(Disconnected, Limp, Armed, Ready, Running, Hold, Fault);

/// One joint, for a person to look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointView {
    /// Name.
    pub name: String,
    /// Unit: `deg` or `%`.
    pub unit: String,
    /// Position in the unit; `None` when the bus did not answer.
    pub position: Option<f64>,
    /// Goal in the unit.
    pub goal: f64,
    /// Smallest allowed goal.
    pub low: f64,
    /// Largest allowed goal.
    pub high: f64,
    /// Load, fraction of the stall torque.
    pub load: f64,
    /// Torque limit, fraction of the stall torque.
    pub torque: f64,
    /// Temperature, degrees Celsius.
    pub celsius: f64,
    /// Supply, volts.
    pub volts: f64,
    /// Alarms in words; empty when none.
    pub alarms: String,
    /// Position in the motor's own steps, for calibrating.
    #[serde(default)]
    pub steps: Option<i32>,
}

/// The whole robot, for a person to look at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// `disconnected`, `limp`, `armed`, `ready`, `running`, `hold`, `fault`.
    pub state: String,
    /// Seconds on the agent's clock.
    pub seconds: f64,
    /// Why it is held or faulted.
    pub why: Option<String>,
    /// The last trip of all, also after it is over.
    pub last_trip: Option<String>,
    /// Mode of the run.
    pub mode: Option<Mode>,
    /// `going` or `parked` while held for parking.
    pub park: Option<String>,
    /// Whether all goals stand.
    pub stands: bool,
    /// Joints.
    pub joints: Vec<JointView>,
    /// What was found when it was connected.
    pub identity: Option<String>,
    /// Joints that an earlier program left stiff.
    pub left_stiff: Vec<String>,
    /// 95th percentile of the delay of chunks, milliseconds.
    pub latency_p95_ms: Option<u64>,
    /// Shadow run.
    pub shadow: Option<ShadowReport>,
    /// Where the shadowed policy would have the joints now.
    #[serde(default)]
    pub shadow_goal: Option<Vec<f64>>,
    /// Control ticks so far.
    pub ticks: u64,
    /// Bus cycles that failed.
    pub bus_failures: u64,
    /// Bus requests that were repeated.
    pub bus_retries: u64,
}

impl AnyRobot {
    /// Name of the state.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Disconnected(_) => "disconnected",
            Self::Limp(_) => "limp",
            Self::Armed(_) => "armed",
            Self::Ready(_) => "ready",
            Self::Running(_) => "running",
            Self::Hold(_) => "hold",
            Self::Fault(_) => "fault",
        }
    }

    /// One tick of whichever state it is.
    pub fn tick(self, now: Time) -> Self {
        match self {
            Self::Disconnected(r) => Self::Disconnected(r),
            Self::Limp(r) => r.tick(now),
            Self::Armed(r) => r.tick(now),
            Self::Ready(r) => r.tick(now),
            Self::Running(r) => r.tick(now),
            Self::Hold(r) => r.tick(now),
            Self::Fault(r) => r.tick(now),
        }
    }

    /// Stops whatever moves: at once, within the limits, in every state. A faulted arm is standing already, a limp one
    /// is not ours to move.
    pub fn stop(self, now: Time, by: &str) -> Self {
        let trip = Trip::Stopped { by: by.into() };
        match self {
            Self::Armed(r) => r.trip(now, now, trip),
            Self::Ready(r) => r.trip(now, now, trip),
            Self::Running(r) => {
                let fresh = r.fresh();
                r.trip(now, fresh, trip)
            }
            Self::Hold(r) => r.stop_again(now, by.into()),
            other => other,
        }
    }

    /// Stops, then parks.
    pub fn park(self, now: Time, by: &str) -> Self {
        let trip = Trip::Parked { by: by.into() };
        match self {
            Self::Ready(r) => r.trip(now, now, trip),
            Self::Running(r) => {
                let fresh = r.fresh();
                r.trip(now, fresh, trip)
            }
            Self::Hold(mut r) => {
                r.park();
                Self::Hold(r)
            }
            other => other,
        }
    }

    /// The lease of the controlling program ended: hold.
    pub fn lose_controller(self, now: Time, ms: u64) -> Self {
        let trip = Trip::Silent { ms };
        match self {
            Self::Armed(r) => r.trip(now, now, trip),
            Self::Ready(r) => r.trip(now, now, trip),
            Self::Running(r) => {
                let fresh = r.fresh();
                r.trip(now, fresh, trip)
            }
            other => other,
        }
    }

    /// The controlling program is alive.
    pub fn heartbeat(&mut self, now: Time, dead_man: bool) {
        match self {
            Self::Disconnected(r) => r.heartbeat(now, dead_man),
            Self::Limp(r) => r.heartbeat(now, dead_man),
            Self::Armed(r) => r.heartbeat(now, dead_man),
            Self::Ready(r) => r.heartbeat(now, dead_man),
            Self::Running(r) => r.heartbeat(now, dead_man),
            Self::Hold(r) => r.heartbeat(now, dead_man),
            Self::Fault(r) => r.heartbeat(now, dead_man),
        }
    }

    fn core(&self) -> &Core {
        match self {
            Self::Disconnected(r) => &r.core,
            Self::Limp(r) => &r.core,
            Self::Armed(r) => &r.core,
            Self::Ready(r) => &r.core,
            Self::Running(r) => &r.core,
            Self::Hold(r) => &r.core,
            Self::Fault(r) => &r.core,
        }
    }

    /// Reports a camera's picture, in any state; false for a camera that the robot file does not name.
    pub fn saw(&mut self, camera: &str, look: super::camera::Look) -> bool {
        let core = match self {
            Self::Disconnected(r) => &mut r.core,
            Self::Limp(r) => &mut r.core,
            Self::Armed(r) => &mut r.core,
            Self::Ready(r) => &mut r.core,
            Self::Running(r) => &mut r.core,
            Self::Hold(r) => &mut r.core,
            Self::Fault(r) => &mut r.core,
        };
        core.cameras.saw(camera, look)
    }

    /// The robot file.
    pub fn file(&self) -> &RobotFile {
        &self.core().robot
    }

    /// The black box.
    pub fn black_box(&self) -> &BlackBox {
        &self.core().black_box
    }

    /// Whether motors hold by our order.
    pub fn is_stiff(&self) -> bool {
        !matches!(self, Self::Disconnected(_) | Self::Limp(_))
    }

    /// Why it is held or faulted.
    pub fn why(&self) -> Option<&Trip> {
        match self {
            Self::Hold(r) => Some(r.why()),
            Self::Fault(r) => Some(r.why()),
            _ => None,
        }
    }

    /// Everything a person may want to see.
    pub fn view(&self, now: Time) -> View {
        let core = self.core();
        let readings = core.last.as_ref().map_or(&[][..], |f| &f.joints);
        let joints = core.robot.joints.iter().enumerate().map(|(i, j)| {
            let r = readings.get(i);
            let (low, high) = core.robot.bounds(j);
            JointView {
                name: j.name.clone(),
                unit: if j.unit == super::super::numbers::Unit::Deg { "deg".into() } else { "%".into() },
                position: r.map(|r| r.position),
                goal: core.motions.get(i).map_or(0.0, |m| m.position),
                low,
                high,
                load: r.map_or(0.0, |r| r.load),
                torque: if self.is_stiff() { core.torque.get(i).copied().unwrap_or(0.0) } else { 0.0 },
                celsius: r.map_or(0.0, |r| r.celsius),
                volts: r.map_or(0.0, |r| r.volts),
                alarms: r.map_or_else(String::new, |r| r.alarms.words()),
                steps: r.map(|r| r.steps),
            }
        });
        let (mode, shadow, shadow_goal) = match self {
            Self::Running(r) => (Some(r.mode()), None, None),
            Self::Limp(r) => (None, r.shadow().cloned(), r.ghost(now)),
            _ => (None, None, None),
        };
        let park = match self {
            Self::Hold(r) => match r.state.park {
                Park::No => None,
                Park::WhenStanding | Park::Going => Some("going".into()),
                Park::Arrived => Some("parked".into()),
            },
            _ => None,
        };
        let stiff = core.identity.as_ref().map_or(&[][..], |i| &i.stiff);
        let left = core.robot.joints.iter().zip(stiff).filter(|(_, s)| **s);
        View {
            state: self.name().into(),
            seconds: now.as_secs_f64(),
            why: self.why().map(ToString::to_string),
            last_trip: core.last_trip.as_ref().map(ToString::to_string),
            mode,
            park,
            stands: core.stands(),
            joints: joints.collect(),
            identity: core.identity.as_ref().map(|i| i.description.clone()),
            left_stiff: left.map(|(j, _)| j.name.clone()).collect(),
            latency_p95_ms: core.latency.p95().map(millis),
            shadow,
            shadow_goal,
            ticks: core.ticks,
            bus_failures: core.watch.failures,
            bus_retries: core.watch.retries,
        }
    }
}
