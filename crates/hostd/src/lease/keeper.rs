//! Keeps a host's lease: takes grants in, notes its end for the guard, has a guard while guests need one, and ends
//! guests itself when the lease has ended.

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

/// A host's lease.
#[derive(Debug)]
pub struct Lease {
    shared: Shared,
    guests: Arc<LeasedGuests>,
    /// What a guard is started from; none where there is to be none.
    program: Option<PathBuf>,
    state: Mutex<State>,
    startable: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    held: HeldLease,
    /// How far the host has followed its feed.
    position: Seq,
    guard: Option<Child>,
}

impl Lease {
    /// Begins with what the daemon before this one has noted. When its lease has ended, guests that ran under it are
    /// ended before this returns. Blocks.
    ///
    /// # Errors
    /// When guests are left that can't be ended, or a guard can't be started.
    pub fn begin(shared: Shared, program: Option<PathBuf>) -> io::Result<Self> {
        let held = HeldLease::kept(note::read(&shared.note()));
        let guests = Arc::new(LeasedGuests::new(shared.vms.clone()));
        if !held.is_held(note::now()) && !guests.end(END_LIMIT) {
            return Err(io::Error::other("guests whose lease has ended don't end"));
        }
        let this = Self {
            state: Mutex::new(State {
                held,
                position: Seq::ZERO,
                guard: None,
            }),
            shared,
            guests,
            program,
            startable: watch::Sender::new(false),
        };
        if this.guests.any_runs() {
            this.guarded()?;
        }
        Ok(this)
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

    /// Takes a grant in. When the lease had lapsed, what ran under it is ended first. Only one at a time.
    pub async fn granted(&self, grant: Grant) {
        let renewal = self.state().held.renewal(&grant, note::now());
        match renewal {
            Renewal::Late => return,
            Renewal::GoesOn => {}
            Renewal::Lapsed => {
                let guests = self.guests.clone();
                let ended = tokio::task::spawn_blocking(move || guests.end(END_LIMIT)).await;
                if !matches!(ended, Ok(true)) {
                    tracing::error!(
                        ?ended,
                        "guests whose lease has ended don't end; the lease is not renewed"
                    );
                    return;
                }
            }
        }
        let mut state = self.state();
        let mut held = state.held;
        held.renew(&grant, note::now());
        // Noted before it counts: without the note the guard ends guests.
        let noted = held.until().map(|until| note::write(&self.shared.note(), until));
        match noted.transpose() {
            Ok(_) => state.held = held,
            Err(error) => tracing::error!(%error, "the lease can't be noted in --data, so it is not renewed"),
        }
        drop(state);
        self.tell();
    }

    /// Sees to it that there is a guard.
    pub fn guarded(&self) -> io::Result<()> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        let mut state = self.state();
        if let Some(child) = &mut state.guard
            && child.try_wait()?.is_none()
        {
            return Ok(());
        }
        state.guard = Some(guard::start(program, &self.shared)?);
        Ok(())
    }

    /// Looks after it until `stop`.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let (mut ended, mut told) = (false, false);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            self.tell();
            if self.state().guard.is_some()
                && let Err(error) = self.guarded()
            {
                tracing::error!(%error, "the lease's guard can't be started; tried again");
            }
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
