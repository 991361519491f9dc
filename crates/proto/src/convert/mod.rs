//! The only conversions between what is sent and the domain's types, one file a noun.
//!
//! From domain to wire never fails. From wire to domain checks everything, never panics whatever the
//! bytes are, and says which field is wrong by its path, such as `create_vm.spec.vcpus`.

mod cluster;
mod command;
mod encoded;
mod error;
mod event;
mod event_kind;
mod fields;
mod host;
mod observation;
mod placement;
mod query;
mod retention;
mod spec;
mod vm;

pub use command::{MAX_COMMANDS, decode_batch, decode_envelope, encode_batch, encode_submission};
pub use encoded::{EncodedEvent, EncodedEvents, encode_delta};
pub use error::{DecodeError, WireError, refused, refused_decode, refused_wire};
pub use event::{EventEntry, event_from_wire, event_to_wire};
pub use host::{
    FeedDelta, SlicePage, check_version, delta_from_wire, delta_to_wire, desired_from_wire, desired_to_wire,
    facts_from_wire, facts_to_wire, host_to_wire, slice_from_wire, slice_to_wire,
};
pub use observation::fields_from_wire;
pub use query::{Asked, At, decode_query, encode_query};
pub use retention::{forgotten_from_wire, forgotten_to_wire, retention_from_wire, retention_to_wire};
pub use spec::{spec_from_wire, spec_to_wire};
pub use vm::{power_from_wire, power_to_wire, vm_ref_from_wire, vm_ref_to_wire, vm_to_wire};

/// The version of every envelope and reply that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
