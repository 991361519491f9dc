//! A hypervisor that runs nothing, and says and does what the real one would: started by an unmodified host daemon
//! in the place of the real program, for tests that need hundreds of VMs or a fault at a given moment. Its guest
//! behaves as uOS does, as far as a daemon sees it. What a test relies on here is checked against the real
//! one by the cases in `crates/hostd/src/hypervisor/tests`.
//!
//! One thread that waits for its sockets: it costs no processor time while nobody speaks to it. The kernel that it is
//! given is its script (see `script.rs`), where a test writes down what is to go wrong.

#![allow(
    clippy::print_stderr,
    reason = "what a hypervisor has to say goes to its standard error"
)]

mod args;
mod guest;
mod machine;
mod port;
mod qmp;
mod script;

use std::process::ExitCode;

/// What the daemon takes for its version.
const VERSION: &str = "QEMU emulator version 0.0.0 (no guest runs in it)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if words.iter().any(|word| word == "--version") {
        println!("{VERSION}");
        return ExitCode::SUCCESS;
    }
    let ended = args::Args::read(&words)
        .map_err(|why| format!("its arguments: {why}"))
        .and_then(machine::run);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fake-hypervisor: {why}");
            ExitCode::FAILURE
        }
    }
}
