//! The command line that this daemon's driver gives QEMU, as far as it says what is to be listened on and opened. Options
//! that say how a machine is built are passed over.

use std::os::fd::RawFd;
use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    /// The kernel, which is the script.
    pub(crate) kernel: PathBuf,
    /// Every other file that is opened.
    pub(crate) files: Vec<PathBuf>,
    /// The descriptor that QMP is listened for on.
    pub(crate) qmp: RawFd,
    /// The console's socket, and its log.
    pub(crate) console: (PathBuf, PathBuf),
    /// The agent's socket.
    pub(crate) agent: PathBuf,
}

impl Args {
    /// Reads QEMU's command line; the first word is its name.
    pub(crate) fn read(words: &[String]) -> Result<Self, String> {
        let chardev = |id: &str| {
            values(words, "-chardev")
                .find(|value| field(value, "id") == Some(id))
                .ok_or_else(|| format!("there is no -chardev {id}"))
        };
        let of = |chardev: &str, name: &str| {
            field(chardev, name)
                .map(str::to_owned)
                .ok_or_else(|| format!("{chardev} has no {name}"))
        };
        let console = chardev("console")?;
        let images = values(words, "-blockdev")
            .map(image)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            kernel: values(words, "-kernel")
                .next()
                .ok_or("there is no -kernel")?
                .into(),
            files: values(words, "-initrd")
                .map(PathBuf::from)
                .chain(images)
                .collect(),
            qmp: of(chardev("qmp")?, "fd")?
                .parse()
                .map_err(|error| format!("the descriptor of -chardev qmp: {error}"))?,
            console: (of(console, "path")?.into(), of(console, "logfile")?.into()),
            agent: of(chardev("agent")?, "path")?.into(),
        })
    }
}

/// What follows each `option`.
fn values<'a>(words: &'a [String], option: &'static str) -> impl Iterator<Item = &'a str> {
    words
        .windows(2)
        .filter(move |pair| pair[0] == option)
        .map(|pair| pair[1].as_str())
}

/// A part `name=value` of an option's value.
fn field<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// The file at the bottom of a disk's nodes.
fn image(json: &str) -> Result<PathBuf, String> {
    let mut node: serde_json::Value =
        serde_json::from_str(json).map_err(|error| format!("-blockdev {json}: {error}"))?;
    while node["file"].is_object() {
        node = node["file"].take();
    }
    node["filename"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| format!("-blockdev {json} names no file"))
}
