//! The real `chv` over a real nats-server, against a cluster that the tests play with the domain's own rules.

#![allow(clippy::unwrap_used)]

mod apply;
mod change;
mod console;
mod fake;
mod nats;
mod read;
mod rig;
mod unreachable;
mod watch;
