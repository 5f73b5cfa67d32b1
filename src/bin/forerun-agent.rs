//! `forerun-agent`: the process that owns a robot's port, on the machine to which the robot is plugged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forerun::robot::agent::{Agent, AgentError, Options};
use forerun::robot::clock::{Clock, SystemClock};
use forerun::robot::driver::Driver;
use forerun::robot::file::{DriverKind, RobotFile};
use forerun::robot::tabletop::TabletopArm;

const HELP: &str = "\
forerun-agent: owns the port of a robot. Everything else proposes; only its safety layer commands.

forerun-agent --robot ROBOT.toml [--listen ADDRESS] [--token-file FILE] [--boxes FOLDER]
    --robot        the robot file
    --listen       where programs connect (default 127.0.0.1:4760; port 0 takes a free one)
    --token-file   a file with a secret of at least 32 characters; needed beyond this machine, where TLS is spoken too:
                   clients then connect to ADDRESS#FINGERPRINT, as the agent prints it
    --boxes        folder for black boxes (default: black-boxes beside the robot file)
    --with-parent  park and end when the standard input ends (used by programs that start an agent)
forerun-agent practise --port LINK [--robot ROBOT.toml]
    an emulated SO-101 whose port is found at LINK; writes its robot file when asked to
forerun-agent new --robot ROBOT.toml --name NAME [--serial USB_SERIAL_NUMBER | --path PORT]
    writes a robot file for an SO-101 with the usual limits
forerun-agent new --robot ROBOT.toml --name NAME --tabletop SCENE_SEED
    writes a robot file for the virtual world's arm, in real time, with its camera
forerun-agent ports
    lists the serial ports that are plugged in

Nothing moves because the agent starts. Ctrl-C parks the arm and leaves it stiff; pressed twice it stops at once.
A software stop is not a safety-rated function: keep the power switch within reach.";

/// Signals so far: the first parks, the second ends at once.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

#[cfg(unix)]
extern "C" fn on_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(unix)]
fn listen_to_signals() {
    let handler: extern "C" fn(libc::c_int) = on_signal;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only adds to an atomic, which is safe at any moment.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

#[cfg(not(unix))]
fn listen_to_signals() {}

/// Value of an option; an error when the option is there without one.
fn value(arguments: &[String], name: &str) -> Result<Option<String>, String> {
    let Some(at) = arguments.iter().position(|a| a == name) else {
        return Ok(None);
    };
    arguments.get(at + 1).cloned().map(Some).ok_or_else(|| format!("{name} needs a value"))
}

fn check_names(arguments: &[String], known: &[&str]) -> Result<(), String> {
    let unknown = arguments.iter().find(|a| a.starts_with("--") && !known.contains(&a.as_str()));
    unknown.map_or(Ok(()), |a| Err(format!("unknown option {a}")))
}

/// Bad arguments (exit 2) or a failure (exit 1).
enum Failure {
    Arguments(String),
    Failed(String),
}

fn failed(e: impl std::fmt::Display) -> Failure {
    Failure::Failed(e.to_string())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("-h" | "--help" | "help") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some("practise") => practise(&arguments),
        Some("new") => new(&arguments),
        Some("ports") => {
            for (name, path) in forerun::robot::bus::serial::plugged_in() {
                println!("{name}  {}", path.display());
            }
            Ok(())
        }
        _ => serve(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Arguments(why)) => {
            eprintln!("{why}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[String]) -> Result<(), Failure> {
    let options = options(arguments).map_err(Failure::Arguments)?;
    listen_to_signals();
    if arguments.iter().any(|a| a == "--with-parent") {
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            SIGNALS.fetch_add(1, Ordering::Relaxed);
        });
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let for_driver = Arc::clone(&clock);
    let make = Box::new(move |file: &RobotFile| driver(file, &for_driver));
    let agent = Agent::new(options, clock, make).map_err(failed)?;
    // One line that programs can read: where to connect.
    let mut ready = serde_json::json!({
        "ready": true, "listen": agent.address().to_string(), "pid": std::process::id(),
    });
    if let Some(fingerprint) = agent.fingerprint() {
        eprintln!("clients connect to {}#{fingerprint}", agent.address());
        ready["fingerprint"] = fingerprint.into();
    }
    println!("{ready}");
    agent.run(&SIGNALS).map_err(failed)
}

fn options(arguments: &[String]) -> Result<Options, String> {
    check_names(arguments, &["--robot", "--listen", "--token-file", "--boxes", "--with-parent"])?;
    let robot = PathBuf::from(value(arguments, "--robot")?.ok_or("--robot ROBOT.toml is needed")?);
    let listen = value(arguments, "--listen")?.unwrap_or_else(|| "127.0.0.1:4760".into());
    let listen: SocketAddr =
        listen.parse().map_err(|_| format!("{listen} is no address like 127.0.0.1:4760"))?;
    let token = match value(arguments, "--token-file")? {
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{path} cannot be read ({e})"))?;
            Some(text.trim().to_string())
        }
        None => None,
    };
    let boxes = value(arguments, "--boxes")?.map(PathBuf::from);
    let boxes = boxes.unwrap_or_else(|| robot.with_file_name("black-boxes"));
    Ok(Options { robot, listen, token, boxes })
}

#[cfg(target_os = "linux")]
fn driver(file: &RobotFile, clock: &Arc<dyn Clock>) -> Result<Box<dyn Driver>, AgentError> {
    match file.driver {
        DriverKind::Feetech => {
            Ok(Box::new(forerun::robot::feetech::bus::on_serial_port(file, Arc::clone(clock))))
        }
        DriverKind::Dynamixel => {
            Ok(Box::new(forerun::robot::dynamixel::bus::on_serial_port(file, Arc::clone(clock))))
        }
        DriverKind::Tabletop => tabletop(file, clock),
        DriverKind::Ros2 => ros2(file, clock),
    }
}

#[cfg(not(target_os = "linux"))]
fn driver(file: &RobotFile, clock: &Arc<dyn Clock>) -> Result<Box<dyn Driver>, AgentError> {
    match file.driver {
        DriverKind::Tabletop => tabletop(file, clock),
        DriverKind::Ros2 => ros2(file, clock),
        _ => Err(AgentError::Driver("real robots are driven on Linux only so far".into())),
    }
}

fn tabletop(file: &RobotFile, clock: &Arc<dyn Clock>) -> Result<Box<dyn Driver>, AgentError> {
    let arm = TabletopArm::new(file, Arc::clone(clock));
    arm.map(|arm| Box::new(arm) as Box<dyn Driver>).map_err(|e| AgentError::Driver(e.to_string()))
}

fn ros2(file: &RobotFile, clock: &Arc<dyn Clock>) -> Result<Box<dyn Driver>, AgentError> {
    let robot = forerun::robot::ros2::RosRobot::new(file, Arc::clone(clock));
    robot.map(|robot| Box::new(robot) as Box<dyn Driver>).map_err(|e| AgentError::Driver(e.to_string()))
}

fn new(arguments: &[String]) -> Result<(), Failure> {
    let read = || -> Result<(PathBuf, RobotFile), String> {
        check_names(arguments, &["--robot", "--name", "--serial", "--path", "--tabletop"])?;
        let path = PathBuf::from(value(arguments, "--robot")?.ok_or("--robot ROBOT.toml is needed")?);
        let name = value(arguments, "--name")?.ok_or("--name NAME is needed")?;
        if let Some(seed) = value(arguments, "--tabletop")? {
            let mut robot = RobotFile::tabletop(&name, 128);
            robot.scene_seed = Some(seed.parse().map_err(|_| format!("{seed} is no seed"))?);
            return Ok((path, robot));
        }
        let mut robot = RobotFile::so101(&name);
        robot.port.serial = value(arguments, "--serial")?;
        robot.port.path = value(arguments, "--path")?.map(PathBuf::from);
        Ok((path, robot))
    };
    let (path, robot) = read().map_err(Failure::Arguments)?;
    if path.exists() {
        return Err(Failure::Failed(format!("{} exists already; choose another name", path.display())));
    }
    robot.write(&path).map_err(failed)
}

#[cfg(unix)]
fn practise(arguments: &[String]) -> Result<(), Failure> {
    use forerun::robot::emulator::{EmulatedArm, PtyArm};
    let read = || -> Result<(PathBuf, Option<PathBuf>), String> {
        check_names(arguments, &["--port", "--robot"])?;
        let link = value(arguments, "--port")?.ok_or("--port LINK is needed")?;
        Ok((PathBuf::from(link), value(arguments, "--robot")?.map(PathBuf::from)))
    };
    let (link, file) = read().map_err(Failure::Arguments)?;
    listen_to_signals();
    let arm = EmulatedArm::new(1);
    if let Some(path) = file.filter(|p| !p.exists()) {
        let mut robot = arm.robot_file("practice arm");
        robot.port.path = Some(link.clone());
        robot.write(&path).map_err(failed)?;
    }
    let _arm = PtyArm::start(&link, arm).map_err(failed)?;
    println!("{{\"ready\":true,\"port\":{:?}}}", link.display().to_string());
    while SIGNALS.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

#[cfg(not(unix))]
fn practise(_: &[String]) -> Result<(), Failure> {
    Err(Failure::Failed("the emulated arm needs pseudo-terminals, which this system does not have".into()))
}
