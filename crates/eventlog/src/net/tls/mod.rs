//! Mutual TLS between replicas: 1.3 alone, with ring, as the broker's client has it already.
//!
//! Either side verifies that the other one's certificate is signed by an authority of `--raft-ca`, has not expired, and
//! is for the replica of this cluster that it should be. The calling side knows whom it calls; the answering side
//! learns from the greeting who calls, so that is where it looks at the name. Nothing is resumed: each connection
//! looks at certificates anew.

mod load;
mod name;
mod renew;
#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chv_domain::ReplicaId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::files::Identity;
use crate::security::TlsFiles;

pub use load::CertificateError;
use load::{Loaded, Read};
pub use name::replica_name;
pub(super) use renew::keep_current;
pub(super) use words::of_failure;

/// How long to wait for a refused caller to take its alert and hang up, and how much of what it still says to read.
const LINGER: Duration = Duration::from_millis(500);
const LAST_WORDS: u64 = 16 << 10;

/// What this replica shows others and asks of them.
pub(crate) struct Tls {
    files: TlsFiles,
    identity: Identity,
    current: watch::Sender<(Read, Loaded)>,
}

impl Tls {
    /// Reads the files. Blocks.
    pub(super) fn load(files: TlsFiles, identity: Identity) -> Result<Self, CertificateError> {
        let read = Read::from(&files)?;
        let loaded = Loaded::new(&read, &files, &identity)?;
        Ok(Self {
            files,
            identity,
            current: watch::Sender::new((read, loaded)),
        })
    }

    /// Makes sure that `stream` leads to `replica`, and encrypts it.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        replica: ReplicaId,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.borrow().1.client);
        TlsConnector::from(config)
            .connect(name::server_name(&self.identity, replica), stream)
            .await
            .map_err(of_failure)
    }

    /// Encrypts a caller's stream; the certificate that it showed, whose authority and dates are verified. Whose it
    /// is remains to be checked.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(server::TlsStream<TcpStream>, CertificateDer<'static>)> {
        let config = Arc::clone(&self.current.borrow().1.server);
        let accepted = TlsAcceptor::from(config).accept(stream).into_fallible().await;
        let stream = match accepted {
            Ok(stream) => stream,
            Err((error, stream)) => {
                let _ = tokio::time::timeout(LINGER, see_out(stream)).await;
                return Err(of_failure(error));
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let shown = shown.cloned().ok_or_else(|| {
            io::Error::new(io::ErrorKind::PermissionDenied, "the caller shows no certificate")
        })?;
        Ok((stream, shown))
    }

    /// Why `shown` is not the certificate of `replica`, when it is not.
    pub(super) fn refusal(&self, shown: &CertificateDer<'_>, replica: ReplicaId) -> Option<String> {
        name::check(shown, &self.identity, replica)
            .err()
            .map(|error| words::reason(&error))
    }
}

/// The alert is on its way; a close with something unread would take it back.
async fn see_out(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(LAST_WORDS), &mut tokio::io::sink()).await?;
    Ok(())
}
