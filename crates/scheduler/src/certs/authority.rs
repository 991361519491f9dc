//! An authority for one cluster's replicas: made, read back, and what it signs. Knows no files.

use std::time::{Duration, SystemTime};

use chv_domain::{ClusterId, ReplicaId};
use chv_eventlog::replica_name;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};

/// What the authority is called, before the cluster's id.
const CALLED: &str = "Chronovisor cluster ";

/// How long an authority is valid.
const AUTHORITY: Duration = Duration::from_secs(3650 * 86_400);

/// How long before now certificates begin: clocks differ.
const SKEW: Duration = Duration::from_secs(3600);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// The library's.
    #[error("can't make a certificate: {0}")]
    Sign(#[from] rcgen::Error),
    /// Something else was read.
    #[error(
        "this is no authority that `certs init-ca` made: its name is not \"{CALLED}\" and the cluster's id; sign with \
         your authority's own tools then, see docs/operating.md"
    )]
    Foreign,
}

/// A certificate and its private key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// The last day that it is valid.
    pub(crate) until: String,
}

impl Issued {
    fn new(certificate: &Certificate, key: &KeyPair, params: &CertificateParams) -> Self {
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            until: params.not_after.date().to_string(),
        }
    }
}

/// An authority for the replicas of one cluster.
pub(crate) struct Authority {
    pub(crate) cluster: ClusterId,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one. It can sign for replicas of `cluster` alone.
    pub(crate) fn make(cluster: ClusterId) -> Result<Issued, AuthorityError> {
        let mut params = valid_for(AUTHORITY, CertificateParams::default());
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, format!("{CALLED}{cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(domain(cluster))],
            excluded_subtrees: vec![],
        });
        let key = KeyPair::generate()?;
        Ok(Issued::new(&params.self_signed(&key)?, &key, &params))
    }

    /// The one that `make` made.
    pub(crate) fn read(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        Ok(Self {
            cluster: cluster(certificate).ok_or(AuthorityError::Foreign)?,
            issuer: Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?,
        })
    }

    /// A certificate for `replica`, for `days` from now.
    pub(crate) fn issue(&self, replica: ReplicaId, days: u32) -> Result<Issued, AuthorityError> {
        let name = replica_name(self.cluster, replica);
        let valid = Duration::from_secs(u64::from(days) * 86_400);
        let mut params = valid_for(valid, CertificateParams::new([name.clone()])?);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Issued::new(&params.signed_by(&key, &self.issuer)?, &key, &params))
    }
}

fn valid_for(span: Duration, mut params: CertificateParams) -> CertificateParams {
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + span).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

/// The part of replicas' names that is the same for a cluster.
fn domain(cluster: ClusterId) -> String {
    let any = ReplicaId::new(1).expect("1 is a replica's number");
    let name = replica_name(cluster, any);
    name.split_once('.')
        .map_or(name.clone(), |(_, domain)| domain.to_owned())
}

/// Whose authority `certificate` is.
fn cluster(certificate: &str) -> Option<ClusterId> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let parsed = pem.parse_x509().ok()?;
    let name = parsed.subject().iter_common_name().next()?;
    name.as_str().ok()?.strip_prefix(CALLED)?.parse().ok()
}
