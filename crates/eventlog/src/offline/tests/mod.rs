//! Data directories that a replica wrote, and what becomes of them when a disk or a person changes them.

mod damage;
pub(crate) mod rig;
mod sound;
