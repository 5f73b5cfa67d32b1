//! What clients ask, answered by the state of the robot.

use std::time::Duration;

use super::super::calibration::{self, Calibration, Calibrations};
use super::super::clock::Time;
use super::super::safety::camera::Look;
use super::super::safety::states::RunRules;
use super::super::safety::{AnyRobot, Chunk, Robot};
use super::lease::Right;
use super::protocol::{Ask, ChunkMessage, Tell};
use super::run::Agent;
use super::server::Peer;

type Answer = Result<Tell, String>;

/// Answers that the state does not allow.
fn not_now(robot: &AnyRobot, what: &str, needed: &str) -> String {
    format!("{what} is possible when the robot is {needed}; it is {} now", robot.name())
}

/// A transition of one state to another, or the reason why not.
macro_rules! transition {
    ($agent:expr, $state:ident, $what:expr, $needed:expr, |$r:ident, $now:ident| $body:expr) => {
        $agent
            .change(|robot, $now| match robot {
                AnyRobot::$state($r) => match $body {
                    Ok(next) => (AnyRobot::from(next), Ok(Tell::Done)),
                    Err((back, why)) => (AnyRobot::from(back), Err(why.to_string())),
                },
                other => {
                    let why = not_now(&other, $what, $needed);
                    (other, Err(why))
                }
            })
            .unwrap_or_else(|| Err("the agent is ending".into()))
    };
}

fn seconds(s: f64) -> Time {
    Duration::try_from_secs_f64(s).unwrap_or(Duration::ZERO)
}

impl Agent {
    pub(super) fn answer(&mut self, peer: &Peer, id: u64, ask: Ask) {
        let now = self.now();
        let right = self.lease.heard(now, peer.number);
        let quiet = matches!(ask, Ask::Heartbeat { .. });
        let outcome = self.fulfil(peer, right, now, ask);
        match outcome {
            Ok(_) if quiet => {}
            Ok(tell) => peer.tell(id, tell),
            Err(why) => peer.tell(id, Tell::Denied { why }),
        }
    }

    fn fulfil(&mut self, peer: &Peer, right: Right, now: Time, ask: Ask) -> Answer {
        // What anybody may do.
        match &ask {
            Ask::Hello { .. } => return Err("you have said hello already".into()),
            Ask::View => return Ok(Tell::View(Box::new(self.view(now)))),
            // Pressed already when it was read from the connection; pressed again costs nothing.
            Ask::Stop { .. } => return Ok(Tell::Done),
            Ask::Lease { key } => {
                let takes_over = key.is_none() && !matches!(right, Right::Controls);
                let key = self.lease.take(now, peer.number, &peer.name, key.as_deref())?;
                // A new controller's silence begins now, and it holds no dead-man key yet. A policy that joins says nothing
                // of the person who controls.
                if takes_over {
                    self.change(|mut r, now| {
                        r.heartbeat(now, false);
                        (r, ())
                    });
                }
                return Ok(Tell::Leased { key });
            }
            Ask::Calibration => {
                return match &self.robot {
                    Some(AnyRobot::Limp(r)) => {
                        let names = r.file().joints.iter().map(|j| j.name.clone());
                        let stored = names.zip(r.stored_calibration().unwrap_or_default()).collect();
                        Ok(Tell::Calibration { differences: r.calibration_differences(), stored })
                    }
                    Some(other) => Err(not_now(other, "comparing calibrations", "limp")),
                    None => Err("the agent is ending".into()),
                };
            }
            Ask::Look { camera } => {
                return self.pictures.newest(camera.as_deref()).ok_or_else(|| match camera {
                    Some(name) => format!("there is no picture of the camera {name:?} yet"),
                    None if self.pictures.is_empty() => {
                        "no camera of this robot gives pictures to the agent".into()
                    }
                    None => "no camera has given a picture yet".into(),
                });
            }
            Ask::BlackBox => {
                let path = self.write_box("asked").ok_or("there is nothing to write yet")?;
                return Ok(Tell::Written { path: path.display().to_string() });
            }
            _ => {}
        }
        match (right, ask) {
            (Right::Looks, _) => {
                let who =
                    self.lease.holder().map_or("nobody controls the robot: take control first".into(), |h| {
                        format!("{h} controls the robot; you are looking on")
                    });
                Err(who)
            }
            (Right::Proposes | Right::Controls, Ask::Chunk(chunk)) => self.take_chunk(now, &chunk),
            (Right::Proposes | Right::Controls, Ask::Camera { name, taken, mean, deviation, hash }) => {
                self.take_look(&name, Look { taken: seconds(taken), mean, deviation, hash })
            }
            (Right::Proposes, _) => {
                Err("this connection may propose actions; the controlling program does the rest".into())
            }
            (Right::Controls, ask) => self.control(peer, ask),
        }
    }

    fn control(&mut self, peer: &Peer, ask: Ask) -> Answer {
        match ask {
            Ask::Heartbeat { dead_man } => {
                self.change(|mut r, now| {
                    r.heartbeat(now, dead_man);
                    (r, ())
                });
                Ok(Tell::Done)
            }
            Ask::GiveBack => {
                if self.lease.give_back(peer.number) {
                    self.change(|r, now| (r.lose_controller(now, 0), ()));
                }
                Ok(Tell::Done)
            }
            Ask::Connect => {
                transition!(self, Disconnected, "connecting", "disconnected", |r, now| r.connect(now))
            }
            Ask::Disconnect => {
                type Never = (Robot<super::super::safety::Limp>, String);
                transition!(self, Limp, "disconnecting", "limp", |r, now| Ok::<_, Never>(r.disconnect(now)))
            }
            Ask::Arm => transition!(self, Limp, "arming", "limp", |r, now| r.arm(now)),
            Ask::GoTo { pose } => self
                .change(|mut robot, now| {
                    let outcome = match &mut robot {
                        AnyRobot::Ready(r) => r.go_to(now, &pose).map_err(|e| e.to_string()),
                        other => Err(not_now(other, "going to a pose", "ready")),
                    };
                    (robot, outcome.map(|()| Tell::Done))
                })
                .unwrap_or(Err("the agent is ending".into())),
            Ask::Wiggle { joint } => self
                .change(|mut robot, now| {
                    let outcome = match &mut robot {
                        AnyRobot::Ready(r) => r.wiggle(now, &joint).map_err(|e| e.to_string()),
                        other => Err(not_now(other, "showing a joint", "ready")),
                    };
                    (robot, outcome.map(|()| Tell::Done))
                })
                .unwrap_or(Err("the agent is ending".into())),
            Ask::Run { mode, data } => {
                let Some(file) = self.robot.as_ref().map(AnyRobot::file) else {
                    return Err("the agent is ending".into());
                };
                let mut rules = RunRules::of(mode, file);
                let of = |channel: &String| data.iter().find(|d| &d.0 == channel).map(|d| (d.1, d.2));
                rules.data = file.channels().iter().map(of).collect();
                self.rules = Some(rules.clone());
                transition!(self, Ready, "starting a run", "ready", |r, now| r.run(now, rules))
            }
            Ask::Target { pose } => self.take_target(&pose),
            Ask::Resume => transition!(self, Hold, "resuming", "held", |r, now| r.resume(now)),
            Ask::Park => {
                let by = peer.name.clone();
                self.change(|r, now| (r.park(now, &by), ()));
                Ok(Tell::Done)
            }
            Ask::Acknowledge => {
                transition!(self, Fault, "acknowledging", "in a fault", |r, now| r.acknowledge(now))
            }
            Ask::BeginRelease => {
                self.change(|mut r, now| {
                    match &mut r {
                        AnyRobot::Hold(h) => h.begin_release(now),
                        AnyRobot::Fault(f) => f.begin_release(now),
                        _ => {}
                    }
                    (r, ())
                });
                Ok(Tell::Done)
            }
            Ask::Release => {
                if matches!(self.robot, Some(AnyRobot::Fault(_))) {
                    transition!(self, Fault, "releasing torque", "held", |r, now| r.release(now))
                } else {
                    transition!(self, Hold, "releasing torque", "held", |r, now| r.release(now))
                }
            }
            Ask::StartShadow => self.with_limp(|r, now| {
                r.start_shadow(now);
                Ok(Tell::Done)
            }),
            Ask::EndShadow => self.with_limp(|r, _| Ok(Tell::Shadow { report: r.end_shadow() })),
            Ask::UseCalibration { from_file } => self.use_calibration(from_file),
            Ask::Calibrate { joints } => self.calibrate(&joints),
            _ => Err("this cannot be asked here".into()),
        }
    }

    fn with_limp(
        &mut self,
        f: impl FnOnce(&mut Robot<super::super::safety::Limp>, Time) -> Answer,
    ) -> Answer {
        self.change(|mut robot, now| {
            let outcome = match &mut robot {
                AnyRobot::Limp(r) => f(r, now),
                other => Err(not_now(other, "this", "limp")),
            };
            (robot, outcome)
        })
        .unwrap_or(Err("the agent is ending".into()))
    }

    /// Sorts a chunk's columns by name. A column that is missing or foreign becomes a chunk of the wrong length, which
    /// the safety layer refuses like any other.
    fn sort_columns(&self, now: Time, message: &ChunkMessage) -> Result<Chunk, String> {
        let channels = self.robot.as_ref().map(|r| r.file().channels()).unwrap_or_default();
        let places: Vec<Option<usize>> =
            channels.iter().map(|c| message.channels.iter().position(|m| m == c)).collect();
        if let Some((name, _)) = channels.iter().zip(&places).find(|(_, p)| p.is_none()) {
            return Err(format!("the actions have no channel {name}: they are for another robot"));
        }
        if message.channels.len() != channels.len() {
            return Err(
                "the actions have channels that this robot does not have: they are for another robot".into(),
            );
        }
        let row = |r: &Vec<Option<f64>>| {
            if r.len() != channels.len() {
                return r.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
            }
            places.iter().flatten().map(|p| r.get(*p).copied().flatten().unwrap_or(f64::NAN)).collect()
        };
        // A sender cannot see or send in the future.
        let (observed, sent) = (seconds(message.observed).min(now), seconds(message.sent).min(now));
        let period = seconds(message.period);
        Ok(Chunk {
            number: message.number,
            observed,
            sent,
            period,
            actions: message.rows.iter().map(row).collect(),
        })
    }

    fn take_chunk(&mut self, now: Time, message: &ChunkMessage) -> Answer {
        let (chunk, foreign) = match self.sort_columns(now, message) {
            Ok(chunk) => (chunk, None),
            // Given on without columns: the safety layer sees that something was sent that cannot be used.
            Err(why) => (
                Chunk {
                    number: message.number,
                    observed: now,
                    sent: now,
                    period: seconds(message.period),
                    actions: Vec::new(),
                },
                Some(why),
            ),
        };
        let rules = self.rules.clone();
        let outcome = self.change(|mut robot, now| {
            let outcome = match &mut robot {
                AnyRobot::Running(r) => r.propose(now, &chunk).map_err(|e| e.to_string()),
                AnyRobot::Hold(r) => {
                    r.heard_from_policy(now);
                    Err(format!("the robot is held: {}", r.why()))
                }
                AnyRobot::Limp(r) if r.shadow().is_some() => {
                    let rules =
                        rules.unwrap_or_else(|| RunRules::of(super::super::numbers::Mode::Normal, r.file()));
                    r.propose_shadow(now, &chunk, &rules).map_err(|e| e.to_string())
                }
                other => Err(not_now(other, "following actions", "running")),
            };
            (robot, outcome)
        });
        let told = outcome.unwrap_or(Err("the agent is ending".into()));
        told.map_err(|why| foreign.unwrap_or(why)).map(|()| Tell::Done)
    }

    fn take_look(&mut self, name: &str, look: Look) -> Answer {
        self.change(|mut robot, _| {
            let known = robot.saw(name, look);
            let outcome = if known { Ok(Tell::Done) } else { Err(format!("no run needs a camera {name:?}")) };
            (robot, outcome)
        })
        .unwrap_or(Err("the agent is ending".into()))
    }

    /// Sliders: one action that is valid for as long as a command may be old.
    fn take_target(&mut self, pose: &[(String, f64)]) -> Answer {
        let now = self.now();
        let Some(robot) = &self.robot else {
            return Err("the agent is ending".into());
        };
        let view = robot.view(now);
        let mut action: Vec<f64> = view.joints.iter().map(|j| j.goal).collect();
        for (name, value) in pose {
            let joint = name.strip_suffix(".pos").unwrap_or(name);
            let place = view.joints.iter().position(|j| j.name == joint);
            match place.and_then(|i| action.get_mut(i)) {
                Some(slot) => *slot = *value,
                None => return Err(format!("this robot has no joint {joint:?}")),
            }
        }
        let period = Duration::from_millis(robot.file().watch.command_age_ms);
        let chunk = Chunk { number: 0, observed: now, sent: now, period, actions: vec![action] };
        self.change(|mut robot, now| {
            let outcome = match &mut robot {
                AnyRobot::Running(r) => r.propose(now, &chunk).map_err(|e| e.to_string()),
                other => Err(not_now(other, "moving by hand", "running")),
            };
            (robot, outcome.map(|()| Tell::Done))
        })
        .unwrap_or(Err("the agent is ending".into()))
    }

    /// Makes the calibrations of the robot file and the motors the same. What is replaced is kept beside the robot file.
    fn use_calibration(&mut self, from_file: bool) -> Answer {
        let folder = self.options.robot.clone();
        let backup = folder.with_extension("calibration-before.json");
        let keep = |joints: Vec<(String, u8, Option<Calibration>)>| {
            let known: Calibrations =
                joints.into_iter().filter_map(|(n, id, c)| Some((n, (id, c?)))).collect();
            calibration::write_lerobot(&backup, &known).map_err(|e| e.to_string())
        };
        if from_file {
            return self.with_limp(|r, now| {
                let file = r.file().clone();
                let Some(wanted) = file.joints.iter().map(|j| j.calibration).collect::<Option<Vec<_>>>()
                else {
                    return Err("the robot file has no calibration of every joint".into());
                };
                let stored = r.stored_calibration().unwrap_or_default();
                let both = file.joints.iter().zip(stored);
                keep(both.map(|(j, c)| (j.name.clone(), j.id, Some(c))).collect())?;
                r.store_calibration(now, wanted).map_err(|e| e.to_string())?;
                Ok(Tell::Done)
            });
        }
        let Some(AnyRobot::Limp(limp)) = &self.robot else {
            let why = self.robot.as_ref().map(|r| not_now(r, "calibrating", "limp"));
            return Err(why.unwrap_or_default());
        };
        let Some(stored) = limp.stored_calibration() else {
            return Err("the motors hold no calibration".into());
        };
        let file = limp.file().clone();
        keep(file.joints.iter().map(|j| (j.name.clone(), j.id, j.calibration)).collect())?;
        self.adopt(stored)
    }

    /// Stores a new calibration in the motors, then in the robot file.
    fn calibrate(&mut self, joints: &[(String, Calibration)]) -> Answer {
        let Some(AnyRobot::Limp(limp)) = &self.robot else {
            let why = self.robot.as_ref().map(|r| not_now(r, "calibrating", "limp"));
            return Err(why.unwrap_or_default());
        };
        let file = limp.file().clone();
        let mut wanted = Vec::with_capacity(file.joints.len());
        for joint in &file.joints {
            let found = joints.iter().find(|(name, _)| *name == joint.name);
            wanted.push(found.ok_or_else(|| format!("there is no calibration for {}", joint.name))?.1);
        }
        let stored = limp.stored_calibration().unwrap_or_default();
        let known: Calibrations =
            file.joints.iter().zip(stored).map(|(j, c)| (j.name.clone(), (j.id, c))).collect();
        let backup = self.options.robot.with_extension("calibration-before.json");
        calibration::write_lerobot(&backup, &known).map_err(|e| e.to_string())?;
        let motors = wanted.clone();
        self.with_limp(|r, now| {
            r.store_calibration(now, motors).map_err(|e| e.to_string())?;
            Ok(Tell::Done)
        })?;
        self.adopt(wanted)
    }

    /// Writes calibrations into the robot file and opens the robot anew with them: everything that was computed from the
    /// old ones goes with the old robot.
    fn adopt(&mut self, calibrations: Vec<Calibration>) -> Answer {
        let Some(AnyRobot::Limp(limp)) = &self.robot else {
            return Err("the arm is not limp any more".into());
        };
        let mut file = limp.file().clone();
        for (joint, c) in file.joints.iter_mut().zip(calibrations) {
            joint.calibration = Some(c);
        }
        file.write(&self.options.robot).map_err(|e| e.to_string())?;
        let driver = (self.make_driver)(&file).map_err(|e| e.to_string())?;
        self.change(|robot, now| {
            if let AnyRobot::Limp(r) = robot {
                drop(r.disconnect(now));
            }
            match Robot::new(file, driver).connect(now) {
                Ok(limp) => (limp.into(), Ok(Tell::Done)),
                Err((r, e)) => (r.into(), Err(e.to_string())),
            }
        })
        .unwrap_or(Err("the agent is ending".into()))
    }
}
