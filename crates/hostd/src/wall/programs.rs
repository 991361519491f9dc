//! What a hypervisor's program needs of the host to run: itself, its libraries, and the firmware that came with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::order::Shown;

/// Where libraries are, and where distributions put the firmware of hypervisors. What is not there is left out.
const LIBRARIES: [&str; 7] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/etc/ld.so.cache",
];
const FIRMWARE: [&str; 10] = [
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/usr/share/vgabios",
    "/usr/share/ipxe",
    "/usr/share/OVMF",
    "/usr/share/ovmf",
    "/usr/share/edk2",
    "/usr/share/qemu-efi-aarch64",
    "/usr/share/cloud-hypervisor",
    "/usr/local/share/qemu",
];

/// Where the programs are that a script calls.
const PROGRAMS: [&str; 4] = ["/bin", "/usr/bin", "/usr/local/bin", "/etc/alternatives"];

/// What `program` needs. Blocks on the file system.
pub(super) fn needs(program: &Path) -> io::Result<Vec<Shown>> {
    let mut shown: Vec<Shown> = LIBRARIES.map(Shown::program).into();
    shown.extend(FIRMWARE.map(|path| Shown::data(path, false)));
    if let Some(prefix) = program.parent().and_then(Path::parent) {
        shown.push(Shown::data(prefix.join("share/qemu"), false));
    }
    if is_script(program)? {
        shown.extend(PROGRAMS.map(Shown::program));
    }
    // A directory that is a link is of no use without where it leads to.
    let links = shown.iter().filter(|shown| shown.path.is_symlink());
    let ends: Vec<_> = links
        .filter_map(|shown| Some((shown.path.canonicalize().ok()?, shown.execute)))
        .collect();
    shown.extend(ends.into_iter().map(|(path, execute)| Shown {
        path,
        write: false,
        execute,
    }));
    shown.push(Shown::program(program));
    shown.sort_by(|one, other| one.path.cmp(&other.path));
    shown.dedup_by(|one, other| one.path == other.path);
    Ok(shown)
}

fn is_script(program: &Path) -> io::Result<bool> {
    let mut first = [0; 2];
    let length = File::open(program)?.read(&mut first)?;
    Ok(&first[..length] == b"#!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_program_or_a_script_then_only_the_script_finds_other_programs() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::write(&program, b"\x7fELF").unwrap();
        let finds = |path: &str| needs(&program).unwrap().contains(&Shown::program(path));
        assert!(finds("/usr/lib") && finds(program.to_str().unwrap()));
        assert!(!finds("/bin"));
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        assert!(finds("/bin"));
    }
}
