//! Ids, names, numbers and times.

use std::net::SocketAddr;

use chv_domain::*;
use proptest::prelude::*;

/// A DNS label as any of the name types.
pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>() -> impl Strategy<Value = T>
{
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
}

/// An id of any kind.
pub(crate) fn id<T: std::fmt::Debug>(from: fn([u8; 16]) -> T) -> impl Strategy<Value = T> {
    any::<[u8; 16]>().prop_map(from)
}

pub(super) fn vm_id() -> impl Strategy<Value = VmId> {
    id(VmId::from_bytes)
}

pub(super) fn host_id() -> impl Strategy<Value = HostId> {
    id(HostId::from_bytes)
}

pub(super) fn command_id() -> impl Strategy<Value = CommandId> {
    id(CommandId::from_bytes)
}

pub(super) fn replica() -> impl Strategy<Value = ReplicaId> {
    (1..=u64::MAX).prop_map(|number| ReplicaId::new(number).unwrap())
}

pub(super) fn address() -> impl Strategy<Value = SocketAddr> {
    // IPv6 scopes and flow labels are no part of an address's text.
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

pub(super) fn directory() -> impl Strategy<Value = DirectoryId> {
    any::<[u8; 16]>().prop_map(DirectoryId::from_bytes)
}

pub(super) fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

/// A number that stands for an event: zero is none on the wire.
pub(super) fn some_seq() -> impl Strategy<Value = Seq> {
    (1..=u64::MAX).prop_map(Seq)
}

pub(super) fn epoch() -> impl Strategy<Value = Epoch> {
    seq().prop_map(Epoch)
}

pub(super) fn time() -> impl Strategy<Value = Timestamp> {
    (1..=u64::MAX).prop_map(Timestamp)
}

pub(super) fn trace() -> impl Strategy<Value = TraceContext> {
    (1..=u128::MAX, 1..=u64::MAX, any::<bool>()).prop_map(|(trace, span, sampled)| TraceContext {
        trace_id: trace.to_be_bytes(),
        span_id: span.to_be_bytes(),
        sampled,
    })
}

pub(super) fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        name().prop_map(Actor::User),
        name().prop_map(Actor::Host),
        replica().prop_map(Actor::Replica)
    ]
}
