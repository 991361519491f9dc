//! Every wrong field is refused, and named by its path.

mod commands;
mod envelopes;
mod events;
mod queries;

use chv_domain::Submission;
use prost::Message as _;

use crate::convert::{DecodeError, decode_envelope};
use crate::v1;
use crate::v1::command_envelope::Command as Wire;

const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

fn spec() -> v1::VmSpec {
    v1::VmSpec {
        cpu: Some(v1::Cpu {
            vcpus: 1,
            ..v1::Cpu::default()
        }),
        memory: Some(v1::Memory {
            size_mib: 128,
            ..v1::Memory::default()
        }),
        boot: Some(v1::Boot {
            kernel: "k".into(),
            ..v1::Boot::default()
        }),
        ..v1::VmSpec::default()
    }
}

fn create(spec: v1::VmSpec) -> Wire {
    Wire::CreateVm(v1::CreateVm {
        project: "default".into(),
        name: "web".into(),
        spec: Some(spec),
        ..v1::CreateVm::default()
    })
}

fn envelope(command: Wire) -> v1::CommandEnvelope {
    v1::CommandEnvelope {
        version: 1,
        id: ID.into(),
        command: Some(command),
        ..v1::CommandEnvelope::default()
    }
}

fn decode(envelope: &v1::CommandEnvelope, verb: &str) -> Result<Submission, DecodeError> {
    decode_envelope(&envelope.encode_to_vec(), "alice".parse().unwrap(), verb, None)
}
