//! The `chv` program: reads the arguments, runs the verb, says how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    chv::main()
}
