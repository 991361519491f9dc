//! The fake hypervisor's program, and what it is to do.

use std::path::{Path, PathBuf};

/// Where cargo puts it, beside the tests of this package.
pub(super) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let built = tests.ancestors().nth(2).unwrap();
    let program = built.join("examples/chv-fake-hypervisor");
    assert!(
        program.is_file(),
        "there is no {}: `cargo build -p chv-hostd --examples` builds it",
        program.display()
    );
    program
}

/// A kernel in `dir` that is a script of these lines.
pub(super) fn script(dir: &Path, lines: &str) -> PathBuf {
    let path = dir.join("script");
    std::fs::write(
        &path,
        [&[0; 0x202], b"HdrSchv-fake\n".as_slice(), lines.as_bytes()].concat(),
    )
    .unwrap();
    path
}
