//! Blind A/B: which of two futures is better, asked without names, in an order that nobody knows beforehand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forerun_models::random::{Random, stream_of};
use serde::{Deserialize, Serialize};

use super::date::now;
use crate::failure::Failure;
use crate::fsx;

/// The newest `format` of the votes' file that this version reads.
pub const VOTES_FORMAT: u32 = 1;
/// File name of the votes in the project's `futures/` folder.
pub const VOTES_FILE: &str = "votes.json";

/// What a person chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The one on the left is better.
    Left,
    /// The one on the right is better.
    Right,
    /// No difference.
    Tie,
}

/// One of the things that are compared: futures of the same group (a model, a setting) are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// What it belongs to, and what is revealed in the end: `tabletop, refine 4`.
    pub group: String,
    /// Folder of the future.
    pub future: String,
}

/// A question: two futures of different groups, sides already drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// On the left.
    pub left: Candidate,
    /// On the right.
    pub right: Candidate,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// What was asked.
    #[serde(flatten)]
    pub question: Question,
    /// What was chosen.
    pub choice: Choice,
    /// Seconds since 1970.
    pub at: u64,
}

/// The questions of a blind round: every two candidates of different groups once, in an order and on sides that follow
/// from `seed` alone (Fisher and Yates's shuffle with the project's counter-based generator).
pub fn questions(candidates: &[Candidate], seed: u64) -> Vec<Question> {
    let mut pairs = Vec::new();
    for (i, a) in candidates.iter().enumerate() {
        for b in candidates.iter().skip(i + 1).filter(|b| b.group != a.group) {
            pairs.push((a, b));
        }
    }
    let random = Random::new(seed, stream_of("blind"), 0);
    let draw = |index: usize, below: usize| {
        random.below(index as u64, u32::try_from(below).unwrap_or(u32::MAX)) as usize
    };
    let count = pairs.len();
    for i in (1..count).rev() {
        pairs.swap(i, draw(i, i + 1));
    }
    let side = |i: usize| draw(count + i, 2) == 1;
    pairs
        .into_iter()
        .enumerate()
        .map(|(i, (a, b))| {
            let (left, right) = if side(i) { (b, a) } else { (a, b) };
            Question { left: left.clone(), right: right.clone() }
        })
        .collect()
}

#[derive(Serialize, Deserialize)]
struct VotesFile {
    format: u32,
    votes: Vec<Vote>,
}

/// The votes of a project; every vote is on disk before the next question is asked.
#[derive(Clone, Debug)]
pub struct Votes {
    file: PathBuf,
    votes: Vec<Vote>,
}

impl Votes {
    /// Opens the votes in a project's `futures/` folder; a missing file has none.
    ///
    /// # Errors
    /// The file is damaged, of a newer format, or cannot be read. It is never overwritten then.
    pub fn open(futures: &Path) -> Result<Self, Failure> {
        let file = futures.join(VOTES_FILE);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { file, votes: Vec::new() });
            }
            Err(e) => return Err(Failure::io("read", &file, &e)),
        };
        let damaged = |why: String| {
            Failure::new(
                format!("{} holds no votes: {why}.", file.display()),
                "Restore it from a copy, or move it away to start anew.",
            )
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format > u64::from(VOTES_FORMAT) {
            return Err(Failure::new(
                format!("{} has format {format}, this version reads up to {VOTES_FORMAT}.", file.display()),
                "Update Forerun to read these votes.",
            ));
        }
        let read: VotesFile = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { file, votes: read.votes })
    }

    /// All votes, oldest first.
    pub fn all(&self) -> &[Vote] {
        &self.votes
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// The file cannot be written; then the vote does not count.
    pub fn add(&mut self, question: Question, choice: Choice) -> Result<(), Failure> {
        self.votes.push(Vote { question, choice, at: now() });
        let saved = self.save();
        if saved.is_err() {
            self.votes.pop();
        }
        saved
    }

    /// Takes the last vote back; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be written; then it still counts.
    pub fn undo(&mut self) -> Result<Option<Vote>, Failure> {
        let Some(vote) = self.votes.pop() else { return Ok(None) };
        if let Err(failure) = self.save() {
            self.votes.push(vote);
            return Err(failure);
        }
        Ok(Some(vote))
    }

    fn save(&self) -> Result<(), Failure> {
        let file = VotesFile { format: VOTES_FORMAT, votes: self.votes.clone() };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(Failure::from_error)?;
        bytes.push(b'\n');
        fsx::stage(&self.file, &bytes)
            .and_then(fsx::Staged::commit)
            .map_err(|e| Failure::io("write", &self.file, &e))
    }
}

/// How two groups stand against each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The group whose share it is (first by name).
    pub group: String,
    /// The other one.
    pub other: String,
    /// Votes for `group`.
    pub wins: u64,
    /// Votes for `other`.
    pub losses: u64,
    /// Votes that saw no difference; they are told, but are in no share.
    pub ties: u64,
    /// `wins / (wins + losses)`; `None` when all were ties.
    pub share: Option<f64>,
    /// 95 % interval of the share ([`wilson`]).
    pub interval: Option<(f64, f64)>,
}

impl Standing {
    /// Whether the votes tell the two apart: one half lies outside the interval.
    pub fn is_clear(&self) -> bool {
        self.interval.is_some_and(|(low, high)| low > 0.5 || high < 0.5)
    }
}

/// Every two groups that were compared, by name.
pub fn tally(votes: &[Vote]) -> Vec<Standing> {
    let mut counts: BTreeMap<(&str, &str), [u64; 3]> = BTreeMap::new();
    for vote in votes {
        let (left, right) = (vote.question.left.group.as_str(), vote.question.right.group.as_str());
        if left == right {
            continue;
        }
        let turned = left > right;
        let key = if turned { (right, left) } else { (left, right) };
        let place = match (vote.choice, turned) {
            (Choice::Tie, _) => 2,
            (Choice::Left, false) | (Choice::Right, true) => 0,
            _ => 1,
        };
        if let Some(count) = counts.entry(key).or_default().get_mut(place) {
            *count += 1;
        }
    }
    counts
        .into_iter()
        .map(|((group, other), [wins, losses, ties])| {
            let decided = wins + losses;
            Standing {
                group: group.to_owned(),
                other: other.to_owned(),
                wins,
                losses,
                ties,
                share: (decided > 0).then(|| wins as f64 / decided as f64),
                interval: wilson(wins, decided),
            }
        })
        .collect()
}

/// 95 % interval of a share of `wins` in `n`; `None` for `n` = 0. Wilson, "Probable inference, the law of succession,
/// and statistical inference", 1927, with z = 1.96: sound for few votes and for shares near 0 and 1.
pub fn wilson(wins: u64, n: u64) -> Option<(f64, f64)> {
    if n == 0 {
        return None;
    }
    let (n, z) = (n as f64, 1.959_963_985);
    let p = (wins as f64 / n).min(1.0);
    let scale = 1.0 / (1.0 + z * z / n);
    let middle = (p + z * z / (2.0 * n)) * scale;
    let half = z * scale * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    Some(((middle - half).max(0.0), (middle + half).min(1.0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn candidate(group: &str, n: usize) -> Candidate {
        Candidate { group: group.into(), future: format!("{group}/{n}") }
    }

    fn candidates() -> Vec<Candidate> {
        (0..6).flat_map(|n| [candidate("a", n), candidate("b", n)]).collect()
    }

    #[test]
    fn every_pair_is_asked_once_in_an_order_and_on_sides_of_the_seed_alone() {
        let asked = questions(&candidates(), 5);
        assert_eq!(asked.len(), 36);
        assert_eq!(asked, questions(&candidates(), 5));
        assert_ne!(asked, questions(&candidates(), 6));
        let mut seen: Vec<_> = asked
            .iter()
            .map(|q| if q.left.group == "a" { (&q.left, &q.right) } else { (&q.right, &q.left) })
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 36);
        // Neither side belongs to a group: of 36 fair draws, 6 or fewer on one side happen once in 40,000 times, and
        // this seed is not one of them.
        let left = asked.iter().filter(|q| q.left.group == "a").count();
        assert!((7..=29).contains(&left), "{left}");
        assert!(questions(&candidates()[..1], 1).is_empty());
    }

    #[test]
    fn votes_are_kept_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut votes = Votes::open(dir.path()).unwrap();
        let asked = questions(&candidates(), 1);
        votes.add(asked[0].clone(), Choice::Left).unwrap();
        votes.add(asked[1].clone(), Choice::Tie).unwrap();
        assert_eq!(Votes::open(dir.path()).unwrap().all(), votes.all());
        assert_eq!(votes.undo().unwrap().unwrap().choice, Choice::Tie);
        assert_eq!(Votes::open(dir.path()).unwrap().all().len(), 1);
        votes.undo().unwrap();
        assert_eq!(votes.undo().unwrap(), None);
    }

    #[test]
    fn a_damaged_or_newer_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(VOTES_FILE);
        for (text, word) in
            [("{\"votes\"", "no votes"), ("{\"format\":1}", "no votes"), ("{\"format\":7}", "Update")]
        {
            std::fs::write(&file, text).unwrap();
            assert!(Votes::open(dir.path()).unwrap_err().text().contains(word));
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn the_tally_counts_groups_whatever_their_side() {
        let question =
            |left: &str, right: &str| Question { left: candidate(left, 0), right: candidate(right, 0) };
        let vote = |q, choice| Vote { question: q, choice, at: 0 };
        let votes = [
            vote(question("a", "b"), Choice::Left),
            vote(question("b", "a"), Choice::Right),
            vote(question("b", "a"), Choice::Left),
            vote(question("a", "b"), Choice::Tie),
            vote(question("c", "a"), Choice::Left),
            vote(question("a", "a"), Choice::Left),
        ];
        let standing = tally(&votes);
        assert_eq!(standing.len(), 2);
        let ab = &standing[0];
        assert_eq!((ab.group.as_str(), ab.other.as_str(), ab.wins, ab.losses, ab.ties), ("a", "b", 2, 1, 1));
        assert_eq!(ab.share, Some(2.0 / 3.0));
        assert!(!ab.is_clear());
        assert_eq!((standing[1].group.as_str(), standing[1].losses), ("a", 1));
    }

    #[test]
    fn the_interval_is_wilsons() {
        // R: prop.test(x, n, correct = FALSE)$conf.int
        for (wins, n, low, high) in [
            (8, 10, 0.490_2, 0.943_3),
            (0, 10, 0.0, 0.277_5),
            (10, 10, 0.722_5, 1.0),
            (50, 100, 0.403_8, 0.596_2),
        ] {
            let (a, b) = wilson(wins, n).unwrap();
            assert!((a - low).abs() < 1e-4 && (b - high).abs() < 1e-4, "{wins} of {n}: {a} {b}");
        }
        assert_eq!(wilson(0, 0), None);
    }
}
