//! The messages of the package `chronovisor.v1`, generated from `proto/chronovisor/v1`. What a field
//! means is said there, and in the documentation generated from it; nothing is written by hand here.

#![allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/chronovisor.v1.rs"));
