//! What has to be changed of a VM so that it is what a manifest says. Pure.

use std::collections::BTreeMap;

use chv_domain::{Command, TextsChange, VmRef};

use crate::change::{Change, Expect};
use crate::manifest::VmManifest;
use crate::view::vm::VmView;
use crate::wait::Goal;

/// The changes that make `vm`, which is as `there` says, what the manifest says; none when it is.
///
/// `start` is not compared: it says what a new VM does, and whoever stops one later wants it stopped.
pub(super) fn changes(manifest: VmManifest, vm: &VmRef, there: &VmView) -> Vec<Change> {
    let mut changes = Vec::new();
    let labels = texts(there.labels(), &manifest.labels);
    let place = manifest.place;
    if labels != TextsChange::default() {
        let command = Command::LabelVm {
            vm: vm.clone(),
            change: labels,
        };
        changes.push(Change::of_vm("labelled", vm, command).asked_at(place.clone()));
    }
    // What a manifest does not say is people's to change.
    if let Some(annotations) = &manifest.annotations {
        let change = texts(there.annotations(), annotations);
        if change != TextsChange::default() {
            let vm_ref = vm.clone();
            let command = Command::AnnotateVm { vm: vm_ref, change };
            changes.push(Change::of_vm("annotated", vm, command).asked_at(place.clone()));
        }
    }
    if let Some(protected) = manifest
        .protected
        .filter(|protected| *protected != there.is_protected())
    {
        let word = if protected { "protected" } else { "unprotected" };
        let vm_ref = vm.clone();
        let command = Command::ProtectVm {
            vm: vm_ref,
            protected,
        };
        changes.push(Change::of_vm(word, vm, command).asked_at(place.clone()));
    }
    if manifest.spec != *there.spec() {
        let command = Command::ChangeVm {
            vm: vm.clone(),
            spec: manifest.spec.into(),
        };
        let change = Change::of_vm("changed", vm, command).asked_at(place);
        let unless_changed = Expect::default().or(there.revision());
        changes.push(change.expecting(unless_changed).until(Goal::Changed));
    }
    changes
}

/// What makes texts that are `there` what they are `here`.
fn texts(there: &BTreeMap<String, String>, here: &BTreeMap<String, String>) -> TextsChange {
    let differs = |(key, value): &(&String, &String)| there.get(*key) != Some(value);
    TextsChange {
        set: here
            .iter()
            .filter(differs)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        remove: there
            .keys()
            .filter(|key| !here.contains_key(*key))
            .cloned()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_other_labels_then_what_differs_is_set_and_what_is_too_much_is_removed() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        let (there, here) = (
            map(&[("a", "1"), ("b", "1"), ("c", "1")]),
            map(&[("a", "1"), ("b", "2"), ("d", "1")]),
        );
        let change = texts(&there, &here);
        assert_eq!(change.set, map(&[("b", "2"), ("d", "1")]));
        assert_eq!(change.remove, ["c".to_owned()].into());
        assert_eq!(change.of(&there), here);
        assert_eq!(texts(&here, &here), TextsChange::default());
    }
}
