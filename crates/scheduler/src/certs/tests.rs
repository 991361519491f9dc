//! What `certs` writes is what a replica takes.

use std::os::unix::fs::PermissionsExt;

use chv_eventlog::{Config, EventLog, PeerSecurity, TlsFiles};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;

fn replica(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn issue_to(ca: &Path, number: u64, out: &Path) -> anyhow::Result<()> {
    issue(&Issue {
        ca: ca.to_owned(),
        replica: replica(number),
        out: out.to_owned(),
        days: 30,
    })
}

/// Whether replica 1 of `cluster` opens with the certificate in `certs`.
async fn opens(dir: &Path, cluster: ClusterId, certs: &Path) -> Result<(), String> {
    let data = dir.join("data");
    let _ = std::fs::remove_dir_all(&data);
    EventLog::init(&data, cluster, replica(1)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peers = [(replica(1), listener.local_addr().unwrap())].into();
    let files = TlsFiles {
        cert: certs.join(CERT),
        key: certs.join(KEY),
        ca: certs.join(CA),
    };
    let config = Config::new(data, listener, peers, PeerSecurity::Tls(files));
    let log = EventLog::open(config).await.map_err(|error| error.to_string())?;
    log.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_its_own_certificate_and_the_renewed_one_and_no_other() {
    // given an authority
    let temp = TempDir::new().unwrap();
    let cluster = ClusterId::from_bytes([9; 16]);
    let (ca, out) = (temp.path().join("ca"), temp.path().join("out"));
    let authority = InitCa {
        cluster,
        out: ca.clone(),
    };
    init_ca(&authority).unwrap();
    // which is never replaced
    let key = std::fs::read(ca.join(CA_KEY)).unwrap();
    let again = init_ca(&authority).unwrap_err().to_string();
    assert!(again.contains("there already"), "{again}");
    assert_eq!(std::fs::read(ca.join(CA_KEY)).unwrap(), key);

    // when certificates are issued, then their replica takes them
    issue_to(&ca, 1, &out).unwrap();
    opens(temp.path(), cluster, &out).await.unwrap();
    issue_to(&ca, 1, &out).unwrap();
    opens(temp.path(), cluster, &out).await.unwrap();
    for key in [ca.join(CA_KEY), out.join(KEY)] {
        assert_eq!(
            std::fs::metadata(key).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    // and another one does not
    let another = opens(temp.path(), ClusterId::from_bytes([8; 16]), &out).await;
    assert!(
        another
            .as_ref()
            .is_err_and(|why| why.contains("not for replica-1.")),
        "{another:?}"
    );
    issue_to(&ca, 2, &out).unwrap();
    let another = opens(temp.path(), cluster, &out).await;
    assert!(
        another
            .as_ref()
            .is_err_and(|why| why.contains("is for replica-2.")),
        "{another:?}"
    );
}

#[test]
fn an_authority_that_is_none_is_told() {
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let missing = format!("{:#}", issue_to(temp.path(), 1, &out).unwrap_err());
    assert!(
        missing.contains("ca.pem") && missing.contains("init-ca"),
        "{missing}"
    );
    let key = rcgen::KeyPair::generate().unwrap();
    let foreign = rcgen::CertificateParams::new(["else.where".to_owned()]).unwrap();
    std::fs::write(temp.path().join(CA), foreign.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(temp.path().join(CA_KEY), key.serialize_pem()).unwrap();
    let foreign = format!("{:#}", issue_to(temp.path(), 1, &out).unwrap_err());
    assert!(
        foreign.contains("ca.pem") && foreign.contains("own tools"),
        "{foreign}"
    );
    assert!(!out.exists());
}
