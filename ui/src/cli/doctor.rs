//! `forerun doctor`: this machine, and how fast things run here.

use std::time::Duration;

use forerun::machine::Machine;
use serde_json::{Value, json};

use super::Answer;

pub(super) fn run() -> Answer {
    let machine = Machine::look();
    for line in machine.lines() {
        println!("{line}");
    }
    let mut value = machine.value();
    let camera = forerun::bench::camera(Duration::from_secs(1))?;
    println!("camera      {camera}");
    let mut speeds = json!({ "camera": camera.value() });
    match forerun::bench::imagine("tabletop", "cpu") {
        Ok(speed) => {
            println!("imagining   {speed}");
            speeds["imagine"] = speed.value();
        }
        Err(failure) => println!("imagining   {}", failure.text()),
    }
    if let Value::Object(object) = &mut value {
        object.insert("speeds".into(), speeds);
    }
    Ok(value)
}
