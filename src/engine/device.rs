//! Devices by name: `cpu`, `cuda`, `cuda:1`, `metal`.

use candle_core::Device;

use crate::failure::Failure;

/// Names of the devices that this build can use on this machine, the processor first.
pub fn names() -> Vec<String> {
    let mut names = vec!["cpu".to_owned()];
    if candle_core::utils::cuda_is_available() {
        names.extend((0..16).map_while(|i| Device::new_cuda(i).ok().map(|_| format!("cuda:{i}"))));
    }
    if candle_core::utils::metal_is_available() && Device::new_metal(0).is_ok() {
        names.push("metal".to_owned());
    }
    names
}

/// The device of that name.
///
/// # Errors
/// When the name is unknown, or this build or machine has no such device.
pub fn open(name: &str) -> Result<Device, Failure> {
    let missing = |what: &str, available: bool, error: candle_core::Error| {
        if available {
            Failure::new(
                format!("{name} could not be opened: {error}."),
                "Choose another device; cpu always works.",
            )
        } else {
            Failure::new(
                format!("This build of Forerun has no {what} support."),
                "Choose the device cpu, or install the build for that device.",
            )
        }
    };
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: Option<usize> = index.parse().ok();
    match (kind, index) {
        ("cpu", Some(0)) => Ok(Device::Cpu),
        ("cuda", Some(i)) => {
            Device::new_cuda(i).map_err(|e| missing("CUDA", candle_core::utils::cuda_is_available(), e))
        }
        ("metal", Some(i)) => {
            Device::new_metal(i).map_err(|e| missing("Metal", candle_core::utils::metal_is_available(), e))
        }
        _ => Err(Failure::new(
            format!("There is no device called {name}."),
            format!("Use one of: {}.", names().join(", ")),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_nonsense_is_named() {
        assert!(names().contains(&"cpu".to_owned()));
        assert!(matches!(open("cpu").unwrap(), Device::Cpu));
        for bad in ["gpu", "cuda:x", "cpu:3", ""] {
            let text = open(bad).unwrap_err().text();
            assert!(text.contains(bad) && text.contains("cpu"), "{text}");
        }
    }
}
