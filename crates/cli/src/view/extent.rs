//! Which events there are, told where that is not what was asked for.

use chv_proto::v1;

/// The events that the answering replica has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    oldest: u64,
    last: u64,
    /// The replica, unless it made sure that it leads: another one may know of more.
    replica: Option<u64>,
}

impl Extent {
    /// As an answer says.
    pub(crate) fn new(page: &v1::EventPage, as_leader: bool, replica: u64) -> Self {
        Self {
            oldest: page.oldest_seq,
            last: page.last_seq,
            replica: (!as_leader).then_some(replica),
        }
    }

    /// Whether this event is beyond the end.
    pub(crate) fn ends_before(&self, seq: u64) -> bool {
        seq > self.last
    }

    /// To who asked for what is beyond the end.
    pub(crate) fn end(&self) -> String {
        format!("the log ends at event {}{}", self.last, self.source())
    }

    /// To who follows from an event that is beyond the end.
    pub(crate) fn awaited(&self, seq: u64) -> String {
        format!("{}; waiting for event {seq}", self.end())
    }

    /// To who asked for what no event is.
    pub(crate) fn instead(&self) -> String {
        let Self { oldest, last, .. } = self;
        match last >= oldest {
            true => format!("no such events; the log has {oldest} to {last}{}", self.source()),
            false => format!("the log has no events{}", self.source()),
        }
    }

    fn source(&self) -> String {
        self.replica.map_or_else(String::new, |replica| {
            format!(", as far as replica {replica} knows")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_log_without_events_then_it_is_not_said_to_have_some() {
        let page = v1::EventPage {
            oldest_seq: 1,
            ..v1::EventPage::default()
        };
        let empty = Extent::new(&page, true, 1);
        assert_eq!(empty.instead(), "the log has no events");
        assert!(empty.ends_before(1));
        let behind = Extent::new(&page, false, 2);
        assert_eq!(
            behind.awaited(7),
            "the log ends at event 0, as far as replica 2 knows; waiting for event 7"
        );
        assert_eq!(
            behind.instead(),
            "the log has no events, as far as replica 2 knows"
        );
    }
}
