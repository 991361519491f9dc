//! What the broker and its subscribers had of the log.

use chv_domain::Seq;
use chv_proto::v1;

use super::Oracle;

impl Oracle {
    /// A leader believes that every event up to here reached the broker.
    pub(crate) fn published(&mut self, upto: Seq) {
        if upto > self.broker_upto {
            let lacking = self.broker_upto.next();
            self.wrong(format!(
                "event {lacking} never reached the broker, and {upto} counts as published"
            ));
        }
    }

    /// The broker has an event.
    pub(crate) fn broker_has(&mut self, message: &v1::EventMessage) {
        self.delivered(message);
        self.broker.insert(Seq(message.seq));
        while self.broker.remove(&self.broker_upto.next()) {
            self.broker_upto = self.broker_upto.next();
        }
    }

    /// The first event that the broker never had.
    pub(crate) fn unpublished(&self) -> Option<Seq> {
        (self.broker_upto < self.state().seq()).then(|| self.broker_upto.next())
    }

    /// Somebody was shown an event.
    pub(crate) fn delivered(&mut self, message: &v1::EventMessage) {
        let seq = Seq(message.seq);
        let record = self.records.range(..=seq).next_back().map(|(_, record)| record);
        let same = record.is_some_and(|record| {
            let event = record.numbered().find(|(number, _)| *number == seq);
            event.is_some_and(|(_, event)| event.kind() == message.kind)
                && record.term.0 == message.term
                && record.time.0 == message.time_us
                && record.cause.command.to_string() == message.command
        });
        if !same {
            self.wrong(format!("event {seq} was shown as it is not in the log"));
        }
    }
}
