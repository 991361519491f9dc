//! Manifests: what a file says that should exist. Reads and checks them all before anything is sent; it
//! never asks the cluster.

mod document;
mod problem;
mod source;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chv_domain::{ProjectName, VmName};

pub(crate) use document::VmManifest;
pub(crate) use problem::{Place, Problem, Problems};
pub(crate) use source::{Source, open};

/// Reads every document of every source. Manifests without a project of their own get `project`.
///
/// Either every document is good, or all that is wrong is told: at most one problem a document, as a reader
/// can't tell what the rest of a broken one meant.
pub(crate) fn read(sources: &[Source], project: &ProjectName) -> Result<Vec<VmManifest>, Problems> {
    let mut manifests = Vec::new();
    let mut problems = Vec::new();
    for source in sources {
        let before = manifests.len() + problems.len();
        document::read(source, project, &mut manifests, &mut problems);
        if manifests.len() + problems.len() == before {
            problems.push(Problem::empty(source));
        }
    }
    refuse_twins(&manifests, &mut problems);
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(Problems(problems))
    }
}

fn refuse_twins(manifests: &[VmManifest], problems: &mut Vec<Problem>) {
    let mut first: BTreeMap<(&ProjectName, &VmName), &Place> = BTreeMap::new();
    for manifest in manifests {
        let key = (&manifest.project, &manifest.name);
        if let Some(place) = first.get(&key) {
            problems.push(Problem::twin(manifest, place));
        } else {
            first.insert(key, &manifest.place);
        }
    }
}
