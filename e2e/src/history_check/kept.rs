//! Acknowledged means kept: the events that an answer named are in the trail, under the numbers that it named.

use chv_domain::CommandId;
use chv_proto::v1;

use crate::faults::Acknowledged;

/// An acknowledged command that is not in the trail as it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "command {command} was acknowledged as events {first} to {last}, and the trail of {length} events has {found} there"
)]
pub struct Lost {
    /// The command.
    pub command: CommandId,
    /// Its first event, by its answer.
    pub first: u64,
    /// Its last event, by its answer.
    pub last: u64,
    /// How long the trail is.
    pub length: usize,
    /// What is there instead.
    pub found: String,
}

/// Checks that all of `acknowledged` is in `trail`, which begins with event 1.
///
/// # Errors
/// Names the first that is not.
pub fn all_kept(acknowledged: &[Acknowledged], trail: &[v1::EventMessage]) -> Result<(), Lost> {
    acknowledged.iter().try_for_each(|answer| {
        let own = answer.command.to_string();
        for seq in answer.first..=answer.last {
            let event = seq
                .checked_sub(1)
                .and_then(|at| trail.get(usize::try_from(at).ok()?));
            let found = match event {
                Some(event) if event.seq == seq && event.command == own => continue,
                Some(event) => format!("event {} of command {}", event.seq, event.command),
                None => "nothing".to_owned(),
            };
            return Err(Lost {
                command: answer.command,
                first: answer.first,
                last: answer.last,
                length: trail.len(),
                found,
            });
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> CommandId {
        CommandId::from_bytes([number; 16])
    }

    fn event(seq: u64, command: u8) -> v1::EventMessage {
        v1::EventMessage {
            seq,
            command: id(command).to_string(),
            ..v1::EventMessage::default()
        }
    }

    fn answer(command: u8, first: u64, last: u64) -> Acknowledged {
        let command = id(command);
        Acknowledged { command, first, last }
    }

    #[test]
    fn what_is_there_under_its_numbers_is_kept_and_anything_else_is_lost() {
        let trail = [event(1, 1), event(2, 2), event(3, 2)];
        assert_eq!(all_kept(&[answer(2, 2, 3), answer(1, 1, 1)], &trail), Ok(()));
        // beyond the end, of another command, without a number, and with a hole before it
        assert!(all_kept(&[answer(3, 4, 4)], &trail).is_err());
        assert!(all_kept(&[answer(1, 1, 2)], &trail).is_err());
        assert!(all_kept(&[answer(1, 0, 0)], &trail).is_err());
        assert!(all_kept(&[answer(2, 3, 3)], &[event(1, 1), event(3, 2), event(4, 2)]).is_err());
    }
}
