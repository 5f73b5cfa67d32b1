//! The blind round: questions, votes on disk, the result.

use std::time::{SystemTime, UNIX_EPOCH};

use forerun::compare::votes::{Candidate, Choice, Votes, questions, tally};

use super::Studio;
use crate::commands::Command;
use crate::compare::blind::Round;
use crate::compare::{Part, Source};
use crate::i18n::fill;
use crate::log::Level;
use crate::message::{Message, Wish};
use crate::screens::Screen;

impl Studio {
    fn asking(&self) -> bool {
        self.view.screen == Screen::Compare
            && self.view.compare.part == Part::Panes
            && self.compare.blind.as_ref().is_some_and(|r| r.standings.is_none())
    }

    /// Whether a command of the blind round can be carried out; `None` for other commands.
    pub(super) fn blind_enabled(&self, command: Command) -> Option<bool> {
        Some(match command {
            Command::VoteLeft | Command::VoteRight | Command::VoteTie => self.asking(),
            Command::BlindTest => {
                self.view.screen == Screen::Compare
                    && self.compare.blind.is_none()
                    && self.candidates().len() > 1
            }
            _ => return None,
        })
    }

    /// Carries out a command of the blind round; `false` for other commands.
    pub(super) fn blind_command(&mut self, command: Command) -> bool {
        match command {
            Command::BlindTest => self.start_blind(),
            Command::VoteLeft => self.vote(Choice::Left),
            Command::VoteRight => self.vote(Choice::Right),
            Command::VoteTie => self.vote(Choice::Tie),
            _ => return false,
        }
        true
    }

    /// Futures of the set that can be voted on, with what they are counted under: model and refinement, where these
    /// differ; else each future by itself.
    fn candidates(&self) -> Vec<(Candidate, Source)> {
        let s = self.strings();
        let doc = self.compare.doc.get();
        let found: Vec<_> = doc
            .panes
            .iter()
            .filter(|p| !p.muted && matches!(p.source, Source::Future { .. }))
            .filter_map(|p| Some((p.clone(), self.runs.find(&p.source)?)))
            .collect();
        let kind = |run: &crate::futures::Run| {
            let refine = fill(&s.world.caption_refine, &[("refine", &run.spec.refine)]);
            format!("{} {}, {refine}", run.model, run.model_hash)
        };
        let mut kinds: Vec<String> = found.iter().map(|(_, (run, _))| kind(run)).collect();
        kinds.sort();
        kinds.dedup();
        found
            .iter()
            .map(|(pane, (run, future))| {
                let seed = fill(&s.world.caption_seed, &[("seed", &future.seed)]);
                let group = if kinds.len() > 1 { kind(run) } else { format!("{seed} ({})", pane.id) };
                let key = match &pane.source {
                    Source::Future { folder, .. } => folder.display().to_string(),
                    Source::Truth { .. } | Source::World { .. } => String::new(),
                };
                (Candidate { group, future: key }, pane.source.clone())
            })
            .collect()
    }

    fn start_blind(&mut self) {
        let candidates = self.candidates();
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let asked = questions(&candidates.iter().map(|(c, _)| c.clone()).collect::<Vec<_>>(), seed);
        if asked.is_empty() {
            self.log.add(Level::Info, &self.strings().compare.two_needed, self.now);
            return;
        }
        let sources = candidates.into_iter().map(|(c, source)| (c.future, source)).collect();
        self.compare.blind = Some(Round { questions: asked, at: 0, sources, standings: None });
        self.view.compare.part = Part::Panes;
    }

    fn vote(&mut self, choice: Choice) {
        let Some(round) = &mut self.compare.blind else { return };
        let Some(question) = round.questions.get(round.at).cloned() else { return };
        round.at += 1;
        let last = round.at >= round.questions.len();
        let asked = round.questions.clone();
        let futures = self.project.futures();
        let one = self.compare.voting.clone();
        self.background.run(&self.ctx, "vote", move || {
            let _one = one.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let kept = Votes::open(&futures).and_then(|mut votes| {
                votes.add(question, choice)?;
                Ok(votes)
            });
            Some(match kept {
                Err(failure) => Message::Tell(Level::Error, failure.text()),
                Ok(votes) if last => {
                    // The groups of this round, over all votes that were ever given to them.
                    let here = |v: &&forerun::compare::votes::Vote| {
                        asked.iter().any(|q| {
                            let mut a = [&q.left.group, &q.right.group];
                            let mut b = [&v.question.left.group, &v.question.right.group];
                            a.sort();
                            b.sort();
                            a == b
                        })
                    };
                    let votes: Vec<_> = votes.all().iter().filter(here).cloned().collect();
                    Message::Compare(Wish::Standings(tally(&votes)))
                }
                Ok(_) => return None,
            })
        });
    }
}
