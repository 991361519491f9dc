//! Waiting until VMs are what they should be: their state once, then every event after it, so that nothing
//! that happens meanwhile is missed. Nothing is asked of the cluster but to be told.

mod goal;
mod progress;
mod watched;

use std::io;
use std::time::{Duration, Instant};

use chv_domain::{Resource, Seq, VmId, VmRef};
use chv_proto::client::follow;
use chv_proto::subject::Audience;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::refusal;
use crate::session::Session;

pub(crate) use goal::{Goal, Until};
pub(crate) use progress::Progress;
pub(crate) use watched::{Verdict, Watched};

/// What a person who sees that a VM is blocked does not know.
const BLOCKED: &str =
    "waiting goes on until the timeout, as the host tries again; Ctrl-C ends the waiting, and nothing else";

/// A VM that is waited for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The caller's number for it.
    pub index: usize,
    /// What to call it.
    pub name: String,
    /// Which.
    pub vm: VmId,
    /// What it is waited to be.
    pub goal: Goal,
    /// The state must have this event in it.
    pub after: Seq,
}

/// Is told of each target that got there, and how it is then.
pub(crate) type Reached<'a> = &'a mut dyn FnMut(&Target, String) -> io::Result<()>;

/// Waits for all `targets` until `deadline`. One that can't get there any more does not keep the others from
/// being waited for.
pub(crate) async fn all(
    session: &Session,
    targets: Vec<Target>,
    deadline: Instant,
    progress: &mut Progress,
    reached: Reached<'_>,
) -> Result<(), Failure> {
    let mut open = Vec::new();
    for target in &targets {
        let watched = tokio::select! {
            watched = watch(session, target) => match watched {
                // The question's own patience, which ends a moment after the deadline.
                Err(_) if Instant::now() >= deadline => return Err(unread(&targets, progress.began())),
                watched => watched?,
            },
            () = tokio::time::sleep_until(deadline.into()) => return Err(unread(&targets, progress.began())),
            () = session.interrupt().heard() => return Err(interrupted(&targets.iter().collect::<Vec<_>>())),
        };
        open.push((target, watched));
    }
    let total = open.len();
    let mut lost = Vec::new();
    settle(&mut open, &mut lost, progress, reached)?;
    let from = open.iter().map(|(_, watched)| watched.seen.next()).min();
    let Some(from) = from else {
        return end(lost);
    };
    let filter = follow::Filter {
        vm: if let [(only, _)] = open.as_slice() {
            Some(only.vm)
        } else {
            None
        },
        ..follow::Filter::default()
    };
    let mut events = follow::events(&session.client().await?, from, filter);
    let mut redraw = tokio::time::interval(Duration::from_millis(100));
    let mut hinted = false;
    while !open.is_empty() {
        progress.show(&line(&open, total));
        let blocked = open.iter().any(|(_, watched)| watched.trouble.is_some());
        if blocked && !std::mem::replace(&mut hinted, true) {
            // Not in the line itself, where a long reason would push it off the terminal.
            progress.say(BLOCKED);
        }
        tokio::select! {
            event = events.recv() => {
                let entry = match event {
                    Some(event) => session.entry(event)?,
                    None => return Err(refusal::follow(events.failure())),
                };
                let Resource::Vm(vm) = entry.event.resource() else { continue };
                for (_, watched) in open.iter_mut().filter(|(target, _)| target.vm == vm) {
                    watched.apply(entry.seq, &entry.actor, entry.cause.follows, &entry.event);
                }
                settle(&mut open, &mut lost, progress, reached)?;
            }
            () = tokio::time::sleep_until(deadline.into()) => return Err(late(&open, progress.began())),
            () = session.interrupt().heard() => return Err(interrupted(&still(&open))),
            _ = redraw.tick() => progress.redraw(),
        }
    }
    end(lost)
}

/// How a target is now.
async fn watch(session: &Session, target: &Target) -> Result<Watched, Failure> {
    let found = session
        .find_vm(&VmRef::Id(target.vm), Audience::Any, Some(target.after))
        .await?;
    match found {
        Some((vm, seen)) => Watched::of(target.goal, seen, &vm).map_err(|error| crate::view::garbled(&error)),
        None => Ok(Watched::gone(target.goal, target.after)),
    }
}

/// Takes out what needs no more waiting.
fn settle(
    open: &mut Vec<(&Target, Watched)>,
    lost: &mut Vec<String>,
    progress: &mut Progress,
    reached: Reached<'_>,
) -> Result<(), Failure> {
    let mut left = Vec::with_capacity(open.len());
    for (target, watched) in open.drain(..) {
        match watched.verdict() {
            Verdict::Underway => left.push((target, watched)),
            Verdict::Lost(why) => lost.push(format!("{} {why}", target.name)),
            Verdict::Reached => {
                progress.clear();
                reached(target, watched.outcome())?;
            }
        }
    }
    *open = left;
    Ok(())
}

fn line(open: &[(&Target, Watched)], total: usize) -> String {
    // What is blocked is what a person can do something about.
    let shown = open
        .iter()
        .find(|(_, watched)| watched.trouble.is_some())
        .or(open.first());
    let (target, watched) = shown.expect("only called while some are open");
    let count = match total {
        1 => String::new(),
        total => format!("{} of {total} done; ", total - open.len()),
    };
    format!("{count}{}: {}", target.name, watched.underway())
}

fn end(lost: Vec<String>) -> Result<(), Failure> {
    if lost.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Blocked, lost.join("\n")))
}

fn late(open: &[(&Target, Watched)], began: Instant) -> Failure {
    let waited = crate::output::duration(began.elapsed());
    let blocked = open.iter().any(|(_, watched)| watched.trouble.is_some());
    let exit = if blocked { Exit::Blocked } else { Exit::TimedOut };
    let lines: Vec<String> = open
        .iter()
        .map(|(target, watched)| {
            let wanted = target.goal.word();
            format!(
                "{} is not {wanted} after {waited}: {}",
                target.name,
                watched.underway()
            )
        })
        .collect();
    Failure::new(exit, lines.join("\n")).or_try(format!(
        "`{}` to see it go on; it was taken on and goes on without you",
        follow_up(&still(open))
    ))
}

/// The time is over before it is known how far they are.
fn unread(targets: &[Target], began: Instant) -> Failure {
    let waited = crate::output::duration(began.elapsed());
    let targets: Vec<&Target> = targets.iter().collect();
    let what = format!("{}: no answer after {waited} to how far it is", names(&targets));
    Failure::new(Exit::TimedOut, what).or_try(format!(
        "`{}` to see it; it was taken on and goes on without you",
        follow_up(&targets)
    ))
}

fn interrupted(targets: &[&Target]) -> Failure {
    let what = format!("interrupted; {} goes on without you", names(targets));
    Failure::new(Exit::Interrupted, what).or_try(format!("`{}` to follow it", follow_up(targets)))
}

fn names(targets: &[&Target]) -> String {
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    names.join(", ")
}

fn follow_up(targets: &[&Target]) -> String {
    match targets {
        [target] => format!("chv events --vm {} -f", target.vm),
        _ => "chv events -f".to_owned(),
    }
}

fn still<'a>(open: &[(&'a Target, Watched)]) -> Vec<&'a Target> {
    open.iter().map(|(target, _)| *target).collect()
}
