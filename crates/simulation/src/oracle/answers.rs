//! What senders were told of their commands, and readers of the state.

use chv_domain::Seq;
use chv_proto::v1;

use super::{Oracle, Violation};
use crate::packet::{Answer, Seen};

impl Oracle {
    /// An answer reached its sender.
    pub(crate) fn answered(&mut self, answer: &Answer) {
        if answer.result.as_ref().is_err_and(|refused| refused.retryable) {
            return;
        }
        self.count.answers += 1;
        let wrong = match &answer.result {
            Ok(accepted) if accepted.last_seq > 0 => self.accepted(answer, accepted),
            _ => self.without_event(answer),
        };
        if let Err(wrong) = wrong {
            self.wrong(format!("command {}: {wrong}", answer.submission.id));
        }
    }

    fn accepted(&mut self, answer: &Answer, accepted: &v1::Accepted) -> Result<(), Violation> {
        let id = answer.submission.id;
        let (first, last) = (Seq(accepted.first_seq), Seq(accepted.last_seq));
        self.count.repeats += u64::from(accepted.repeated_answer);
        let Some(done) = self.done.get(&id) else {
            return Err(format!("acknowledged as {first} to {last}, and not in the log"));
        };
        if (done.first, done.last) != (first, last) {
            return Err(format!(
                "acknowledged as {first}, and in the log as {}",
                done.first
            ));
        }
        let Some(sent) = self.sent.get(&id) else {
            return Err("nobody sent it".to_owned());
        };
        if first <= sent.floor {
            return Err(format!(
                "recorded as {first}, before it was sent at {}",
                sent.floor
            ));
        }
        if !sent.without_event.is_empty() {
            self.count.decided_anew += 1;
        }
        if let Some(office) = self.proposed.get(&done.entry)
            && let Some(answer) = sent.without_event.get(office)
        {
            return Err(format!("one leader answered {answer:?} and did it"));
        }
        self.acknowledged = self.acknowledged.max(last);
        Ok(())
    }

    fn without_event(&mut self, answer: &Answer) -> Result<(), Violation> {
        let id = answer.submission.id;
        let words = match &answer.result {
            Ok(_) => "unchanged".to_owned(),
            Err(refused) => refused.code.clone(),
        };
        let Some(on) = &answer.on else {
            return Err("a final answer without a decision".to_owned());
        };
        let Some(sent) = self.sent.get_mut(&id) else {
            return Err("nobody sent it".to_owned());
        };
        let floor = sent.floor;
        let first = sent.without_event.entry(answer.office).or_insert(words.clone());
        if *first != words {
            return Err(format!("one leader answered {first:?} and then {words:?}"));
        }
        // When a command was done too long ago to be known, its retry is refused for that.
        if let Some(done) = self.done.get(&id)
            && done.first <= on.seq
            && words != "clock"
        {
            return Err(format!(
                "answered {words:?}, though it was done as {}",
                done.first
            ));
        }
        self.read(floor, on);
        Ok(())
    }

    /// Somebody was told of a state, who may rely on its being at least `floor`.
    pub(crate) fn read(&mut self, floor: Seq, seen: &Seen) {
        self.count.reads += 1;
        if seen.seq < floor {
            self.wrong(format!(
                "event {floor} was known, and a later answer knows only {}",
                seen.seq
            ));
        }
        if self.hashes.get(&seen.seq) != Some(&seen.hash) {
            self.wrong(format!(
                "an answer is about a state at {} that never was committed",
                seen.seq
            ));
        }
    }
}
