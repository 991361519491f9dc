//! The name that a replica's certificate is for, and whether a certificate is for it.

use chv_domain::{ClusterId, ReplicaId};
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;

use crate::files::Identity;

/// The DNS name that the certificate of `replica` of `cluster` has: `replica-N.CLUSTER.chronovisor`, with the
/// cluster's id in small letters. No name server is asked for it.
pub fn replica_name(cluster: ClusterId, replica: ReplicaId) -> String {
    format!(
        "replica-{replica}.{}.chronovisor",
        cluster.to_string().to_lowercase()
    )
}

/// The same for the TLS library.
pub(super) fn server_name(identity: &Identity, replica: ReplicaId) -> ServerName<'static> {
    ServerName::try_from(replica_name(identity.cluster, replica))
        .expect("letters, digits, hyphens and dots, and short")
}

/// Whether `certificate` is for `replica` of this cluster.
pub(super) fn check(
    certificate: &CertificateDer<'_>,
    identity: &Identity,
    replica: ReplicaId,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    verify_server_name(&parsed, &server_name(identity, replica))
}
