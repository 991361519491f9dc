//! What crosses a process boundary: the messages ([`v1`]), the NATS subjects that they go on
//! ([`subject`]), the only conversions between them and the domain's types ([`convert`]), and one client
//! for commands, queries, consoles and following events ([`client`]).
//!
//! Nothing is decided here. What comes from the network is checked once, in [`convert`]; behind it there
//! are domain values only, and a domain value is valid.

pub mod client;
pub mod convert;
pub mod subject;
pub mod v1;

#[cfg(test)]
mod strategies;
