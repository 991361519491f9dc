//! `chv vm label` and `chv vm annotate`: what people say of a VM.

use std::io::Write;
use std::str::FromStr;

use chv_domain::{Command, TextsChange, VmRef};

use super::reference::Reference;
use crate::change::{self, Change, Expect};
use crate::cli::Waiting;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// One change: `key=value`, or `key-`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Set(String, String),
    Remove(String),
}

impl FromStr for Text {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => Ok(Self::Set(key.to_owned(), value.to_owned())),
            (None, Some(key)) if !key.is_empty() => Ok(Self::Remove(key.to_owned())),
            _ => Err(format!(
                "`{text}` is neither key=value, which sets one, nor key-, which removes it"
            )),
        }
    }
}

/// Which VM, and what of it.
#[derive(Debug, clap::Args)]
struct Said {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// key=value sets one, key- removes it.
    #[arg(value_name = "KEY=VALUE", required = true)]
    texts: Vec<Text>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

/// Set and remove labels of a VM. Lists show them; they mean nothing to Chronovisor.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm label web tier=front old-")]
pub(crate) struct Label {
    #[command(flatten)]
    said: Said,
}

/// Set and remove annotations of a VM: longer texts than labels, which mean nothing to Chronovisor either.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chv vm annotate web contact='ops, extension 12' runbook-")]
pub(crate) struct Annotate {
    #[command(flatten)]
    said: Said,
}

impl Label {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let command = |vm, change| Command::LabelVm { vm, change };
        self.said.make("labelled", session, to, command).await
    }
}

impl Annotate {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let command = |vm, change| Command::AnnotateVm { vm, change };
        self.said.make("annotated", session, to, command).await
    }
}

impl Said {
    async fn make(
        self,
        action: &'static str,
        session: &Session,
        to: &mut impl Write,
        command: impl Fn(VmRef, TextsChange) -> Command,
    ) -> Result<(), Failure> {
        let texts = change(self.texts)?;
        let change = |vm: &VmRef| Change::of_vm(action, vm, command(vm.clone(), texts.clone()));
        change::make_each(session, &[self.vm], self.expect, self.waiting, to, change).await
    }
}

fn change(texts: Vec<Text>) -> Result<TextsChange, Failure> {
    let mut change = TextsChange::default();
    for text in texts {
        let (key, new) = match text {
            Text::Set(key, value) => {
                let new = change.set.insert(key.clone(), value).is_none() && !change.remove.contains(&key);
                (key, new)
            }
            Text::Remove(key) => {
                let new = change.remove.insert(key.clone()) && !change.set.contains_key(&key);
                (key, new)
            }
        };
        if !new {
            let what = format!("`{key}` is named twice");
            return Err(Failure::new(Exit::Usage, what).or_try("each key once"));
        }
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_or_removed_and_named_once() {
        let of = |texts: &[&str]| change(texts.iter().map(|text| text.parse().unwrap()).collect());
        let read = of(&["tier=front", "url=a=b-", "old-"]).unwrap();
        assert_eq!(read.set["url"], "a=b-");
        assert_eq!((read.set.len(), read.remove.len()), (2, 1));
        for twice in [["a=1", "a=2"], ["a=1", "a-"], ["a-", "a=1"], ["a-", "a-"]] {
            assert!(of(&twice).is_err(), "{twice:?}");
        }
        for wrong in ["", "=1", "-", "tier"] {
            assert!(wrong.parse::<Text>().is_err(), "{wrong}");
        }
    }
}
