//! What every verb does that makes something else of a VM: reads what it is, edits that, and asks for the whole of it under
//! the condition that nobody did so meanwhile.

use chv_domain::{Command, VmSpec};
use chv_proto::subject::Audience;

use super::reference::Reference;
use crate::change::{Change, Expect};
use crate::failure::Failure;
use crate::session::Session;
use crate::wait::Goal;
use crate::when::AsOf;

/// The change that `edit` makes of what `vm` is.
pub(super) async fn of(
    session: &Session,
    vm: &Reference,
    expect: Expect,
    edit: impl FnOnce(VmSpec) -> Result<VmSpec, Failure>,
) -> Result<Change, Failure> {
    let vm = vm.resolve(session.project());
    // What is edited must not be old news.
    let there = session.vm(&vm, Audience::Leader, AsOf::default()).await?;
    let spec = edit(there.spec().clone())?.into();
    let command = Command::ChangeVm { vm: vm.clone(), spec };
    let change = Change::of_vm("changed", &vm, command);
    Ok(change.expecting(expect.or(there.revision())).until(Goal::Changed))
}
