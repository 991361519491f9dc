//! The rules, held against properties over random histories and against single given-when-then cases.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test binary: a panic is its failure

mod bin;
mod clock_and_ids;
mod failover;
mod history;
mod hosts;
mod properties;
mod replicas;
mod retention;
mod states;
mod vm_change;
mod vm_life;
