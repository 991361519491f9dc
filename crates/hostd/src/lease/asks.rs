//! Whether a directory's guest runs under its host's lease, in a file of its own: a guard and a daemon of any version
//! read it, so this form never changes: the word `stay` or `failover`, and an end of line.

use std::io;
use std::path::PathBuf;

use chv_domain::spec::OnHostLoss;

use crate::hypervisor::RunDir;

fn path(dir: &RunDir) -> PathBuf {
    dir.path().join("on-host-loss")
}

/// Notes what becomes of the guest in `dir` that is launched next. Blocks on the file system.
pub(crate) fn write(dir: &RunDir, on_host_loss: OnHostLoss) -> io::Result<()> {
    let new = dir.path().join("on-host-loss.new");
    std::fs::write(&new, format!("{on_host_loss}\n"))?;
    std::fs::rename(new, path(dir))
}

/// What becomes of the guest in `dir`; an error when that can't be told. Blocks on the file system.
pub(super) fn read(dir: &RunDir) -> io::Result<OnHostLoss> {
    let path = path(dir);
    let said = std::fs::read_to_string(&path).and_then(|text| {
        let word = text.trim_end();
        word.parse().map_err(io::Error::other)
    });
    said.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
