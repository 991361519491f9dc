//! `chv completions`: what a shell needs to complete verbs and options. Names of resources are not completed.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::failure::Failure;

/// Write the completions of a shell to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv completions bash > ~/.local/share/bash-completion/completions/chv
  chv completions zsh  > \"${fpath[1]}/_chv\"
  chv completions fish > ~/.config/fish/completions/chv.fish")]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(self, to: &mut impl Write) -> Result<(), Failure> {
        use clap_complete::Shell as Of;
        let shell = match self.shell {
            Shell::Bash => Of::Bash,
            Shell::Zsh => Of::Zsh,
            Shell::Fish => Of::Fish,
        };
        // Into memory first: the generator panics when a write fails.
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "chv", &mut text);
        Ok(to.write_all(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_every_verb() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            Completions { shell }.run(&mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            for word in ["apply", "console", "uncordon", "until-ready", "stop-timeout"] {
                assert!(text.contains(word), "{shell:?} has no {word}");
            }
        }
    }
}
