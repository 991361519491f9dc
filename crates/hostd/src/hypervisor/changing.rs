//! What is made of a machine while it runs, as its hypervisor is asked to.

use std::path::Path;

use chv_domain::VmSpec;

use crate::plan::Change;

/// A change of a machine that runs. Making it once more, when it is made already, changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Changing<'a> {
    /// What is changed.
    pub change: &'a Change,
    /// What the machine was started as.
    pub started: &'a VmSpec,
    /// What it is afterwards.
    pub is: &'a VmSpec,
    /// The image file of a disk that it is given.
    pub disk: Option<&'a Path>,
}
