//! Places, and what several policy commands share.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use forerun::Failure;
use forerun::engine::models::{Loaded, ModelStore};
use forerun::policy::Venue;

/// How often a line about the progress is printed.
const PERIOD: Duration = Duration::from_secs(10);

/// A place by its name on the command line.
pub(super) enum Named {
    World,
    Model(Arc<Loaded>),
}

impl Named {
    pub(super) fn open(name: &str, device: &str, store: &ModelStore) -> Result<Self, Failure> {
        match name.split_once(':') {
            Some(("world", "tabletop")) => Ok(Self::World),
            Some(("model", model)) => store.get(model, device).map(Self::Model),
            _ => Err(Failure::new(
                format!("{name} is no place."),
                "Use world:tabletop, or model: and the name or folder of a model.",
            )),
        }
    }

    pub(super) fn venue(&self) -> Venue<'_> {
        match self {
            Self::World => Venue::World,
            Self::Model(loaded) => Venue::Model(loaded.model.as_ref()),
        }
    }
}

/// Prints a line about the progress every few seconds.
pub(in crate::cli) fn teller(what: &'static str) -> impl Fn(usize, usize) + Sync {
    let began = Instant::now();
    let told = Mutex::new(began);
    move |done: usize, all: usize| {
        if let Ok(mut told) = told.lock()
            && told.elapsed() > PERIOD
        {
            *told = Instant::now();
            let left = began.elapsed().as_secs_f64() / done.max(1) as f64 * (all - done.min(all)) as f64;
            eprintln!("{done} of {all} {what}, {:.0} min left", left / 60.0);
        }
    }
}
