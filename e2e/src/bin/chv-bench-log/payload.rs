//! What every system is sent: the same create-VM command, of the same size. A new one differs from the last only in its id
//! and its VM's name, so that making one costs the clients next to nothing.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use chv_domain::spec::Cmdline;
use chv_domain::{Command, UserName};
use chv_e2e::vms;
use chv_proto::client::new_command_id;
use chv_proto::convert::encode_submission;
use prost::Message as _;

/// How large a message is, in bytes.
pub(crate) const SIZE: usize = 300;

/// Who sends.
pub(crate) const USER: &str = "alice";

/// A `CommandBatch` begins with its version; its commands follow, as they are in messages of their own.
const VERSION_1: [u8; 2] = [0x08, 1];
const COMMANDS_FIELD: u32 = 2;

/// What stands in the template where each message has a name of its own.
const NAME: &str = "vm-00-0000000000";

/// Makes messages.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    template: Vec<u8>,
    id_at: usize,
    name_at: usize,
    plan: u32,
    next: u64,
}

impl Payloads {
    /// Those of this plan and sender; a sender has a thousand million of them.
    pub(crate) fn new(plan: u32, sender: u32) -> Result<Self> {
        ensure!(plan < 100 && sender < 10, "the numbers have too many digits");
        let short = envelope(0)?.0.len();
        let missing = SIZE.checked_sub(short).context("the command is too large")?;
        // A text of 1 to 127 bytes costs a tag and a length besides, and so may each message around it.
        let found = (0..=missing).rev().map(envelope).find_map(|made| match made {
            Ok((template, id)) if template.len() == SIZE => Some((template, id)),
            _ => None,
        });
        let (template, id) = found.context("no command line makes the command as large as wanted")?;
        Ok(Self {
            id_at: position(&template, &id)?,
            name_at: position(&template, NAME)?,
            template,
            plan,
            next: u64::from(sender) * 1_000_000_000,
        })
    }

    /// The next message, and the name in it.
    pub(crate) fn next(&mut self) -> (Bytes, String) {
        let name = format!("vm-{:02}-{:010}", self.plan, self.next);
        self.next += 1;
        let mut message = self.template.clone();
        put(&mut message, self.id_at, &new_command_id().to_string());
        put(&mut message, self.name_at, &name);
        (message.into(), name)
    }

    /// The next message with so many commands, each like a single one.
    pub(crate) fn next_batch(&mut self, commands: u32) -> Bytes {
        let mut message = VERSION_1.to_vec();
        for _ in 0..commands {
            prost::encoding::bytes::encode(COMMANDS_FIELD, &self.next().0, &mut message);
        }
        message.into()
    }
}

fn put(message: &mut [u8], at: usize, text: &str) {
    message[at..at + text.len()].copy_from_slice(text.as_bytes());
}

fn position(message: &[u8], text: &str) -> Result<usize> {
    let found = message
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    found.with_context(|| format!("{text} is not in the message"))
}

/// A command whose kernel is given a command line of this length; and its id.
fn envelope(cmdline: usize) -> Result<(Vec<u8>, String)> {
    let mut spec = vms::tiny();
    spec.boot.cmdline = Cmdline::try_from("x".repeat(cmdline)).context("a command line")?;
    let user: UserName = USER.parse().context("a user's name")?;
    let command: Command = vms::create(NAME, spec, true);
    let id = new_command_id();
    let submission = vms::submission(&user, id, command);
    Ok((encode_submission(&submission).encode_to_vec(), id.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use chv_domain::Actor;
    use chv_proto::convert::{decode_batch, decode_envelope};

    #[test]
    fn given_a_plan_then_its_messages_are_valid_commands_of_the_one_size_and_all_differ() {
        let mut payloads = Payloads::new(7, 3).unwrap();
        let actor = Actor::User(USER.parse().unwrap());
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            let (message, name) = payloads.next();
            assert_eq!(message.len(), SIZE);
            let submission = decode_envelope(&message, actor.clone(), "vm.create", None).unwrap();
            let Command::CreateVm { name: found, .. } = submission.command else {
                panic!("another command");
            };
            assert_eq!(found.to_string(), name);
            assert!(seen.insert((submission.id, name)));
        }
        let batch = decode_batch(&payloads.next_batch(16), &actor, "vm.create", None).unwrap();
        assert!(batch.len() == 16 && batch.iter().all(|one| seen.iter().all(|(id, _)| *id != one.id)));
    }
}
