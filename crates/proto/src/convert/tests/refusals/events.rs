//! Published events.

use chv_domain::*;

use super::ID;
use crate::convert::{event_from_wire, event_to_wire};
use crate::v1;

#[test]
fn a_wrong_event_is_refused_with_its_field() {
    let record = Record::new(RecordBody {
        first: Seq(1),
        term: Term(1),
        time: Timestamp(1),
        actor: "alice".parse().unwrap(),
        cause: Cause {
            command: ID.parse().unwrap(),
            verb: Verb::VmStart,
            follows: None,
        },
        trace: None,
        prev: RecordHash::ZERO,
        events: vec![Event::VmStartRequested {
            vm: VmId::from_bytes([1; 16]),
        }],
    });
    let good = || event_to_wire(&record, 0, &Projection::default());
    assert!(event_from_wire(good()).is_ok());
    type Break = fn(&mut v1::EventMessage);
    let refusals: [(Break, &str); 9] = [
        (|event| event.version = 2, "version"),
        (|event| event.kind = "stopped".into(), "kind"),
        (|event| event.verb = "vm.explode".into(), "verb"),
        (|event| event.actor = "host/".into(), "actor"),
        (|event| event.command = String::new(), "command"),
        (|event| event.prev_hash = vec![0; 31], "prev_hash"),
        (|event| event.project = "a.b".into(), "project"),
        (|event| event.event = None, "event"),
        (
            |event| {
                event.event = Some(v1::event_message::Event::VmStartRequested(
                    v1::VmStartRequested::default(),
                ));
            },
            "vm_start_requested.vm",
        ),
    ];
    for (break_it, field) in refusals {
        let mut event = good();
        break_it(&mut event);
        assert_eq!(event_from_wire(event).unwrap_err().field, field);
    }
    // An index that the record does not have.
    let beyond = event_to_wire(&record, 1, &Projection::default());
    assert_eq!(event_from_wire(beyond).unwrap_err().field, "event");
}
