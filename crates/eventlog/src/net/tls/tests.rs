//! Who is let in and who is not, and what each side is told.

use std::io;
use std::path::Path;

use chv_domain::{ClusterId, ReplicaId};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[path = "../../../tests/cluster/authority.rs"]
#[allow(unreachable_pub)]
mod authority;

use authority::{Authority, BOTH, Valid};

fn id(number: u64) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

fn cluster(byte: u8) -> ClusterId {
    ClusterId::from_bytes([byte; 16])
}

fn identity(replica: u64) -> Identity {
    Identity::for_tests(cluster(9), id(replica))
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        cert: dir.join("replica.pem"),
        key: dir.join("replica.key"),
        ca: dir.join("ca.pem"),
    }
}

/// What `dir` holds is taken even if no other replica would, as by a program that looks at nothing.
fn careless(dir: &Path, replica: u64) -> Tls {
    let (files, identity) = (files(dir), identity(replica));
    let read = Read::from(&files).unwrap();
    let loaded = Loaded::untried(&read, &files).unwrap();
    Tls {
        files,
        identity,
        current: watch::Sender::new((read, loaded)),
    }
}

/// Replica 1 calls replica 2: how that went for each of them.
async fn call(caller: &Tls, answering: &Tls) -> (io::Result<()>, io::Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let calling = async {
        let mut stream = caller.connect(stream, id(2)).await?;
        // In TLS 1.3 the calling side learns with the first answer that it is refused.
        let spoken = async {
            stream.write_all(b"a").await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        spoken.await.map(|_| ()).map_err(of_failure)
    };
    let answers = async {
        let (mut stream, shown) = answering.accept(listener.accept().await?.0).await?;
        stream.read_u8().await?;
        stream.write_all(b"b").await?;
        stream.flush().await?;
        match answering.refusal(&shown, id(1)) {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(()),
        }
    };
    tokio::join!(calling, answers)
}

struct Case {
    what: &'static str,
    name: String,
    valid: Valid,
    usages: Vec<rcgen::ExtendedKeyUsagePurpose>,
    other_authority: bool,
    /// What the one says who looks at the certificate, and the one who shows it; nothing when it notices nothing.
    looking: &'static str,
    showing: &'static str,
}

fn cases(replica: u64) -> Vec<Case> {
    let good = |what, looking, showing| Case {
        what,
        name: replica_name(cluster(9), id(replica)),
        valid: Valid::Now,
        usages: BOTH.to_vec(),
        other_authority: false,
        looking,
        showing,
    };
    vec![
        Case {
            name: replica_name(cluster(9), id(3)),
            ..good("another replica's", "is for replica-3.", "")
        },
        Case {
            name: replica_name(cluster(8), id(replica)),
            ..good("another cluster's", "not for replica-", "")
        },
        Case {
            other_authority: true,
            ..good("another authority's", "not in --raft-ca", "not in its --raft-ca")
        },
        Case {
            valid: Valid::Past,
            ..good("expired", "Z; issue a new one", "has expired")
        },
        Case {
            valid: Valid::Future,
            ..good("not valid yet", "Z; are the clocks right", "not valid yet")
        },
    ]
}

#[tokio::test]
async fn a_certificate_with_anything_wrong_is_refused_and_both_sides_are_told() {
    for wrong in [1, 2] {
        for case in cases(wrong) {
            // given one replica with a good certificate and one with another
            let temp = TempDir::new().unwrap();
            let (own, other) = (Authority::new(), Authority::new());
            let signs = if case.other_authority { &other } else { &own };
            let dirs = [1, 2].map(|number| temp.path().join(number.to_string()));
            for (dir, number) in dirs.iter().zip([1, 2]) {
                match number == wrong {
                    true => signs.issue(dir, &case.name, case.valid, &case.usages),
                    false => own.issue(dir, &replica_name(cluster(9), id(number)), Valid::Now, &BOTH),
                }
                own.trust(dir);
            }

            // when it is opened with it, then it says what is wrong
            let what = case.what;
            let refused = Tls::load(files(&dirs[wrong as usize - 1]), identity(wrong));
            let refused = refused.err().expect(what).to_string();
            assert!(refused.contains(case.looking), "{what}: {refused}");

            // when it is used nevertheless, then the other one refuses, and says why
            let (caller, answering) = (careless(&dirs[0], 1), careless(&dirs[1], 2));
            let (calling, answered) = call(&caller, &answering).await;
            let (looking, showing) = match wrong {
                1 => (answered, calling),
                _ => (calling, answered),
            };
            let looking = looking.expect_err(what).to_string();
            assert!(
                looking.contains(case.looking),
                "{what}, replica {wrong}: {looking}"
            );
            if wrong == 1 {
                let showing = showing.err().map_or(String::new(), |error| error.to_string());
                assert!(showing.contains(case.showing), "{what}: {showing}");
            } else {
                showing.expect_err(what);
            }
        }
    }
}

#[tokio::test]
async fn good_certificates_connect_and_a_renewed_one_is_taken_without_a_restart() {
    // given two replicas
    let temp = TempDir::new().unwrap();
    let authority = Authority::new();
    let dirs = [1, 2].map(|number| temp.path().join(number.to_string()));
    let [one, two] = [1, 2].map(|number| {
        let dir = &dirs[number as usize - 1];
        authority.issue(dir, &replica_name(cluster(9), id(number)), Valid::Now, &BOTH);
        Tls::load(files(dir), identity(number)).unwrap()
    });
    let (calling, answered) = call(&one, &two).await;
    calling.unwrap();
    answered.unwrap();
    assert!(!one.look().unwrap(), "nothing changed");

    // when both go over to another authority, one file at a time
    let next = Authority::new();
    let key = std::fs::read(dirs[0].join("replica.key")).unwrap();
    next.issue(&dirs[0], &replica_name(cluster(9), id(1)), Valid::Now, &BOTH);
    let new_key = std::fs::read(dirs[0].join("replica.key")).unwrap();
    std::fs::write(dirs[0].join("replica.key"), key).unwrap();
    // then half of a renewal is not taken, and what was there stays in use
    let half = one.look().err().unwrap().to_string();
    assert!(half.contains("the key is not that of the certificate"), "{half}");
    let (calling, answered) = call(&one, &two).await;
    calling.unwrap();
    answered.unwrap();

    // and the whole of it is
    std::fs::write(dirs[0].join("replica.key"), new_key).unwrap();
    assert!(one.look().unwrap());
    let (calling, answered) = call(&one, &two).await;
    let told = calling.unwrap_err().to_string();
    assert!(told.contains("not in --raft-ca"), "{told}");
    answered.unwrap_err();
    next.issue(&dirs[1], &replica_name(cluster(9), id(2)), Valid::Now, &BOTH);
    assert!(two.look().unwrap());
    let (calling, answered) = call(&one, &two).await;
    calling.unwrap();
    answered.unwrap();
}

#[test]
fn files_that_are_no_certificate_say_which_one_and_what_is_missing() {
    let temp = TempDir::new().unwrap();
    let missing = Tls::load(files(temp.path()), identity(1));
    let missing = missing.err().unwrap().to_string();
    assert!(
        missing.contains("replica.pem") && missing.contains("--raft-cert"),
        "{missing}"
    );

    let name = replica_name(cluster(9), id(1));
    for (file, says) in [
        ("replica.pem", "no certificate"),
        ("replica.key", "no private key"),
        ("ca.pem", "no certificate"),
    ] {
        Authority::new().issue(temp.path(), &name, Valid::Now, &BOTH);
        for junk in [&b""[..], b"junk", &[0xff; 4096]] {
            std::fs::write(temp.path().join(file), junk).unwrap();
            let refused = Tls::load(files(temp.path()), identity(1));
            let refused = refused.err().unwrap().to_string();
            assert!(refused.contains(file) && refused.contains(says), "{refused}");
        }
    }
    // A certificate for servers alone can't be shown when calling.
    Authority::new().issue(temp.path(), &name, Valid::Now, &BOTH[..1]);
    let refused = Tls::load(files(temp.path()), identity(1));
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("TLS clients"), "{refused}");
}
