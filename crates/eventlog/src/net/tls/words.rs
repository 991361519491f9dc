//! What a failed handshake means, in words: what is wrong with whose certificate, and what to do. Decides nothing.

use std::io;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InconsistentKeys, PeerIncompatible};

/// What is wrong, as the end of a sentence about a certificate or about who showed it.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(certificate) => of_certificate(certificate),
        Error::NoCertificatesPresented
        | Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            "it shows no certificate".to_owned()
        }
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key is not that of the certificate".to_owned()
        }
        Error::InvalidMessage(_) => {
            "it does not speak TLS; is it a replica, and has it --raft-cert, --raft-key and --raft-ca?"
                .to_owned()
        }
        Error::PeerIncompatible(_) => "it does not speak TLS 1.3".to_owned(),
        Error::AlertReceived(alert) => of_alert(*alert),
        other => other.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer | E::BadSignature => {
            "the certificate is signed by an authority that is not in --raft-ca".to_owned()
        }
        E::Expired => "the certificate has expired; issue a new one".to_owned(),
        E::ExpiredContext { not_after, .. } => {
            format!(
                "the certificate has expired at {}; issue a new one",
                time(*not_after)
            )
        }
        E::NotValidYet => "the certificate is not valid yet; are the clocks right?".to_owned(),
        E::NotValidYetContext { not_before, .. } => format!(
            "the certificate is not valid before {}; are the clocks right?",
            time(*not_before)
        ),
        E::NotValidForNameContext { expected, presented } => format!(
            "the certificate is for {}, not for {}",
            names(presented),
            expected.to_str()
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "the certificate is not for both TLS servers and TLS clients (extended key usage)".to_owned()
        }
        other => format!("the certificate is refused: {other}"),
    }
}

/// What the other side says of this replica's certificate.
fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::UnknownCA | A::DecryptError => {
            "it says that this replica's certificate is signed by an authority that is not in its --raft-ca"
                .to_owned()
        }
        A::CertificateExpired => {
            "it says that this replica's certificate has expired, or is not valid yet; issue a new one"
                .to_owned()
        }
        A::CertificateRequired => "it says that this replica shows no certificate".to_owned(),
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate => {
            "it refuses this replica's certificate; its log says why".to_owned()
        }
        A::ProtocolVersion => "it does not speak TLS 1.3".to_owned(),
        other => format!("it ended the handshake: {other:?}"),
    }
}

/// The error of a handshake or of a greeting, in words.
pub(in crate::net) fn of_failure(error: io::Error) -> io::Error {
    let words = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(tls) => reason(tls),
        None if hung_up(&error) => {
            "it hung up before it said who it is; does it run with certificates? Its log says why".to_owned()
        }
        None => return error,
    };
    io::Error::new(io::ErrorKind::PermissionDenied, words)
}

fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::UnexpectedEof | K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted
    )
}

/// `DnsName("a")`, `DnsName("b")` as `a, b`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    match presented {
        [] => "no name at all".to_owned(),
        some => some.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}

/// A time and not a span, so that the same trouble is told in the same words at each try.
fn time(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}
