//! Reads of VMs.

use chv_domain::{ProjectName, Projection, RejectionCode, Vm, VmName};
use chv_proto::convert::{self, refused};
use chv_proto::v1;

use super::{Reader, page};

pub(super) fn get(state: &Projection, query: v1::GetVm) -> Result<v1::Vm, v1::Refused> {
    let reference =
        convert::vm_ref_from_wire(query.vm, "get_vm.vm").map_err(|error| convert::refused_wire(&error))?;
    let found = state.resolve(&reference);
    found.map(|vm| wire(state, vm)).ok_or_else(|| {
        let message = format!("there is no VM {reference}; `chv vm list` shows those that are");
        refused(RejectionCode::NotFound.as_str(), message, "")
    })
}

pub(super) fn list(
    reader: &Reader,
    state: &Projection,
    query: v1::ListVms,
) -> Result<v1::VmPage, v1::Refused> {
    let name = |text: &str, field: &str| {
        text.parse::<VmName>()
            .map_err(|error| refused("invalid", error.to_string(), field))
    };
    let project = |text: &str, field: &str| {
        text.parse::<ProjectName>()
            .map_err(|error| refused("invalid", error.to_string(), field))
    };
    let after = match &query.after {
        Some(after) => Some((
            project(&after.project, "list_vms.after.project")?,
            name(&after.name, "list_vms.after.name")?,
        )),
        None => None,
    };
    let only = match query.project.as_str() {
        "" => None,
        text => Some(project(text, "list_vms.project")?),
    };
    if query.deleted {
        let of = |vm: &&std::sync::Arc<Vm>| only.as_ref().is_none_or(|project| vm.project == *project);
        let vms = state.binned().filter(of).map(|vm| wire(state, vm));
        let (vms, more) = page(vms, query.limit, reader.page_bytes());
        return Ok(v1::VmPage { vms, more });
    }
    let wanted = |vm: &&std::sync::Arc<Vm>| only.as_ref().is_none_or(|project| vm.project == *project);
    let vms = state
        .vms_by_name(after.as_ref())
        .filter(wanted)
        .map(|vm| wire(state, vm));
    let (vms, more) = page(vms, query.limit, reader.page_bytes());
    Ok(v1::VmPage { vms, more })
}

fn wire(state: &Projection, vm: &Vm) -> v1::Vm {
    let host = vm.placement.and_then(|placement| state.host(placement.host));
    convert::vm_to_wire(vm, host.map(|host| &host.name))
}
