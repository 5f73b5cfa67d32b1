//! What a person writes for a start or for actions: paths, `DATASET#EPISODE`, `hold`.

use std::path::{Path, PathBuf};

use super::protocol::{Actions, Start};
use super::record::RECORD_FILE;
use crate::failure::Failure;

/// Endings of pictures in a folder of them.
const PICTURES: [&str; 9] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "jfif"];

/// `DATASET#EPISODE` to its parts; `None` when the text has not that form.
pub fn episode(text: &str) -> Option<(PathBuf, usize)> {
    let (dataset, episode) = text.rsplit_once('#')?;
    Some((PathBuf::from(dataset), episode.parse().ok()?))
        .filter(|(dataset, _)| !dataset.as_os_str().is_empty())
}

/// A start from what `--frames` got, or what was dropped onto the window. `at` is the frame to start from.
///
/// # Errors
/// A path is missing, or is a folder without pictures.
pub fn start(items: &[String], at: Option<usize>) -> Result<Start, Failure> {
    if let [item] = items {
        let path = Path::new(item);
        if let Some((dataset, episode)) = episode(item).filter(|_| !path.exists()) {
            return Ok(Start::Episode { dataset, episode, at: at.unwrap_or(0) });
        }
        let is_record = path.file_name().is_some_and(|name| name == RECORD_FILE) && path.is_file();
        if is_record || path.join(RECORD_FILE).is_file() {
            // A future goes on from its end when nothing else is said.
            let (folder, _) = super::record::locate(path);
            let frames = super::record::FutureRecord::read(&folder)?.frames.len();
            return Ok(Start::Future { folder, at: at.unwrap_or(frames) });
        }
        if path.join("meta/info.json").is_file() {
            return Err(Failure::new(
                format!("{item} is a dataset of many episodes."),
                format!("Say which one: {item}#0"),
            ));
        }
        if path.is_dir() {
            return Ok(Start::Files { paths: pictures_of(path)?, at });
        }
    }
    Ok(Start::Files { paths: items.iter().map(PathBuf::from).collect(), at })
}

/// Pictures of a folder by name.
fn pictures_of(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|e| Failure::io("read", folder, &e))?;
    let is_picture = |path: &PathBuf| {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        path.is_file() && PICTURES.contains(&ending.as_str())
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_picture).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::new(
            format!("There is no picture in the folder {}.", folder.display()),
            "Choose pictures, a clip, a saved future, or DATASET#EPISODE.",
        ));
    }
    Ok(paths)
}

/// Actions from what `--actions` got.
///
/// # Errors
/// Never now; the file is read by the job.
pub fn actions(text: &str) -> Result<Actions, Failure> {
    if text == "hold" {
        return Ok(Actions::Hold);
    }
    if let Some((dataset, episode)) = episode(text).filter(|_| !Path::new(text).exists()) {
        return Ok(Actions::Episode { dataset, episode });
    }
    Ok(Actions::File(PathBuf::from(text)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs;

    #[test]
    fn an_episode_is_a_path_a_hash_and_a_number() {
        assert_eq!(episode("data/a#b#12"), Some((PathBuf::from("data/a#b"), 12)));
        for no in ["data", "data#", "#3", "data#x", "data#-1"] {
            assert_eq!(episode(no), None, "{no}");
        }
        let start = start(&["somewhere#3".into()], Some(5)).unwrap();
        assert_eq!(start, Start::Episode { dataset: "somewhere".into(), episode: 3, at: 5 });
    }

    #[test]
    fn a_file_whose_name_has_a_hash_is_still_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shot#3");
        fs::write(&path, b"x").unwrap();
        let text = path.to_string_lossy().into_owned();
        assert_eq!(
            start(&[text.clone()], None).unwrap(),
            Start::Files { paths: vec![path.clone()], at: None }
        );
        assert_eq!(actions(&text).unwrap(), Actions::File(path));
        assert_eq!(actions("hold").unwrap(), Actions::Hold);
    }

    #[test]
    fn a_folder_is_its_pictures_in_order_and_a_dataset_wants_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().to_string_lossy().into_owned();
        assert!(start(&[text.clone()], None).unwrap_err().text().contains("no picture"));
        for name in ["2.png", "10.JPG", "1.png", "notes.txt"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let Start::Files { paths, .. } = start(&[text.clone()], None).unwrap() else { unreachable!() };
        assert_eq!(paths.len(), 3);
        fs::create_dir(dir.path().join("meta")).unwrap();
        fs::write(dir.path().join("meta/info.json"), b"{}").unwrap();
        assert!(start(&[text], None).unwrap_err().text().contains("#0"));
    }
}
