//! The line on standard error that says what is being waited for: rewritten in place on a terminal, one line
//! a change elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use unicode_width::UnicodeWidthChar;

use crate::output::{duration, printable};

/// A progress line. What it left on a terminal goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    live: bool,
    quiet: bool,
    columns: usize,
    began: Instant,
    last: String,
}

impl Progress {
    /// A line that shows nothing yet.
    pub(crate) fn new() -> Self {
        let stderr = std::io::stderr();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let size = rustix::termios::tcgetwinsize(&stderr).ok();
        // A terminal that does not know its width says 0.
        let columns = size
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0);
        Self {
            live: stderr.is_terminal() && !dumb,
            quiet: false,
            columns: columns.unwrap_or(80).max(20),
            began: Instant::now(),
            last: String::new(),
        }
    }

    /// A line that never shows anything.
    pub(crate) fn quiet() -> Self {
        let mut progress = Self::new();
        progress.quiet = true;
        progress
    }

    /// When it was first there.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Shows what is waited for now.
    pub(crate) fn show(&mut self, text: &str) {
        let text = printable(text);
        if self.quiet {
            return;
        }
        if self.live {
            text.as_ref().clone_into(&mut self.last);
            self.redraw();
        } else if self.last != text {
            text.as_ref().clone_into(&mut self.last);
            write(&format!("{text}\n"));
        }
    }

    /// Brings the time on a terminal's line up to date.
    pub(crate) fn redraw(&self) {
        if self.live && !self.last.is_empty() {
            let line = format!("{} ({})", self.last, duration(self.began.elapsed()));
            // One column stays free: a full line would wrap, and could not be rewritten.
            write(&format!("\r\x1b[2K{}", fit(&line, self.columns - 1)));
        }
    }

    /// Says something that stays, on a line of its own.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.quiet {
            self.clear();
            write(&format!("{}\n", printable(text)));
        }
    }

    /// Takes the line off the terminal, so that something else can be written.
    pub(crate) fn clear(&mut self) {
        if self.live && !self.last.is_empty() {
            write("\r\x1b[2K");
            self.last.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Progress is a courtesy: when standard error is closed, the work goes on.
fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

fn fit(text: &str, columns: usize) -> String {
    let mut used = 0;
    let mut fitted = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > columns {
            fitted.pop();
            fitted.push('…');
            return fitted;
        }
        fitted.push(character);
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        assert_eq!(fit("placed on h1", 20), "placed on h1");
        assert_eq!(fit("placed on h1", 12), "placed on h1");
        assert_eq!(fit("placed on h1", 8), "placed …");
    }
}
