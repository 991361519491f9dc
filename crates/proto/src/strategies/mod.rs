//! Arbitrary domain values for the property tests of this crate.

#![allow(clippy::unwrap_used)] // tests only: a panic is their failure

mod command;
mod event;
mod ids;
mod spec;
mod state;

pub(crate) use command::{submission, vm_ref};
pub(crate) use event::{event, record};
pub(crate) use ids::{id, name};
pub(crate) use spec::{facts, power, spec};
pub(crate) use state::{delta, slice_page, vm};
