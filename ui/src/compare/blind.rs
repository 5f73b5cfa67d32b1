//! A blind round: two futures without names, one question after the other.

use forerun::compare::votes::{Candidate, Question, Standing};

use super::Source;

/// A round that is going on.
#[derive(Clone, Debug)]
pub struct Round {
    /// All questions.
    pub questions: Vec<Question>,
    /// The one that is asked.
    pub at: usize,
    /// What the candidates are, by the text in [`Candidate::future`].
    pub sources: Vec<(String, Source)>,
    /// The result, once all were asked.
    pub standings: Option<Vec<Standing>>,
}

impl Round {
    /// The two futures of the question that is asked, left and right.
    pub fn pair(&self) -> Option<(&Source, &Source)> {
        let question = self.questions.get(self.at)?;
        let of = |c: &Candidate| self.sources.iter().find(|(key, _)| *key == c.future).map(|(_, s)| s);
        Some((of(&question.left)?, of(&question.right)?))
    }
}
