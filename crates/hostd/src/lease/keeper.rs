//! Keeps a host's lease: takes grants in, notes its end for the guard, has a guard while guests need one, and ends
//! guests itself when the lease has ended.
//!
//! What may wait for the disk is done on threads of its own, and what the daemon's tasks ask for is never locked
//! meanwhile.

use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chv_domain::Seq;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::end::LeasedGuests;
use super::guard::{self, Shared};
use super::{Grant, HeldLease, Renewal, SinceBoot, note};

/// How often it is looked whether the lease has ended, and whether the guard runs.
const LOOK: Duration = Duration::from_millis(100);

/// How long guests may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How long who takes a grant in is waited for. It goes on after that.
const TAKE_LIMIT: Duration = Duration::from_secs(1);

/// How long a guard may take to be started.
const GUARD_LIMIT: Duration = Duration::from_secs(10);

/// A host's lease.
#[derive(Debug)]
pub struct Lease {
    shared: Shared,
    guests: LeasedGuests,
    /// What a guard is started from; none where there is to be none.
    program: Option<PathBuf>,
    /// Locked for moments only.
    state: Mutex<State>,
    /// Held by who takes a grant in. Whether it was told why the last one could not be.
    taking: Arc<tokio::sync::Mutex<bool>>,
    /// Held by who starts it.
    guard: Arc<tokio::sync::Mutex<Option<Child>>>,
    startable: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    held: HeldLease,
    /// How far the host has followed its feed.
    position: Seq,
}

/// Why a lease is not renewed.
#[derive(Debug, thiserror::Error)]
enum NotRenewed {
    #[error("guests whose lease has ended don't end")]
    Guests,
    /// Without the note the guard ends guests.
    #[error("its end can't be noted in --data: {0}")]
    Note(io::Error),
}

impl Lease {
    /// Begins with what the daemon before this one has noted. When its lease has ended, guests that ran under it are
    /// ended before this returns. Blocks.
    ///
    /// # Errors
    /// When guests are left that can't be ended, a newer daemon has written the note, or a guard can't be started.
    pub fn begin(shared: Shared, program: Option<PathBuf>) -> io::Result<Self> {
        note::check(&shared.note())?;
        let held = HeldLease::kept(note::read(&shared.note()));
        let guests = LeasedGuests::new(shared.vms.clone());
        if !held.is_held(note::now()) && !guests.end(END_LIMIT) {
            return Err(io::Error::other("guests whose lease has ended don't end"));
        }
        let guard = match &program {
            Some(program) if guests.any_runs() => Some(guard::start(program, &shared)?),
            _ => None,
        };
        Ok(Self {
            shared,
            guests,
            program,
            state: Mutex::new(State {
                held,
                position: Seq::ZERO,
            }),
            taking: Arc::default(),
            guard: Arc::new(tokio::sync::Mutex::new(guard)),
            startable: watch::Sender::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether guests may run under it now.
    pub fn is_held(&self) -> bool {
        self.state().held.is_held(note::now())
    }

    /// Whether there was an end of it at or after `from`: what ran under it then was ended with it.
    pub fn has_ended_since(&self, from: SinceBoot) -> bool {
        self.state().held.has_ended_since(from, note::now())
    }

    /// Whether a guest may be started under it now.
    pub fn may_start(&self) -> bool {
        let state = self.state();
        state.held.may_start(note::now(), state.position)
    }

    /// Says when [`Lease::may_start`] may have come to another answer.
    pub fn startable(&self) -> watch::Receiver<bool> {
        self.startable.subscribe()
    }

    /// The host has followed its feed up to here, and everything wanted is known to those who start guests.
    pub fn followed(&self, position: Seq) {
        self.state().position = position;
        self.tell();
    }

    /// Takes a grant in. When the lease had lapsed, what ran under it is ended first. One that comes while another is
    /// taken in is left: there is a next one.
    pub async fn granted(self: &Arc<Self>, grant: Grant) {
        let Ok(mut told) = self.taking.clone().try_lock_owned() else {
            return;
        };
        let this = self.clone();
        let taken = tokio::task::spawn_blocking(move || match this.take_in(&grant) {
            Ok(()) => *told = false,
            Err(error) if !std::mem::replace(&mut *told, true) => {
                tracing::error!(%error, "the lease is not renewed; tried again with each grant");
            }
            Err(_) => {}
        });
        match tokio::time::timeout(TAKE_LIMIT, taken).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a grant was not taken in"),
            Err(_) => tracing::warn!("a grant is still being taken in; is the disk of --data slow?"),
        }
    }

    /// Blocks.
    fn take_in(&self, grant: &Grant) -> Result<(), NotRenewed> {
        let renewal = self.state().held.renewal(grant, note::now());
        if renewal == Renewal::Late {
            return Ok(());
        }
        if renewal == Renewal::Lapsed {
            self.end_guests()?;
        }
        // Noted before it counts.
        let mut held = self.state().held;
        held.renew(grant, note::now());
        if let Some(until) = held.until() {
            note::write(&self.shared.note(), until).map_err(NotRenewed::Note)?;
        }
        // That took so long that guests are being ended meanwhile: then all of them are.
        if renewal == Renewal::GoesOn && !self.is_held() {
            self.end_guests()?;
        }
        self.state().held.renew(grant, note::now());
        self.tell();
        Ok(())
    }

    fn end_guests(&self) -> Result<(), NotRenewed> {
        self.guests.end(END_LIMIT).then_some(()).ok_or(NotRenewed::Guests)
    }

    /// Sees to it that there is a guard.
    pub async fn guarded(self: &Arc<Self>) -> io::Result<()> {
        let started = async {
            let mut guard = self.guard.clone().lock_owned().await;
            let this = self.clone();
            // Who holds it goes on when nobody waits for it any more.
            tokio::task::spawn_blocking(move || this.stand(&mut guard))
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        tokio::time::timeout(GUARD_LIMIT, started)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Starts a guard where none runs. Blocks.
    fn stand(&self, guard: &mut Option<Child>) -> io::Result<()> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        if let Some(child) = guard
            && child.try_wait()?.is_none()
        {
            return Ok(());
        }
        *guard = Some(guard::start(program, &self.shared)?);
        Ok(())
    }

    /// Looks after it until `stop`.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_told() => {}
            () = self.keep_guard() => {}
            () = self.keep_ended() => {}
        }
    }

    async fn keep_told(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.tell();
        }
    }

    async fn keep_guard(self: &Arc<Self>) {
        let mut told = false;
        loop {
            tokio::time::sleep(LOOK).await;
            // Whoever starts it now sees to it.
            let wanted = self.guard.try_lock().is_ok_and(|guard| guard.is_some());
            if !wanted {
                continue;
            }
            match self.guarded().await {
                Ok(()) => told = false,
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::error!(%error, "the lease's guard can't be started; tried again");
                }
                Err(_) => {}
            }
        }
    }

    async fn keep_ended(self: &Arc<Self>) {
        let (mut ended, mut told) = (false, false);
        loop {
            tokio::time::sleep(LOOK).await;
            let held = self.is_held();
            if !held && !ended {
                let this = self.clone();
                let killed = tokio::task::spawn_blocking(move || this.guests.kill(|| !this.is_held())).await;
                ended = matches!(killed, Ok(0));
                if let Ok(running @ 1..) = killed
                    && !std::mem::replace(&mut told, true)
                {
                    tracing::warn!(
                        running,
                        "the lease has ended: guests that ask for failover are ended"
                    );
                }
            }
            (ended, told) = (ended && !held, told && !held);
        }
    }

    fn tell(&self) {
        let now = self.may_start();
        self.startable
            .send_if_modified(|known| std::mem::replace(known, now) != now);
    }
}
