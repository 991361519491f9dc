//! Ctrl-C, for the verbs that have something to say when it comes. It ends all others at once, as it does any
//! program.

use std::sync::OnceLock;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether Ctrl-C came, from the first [`Interrupt::listen`] on; none is missed after that.
#[derive(Debug, Default)]
pub(crate) struct Interrupt {
    heard: OnceLock<watch::Receiver<bool>>,
}

impl Interrupt {
    /// From now on Ctrl-C is heard instead of ending the program.
    pub(crate) fn listen(&self) -> watch::Receiver<bool> {
        let listen = || {
            let (tell, heard) = watch::channel(false);
            if let Ok(mut interrupts) = signal(SignalKind::interrupt()) {
                tokio::spawn(async move {
                    interrupts.recv().await;
                    tell.send_replace(true);
                });
            }
            heard
        };
        self.heard.get_or_init(listen).clone()
    }

    /// Resolves once Ctrl-C came, at once if that was before.
    pub(crate) async fn heard(&self) {
        if self.listen().wait_for(|heard| *heard).await.is_err() {
            // Nobody will tell: signals can't be heard here, and end the program as ever.
            std::future::pending().await
        }
    }
}
