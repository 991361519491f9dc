//! Takes a renewed certificate into use without a restart, and warns of one that expires soon.
//!
//! New connections use it at once; those that are there end within [`LIFE`](super::super::security::LIFE).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Tls;
use super::load::{CertificateError, Loaded, Read};

/// How often to look at the files.
const LOOK: Duration = Duration::from_secs(5);

/// How long before the end of a certificate to warn, and how often.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Looks at the files until `stop`.
pub(in crate::net) async fn keep_current(tls: Arc<Tls>, stop: CancellationToken) {
    let (mut told, mut warned) = (None, None);
    loop {
        warn_of_expiry(&tls, &mut warned);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let looking = {
            let tls = Arc::clone(&tls);
            tokio::task::spawn_blocking(move || tls.look())
        };
        let Ok(looked) = looking.await else { continue };
        match looked {
            Ok(changed) => {
                told = None;
                if changed {
                    warned = None;
                    info!(cert = %tls.files.cert.display(), "the replica's certificate was read again");
                }
            }
            Err(error) => {
                // Half of a renewal, perhaps: told once, and tried again.
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    warn!(
                        error,
                        "the replica's certificate changed; the one before stays in use"
                    );
                    told = Some(error);
                }
            }
        }
    }
}

fn warn_of_expiry(tls: &Tls, warned: &mut Option<SystemTime>) {
    let (now, expires) = (SystemTime::now(), tls.current.borrow().1.expires);
    let left = expires.duration_since(now).unwrap_or_default();
    let due = warned.is_none_or(|at| now.duration_since(at).is_ok_and(|since| since >= AGAIN));
    if left < SOON && due {
        *warned = Some(now);
        warn!(
            days = left.as_secs() / 86_400,
            cert = %tls.files.cert.display(),
            "the replica's certificate expires soon; others refuse it then, so issue a new one"
        );
    }
}

impl Tls {
    /// Takes the files into use when they changed; whether they did. Blocks.
    pub(super) fn look(&self) -> Result<bool, CertificateError> {
        let read = Read::from(&self.files)?;
        if read == self.current.borrow().0 {
            return Ok(false);
        }
        let loaded = Loaded::new(&read, &self.files, &self.identity)?;
        self.current.send_replace((read, loaded));
        Ok(true)
    }
}
