//! The rules, held against properties over random histories and against single given-when-then cases.

#![allow(clippy::unwrap_used, unreachable_pub)] // a test binary: a panic is its failure

mod cases;
mod failover;
mod history;
mod properties;
mod replicas;
mod retention;
