//! The `chv` command line: asks the cluster for what a person wants, and shows what came of it.

pub mod exit;
pub mod failure;
pub mod manifest;
pub mod output;
