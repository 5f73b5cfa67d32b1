//! The program `forerun`: a window, or one command.

use std::process::ExitCode;

use forerun::Failure;

fn main() -> ExitCode {
    // Before anything else: only while there is one thread may the environment change.
    forerun_ui::cards::keep_drivers_quiet();
    forerun::machine::prepare_process();
    forerun_ui::cards::register();
    forerun_ui::cli::run(std::env::args_os(), |project| {
        forerun_ui::app::run(project).map_err(|error| Failure::new(error.to_string(), ""))
    })
}
