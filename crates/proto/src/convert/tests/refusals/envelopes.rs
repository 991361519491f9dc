//! What is around a command.

use prost::Message as _;

use super::{ID, create, decode, envelope, spec};
use crate::convert::decode_envelope;
use crate::v1;

#[test]
fn an_envelope_of_another_version_is_refused_before_it_is_looked_into() {
    for version in [0, 2, u32::MAX] {
        let envelope = v1::CommandEnvelope {
            version,
            command: None,
            ..envelope(create(spec()))
        };
        let error = decode(&envelope, "vm.create").unwrap_err();
        assert_eq!((error.code, error.id), ("unsupported_version", ID.parse().ok()));
    }
}

#[test]
fn an_envelope_without_a_command_or_a_readable_id_is_refused() {
    let without = v1::CommandEnvelope {
        command: None,
        ..envelope(create(spec()))
    };
    let error = decode(&without, "vm.create").unwrap_err();
    assert_eq!((error.code, error.field.as_str()), ("invalid", "command"));
    let nameless = v1::CommandEnvelope {
        id: "1".into(),
        ..envelope(create(spec()))
    };
    let error = decode(&nameless, "vm.create").unwrap_err();
    assert_eq!(
        (error.code, error.field.as_str(), error.id),
        ("invalid", "id", None)
    );
}

#[test]
fn a_truncated_envelope_is_malformed() {
    let bytes = envelope(create(spec())).encode_to_vec();
    let error = decode_envelope(
        &bytes[..bytes.len() - 1],
        "alice".parse().unwrap(),
        "vm.create",
        None,
    );
    assert_eq!(error.unwrap_err().code, "malformed");
}

#[test]
fn a_verb_that_is_not_known_is_a_mismatch_not_a_panic() {
    let error = decode(&envelope(create(spec())), "vm.explode").unwrap_err();
    assert_eq!(error.code, "subject_mismatch");
    assert!(error.message.contains("vm.explode") && error.message.contains("vm.create"));
}

#[test]
fn an_unreadable_trace_in_the_envelope_is_refused() {
    let envelope = v1::CommandEnvelope {
        traceparent: "junk".into(),
        ..envelope(create(spec()))
    };
    assert_eq!(decode(&envelope, "vm.create").unwrap_err().field, "traceparent");
}
