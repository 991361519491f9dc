//! What reaches the replicas' port and is no replica of the cluster: garbage, silence, other clusters, messages that
//! don't decode. Each is hung up on, told why where it can be, and the cluster goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chv_domain::Seq;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::replicas::{CLUSTER, Replicas, SECRET};

/// Longer than a caller may take to say who it is, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// As a replica greets; `net::message::Hello` is the log's own.
#[derive(Clone, PartialEq, Message)]
struct Hello {
    #[prost(uint32, tag = "1")]
    protocol: u32,
    #[prost(bytes = "vec", tag = "2")]
    cluster: Vec<u8>,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    to: u64,
    #[prost(string, tag = "5")]
    refused: String,
    #[prost(bytes = "vec", tag = "6")]
    secret: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, optional, tag = "1")]
    append: Option<Append>,
}

#[derive(Clone, PartialEq, Message)]
struct Append {
    #[prost(message, optional, tag = "1")]
    vote: Option<Vote>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    entries: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Vote {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
}

/// Replica 2's greeting to replica 1.
fn good() -> Hello {
    Hello {
        protocol: 1,
        cluster: CLUSTER.to_bytes().to_vec(),
        from: 2,
        to: 1,
        refused: String::new(),
        secret: SECRET.as_bytes().to_vec(),
    }
}

fn framed(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap();
    [&length.to_be_bytes()[..], &body].concat()
}

/// Says `bytes` to replica 1, and returns all that it answers before it hangs up.
async fn say(replicas: &Replicas, bytes: Vec<u8>) -> Vec<u8> {
    let mut stream = TcpStream::connect(replicas.address(1)).await.unwrap();
    let mut answer = Vec::new();
    let talk = async {
        // It may hang up before all is said.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    let hung_up = tokio::time::timeout(PATIENCE, talk).await;
    hung_up.unwrap_or_else(|_| panic!("the connection stays open after {bytes:?}"));
    answer
}

/// Bytes without meaning; the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_silence_before_the_greeting_are_hung_up_on_and_the_cluster_goes_on() {
    // A task that panics ends its connection too, so panics are looked for.
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        told(panic);
    }));
    for certificates in [false, true] {
        // given a cluster
        let mut replicas = match certificates {
            true => Replicas::start_with_certificates(3).await,
            false => Replicas::start(3).await,
        };
        let leader = replicas.leader().await;
        replicas.register(leader, 1).await;

        // when more callers than may be there at once say nothing, and others anything but a greeting
        let silent = (0..80).map(|_| say(&replicas, vec![]));
        let noisy = (1..60).map(|seed| {
            let noise = noise(seed, 1 << (seed % 14));
            let length = (noise.len() as u32).to_be_bytes();
            let said = match seed % 5 {
                0 => noise,
                1 => [&length[..], &noise].concat(),
                2 => [&u32::MAX.to_be_bytes()[..], &noise].concat(),
                3 => [&[0x16, 3, 1, 2, 0, 1][..], &noise].concat(),
                _ => [&[0x16, 3, 3, 0xff, 0xff][..], &noise].concat(),
            };
            say(&replicas, said)
        });
        let (silent, noisy) = (join(silent), join(noisy));

        // then all of them are hung up on, and meanwhile and after commands are committed
        let ((), (), ()) = tokio::join!(silent, noisy, replicas.register(leader, 2));
        let follower = replicas.all().into_iter().find(|at| *at != leader).unwrap();
        replicas.stop(follower).await;
        replicas.start_again(follower).await;
        let leader = replicas.leader().await;
        replicas.register(leader, 3).await;
        replicas.agree_on(Seq(3)).await;
        replicas.end().await;
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

async fn join(all: impl Iterator<Item = impl Future<Output = Vec<u8>>>) {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        match all.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_of_another_cluster_replica_or_protocol_is_told_what_is_wrong() {
    let mut replicas = Replicas::start(3).await;
    let other = [8; 16].to_vec();
    let wrong = [
        (
            Hello {
                protocol: 9,
                ..good()
            },
            "protocol 9 is not known",
        ),
        (
            Hello {
                secret: vec![],
                ..good()
            },
            "secret is another one",
        ),
        (
            Hello {
                cluster: other,
                ..good()
            },
            "this is a replica of cluster",
        ),
        (
            Hello {
                cluster: vec![],
                ..good()
            },
            "this is a replica of cluster",
        ),
        (Hello { to: 3, ..good() }, "this is replica 1, not 3"),
        (Hello { from: 1, ..good() }, "replica 1 does not call here"),
        (Hello { from: 0, ..good() }, "replica 0 does not call here"),
    ];
    for (hello, says) in wrong {
        let answer = say(&replicas, framed(&hello)).await;
        let told = Hello::decode(&answer[4..]).unwrap();
        assert!(told.refused.contains(says), "{says}: {}", told.refused);
    }
    // A greeting is short: more is not read.
    let long = Hello {
        refused: "x".repeat(5000),
        ..good()
    };
    assert!(say(&replicas, framed(&long)).await.is_empty());
    // And without certificates there is no TLS.
    assert!(
        say(&replicas, [&[0x16, 3, 1][..], &noise(7, 400)].concat())
            .await
            .is_empty()
    );
    replicas.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_sends_and_does_not_decode_is_refused_with_the_reason() {
    // given a cluster, and one that greets as replica 2 and sends entries as another version might
    let mut replicas = Replicas::start(3).await;
    let leader = replicas.leader().await;
    replicas.register(leader, 1).await;
    for entry in [vec![], noise(1, 3), noise(2, 300)] {
        let append = Append {
            vote: Some(Vote { term: 1, replica: 2 }),
            entries: vec![entry],
        };
        let request = Request { append: Some(append) };
        // when it sends them, then it is told, and nothing of it is in the log
        let answer = say(&replicas, [framed(&good()), framed(&request)].concat()).await;
        let told = String::from_utf8_lossy(&answer);
        assert!(told.contains("does not decode"), "{told}");
    }
    // A request that asks nothing, and one that is no message.
    for nothing in [
        framed(&Request { append: None }),
        [&[0, 0, 0, 9][..], &[0xff; 9]].concat(),
    ] {
        let answer = say(&replicas, [framed(&good()), nothing].concat()).await;
        // The greeting is answered, and nothing after it.
        let greeting = u32::from_be_bytes(answer[..4].try_into().unwrap());
        assert_eq!(answer.len(), 4 + greeting as usize);
    }
    replicas.register(leader, 2).await;
    replicas.agree_on(Seq(2)).await;
    replicas.end().await;
}
