//! `chv apply`: make what manifests say. Creates what is missing, changes what differs, and leaves what is equal.

use std::io::Write;
use std::path::PathBuf;

use chv_domain::{Command, VmRef};
use chv_proto::subject::Audience;
use chv_proto::v1;
use futures::{StreamExt as _, stream};

use crate::change::{self, Change, Changed, Pending};
use crate::cli::Waiting;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifest::{self, VmManifest};
use crate::session::Session;
use crate::view::vm::VmView;
use crate::wait::{Goal, Until};

mod differ;

/// How many VMs are asked for at a time.
const AT_ONCE: usize = 16;

/// Make what manifests say: create what is missing, change what differs, leave what is equal.
///
/// Every document is checked before anything is sent. A VM that runs and is changed has at once what its hypervisor can do
/// meanwhile, and the rest at its next start; `chv vm get` says what that is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv apply -f examples/hello.yaml
  chv apply -f examples/ --for ready --timeout 5m
  generate | chv apply -f -

A manifest, as YAML or JSON; several in one file are divided by ---:
  kind: Vm
  name: hello
  spec:
    cpu: 1
    memory: 128MiB
    boot: {kernel: uos/vmlinuz, initramfs: uos/initramfs.cpio}")]
pub(crate) struct Apply {
    /// A file, a directory (of which every .yaml, .yml and .json is read), or - for standard input.
    #[arg(short, long = "file", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    until: Until,
    #[command(flatten)]
    waiting: Waiting,
}

impl Apply {
    pub(crate) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let sources =
            manifest::open(&self.files).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let manifests = manifest::read(&sources, session.project()).map_err(|problems| {
            Failure::new(Exit::Usage, problems.to_string()).or_try("correct that; nothing was sent")
        })?;
        let (changes, unchanged) = plan(session, manifests, self.until.into()).await?;
        change::make_all(session, &changes, unchanged, self.waiting, to).await
    }
}

/// What has to be created or changed, and what is so already.
async fn plan(
    session: &Session,
    manifests: Vec<VmManifest>,
    goal: Goal,
) -> Result<(Vec<Change>, Vec<Pending>), Failure> {
    let (mut changes, mut unchanged) = (Vec::new(), Vec::new());
    let look = async |manifest: VmManifest| {
        let vm = VmRef::Name(manifest.project.clone(), manifest.name.clone());
        // What is compared must not be old news.
        let found = session.find_vm(&vm, Audience::Leader, None).await?;
        Ok::<_, Failure>((manifest, vm, found))
    };
    let mut looked = std::pin::pin!(stream::iter(manifests).map(look).buffered(AT_ONCE));
    while let Some((manifest, vm, found)) = looked.next().await.transpose()? {
        match found {
            None => changes.push(create(manifest, &vm, goal)),
            Some((found, _)) => {
                let same = Pending {
                    changed: Changed::unchanged(vm.to_string(), &found),
                    goal: underway(&found, goal),
                };
                let needed = differ::changes(manifest, &vm, &VmView::new(found)?);
                match needed.is_empty() {
                    true => unchanged.push(same),
                    false => changes.extend(needed),
                }
            }
        }
    }
    Ok((changes, unchanged))
}

/// What a VM that was made earlier is still to be waited to be, if anything.
fn underway(vm: &v1::Vm, goal: Goal) -> Option<Goal> {
    if vm.changing {
        return Some(Goal::Changed);
    }
    let underway = match vm.status.as_str() {
        "starting" | "blocked" => true,
        "running" => goal == Goal::Ready,
        _ => false,
    };
    underway.then_some(goal)
}

fn create(manifest: VmManifest, vm: &VmRef, goal: Goal) -> Change {
    let command = Command::CreateVm {
        project: manifest.project,
        name: manifest.name,
        labels: manifest.labels,
        annotations: manifest.annotations.unwrap_or_default(),
        protected: manifest.protected.unwrap_or_default(),
        spec: manifest.spec.into(),
        start: manifest.start,
    };
    let change = Change::of_vm("created", vm, command).asked_at(manifest.place);
    if manifest.start {
        change.until(goal)
    } else {
        change
    }
}
