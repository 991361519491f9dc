//! Certificates for the tests: an authority, and what it signs, with one thing wrong where a test asks for that.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority of the tests.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// When a certificate is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    Now,
    Past,
    Future,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `replica.pem`, `replica.key` and `ca.pem` into `dir`; the certificate is for `name`.
    pub fn issue(&self, dir: &Path, name: &str, valid: Valid, usages: &[ExtendedKeyUsagePurpose]) {
        let now = SystemTime::now();
        let (from, to) = match valid {
            Valid::Now => (now - DAY, now + 90 * DAY),
            Valid::Past => (now - 9 * DAY, now - 3 * DAY),
            Valid::Future => (now + 3 * DAY, now + 9 * DAY),
        };
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from.into(), to.into());
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("replica.pem"), certificate.pem()).unwrap();
        std::fs::write(dir.join("replica.key"), key.serialize_pem()).unwrap();
        self.trust(dir);
    }

    /// Makes it the authority that `dir` names.
    pub fn trust(&self, dir: &Path) {
        std::fs::write(dir.join("ca.pem"), self.0.pem()).unwrap();
    }
}

/// What a replica's certificate is for.
pub const BOTH: [ExtendedKeyUsagePurpose; 2] = [
    ExtendedKeyUsagePurpose::ServerAuth,
    ExtendedKeyUsagePurpose::ClientAuth,
];
