//! What is to go wrong, as a test has written it into the kernel that this VM was given: after the mark that every
//! kernel of x86 has at its place, lines of text. It is read at the start and again for each request, so that a test
//! changes it while the VM runs. A real kernel, and one without lines, is a script in which nothing goes wrong.
//!
//! ```text
//! hang status        takes the request, does nothing, and never answers
//! lost reset         does what is asked, and never answers
//! half pause         does what is asked, answers half a line, and hangs up
//! refuse resume      says that it can't
//! die power-button   ends at the request, before it does anything
//! state io-error     what it says its state is, whatever it is
//! boot-ms 500        how long its guest boots, instead of 20 ms
//! deaf               its guest does not mind the power button, nor its agent a request to power off
//! mute               its guest never says that it is ready
//! ```
//!
//! Requests are `start` (die alone), `greeting`, `status`, `pause`, `resume`, `reset` and `power-button`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// Where a kernel of x86 has its mark, and which.
const MARK: (u64, &[u8; 4]) = (0x202, b"HdrS");

/// What comes after the mark of a kernel that is a script.
const SCRIPT: &[u8] = b"chv-fake\n";

/// The longest script, in bytes.
const MAX_SCRIPT: u64 = 4096;

/// How long a guest boots when the script doesn't say.
const BOOT: Duration = Duration::from_millis(20);

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done, nothing is answered.
    Hang,
    /// It is done, nothing is answered.
    Lost,
    /// It is done, half of the answer is given.
    Half,
    /// It is refused.
    Refuse,
    /// The process ends.
    Die,
}

/// A script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    faults: Vec<(String, Fault)>,
    /// The state that is told instead of the true one.
    pub(crate) state: Option<String>,
    /// How long a guest boots.
    pub(crate) boot: Duration,
    /// Whether the guest minds no wish that it power off.
    pub(crate) deaf: bool,
    /// Whether the guest never says that it is ready.
    pub(crate) mute: bool,
}

impl Script {
    /// Reads the script in the file `kernel`.
    ///
    /// # Errors
    /// When it can't be read, is no kernel, or has a line that is not understood.
    pub(crate) fn read(kernel: &Path) -> Result<Self, String> {
        let text = text(kernel).map_err(|error| format!("{}: {error}", kernel.display()))?;
        let mut script = Self {
            faults: Vec::new(),
            state: None,
            boot: BOOT,
            deaf: false,
            mute: false,
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            script
                .line(line)
                .ok_or_else(|| format!("{} has a line that is not understood: {line}", kernel.display()))?;
        }
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let fault = match word {
            "hang" => Fault::Hang,
            "lost" => Fault::Lost,
            "half" => Fault::Half,
            "refuse" => Fault::Refuse,
            "die" => Fault::Die,
            "state" => {
                self.state = Some(rest.to_owned());
                return Some(());
            }
            "boot-ms" => {
                self.boot = Duration::from_millis(rest.parse().ok()?);
                return Some(());
            }
            "deaf" => {
                self.deaf = true;
                return Some(());
            }
            "mute" => {
                self.mute = true;
                return Some(());
            }
            _ => return None,
        };
        self.faults.push((rest.to_owned(), fault));
        Some(())
    }

    /// What goes wrong with `request`, if anything does.
    pub(crate) fn at(&self, request: &str) -> Option<Fault> {
        self.faults
            .iter()
            .find(|(of, _)| of == request)
            .map(|(_, fault)| *fault)
    }
}

/// The lines in `kernel`; none when it is a kernel and no script.
fn text(kernel: &Path) -> io::Result<String> {
    let mut file = File::open(kernel)?;
    file.seek(SeekFrom::Start(MARK.0))?;
    let mut read = Vec::new();
    file.take(MAX_SCRIPT).read_to_end(&mut read)?;
    let Some(rest) = read.strip_prefix(MARK.1) else {
        return Err(io::Error::other("it is no kernel"));
    };
    match rest.strip_prefix(SCRIPT) {
        Some(script) => String::from_utf8(script.to_vec()).map_err(io::Error::other),
        None => Ok(String::new()),
    }
}
