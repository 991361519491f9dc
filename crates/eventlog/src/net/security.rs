//! How a connection is made safe, and who the other side is: by certificates, or by the shared secret on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chv_domain::ReplicaId;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::message::Hello;
use super::stream::Stream;
use super::tls::{self, CertificateError, Tls};
use crate::files::Identity;
use crate::secret::ClusterSecret;
use crate::security::PeerSecurity;

/// How long a connection is used, so that a certificate that was replaced is out of use then.
pub(super) const LIFE: Duration = Duration::from_secs(3600);

/// The first bytes of a TLS handshake.
const TLS_HELLO: [u8; 2] = [0x16, 0x03];

/// How this replica makes connections safe.
#[derive(Clone)]
pub(crate) enum Security {
    Tls(Arc<Tls>),
    LoopbackSecret(ClusterSecret),
}

/// What a caller showed before it greeted.
pub(super) enum Credential {
    Certificate(CertificateDer<'static>),
    /// It has to show the secret in its greeting.
    Nothing,
}

impl Security {
    /// Reads the certificate, if there is one. Blocks.
    pub(crate) fn load(how: PeerSecurity, identity: Identity) -> Result<Self, CertificateError> {
        Ok(match how {
            PeerSecurity::Tls(files) => Self::Tls(Arc::new(Tls::load(files, identity)?)),
            PeerSecurity::LoopbackSecret(secret) => Self::LoopbackSecret(secret),
        })
    }

    /// Takes renewed certificates into use until `stop`.
    pub(crate) async fn keep_current(self, stop: CancellationToken) {
        match self {
            Self::Tls(tls) => tls::keep_current(tls, stop).await,
            Self::LoopbackSecret(_) => {}
        }
    }

    /// Whether a replica may be reached at `address`.
    pub(crate) fn allows(&self, address: SocketAddr) -> bool {
        matches!(self, Self::Tls(_)) || address.ip().is_loopback()
    }

    /// The secret to show in a greeting, if that is how replicas know each other.
    pub(super) fn secret(&self) -> Bytes {
        match self {
            Self::Tls(_) => Bytes::new(),
            Self::LoopbackSecret(secret) => secret.as_bytes().to_vec().into(),
        }
    }

    pub(super) async fn connect(&self, address: SocketAddr, replica: ReplicaId) -> io::Result<Stream> {
        if !self.allows(address) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a secret goes to loopback addresses only; give the replicas certificates (--raft-cert)",
            ));
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(match self {
            Self::Tls(tls) => Box::new(tls.connect(stream, replica).await?),
            Self::LoopbackSecret(_) => Box::new(BufReader::new(stream)),
        })
    }

    /// What a call's failed greeting means.
    pub(super) fn explain(&self, error: io::Error) -> io::Error {
        match (self, error.kind()) {
            (Self::Tls(_), _) => tls::of_failure(error),
            (Self::LoopbackSecret(_), io::ErrorKind::InvalidData) => io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it does not greet as a replica without certificates does; has it --raft-cert, and this one not?",
            ),
            (Self::LoopbackSecret(_), _) => error,
        }
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(Stream, Credential)> {
        stream.set_nodelay(true)?;
        match self {
            Self::Tls(tls) => {
                let (stream, shown) = tls.accept(stream).await?;
                Ok((Box::new(stream), Credential::Certificate(shown)))
            }
            Self::LoopbackSecret(_) => {
                let mut first = [0; TLS_HELLO.len()];
                let read = stream.peek(&mut first).await?;
                match first == TLS_HELLO && read == first.len() {
                    true => Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        "it speaks TLS, and this replica has no certificate; give it --raft-cert, --raft-key and --raft-ca",
                    )),
                    false => Ok((Box::new(BufReader::new(stream)), Credential::Nothing)),
                }
            }
        }
    }

    /// Why the caller is not the replica of this cluster that it says, when it is not known to be that.
    pub(super) fn refusal(&self, shown: &Credential, hello: &Hello) -> Option<String> {
        match (self, shown) {
            (Self::Tls(tls), Credential::Certificate(certificate)) => match ReplicaId::new(hello.from) {
                Some(replica) => tls.refusal(certificate, replica),
                None => Some("a replica's number is at least 1".to_owned()),
            },
            (Self::LoopbackSecret(secret), Credential::Nothing) if secret.is(&hello.secret) => None,
            (Self::LoopbackSecret(_), _) => Some("the cluster's secret is another one".to_owned()),
            (Self::Tls(_), Credential::Nothing) => Some("it shows no certificate".to_owned()),
        }
    }
}
