//! Devices by name: `cpu`, `cpu-bf16`, `cuda`, `cuda:1`, `metal`, `wgpu`, `wgpu:1`.
//!
//! On `cpu`, `cuda` and `metal` candle computes, and everything runs. `cpu-bf16` is the processor once more, where it can multiply bf16
//! numbers: world models of the shipped kind imagine there with packed weights of half the size, faster and a little less
//! exactly. `wgpu` is any other graphics card: world models of the shipped
//! kind imagine there with shaders of our own, and nothing else does. Those shaders live beside the window's drivers; this
//! floor only knows that somebody may bring them ([`register`]).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use candle_core::Device;
use forerun_models::dreamer::Accelerator;
use forerun_models::kernels;

use crate::failure::Failure;

/// Where a world model runs.
#[derive(Clone)]
pub enum Place {
    /// On a device of candle's.
    Candle(Device),
    /// On the processor, with packed weights and products of bf16.
    Packed,
    /// On a card with kernels of its own.
    Card(Arc<dyn Accelerator>),
}

/// Cards with kernels of their own.
pub trait Cards: Send + Sync {
    /// How many of them are faster than the processor.
    fn fast(&self) -> usize;
    /// Card `number`, the fast ones first.
    ///
    /// # Errors
    /// Why it cannot be used, in words that go on from "could not be opened:".
    fn open(&self, number: usize) -> Result<Arc<dyn Accelerator>, String>;
}

/// The processor with products of bf16.
const PACKED: &str = "cpu-bf16";

/// Whether this processor has products of bf16.
fn has_bf16() -> bool {
    kernels::level() >= kernels::Level::Avx512Bf16
}

/// What matrix products on the device of that name round their factors to.
pub fn precision(name: &str) -> kernels::Precision {
    if name == PACKED { kernels::Precision::Bf16 } else { kernels::precision::current() }
}

static CARDS: OnceLock<Box<dyn Cards>> = OnceLock::new();

/// Lets models run on these cards, as the devices `wgpu`, `wgpu:1`, ... The first registration counts.
pub fn register(cards: Box<dyn Cards>) {
    drop(CARDS.set(cards));
}

/// Names of the devices that this build can use on this machine, the processor first.
pub fn names() -> Vec<String> {
    // A look wakes every card up, so there is one.
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let look = || {
        let mut names = vec!["cpu".to_owned()];
        names.extend(has_bf16().then(|| PACKED.to_owned()));
        names.extend((0..16).map_while(|i| new_cuda(i).ok().map(|_| format!("cuda:{i}"))));
        if new_metal(0).is_ok() {
            names.push("metal".to_owned());
        }
        let cards = CARDS.get().map_or(0, |cards| cards.fast());
        names.extend((0..cards).map(|i| if i == 0 { "wgpu".to_owned() } else { format!("wgpu:{i}") }));
        names
    };
    NAMES.get_or_init(look).clone()
}

/// Those of them on which candle computes.
fn candle_names() -> Vec<String> {
    names().into_iter().filter(|name| learns(name)).collect()
}

/// Whether networks learn on a device of that name; on every one they imagine.
pub fn learns(name: &str) -> bool {
    ["cpu", "cuda", "metal"].contains(&name.split_once(':').map_or(name, |(kind, _)| kind))
}

/// Where a world model runs on the device of that name.
///
/// # Errors
/// See [`open`].
pub fn place(name: &str) -> Result<Place, Failure> {
    if name == PACKED && has_bf16() {
        return Ok(Place::Packed);
    }
    let Some(number) = card_number(name) else { return open(name).map(Place::Candle) };
    // As with candle's cards, each is opened once.
    static OPEN: Mutex<BTreeMap<usize, Arc<dyn Accelerator>>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(card) = open.get(&number) {
        return Ok(Place::Card(card.clone()));
    }
    let cards = CARDS.get().ok_or_else(|| Missing::Support("graphics card").failure(name))?;
    let opened = catch_unwind(AssertUnwindSafe(|| cards.open(number)));
    let opened = opened.unwrap_or_else(|_| Err("its driver failed".into()));
    let card = opened.map_err(|why| Missing::Device(why.trim_end_matches('.').into()).failure(name))?;
    open.insert(number, card.clone());
    Ok(Place::Card(card))
}

/// Where a policy thinks that acts in a world model on the device of that name: there as well, if candle computes there.
///
/// # Errors
/// See [`open`].
pub fn beside(name: &str) -> Result<Device, Failure> {
    if name == PACKED || card_number(name).is_some() { Ok(Device::Cpu) } else { open(name) }
}

/// The number of a card of our own kernels, where a name means one.
fn card_number(name: &str) -> Option<usize> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    if kind == "wgpu" { number.parse().ok() } else { None }
}

/// The device of that name, for everything that candle computes.
///
/// # Errors
/// When the name is unknown, or this build or machine has no such device.
pub fn open(name: &str) -> Result<Device, Failure> {
    let (kind, index) = name.split_once(':').unwrap_or((name, "0"));
    let index: Option<usize> = index.parse().ok();
    match (kind, index) {
        ("cpu", Some(0)) => Ok(Device::Cpu),
        ("cuda", Some(i)) => kept(("cuda", i), || new_cuda(i)).map_err(|why| why.failure(name)),
        ("metal", Some(i)) => kept(("metal", i), || new_metal(i)).map_err(|why| why.failure(name)),
        (PACKED, Some(0)) if !has_bf16() => Err(Failure::new(
            format!("{name} could not be opened: this processor has no products of bf16 (AVX512-BF16)."),
            "Use the device cpu.",
        )),
        (PACKED | "wgpu", Some(_)) => Err(Failure::new(
            format!("On {name} only world models of the shipped kind run, and only to imagine."),
            format!("For this, use one of: {}.", candle_names().join(", ")),
        )),
        _ => Err(Failure::new(
            format!("There is no device called {name}."),
            format!("Use one of: {}.", names().join(", ")),
        )),
    }
}

/// As [`open`]; no name at all means the processor.
///
/// # Errors
/// See [`open`].
pub fn open_or_cpu(name: &str) -> Result<Device, Failure> {
    if name.is_empty() { Ok(Device::Cpu) } else { open(name) }
}

/// A card is opened once: tensors of two openings of one card are strangers to candle, and each costs memory on it.
fn kept(
    key: (&'static str, usize),
    make: impl FnOnce() -> Result<Device, Missing>,
) -> Result<Device, Missing> {
    static OPEN: Mutex<BTreeMap<(&str, usize), Device>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(device) = open.get(&key) {
        return Ok(device.clone());
    }
    let device = make()?;
    open.insert(key, device.clone());
    Ok(device)
}

/// Why a graphics card cannot be used.
enum Missing {
    /// This build knows nothing of such cards.
    Support(&'static str),
    /// The machine lacks a library of the card's maker.
    Library(&'static str),
    /// The driver or the card said no.
    Device(String),
}

impl Missing {
    fn failure(self, name: &str) -> Failure {
        match self {
            Self::Support(what) => Failure::new(
                format!("This build of Forerun has no {what} support."),
                "Choose the device cpu, or install the build for that device.",
            ),
            Self::Library(library) => Failure::new(
                format!("{name} could not be opened: this machine has no library {library}."),
                "Install NVIDIA's driver and the CUDA libraries (docs/gpu.md says which), or choose the device cpu.",
            ),
            Self::Device(reason) => Failure::new(
                format!("{name} could not be opened: {reason}."),
                "Choose another device; cpu always works.",
            ),
        }
    }
}

fn new_cuda(index: usize) -> Result<Device, Missing> {
    if !candle_core::utils::cuda_is_available() {
        return Err(Missing::Support("CUDA"));
    }
    // The bindings panic where a library is missing; a look beforehand names it instead.
    for (library, names) in CUDA_LIBRARIES {
        if !names.iter().any(|name| can_load(name)) {
            return Err(Missing::Library(library));
        }
    }
    guarded(|| Device::new_cuda(index))
}

fn new_metal(index: usize) -> Result<Device, Missing> {
    if !candle_core::utils::metal_is_available() {
        return Err(Missing::Support("Metal"));
    }
    guarded(|| Device::new_metal(index))
}

/// A panic in a driver's bindings is a device that cannot be used, not the end of the program.
fn guarded(make: impl FnOnce() -> candle_core::Result<Device>) -> Result<Device, Missing> {
    match catch_unwind(AssertUnwindSafe(make)) {
        // Only the first line: with RUST_BACKTRACE candle's errors bring the way to them along.
        Ok(made) => made.map_err(|e| {
            let text = e.to_string();
            Missing::Device(text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned())
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Missing::Device(text.unwrap_or_else(|| "its driver failed".into())))
        }
    }
}

/// What candle's CUDA device needs at run time, and the names under which the bindings look for it (major versions 11 to
/// 13).
#[cfg(unix)]
const CUDA_LIBRARIES: [(&str, &[&str]); 3] = [
    ("libcuda", &["libcuda.so", "libcuda.so.1"]),
    ("libcublas", &["libcublas.so", "libcublas.so.13", "libcublas.so.12", "libcublas.so.11"]),
    ("libcurand", &["libcurand.so", "libcurand.so.10"]),
];
#[cfg(not(unix))]
const CUDA_LIBRARIES: [(&str, &[&str]); 0] = [];

#[cfg(unix)]
fn can_load(library: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(library) else { return false };
    // SAFETY: `name` is a C string; the library's constructors are those that opening the device runs anyway.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return false;
    }
    // SAFETY: the handle is from `dlopen` and is not used after this.
    unsafe { libc::dlclose(handle) };
    true
}

#[cfg(not(unix))]
fn can_load(_: &str) -> bool {
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_nonsense_is_named() {
        assert!(names().contains(&"cpu".to_owned()));
        assert!(matches!(open("cpu").unwrap(), Device::Cpu));
        assert!(matches!(open_or_cpu("").unwrap(), Device::Cpu));
        for bad in ["gpu", "cuda:x", "cpu:3", ""] {
            let text = open(bad).unwrap_err().text();
            assert!(text.contains(bad) && text.contains("cpu"), "{text}");
        }
        assert!(learns("cpu") && learns("cuda:1") && learns("metal") && !learns("wgpu") && !learns(""));
    }

    #[test]
    fn a_card_that_is_not_there_is_an_error_with_a_next_step() {
        // No machine has that many; a build or machine without any says so.
        for name in ["cuda:99", "metal:99"] {
            let text = open(name).unwrap_err().text();
            assert!(text.contains("cpu"), "{text}");
        }
    }

    #[test]
    fn a_panicking_driver_is_an_error() {
        let missing = guarded(|| panic!("no library {}", 7)).expect_err("it panicked");
        let text = missing.failure("cuda").text();
        assert!(text.contains("no library 7") && text.contains("cpu"), "{text}");
        let refused = || Err(candle_core::Error::Msg("no such card.\n   0: somewhere".into()));
        let text = guarded(refused).expect_err("it was refused").failure("cuda:9").text();
        assert!(text.starts_with("cuda:9 could not be opened: no such card. Choose"), "{text}");
    }

    #[test]
    fn what_a_card_of_ours_cannot_do_is_said() {
        let text = open("wgpu:1").unwrap_err().text();
        assert!(text.contains("wgpu:1") && text.contains("imagine") && text.contains("cpu"), "{text}");
        assert!(matches!(beside("wgpu").unwrap(), Device::Cpu));
        assert!(matches!(place("cpu").unwrap(), Place::Candle(Device::Cpu)));
        assert!(beside("wgpu:x").is_err() && place("wgpu:x").is_err());
        // Nobody has registered any in this test's process.
        let text = place("wgpu").err().expect("there is none").text();
        assert!(text.contains("no graphics card support"), "{text}");
    }

    #[test]
    fn packed_weights_are_for_imagining_on_processors_that_have_bf16() {
        assert_eq!(names().contains(&PACKED.to_owned()), has_bf16());
        assert!(!learns(PACKED) && matches!(beside(PACKED).unwrap(), Device::Cpu));
        let text = open(PACKED).unwrap_err().text();
        assert!(text.contains("cpu"), "{text}");
        match place(PACKED) {
            Ok(place) => assert!(has_bf16() && matches!(place, Place::Packed) && text.contains("imagine")),
            Err(e) => assert!(!has_bf16() && e.text().contains("AVX512-BF16"), "{}", e.text()),
        }
    }

    #[cfg(unix)]
    #[test]
    fn libraries_are_looked_for() {
        assert!(!can_load("libnosuchthing.so.99") && !can_load("a\0b"));
        let text = Missing::Library("libcuda").failure("cuda:0").text();
        assert!(text.contains("libcuda") && text.contains("docs/gpu.md"), "{text}");
    }
}
