//! The Models screen's own state: what is chosen, where to download from, what was read.

use std::collections::BTreeSet;
use std::path::PathBuf;

use forerun::hub::{Entry, catalogue};

/// What a person may ask of the Models screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Show this model: its name, installed or published.
    Select(String),
    /// Another address of the hub; empty = the usual one.
    Endpoint(String),
    /// The token for gated models. It is kept in memory only.
    Token(String),
    /// Download a published model; its terms are shown first.
    Fetch(String),
    /// The terms of this licence were read; go on with what they held up.
    Accept(String),
    /// Choose a folder to take among the own models.
    Import,
    /// This folder was chosen.
    Imported(PathBuf),
    /// Check every file of a model.
    Check(String),
    /// Remove a model.
    Remove(String),
    /// Use a model on the World screen.
    Use(String),
    /// Memory of this machine: all and free bytes.
    Memory(u64, u64),
}

/// What the terms hold up.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// A download.
    Fetch(String),
    /// Futures.
    Imagine,
}

/// The state.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// The model that is shown.
    pub selected: Option<String>,
    /// Address of the hub; empty = the usual one.
    pub endpoint: String,
    /// Token for gated models.
    pub token: String,
    /// Licences that were read in this session.
    pub read: BTreeSet<String>,
    /// Memory of this machine: all and free bytes; 0 = unknown.
    pub memory: (u64, u64),
}

/// Published models whose names are not taken by an installed one.
pub fn not_here<'a>(installed: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'static Entry> + 'a {
    catalogue().iter().filter(move |entry| !installed(entry.name))
}
