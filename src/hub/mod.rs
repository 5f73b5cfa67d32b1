//! Published models from a hub: what there is, under which terms, and how it comes here.
//!
//! Nothing here touches the network unless a person asked for it by name.
//!
//! | file | what it is for |
//! |---|---|
//! | `catalogue` | the published models that run here, in words |
//! | `licence` | the terms in our own words, and which a person has read |
//! | `client` | one request to a hub |
//! | `listing` | the files of a model |
//! | `fetch` | downloading, with resume, checks and cancel |
//! | `installed` | checking and removing what is here |

pub mod catalogue;
mod client;
pub mod fetch;
pub mod installed;
pub mod licence;
mod listing;

pub use catalogue::{Entry, catalogue};
pub use fetch::{FetchSpec, fetch};

/// Where models are downloaded from unless told otherwise.
pub const PUBLIC_HUB: &str = "https://huggingface.co";
/// Environment variable with another address.
pub const HUB_VARIABLE: &str = "FORERUN_HUB";
/// Environment variable with the token for gated models.
pub const TOKEN_VARIABLE: &str = "HF_TOKEN";

/// The address of the hub: what was given, else the environment's, else the public one.
pub fn endpoint(given: Option<&str>) -> String {
    let set = std::env::var(HUB_VARIABLE).ok().filter(|v| !v.trim().is_empty());
    let address = given.map(str::to_owned).or(set).unwrap_or_else(|| PUBLIC_HUB.to_owned());
    address.trim_end_matches('/').to_owned()
}
