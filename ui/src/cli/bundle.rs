//! `forerun bundle`: a policy packed for a robot.

use std::path::PathBuf;

use clap::Args;
use forerun::Failure;
use forerun::robot::bundle::{SigningKey, from_policy};
use forerun::robot::file::RobotFile;
use serde_json::json;

use super::Answer;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Policy folder, or the name of a policy that comes with Forerun (push-direct)
    #[arg(long)]
    policy: PathBuf,
    /// Robot file
    #[arg(long, value_name = "ROBOT.toml")]
    robot: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE.bundle")]
    out: PathBuf,
    /// Secret key to sign with; made where there is none (default: this person's own)
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Where this person's own signing key is.
pub(super) fn own_key() -> Result<PathBuf, Failure> {
    let folder = forerun::engine::places::own_data().ok_or_else(|| {
        Failure::new("There is no folder for this person's data.", "Give a key file with --key.")
    })?;
    std::fs::create_dir_all(&folder).map_err(|e| Failure::io("make", &folder, &e))?;
    Ok(folder.join("signing-key"))
}

pub(super) fn run(arguments: &Arguments) -> Answer {
    let Arguments { policy, robot, out, key } = arguments;
    let robot = RobotFile::read(robot).map_err(Failure::from_error)?;
    let key = match key {
        Some(key) => key.clone(),
        None => own_key()?,
    };
    let key = SigningKey::open_or_create(&key).map_err(Failure::from_error)?;
    let policy = forerun::policy::find_policy(policy);
    let bundle = from_policy::pack(&policy, &robot, out, &key).map_err(Failure::from_error)?;
    println!("{} for {} is in {}", bundle.manifest.name, robot.name, out.display());
    println!("signed with the key {}", bundle.key);
    Ok(json!({ "bundle": out, "id": bundle.id, "key": bundle.key, "manifest": bundle.manifest }))
}
