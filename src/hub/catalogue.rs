//! The published models that run here, as their publishers describe them. Sizes are computed from their configurations;
//! no weights come with Forerun.

use forerun_models::published::{Family, Licence};

/// A published model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Short name for `forerun models fetch`.
    pub name: &'static str,
    /// Repository on the hub.
    pub repository: &'static str,
    /// Branch or tag with the layout that is read here.
    pub revision: &'static str,
    /// Its family.
    pub family: Family,
    /// Weights of the transformer, in thousands of millions.
    pub billions: f64,
    /// Gigabytes of all files that are read, with 16 bits a weight.
    pub gigabytes: f64,
    /// Whether the publisher asks for an account and a click before the download.
    pub gated: bool,
}

const fn entry(
    name: &'static str,
    repository: &'static str,
    revision: &'static str,
    family: Family,
    (billions, gigabytes): (f64, f64),
    gated: bool,
) -> Entry {
    Entry { name, repository, revision, family, billions, gigabytes, gated }
}

/// All of them, the smallest job first.
pub fn catalogue() -> &'static [Entry] {
    const ALL: [Entry; 10] = [
        entry("cosmos3-edge", "nvidia/Cosmos3-Edge", "main", Family::Cosmos3, (3.4, 8.1), false),
        entry("cosmos3-nano", "nvidia/Cosmos3-Nano", "main", Family::Cosmos3, (15.2, 32.8), true),
        entry(
            "predict2-2b-image",
            "nvidia/Cosmos-Predict2-2B-Text2Image",
            "main",
            Family::Predict2,
            (2.0, 14.2),
            true,
        ),
        entry(
            "predict2-2b",
            "nvidia/Cosmos-Predict2-2B-Video2World",
            "main",
            Family::Predict2,
            (2.0, 14.2),
            true,
        ),
        entry(
            "predict2-14b",
            "nvidia/Cosmos-Predict2-14B-Video2World",
            "main",
            Family::Predict2,
            (14.3, 38.8),
            true,
        ),
        entry(
            "predict2.5-2b",
            "nvidia/Cosmos-Predict2.5-2B",
            "diffusers/base/post-trained",
            Family::Predict25,
            (2.1, 21.3),
            true,
        ),
        entry(
            "predict2.5-14b",
            "nvidia/Cosmos-Predict2.5-14B",
            "diffusers/base/post-trained",
            Family::Predict25,
            (14.4, 45.9),
            true,
        ),
        entry(
            "transfer2.5-2b",
            "nvidia/Cosmos-Transfer2.5-2B",
            "diffusers/general",
            Family::Transfer25,
            (2.4, 23.0),
            true,
        ),
        entry(
            "predict1-7b",
            "nvidia/Cosmos-1.0-Diffusion-7B-Video2World",
            "main",
            Family::Predict1,
            (7.2, 24.4),
            true,
        ),
        entry(
            "predict1-14b",
            "nvidia/Cosmos-1.0-Diffusion-14B-Video2World",
            "main",
            Family::Predict1,
            (14.3, 38.5),
            true,
        ),
    ];
    &ALL
}

/// The entry of a short name or repository.
pub fn find(name: &str) -> Option<&'static Entry> {
    catalogue().iter().find(|e| e.name == name || e.repository == name)
}

impl Entry {
    /// Terms of its weights.
    pub fn licence(&self) -> Licence {
        self.family.licence()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_repositories_are_unique_and_found() {
        for entry in catalogue() {
            assert_eq!(find(entry.name), Some(entry));
            assert_eq!(find(entry.repository), Some(entry));
            assert!(entry.gigabytes > entry.billions, "{}", entry.name);
        }
        assert_eq!(find("nobody/nothing"), None);
    }
}
