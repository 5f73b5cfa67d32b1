//! The files of a model on a hub, and which of them are read here.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;

use super::client::Client;
use crate::failure::Failure;

/// Most bytes of a list of files.
const LONGEST_LIST: u64 = 16 << 20;

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Remote {
    /// Path within the model.
    pub path: String,
    /// Bytes, where the hub tells.
    pub size: Option<u64>,
    /// sha256 of its bytes, where the hub tells (it does for large files).
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

/// Asks the hub for the files of a model.
pub(super) fn list(client: &Client, repository: &str, revision: &str) -> Result<Vec<Remote>, Failure> {
    let revision_path = escaped(revision);
    let answer = client.get(&format!("api/models/{repository}/revision/{revision_path}?blobs=true"), 0)?;
    if answer.status != 200 {
        let what = format!("model {repository} at {revision}");
        return Err(client.explain(answer.status, repository, &what));
    }
    let mut text = Vec::new();
    answer.body.take(LONGEST_LIST).read_to_end(&mut text).map_err(|e| {
        Failure::new(format!("The list of files broke off: {e}."), "Check the connection and try again.")
    })?;
    let list: List = serde_json::from_slice(&text).map_err(|e| {
        Failure::new(
            format!("The hub's list of files cannot be understood: {e}."),
            "Check the address of the hub (--endpoint, FORERUN_HUB).",
        )
    })?;
    let files = list.siblings.into_iter().map(|file| {
        let large = file.lfs.as_ref();
        Remote {
            size: large.and_then(|l| l.size).or(file.size),
            sha256: large.and_then(|l| l.sha256.clone()),
            path: file.rfilename,
        }
    });
    chosen(files.collect(), repository)
}

/// The address of a file behind the endpoint.
pub(super) fn address(repository: &str, revision: &str, path: &str) -> String {
    format!(
        "{repository}/resolve/{}/{}",
        escaped(revision),
        path.split('/').map(escaped).collect::<Vec<_>>().join("/")
    )
}

/// A part of an address: everything but letters, digits and `-_.~` as `%XX`.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Folders of a pipeline whose files are read here.
const PARTS: [&str; 7] =
    ["controlnet", "scheduler", "text_encoder", "text_tokenizer", "tokenizer", "transformer", "vae"];

/// The files that are read here: descriptions, tokenizers and one form of the weights of each part.
fn chosen(files: Vec<Remote>, repository: &str) -> Result<Vec<Remote>, Failure> {
    // A name from the network must not lead out of the model's folder.
    if let Some(file) = files.iter().find(|f| !is_plain(&f.path)) {
        return Err(Failure::new(
            format!("The hub names a file {:?}, which is no place within a model.", file.path),
            "Do not use this hub.",
        ));
    }
    let safetensors: BTreeMap<&str, bool> = PARTS
        .iter()
        .map(|part| {
            (*part, files.iter().any(|f| f.path.starts_with(part) && f.path.ends_with(".safetensors")))
        })
        .collect();
    let wanted = |file: &Remote| {
        if file.path == "model_index.json" {
            return true;
        }
        let Some((part, name)) = file.path.split_once('/').filter(|(part, _)| PARTS.contains(part)) else {
            return false;
        };
        // Files of other precisions (`.fp16.safetensors`) hold the same weights once more.
        let variant = [".fp16.", ".bf16.", ".fp8."].iter().any(|v| name.contains(v));
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            _ if name.contains('/') => false,
            Some("safetensors") => !variant,
            Some("json" | "txt" | "model" | "jinja") => !variant,
            Some("pt" | "pth") => safetensors.get(part) == Some(&false),
            _ => false,
        }
    };
    let chosen: Vec<Remote> = files.iter().filter(|f| wanted(f)).cloned().collect();
    if !chosen.iter().any(|f| f.path == "model_index.json") {
        return Err(Failure::new(
            format!(
                "{repository} has no model_index.json at this revision, so it is no pipeline that is read here."
            ),
            "Give the revision with the diffusers layout, for example --revision diffusers/base/post-trained.",
        ));
    }
    Ok(chosen)
}

fn is_plain(path: &str) -> bool {
    let part = |p: &str| !p.is_empty() && p != "." && p != ".." && !p.contains(['\\', ':', '\0']);
    !path.starts_with('/') && path.split('/').all(part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(path: &str) -> Remote {
        Remote { path: path.into(), size: Some(1), sha256: None }
    }

    #[test]
    fn one_form_of_each_part_and_nothing_else() {
        let all = [
            "README.md",
            "model_index.json",
            "model-480p-16fps.pt",
            "transformer/config.json",
            "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
            "transformer/diffusion_pytorch_model.fp16.safetensors",
            "transformer/model.pt",
            "vae/tokenizer.pth",
            "tokenizer/spiece.model",
            "assets/movie.mp4",
            "safety_checker/model.safetensors",
        ];
        let kept = chosen(all.into_iter().map(file).collect(), "a/b").unwrap();
        let names: Vec<&str> = kept.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(
            names,
            [
                "model_index.json",
                "transformer/config.json",
                "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
                "vae/tokenizer.pth",
                "tokenizer/spiece.model"
            ]
        );
        assert!(chosen(vec![file("model.pt")], "a/b").unwrap_err().text().contains("model_index.json"));
    }

    #[test]
    fn a_hub_cannot_lead_out_of_the_folder() {
        for path in ["../evil", "vae/../../evil", "/etc/passwd", "C:evil", "vae//x", "a\\b"] {
            let files = vec![file("model_index.json"), file(path)];
            assert!(chosen(files, "a/b").unwrap_err().text().contains("Do not use"), "{path}");
        }
        assert_eq!(address("a/b", "x/y", "vae/z 1.json"), "a/b/resolve/x%2Fy/vae/z%201.json");
    }
}
