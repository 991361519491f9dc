//! Several commands in one message: each is decided by itself, and the answers come back in one.

use anyhow::{Context, Result, ensure};
use chv_domain::UserName;
use chv_e2e::{Cluster, Options, PATIENCE, vms};
use chv_proto::client::{Client, new_command_id};
use chv_proto::v1::{self, command_reply};
use chv_proto::{convert, subject};
use prost::Message as _;

async fn send(client: &Client, payload: Vec<u8>) -> Result<v1::CommandBatchReply> {
    let alice: UserName = "alice".parse()?;
    let to = subject::command_batch(&alice, chv_domain::Verb::VmCreate);
    let request = client.nats().request(to, payload.into());
    let answer = tokio::time::timeout(PATIENCE, request)
        .await
        .context("no answer came")??;
    Ok(v1::CommandBatchReply::decode(answer.payload)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn given_commands_in_one_message_then_each_is_decided_by_itself_and_a_retry_does_nothing_more_needs_guest()
-> Result<()> {
    Cluster::run(Options::emulated(1), async |cluster| {
        let (alice, user) = (cluster.client("alice").await?, "alice".parse::<UserName>()?);
        // Given three commands of which the second asks for a name that the first has taken,
        let one = |name| vms::submission(&user, new_command_id(), vms::create(name, vms::tiny(), false));
        let submissions = [one("b1"), one("b1"), one("b2")];
        let payload = convert::encode_batch(&submissions).encode_to_vec();
        // when they are sent in one message, and again,
        let first = send(&alice, payload.clone()).await?;
        let again = send(&alice, payload.clone()).await?;
        // then the answers are in their order, only the second is refused, and the retry is told the same.
        for (reply, repeated) in [(&first, false), (&again, true)] {
            ensure!(reply.replies.len() == 3 && reply.refused.is_none(), "{reply:?}");
            for (answer, submission) in reply.replies.iter().zip(&submissions) {
                ensure!(answer.id == submission.id.to_string(), "{reply:?}");
            }
            for place in [0, 2] {
                let Some(command_reply::Result::Accepted(accepted)) = &reply.replies[place].result else {
                    anyhow::bail!("not accepted: {reply:?}");
                };
                ensure!(accepted.repeated_answer == repeated, "{reply:?}");
            }
            let Some(command_reply::Result::Refused(refused)) = &reply.replies[1].result else {
                anyhow::bail!("not refused: {reply:?}");
            };
            ensure!(refused.code == "exists", "{refused:?}");
        }
        // One that can't be read keeps all of its message from being done.
        let mut spoilt = convert::encode_batch(&[one("b3"), one("b4")]);
        spoilt.commands[1].id = "no id".to_owned();
        let reply = send(&alice, spoilt.encode_to_vec()).await?;
        let refused = reply.refused.context("the message was not refused")?;
        ensure!(
            reply.replies.is_empty() && refused.field == "commands[1].id",
            "{refused:?}"
        );
        let names: Vec<_> = vms::list(&alice, 0)
            .await?
            .into_iter()
            .map(|vm| vm.name)
            .collect();
        ensure!(names == ["b1", "b2"], "{names:?}");
        Ok(())
    })
    .await
}

/// How many VMs a large manifest has.
const MANY: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn given_a_manifest_of_100_vms_when_it_is_applied_while_the_leader_dies_then_each_is_created_once()
-> Result<()> {
    Cluster::run(Options::log_only(), async |cluster| {
        let _host = cluster.stand_in().await?;
        let vm = |number| {
            format!(
                "kind: Vm\nname: v{number}\nstart: false\nspec: {{cpu: 1, memory: 20MiB, boot: {{kernel: tiny}}}}\n"
            )
        };
        let manifest = cluster.directory().join("many.yaml");
        std::fs::write(&manifest, (0..MANY).map(vm).collect::<Vec<_>>().join("---\n"))?;
        let manifest = manifest.to_str().context("a path in UTF-8")?.to_owned();
        let apply = ["apply".to_owned(), "-o".to_owned(), "json".to_owned(), "-f".to_owned(), manifest];
        let sent = apply.clone();
        let environment = cluster.environment_of("alice")?;

        // When it is applied, and the leader is killed meanwhile,
        let leader = cluster.wait_for_leader().await?;
        let applying = tokio::spawn(async move { chv_e2e::chv::run(&environment, &sent).await });
        cluster.scheduler(leader).kill()?;
        let applied = applying.await??.done()?.json()?;

        // then every VM was created, under a number of its own,
        let told = applied.as_array().context("a list")?;
        let seqs: std::collections::BTreeSet<_> = told.iter().filter_map(|vm| vm["firstSeq"].as_u64()).collect();
        ensure!(told.len() == MANY && seqs.len() == MANY, "{} told, {} seqs", told.len(), seqs.len());
        // and is there once; applied again, nothing changes.
        let alice = cluster.client("alice").await?;
        let found = vms::list(&alice, *seqs.last().context("a seq")?).await?;
        ensure!(found.len() == MANY, "{} are there", found.len());
        let again = cluster.chv(&apply).await?.done()?.json()?;
        let same = |vm: &serde_json::Value| vm["action"] == "unchanged";
        ensure!(again.as_array().is_some_and(|told| told.len() == MANY && told.iter().all(same)));
        Ok(())
    })
    .await
}
