//! `chv apply`: make what manifests say. Creates what is missing and leaves what is equal; what exists with
//! another spec is refused before anything is sent.

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

/// Make what manifests say: create what is missing, leave what is equal.
///
/// Every document is checked before anything is sent. What exists with another spec is refused, as are VMs
/// that would have to be changed for it: that comes in a later version.
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
    vcpus: 1
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

/// What has to be created, and what is so already; refuses when something would have to be changed.
async fn plan(
    session: &Session,
    manifests: Vec<VmManifest>,
    goal: Goal,
) -> Result<(Vec<Change>, Vec<Pending>), Failure> {
    let (mut changes, mut unchanged, mut refused) = (Vec::new(), Vec::new(), Vec::new());
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
                let differences = differ::differences(&manifest, &VmView::new(found)?);
                if differences.is_empty() {
                    unchanged.push(same);
                } else {
                    let place = &manifest.place;
                    refused.push(format!(
                        "{place}: VM {vm} exists with another {}",
                        differences.join("; another ")
                    ));
                }
            }
        }
    }
    if refused.is_empty() {
        return Ok((changes, unchanged));
    }
    Err(Failure::new(Exit::Rejected, refused.join("\n")).or_try(
        "nothing was sent, as a VM that exists can't be changed yet: delete it first, or take it out of the manifest",
    ))
}

/// What a VM that was made earlier is still to be waited to be, if anything.
fn underway(vm: &v1::Vm, goal: Goal) -> Option<Goal> {
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
