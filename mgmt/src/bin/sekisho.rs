//! The command line `sekisho`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sekisho_mgmt::cli::main()
}
