//! The program `forerun`: a window, or one command.

use std::process::ExitCode;

use forerun::Failure;

fn main() -> ExitCode {
    forerun_ui::cli::run(std::env::args_os(), |_project| {
        Err(Failure::new(
            "The window is not part of this build yet.",
            "Use a command: forerun --help lists them.",
        ))
    })
}
