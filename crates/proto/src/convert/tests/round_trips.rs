//! What is sent arrives as it was, and what arrives never breaks the one who reads it.

use chv_domain::*;
use proptest::prelude::*;
use prost::Message;

use crate::convert::*;
use crate::strategies;
use crate::v1;

/// Through bytes, as on the wire.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

/// Changes and cuts some bytes, as an attacker or a bad cable would.
fn damaged(mut bytes: Vec<u8>, hits: &[(prop::sample::Index, u8)], cut: prop::sample::Index) -> Vec<u8> {
    for (at, value) in hits {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
    }
    let keep = cut.index(bytes.len() + 1);
    bytes.truncate(keep);
    bytes
}

/// Reads bytes as everything that a process reads.
fn read_as_everything(bytes: &[u8]) {
    let actor: Actor = "alice".parse().unwrap();
    for verb in Verb::ALL {
        let _ = decode_envelope(bytes, actor.clone(), verb.as_str(), None);
    }
    let _ = decode_query(bytes, "vm.get");
    let _ = v1::EventMessage::decode(bytes).map(event_from_wire);
    let _ = v1::FeedDelta::decode(bytes).map(delta_from_wire);
    let _ = v1::HostSlice::decode(bytes).map(slice_from_wire);
    let _ = v1::VmSpec::decode(bytes).map(spec_from_wire);
    let _ = v1::Power::decode(bytes).map(power_from_wire);
    let _ = v1::HostFacts::decode(bytes).map(facts_from_wire);
    let _ = v1::VmRef::decode(bytes).map(|vm| vm_ref_from_wire(Some(vm), "vm"));
}

proptest! {
    #[test]
    fn a_spec_arrives_as_it_was(spec in strategies::spec()) {
        prop_assert_eq!(spec_from_wire(sent(&spec_to_wire(&spec))), Ok(spec));
    }

    #[test]
    fn a_power_arrives_as_it_was(power in strategies::power()) {
        prop_assert_eq!(power_from_wire(sent(&power_to_wire(power))), Ok(power));
    }

    #[test]
    fn a_vms_name_arrives_as_it_was(vm in strategies::vm_ref()) {
        prop_assert_eq!(vm_ref_from_wire(Some(sent(&vm_ref_to_wire(&vm))), "vm"), Ok(vm));
    }

    #[test]
    fn facts_arrive_as_they_were(facts in strategies::facts()) {
        prop_assert_eq!(facts_from_wire(sent(&facts_to_wire(&facts))), Ok(facts));
    }

    #[test]
    fn a_submission_arrives_as_it_was(submission in strategies::submission()) {
        let bytes = encode_submission(&submission).encode_to_vec();
        let verb = submission.command.verb();
        let decoded = decode_envelope(&bytes, submission.actor.clone(), verb.as_str(), None);
        prop_assert_eq!(decoded, Ok(submission));
    }

    #[test]
    fn a_submission_on_another_verbs_subject_is_refused(
        submission in strategies::submission(), verb in prop::sample::select(Verb::ALL.to_vec())
    ) {
        prop_assume!(verb != submission.command.verb());
        let bytes = encode_submission(&submission).encode_to_vec();
        let error = decode_envelope(&bytes, submission.actor.clone(), verb.as_str(), None).unwrap_err();
        prop_assert_eq!(error.code, "subject_mismatch");
        prop_assert_eq!(error.id, Some(submission.id));
    }

    #[test]
    fn every_event_of_a_record_arrives_as_it_was(record in strategies::record()) {
        for (index, (seq, event)) in record.numbered().enumerate() {
            let entry = event_from_wire(sent(&event_to_wire(&record, index, &Projection::default()))).unwrap();
            prop_assert_eq!(entry.seq, seq);
            prop_assert_eq!(&entry.event, event);
            prop_assert_eq!(entry.time, record.time);
            prop_assert_eq!(&entry.actor, &record.actor);
            prop_assert_eq!(entry.cause, record.cause);
            prop_assert_eq!(entry.trace, record.trace);
            prop_assert_eq!(entry.term, record.term);
            prop_assert_eq!(entry.prev, record.prev);
            prop_assert_eq!(entry.record_first, record.first);
            prop_assert_eq!(entry.record_len as usize, record.events.len());
        }
    }

    #[test]
    fn an_event_put_together_of_encoded_parts_is_the_message_that_it_stands_for(record in strategies::record()) {
        let (names, encoded) = (Projection::default(), EncodedEvents::of(&record));
        for (index, (seq, _)) in record.numbered().enumerate() {
            let event = encoded.get(index, || &names).unwrap();
            prop_assert_eq!(event.seq, seq);
            let expected = event_to_wire(&record, index, &names);
            // No field is there twice, and none that is not known: decoding would pass over those.
            prop_assert_eq!(event.message.len(), expected.encoded_len());
            prop_assert_eq!(v1::EventMessage::decode(event.message).unwrap(), expected);
        }
        prop_assert_eq!(encoded.get(record.events.len(), || &names), None);
    }

    #[test]
    fn a_slice_arrives_as_it_was(page in strategies::slice_page()) {
        prop_assert_eq!(slice_from_wire(sent(&slice_to_wire(&page))), Ok(page));
    }

    #[test]
    fn a_feeds_change_arrives_as_it_was(delta in strategies::delta()) {
        let encoded = encode_delta(&delta);
        prop_assert_eq!(encoded.len(), delta_to_wire(&delta).encoded_len());
        prop_assert_eq!(v1::FeedDelta::decode(&encoded[..]), Ok(delta_to_wire(&delta)));
        prop_assert_eq!(delta_from_wire(sent(&delta_to_wire(&delta))), Ok(delta));
    }

    #[test]
    fn a_vm_is_shown_with_all_that_is_known(vm in strategies::vm(), host in strategies::name::<HostName>()) {
        let wire = vm_to_wire(&vm, Some(&host));
        prop_assert_eq!(wire.id.parse(), Ok(vm.id));
        prop_assert_eq!(spec_from_wire(wire.spec.unwrap()), Ok(vm.spec.as_ref().clone()));
        prop_assert_eq!(power_from_wire(wire.power.unwrap()), Ok(vm.power));
        prop_assert_eq!(wire.host.is_empty(), vm.placement.is_none());
        prop_assert_eq!(wire.running_since_us != 0, vm.is_running());
        prop_assert_eq!(wire.trouble.is_empty(), vm.trouble.is_none());
        prop_assert_eq!(wire.exit.is_empty(), !matches!(vm.phase, Phase::Stopped { .. }));
        prop_assert_eq!(wire.status, vm.status().as_str());
    }

    #[test]
    fn random_bytes_are_read_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn damaged_messages_are_read_or_refused_without_a_panic(
        submission in strategies::submission(),
        record in strategies::record(),
        delta in strategies::delta(),
        hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
    ) {
        read_as_everything(&damaged(encode_submission(&submission).encode_to_vec(), &hits, cut));
        let event = event_to_wire(&record, 0, &Projection::default());
        read_as_everything(&damaged(event.encode_to_vec(), &hits, cut));
        read_as_everything(&damaged(delta_to_wire(&delta).encode_to_vec(), &hits, cut));
    }
}

#[test]
fn given_a_trace_in_the_header_when_the_envelope_has_none_then_it_counts() {
    let header = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01";
    let envelope = v1::CommandEnvelope {
        version: 1,
        id: CommandId::from_bytes([1; 16]).to_string(),
        command: Some(v1::command_envelope::Command::CordonHost(v1::CordonHost {
            host: "h1".into(),
        })),
        ..v1::CommandEnvelope::default()
    };
    let bytes = envelope.encode_to_vec();
    let actor: Actor = "alice".parse().unwrap();
    let decoded = |header| decode_envelope(&bytes, actor.clone(), "host.cordon", header).unwrap();
    assert_eq!(decoded(Some(header)).trace, header.parse().ok());
    // Headers are anybody's to add on the way: an unreadable one is no reason to refuse a command.
    assert_eq!(decoded(Some("junk")).trace, None);
}

#[test]
fn given_a_deadline_at_the_epoch_then_it_is_not_taken_for_none() {
    let submission = Submission {
        deadline: Some(Timestamp(0)),
        ..Submission::new(
            CommandId::from_bytes([1; 16]),
            "alice".parse().unwrap(),
            Command::CordonHost {
                host: "h1".parse().unwrap(),
            },
        )
    };
    assert_ne!(encode_submission(&submission).deadline_us, 0);
}

#[test]
fn given_an_event_about_a_known_host_then_it_carries_the_hosts_name() {
    // Given a state that a registration folded to.
    let (id, name): (HostId, HostName) = (HostId::from_bytes([7; 16]), "h1".parse().unwrap());
    let registration = Event::HostRegistered {
        host: id,
        name,
        facts: HostFacts {
            capacity: Capacity::default(),
            hypervisors: vec![],
            daemon: String::new(),
            missing: Vec::new(),
        },
    };
    let record = Record::new(RecordBody {
        first: Seq(1),
        term: Term(1),
        time: Timestamp(1),
        actor: "host/h1".parse().unwrap(),
        cause: Cause {
            command: CommandId::from_bytes([1; 16]),
            verb: Verb::HostRegister,
            follows: None,
        },
        trace: None,
        prev: RecordHash::ZERO,
        events: vec![registration],
    });
    let mut state = Projection::default();
    let batch = Batch {
        published: Seq::ZERO,
        records: vec![record.clone()],
    };
    assert_eq!(
        state.apply_batch(Term(1), &batch),
        BatchOutcome::Applied { last: Seq(1) }
    );
    // When a later event is about it, then its name is the state's.
    let record = Record::new(RecordBody {
        events: vec![Event::HostCordoned { host: id }],
        ..(*record).clone()
    });
    let entry = event_from_wire(event_to_wire(&record, 0, &state)).unwrap();
    assert_eq!(entry.name.as_deref(), Some("h1"));
    assert_eq!(entry.project, None);
    // And without that state it is not known.
    let entry = event_from_wire(event_to_wire(&record, 0, &Projection::default())).unwrap();
    assert_eq!(entry.name, None);
}
