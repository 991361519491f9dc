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
