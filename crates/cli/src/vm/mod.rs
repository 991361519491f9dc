//! `chv vm`: one file a verb.

mod attach;
mod create;
mod delete;
mod device;
pub(crate) mod get;
mod kill;
pub(crate) mod list;
mod pause;
mod protect;
mod reboot;
pub(crate) mod reference;
mod rename;
mod reset;
mod resize;
mod respec;
mod resume;
mod set;
mod start;
mod stop;
mod texts;
mod undelete;
mod why;

use std::io::Write;

use clap::Subcommand;

use crate::failure::Failure;
use crate::session::Session;

/// What can be done with VMs.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  chv vm create hello --kernel uos/vmlinuz --initramfs uos/initramfs.cpio --memory 128MiB
  chv vm list
  chv vm stop hello")]
pub(crate) enum Verb {
    Create(create::Create),
    Start(start::Start),
    Stop(stop::Stop),
    Kill(kill::Kill),
    Reboot(reboot::Reboot),
    Reset(reset::Reset),
    Pause(pause::Pause),
    Resume(resume::Resume),
    Set(set::Set),
    Resize(resize::Resize),
    Attach(attach::Attach),
    Detach(attach::Detach),
    Rename(rename::Rename),
    Label(texts::Label),
    Annotate(texts::Annotate),
    Protect(protect::Protect),
    Unprotect(protect::Unprotect),
    Delete(delete::Delete),
    Undelete(undelete::Undelete),
    Get(get::Get),
    Why(why::Why),
    #[command(visible_alias = "ls")]
    List(list::List),
}

impl Verb {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::Create(verb) => verb.run(session, to).await,
            Self::Start(verb) => verb.run(session, to).await,
            Self::Stop(verb) => verb.run(session, to).await,
            Self::Kill(verb) => verb.run(session, to).await,
            Self::Reboot(verb) => verb.run(session, to).await,
            Self::Reset(verb) => verb.run(session, to).await,
            Self::Pause(verb) => verb.run(session, to).await,
            Self::Resume(verb) => verb.run(session, to).await,
            Self::Set(verb) => verb.run(session, to).await,
            Self::Resize(verb) => verb.run(session, to).await,
            Self::Attach(verb) => verb.run(session, to).await,
            Self::Detach(verb) => verb.run(session, to).await,
            Self::Rename(verb) => verb.run(session, to).await,
            Self::Label(verb) => verb.run(session, to).await,
            Self::Annotate(verb) => verb.run(session, to).await,
            Self::Protect(verb) => verb.run(session, to).await,
            Self::Unprotect(verb) => verb.run(session, to).await,
            Self::Delete(verb) => verb.run(session, to).await,
            Self::Undelete(verb) => verb.run(session, to).await,
            Self::Get(verb) => verb.run(session, to).await,
            Self::Why(verb) => verb.run(session, to).await,
            Self::List(verb) => verb.run(session, to).await,
        }
    }
}
