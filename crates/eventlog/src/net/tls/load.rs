//! Reads a replica's certificate, its key and the authorities, and tries the certificate as another replica would:
//! one that nobody would take is refused here, with the reason.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

use super::name::server_name;
use super::words::reason;
use crate::files::Identity;
use crate::security::TlsFiles;

/// Why a replica's certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that is not there, say.
    #[error(
        "can't read {path}: {source}; name the replica's own files with --raft-cert, --raft-key and --raft-ca"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that is something else.
    #[error("{path} holds no {what} in PEM")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Files that don't belong together, or not to this replica.
    #[error(
        "{path} can't be used: {why}; issue one with `chv-scheduler certs issue`, or see docs/operating.md"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

/// The three files as they were read. A change of any of them is a change of this.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Read {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Read {
    /// Blocks.
    pub(super) fn from(files: &TlsFiles) -> Result<Self, CertificateError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| CertificateError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
            ca: read(&files.ca)?,
        })
    }
}

/// What connections are made with.
pub(super) struct Loaded {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// When the replica's certificate expires.
    pub(super) expires: SystemTime,
}

impl Loaded {
    /// Takes what was read, when other replicas of `identity`'s cluster would.
    pub(super) fn new(read: &Read, files: &TlsFiles, identity: &Identity) -> Result<Self, CertificateError> {
        let (chain, verifiers) = (
            certificates(&read.cert, &files.cert)?,
            Verifiers::new(read, files)?,
        );
        verifiers
            .try_out(&chain, identity)
            .map_err(unusable(&files.cert))?;
        Self::untried(read, files)
    }

    /// Takes what was read.
    pub(super) fn untried(read: &Read, files: &TlsFiles) -> Result<Self, CertificateError> {
        let (chain, verifiers) = (
            certificates(&read.cert, &files.cert)?,
            Verifiers::new(read, files)?,
        );
        let key = PrivateKeyDer::from_pem_slice(&read.key).map_err(|_| CertificateError::Empty {
            path: files.key.clone(),
            what: "private key",
        })?;
        let expires = expires(&chain[0]).map_err(unusable(&files.cert))?;
        let client = client(verifiers.servers, chain.clone(), key.clone_key());
        let server = server(verifiers.clients, chain, key);
        Ok(Self {
            client: Arc::new(client.map_err(unusable(&files.key))?),
            server: Arc::new(server.map_err(unusable(&files.key))?),
            expires,
        })
    }
}

/// What looks at the certificates of others.
struct Verifiers {
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Verifiers {
    fn new(read: &Read, files: &TlsFiles) -> Result<Self, CertificateError> {
        let general = |error: VerifierBuilderError| rustls::Error::General(error.to_string());
        let mut roots = RootCertStore::empty();
        for authority in certificates(&read.ca, &files.ca)? {
            roots.add(authority).map_err(unusable(&files.ca))?;
        }
        let roots = Arc::new(roots);
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider()).build();
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        Ok(Self {
            servers: servers.map_err(general).map_err(unusable(&files.ca))?,
            clients: clients.map_err(general).map_err(unusable(&files.ca))?,
        })
    }

    /// What another replica asks of this one's certificate, when called and when it calls.
    fn try_out(&self, chain: &[CertificateDer<'_>], identity: &Identity) -> Result<(), rustls::Error> {
        let Some((own, between)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        let (name, now) = (server_name(identity, identity.replica), UnixTime::now());
        self.servers.verify_server_cert(own, between, &name, &[], now)?;
        self.clients.verify_client_cert(own, between, now)?;
        Ok(())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unusable(path: &Path) -> impl Fn(rustls::Error) -> CertificateError {
    move |error| CertificateError::Unusable {
        path: path.to_owned(),
        why: reason(&error),
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let empty = || CertificateError::Empty {
        path: path.to_owned(),
        what: "certificate",
    };
    let read: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| empty())?;
    match read.is_empty() {
        true => Err(empty()),
        false => Ok(read),
    }
}

fn expires(certificate: &CertificateDer<'_>) -> Result<SystemTime, rustls::Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let seconds = parsed.validity().not_after.timestamp();
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(SystemTime::UNIX_EPOCH + since)
}

fn client(
    verifier: Arc<WebPkiServerVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)?;
    // A resumed session would not look at certificates again.
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

fn server(
    verifier: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
