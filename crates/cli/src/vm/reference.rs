//! How a person names a VM: by name, by `project/name`, or by id.

use std::fmt;
use std::str::FromStr;

use chv_domain::{ProjectName, VmId, VmName, VmRef};

/// A VM as it was typed; a name without a project is looked up in the project of the invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    vm: Named,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Id(VmId),
    Name(Option<ProjectName>, VmName),
}

impl Reference {
    /// What it refers to.
    pub(crate) fn resolve(&self, project: &ProjectName) -> VmRef {
        match &self.vm {
            Named::Id(id) => VmRef::Id(*id),
            Named::Name(own, name) => VmRef::Name(own.as_ref().unwrap_or(project).clone(), name.clone()),
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let vm = match text.split_once('/') {
            Some((project, name)) => Named::Name(
                Some(project.parse().map_err(|error| format!("{error}"))?),
                name.parse().map_err(|error| format!("{error}"))?,
            ),
            None => match (id(text), text.parse()) {
                (Some(id), _) => Named::Id(id),
                (None, Ok(name)) => Named::Name(None, name),
                (None, Err(error)) => return Err(format!("{error}; or write a project/name, or an id")),
            },
        };
        Ok(Self { vm })
    }
}

/// Ids are written in capitals, which no name has in it.
fn id(text: &str) -> Option<VmId> {
    let capital = text.bytes().any(|byte| byte.is_ascii_uppercase());
    text.parse().ok().filter(|_| capital)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.vm {
            Named::Id(id) => id.fmt(f),
            Named::Name(Some(project), name) => write!(f, "{project}/{name}"),
            Named::Name(None, name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_is_named_by_name_by_project_and_name_or_by_id() {
        let mine: ProjectName = "mine".parse().unwrap();
        let of = |text: &str| text.parse::<Reference>().unwrap().resolve(&mine).to_string();
        assert_eq!(of("web"), "mine/web");
        assert_eq!(of("shop/web"), "shop/web");
        assert_eq!(of("01KAJ4W2R4T8Y3Z6N5M7Q9C1BD"), "01KAJ4W2R4T8Y3Z6N5M7Q9C1BD");
        assert_eq!(
            of("01234567890123456789012345"),
            "mine/01234567890123456789012345"
        );
        for wrong in ["", "Web", "a/b/c", "/web", "shop/"] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
    }
}
