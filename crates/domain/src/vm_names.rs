//! Which VM has which name: a table for each project, so that a project's name is held and compared once.

use std::ops::Bound;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::ids::VmId;
use crate::name::{ProjectName, VmName};

/// The VMs of each project by name. No project is there without one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct VmNames(OrdMap<ProjectName, OrdMap<VmName, VmId>>);

impl VmNames {
    pub(crate) fn get(&self, project: &ProjectName, name: &VmName) -> Option<VmId> {
        self.0.get(project)?.get(name).copied()
    }

    pub(crate) fn insert(&mut self, project: &ProjectName, name: &VmName, vm: VmId) {
        match self.0.get_mut(project) {
            Some(names) => {
                names.insert(name.clone(), vm);
            }
            None => {
                self.0.insert(project.clone(), OrdMap::unit(name.clone(), vm));
            }
        }
    }

    /// Frees a name, when it is this VM's.
    pub(crate) fn remove(&mut self, project: &ProjectName, name: &VmName, vm: VmId) {
        if self.get(project, name) != Some(vm) {
            return;
        }
        let Some(names) = self.0.get_mut(project) else {
            return;
        };
        names.remove(name);
        if names.is_empty() {
            self.0.remove(project);
        }
    }

    /// In the order of project and name, beginning after `after`.
    pub(crate) fn after(&self, after: Option<&(ProjectName, VmName)>) -> impl Iterator<Item = VmId> {
        let rest_of = after.and_then(|(project, name)| Some((self.0.get(project)?, name)));
        let rest =
            rest_of.map(|(names, name)| names.range::<_, VmName>((Bound::Excluded(name), Bound::Unbounded)));
        let project = after.map_or(Bound::Unbounded, |(project, _)| Bound::Excluded(project));
        let projects = self.0.range::<_, ProjectName>((project, Bound::Unbounded));
        let others = projects.flat_map(|(_, names)| names.values());
        rest.into_iter()
            .flatten()
            .map(|(_, vm)| vm)
            .chain(others)
            .copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.values().map(OrdMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn names_are_those_of_one_table_in_its_order(
            moves in prop::collection::vec(("[a-c]", "[a-d]", prop::option::of(any::<[u8; 16]>())), 0..40),
            after in prop::option::of(("[a-c]", "[a-d]")),
        ) {
            let (mut names, mut table) = (VmNames::default(), BTreeMap::new());
            for (project, name, vm) in moves {
                let (project, name): (ProjectName, VmName) = (project.parse().unwrap(), name.parse().unwrap());
                match vm.map(VmId::from_bytes) {
                    Some(vm) => {
                        names.insert(&project, &name, vm);
                        table.insert((project.clone(), name.clone()), vm);
                    }
                    None => {
                        // Who does not have the name can't free it.
                        names.remove(&project, &name, VmId::from_bytes([0xee; 16]));
                        if let Some(vm) = names.get(&project, &name) {
                            names.remove(&project, &name, vm);
                        }
                        table.remove(&(project.clone(), name.clone()));
                    }
                }
                prop_assert_eq!(names.get(&project, &name), table.get(&(project, name)).copied());
            }
            prop_assert_eq!(names.len(), table.len());
            // No project stays behind without a VM: equal tables are equal.
            prop_assert_eq!(names == VmNames::default(), table.is_empty());
            let after = after.map(|(project, name)| (project.parse().unwrap(), name.parse().unwrap()));
            let expected = table.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
            prop_assert!(names.after(after.as_ref()).eq(expected.map(|(_, vm)| *vm)));
        }
    }
}
