//! Data directories that a replica wrote, and what becomes of them when a disk or a person changes them.

mod damage;
mod rig;
mod sound;
