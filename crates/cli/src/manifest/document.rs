//! The shape of one document, and the reading of a text's documents.

use std::collections::BTreeMap;

use chv_domain::spec::Part;
use chv_domain::{ProjectName, VmName, VmSpec};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::problem::{Place, Problem};
use super::source::Source;

/// A VM as a manifest asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VmManifest {
    /// The project it belongs to.
    pub project: ProjectName,
    /// Its name.
    pub name: VmName,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, where they are said.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Whether it can't be deleted, where that is said.
    pub protected: Option<bool>,
    /// Whether it should run when it is created.
    pub start: bool,
    /// What it is.
    pub spec: VmSpec,
    /// Where its name is written.
    pub place: Place,
}

/// What a document is about.
#[derive(Debug, Deserialize)]
enum Kind {
    /// A virtual machine.
    Vm,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    kind: Kind,
    name: Spanned<VmName>,
    #[serde(default)]
    project: Option<ProjectName>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    protected: Option<bool>,
    #[serde(default = "yes")]
    start: bool,
    spec: VmSpec,
}

const fn yes() -> bool {
    true
}

/// Reads the documents of `source`. After a document that does not fit, reading goes on with the next one;
/// after one that is no YAML, it ends.
pub(super) fn read(
    source: &Source,
    project: &ProjectName,
    manifests: &mut Vec<VmManifest>,
    problems: &mut Vec<Problem>,
) {
    let mut bytes = source.text.as_bytes();
    for document in serde_saphyr::read::<_, Document>(&mut bytes) {
        match document {
            Ok(document) => {
                let manifest = document.into_manifest(source, project);
                match manifest.spec.fault() {
                    None => manifests.push(manifest),
                    Some(fault) => problems.push(Problem::fault(&manifest, &fault)),
                }
            }
            Err(error) => problems.push(Problem::of(source, &error)),
        }
    }
}

impl Document {
    fn into_manifest(self, source: &Source, project: &ProjectName) -> VmManifest {
        let Kind::Vm = self.kind;
        VmManifest {
            project: self.project.unwrap_or_else(|| project.clone()),
            place: Place::at(source, self.name.referenced),
            name: self.name.value,
            labels: self.labels,
            annotations: self.annotations,
            protected: self.protected,
            start: self.start,
            spec: self.spec,
        }
    }
}
