//! Power loss: what was acknowledged before the power failed is there when the replicas come back from their disks.
//!
//! The replicas' directories are on disks that lose what was not flushed: see `chv_e2e`'s faults/disks.rs for why a
//! copy of them is a fair power cut, and [`disks`] for the proof that they lose it. That needs root and loop devices.
//! The same in machines of QEMU's, whose kernel and disks forget what was not flushed: see `chv_e2e`'s machines.rs. And with
//! disks that lose what they were sent from a moment on: [`losing`].

mod cluster;
mod disks;
mod losing;
mod machines;
