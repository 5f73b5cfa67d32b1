//! `forerun policy`: policies from data, and how well they do.

mod evaluate;
mod improve;
mod places;
mod rank;
mod train;

pub(super) use places::teller;

use clap::Subcommand;

use super::Answer;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Learn a policy from recorded episodes
    Train(train::Arguments),
    /// How often a policy succeeds, beside doing nothing, acting at random and the scripted expert
    Evaluate(evaluate::Arguments),
    /// Let a policy act in the world model, and learn from what surely succeeds there
    Improve(improve::Arguments),
    /// Whether the world model ranks policies as physics does
    Rank(rank::Arguments),
}

pub(super) fn run(command: Command) -> Answer {
    match command {
        Command::Train(arguments) => train::run(arguments),
        Command::Evaluate(arguments) => evaluate::run(arguments),
        Command::Improve(arguments) => improve::run(arguments),
        Command::Rank(arguments) => rank::run(arguments),
    }
}
