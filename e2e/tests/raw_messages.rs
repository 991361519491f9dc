//! What a program can get wrong, or try, on the wire: each is refused with a code, and changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_nats::{Event, HeaderMap, Subscriber};
use chv_domain::{CommandId, UserName};
use chv_e2e::{Cluster, Options, PATIENCE, vms};
use chv_proto::client::{Client, CommandError, new_command_id};
use chv_proto::v1::{self, command_reply};
use chv_proto::{convert, subject};
use futures::StreamExt;
use prost::Message as _;

const CREATE: &str = "chv.cmd.alice.vm.create";

/// The encoded command to create `name`.
fn envelope(id: CommandId, name: &str) -> Vec<u8> {
    let alice: UserName = "alice".parse().expect("a user's name");
    let command = vms::create(name, vms::tiny(), false);
    convert::encode_submission(&vms::submission(&alice, id, command)).encode_to_vec()
}

async fn next(subscription: &mut Subscriber) -> Result<v1::CommandReply> {
    let message = tokio::time::timeout(PATIENCE, subscription.next()).await;
    let message = message
        .context("no answer came")?
        .context("the subscription ended")?;
    Ok(v1::CommandReply::decode(message.payload)?)
}

/// Sends `payload` and returns the refusal that comes back.
async fn refusal(client: &Client, subject: &str, payload: Vec<u8>) -> Result<(String, v1::Refused)> {
    let request = client.nats().request(subject.to_owned(), payload.into());
    let answer = tokio::time::timeout(PATIENCE, request)
        .await
        .context("no answer came")??;
    let reply = v1::CommandReply::decode(answer.payload)?;
    match reply.result {
        Some(command_reply::Result::Refused(refused)) => Ok((reply.id, refused)),
        other => bail!("that is no refusal: {other:?}"),
    }
}

/// Bytes without meaning, other ones for each seed; the same at every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_payloads_that_are_no_commands_then_each_is_refused_with_a_code_and_nothing_changes_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let alice = cluster.client("alice").await?;
        let host = cluster.client("host-h1").await?;
        let before = cluster.wait_for_agreement().await?;

        // Random bytes, on a person's and on a host's subject.
        for seed in 0..100 {
            let payload = noise(seed, usize::try_from(seed)? * 7);
            for (client, subject) in [(&alice, CREATE), (&host, "chv.host.h1.report")] {
                let (_, refused) = refusal(client, subject, payload.clone()).await?;
                let known = ["malformed", "unsupported_version", "invalid", "subject_mismatch"];
                ensure!(
                    known.contains(&refused.code.as_str()),
                    "for seed {seed}: {refused:?}"
                );
                ensure!(
                    !refused.message.is_empty() && !refused.retryable,
                    "for seed {seed}: {refused:?}"
                );
            }
        }
        // A command that was cut off, wherever.
        let whole = envelope(new_command_id(), "cut");
        for length in 0..whole.len() {
            let (_, refused) = refusal(&alice, CREATE, whole[..length].to_vec()).await?;
            ensure!(!refused.retryable, "cut to {length} bytes: {refused:?}");
        }
        // A command on another one's subject, and one of a version to come.
        let id = new_command_id();
        let (answered, refused) = refusal(&alice, "chv.cmd.alice.vm.delete", envelope(id, "other")).await?;
        ensure!(
            refused.code == "subject_mismatch" && answered == id.to_string(),
            "{refused:?}"
        );
        let mut future = v1::CommandEnvelope::decode(envelope(id, "future").as_slice())?;
        future.version = 2;
        let (_, refused) = refusal(&alice, CREATE, future.encode_to_vec()).await?;
        ensure!(
            refused.code == "unsupported_version" && refused.message.contains('2'),
            "{refused:?}"
        );
        // One that is larger than any command, by far less than the broker would refuse itself.
        let mut large = v1::CommandEnvelope::decode(envelope(id, "large").as_slice())?;
        large.traceparent = "x".repeat(subject::MAX_COMMAND_BYTES);
        let (_, refused) = refusal(&alice, CREATE, large.encode_to_vec()).await?;
        ensure!(refused.code == "too_large", "{refused:?}");
        let limit = subject::MAX_COMMAND_BYTES.to_string();
        ensure!(
            refused.message.contains(&limit) || refused.message.contains("256"),
            "{refused:?}"
        );
        // Headers that mean nothing do no harm.
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "what?");
        let inbox = format!("{}.headers", subject::inbox_prefix("alice"));
        let mut answers = alice.nats().subscribe(inbox.clone()).await?;
        let kill = "chv.cmd.alice.vm.kill".to_owned();
        alice
            .nats()
            .publish_with_reply_and_headers(kill, inbox, headers, noise(7, 70).into())
            .await?;
        next(&mut answers).await?;

        let after = cluster.wait_for_agreement().await?;
        ensure!(
            after.digest == before.digest,
            "something changed: {before:?}, then {after:?}"
        );
        ensure!(
            vms::find(&alice, "cut").await?.is_none(),
            "a cut command was done"
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_another_users_name_or_inbox_then_the_command_is_not_done_needs_guest() -> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let (alice, bob) = (cluster.client("alice").await?, cluster.client("bob").await?);
        let before = cluster.wait_for_agreement().await?;

        // When bob publishes under alice's name, then NATS refuses: its own words, on a connection that listens to them.
        let (told, mut heard) = tokio::sync::mpsc::channel(8);
        let options =
            async_nats::ConnectOptions::with_user_and_password("bob".into(), cluster.password("bob")?)
                .custom_inbox_prefix(subject::inbox_prefix("bob"))
                .event_callback(move |event| {
                    let told = told.clone();
                    async move {
                        if let Event::ServerError(error) = event {
                            told.send(error.to_string()).await.ok();
                        }
                    }
                });
        let raw = options.connect(cluster.nats_url()).await?;
        raw.publish(CREATE, envelope(new_command_id(), "forged").into())
            .await?;
        raw.flush().await?;
        let words = tokio::time::timeout(PATIENCE, heard.recv())
            .await?
            .context("the connection ended")?;
        ensure!(words.to_lowercase().contains("permissions violation"), "{words}");
        // And a person's client says so.
        let user: UserName = "alice".parse()?;
        let forged = vms::submission(&user, new_command_id(), vms::create("forged", vms::tiny(), false));
        let sent = bob.submit(&forged, Duration::from_secs(5), None).await;
        ensure!(matches!(sent, Err(CommandError::NotPermitted { .. })), "{sent:?}");

        // When alice wants the answer to go to bob, then nothing is done, and she is told so.
        let told = format!("{}.refused", subject::inbox_prefix("alice"));
        let mut refusals = alice.nats().subscribe(told).await?;
        let bobs = format!("{}.here", subject::inbox_prefix("bob"));
        let mut answers = raw.subscribe(bobs.clone()).await?;
        raw.flush().await?;
        alice.nats().flush().await?;
        let id = new_command_id();
        alice
            .nats()
            .publish_with_reply(CREATE, bobs.clone(), envelope(id, "foreign").into())
            .await?;
        let reply = next(&mut refusals).await?;
        let Some(command_reply::Result::Refused(refused)) = reply.result else {
            bail!("that was done")
        };
        ensure!(
            refused.code == "bad_reply_subject" && reply.id == id.to_string(),
            "{refused:?}"
        );
        ensure!(refused.message.contains("_INBOX.alice."), "{refused:?}");

        // And bob hears of nothing but of what he asks himself.
        raw.publish_with_reply("chv.cmd.bob.vm.create", bobs, noise(1, 100).into())
            .await?;
        let first = next(&mut answers).await?;
        ensure!(
            first.id != id.to_string(),
            "bob heard of alice's command: {first:?}"
        );

        let after = cluster.wait_for_agreement().await?;
        ensure!(
            after.digest == before.digest,
            "something changed: {before:?}, then {after:?}"
        );
        Ok(())
    })
    .await
}
