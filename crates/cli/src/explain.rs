//! `chv explain`: what a field of a manifest means, and which hypervisors can do it. It asks nobody: the words are those of
//! the domain, which also refuses by them.

use std::fmt::Write as _;
use std::io::Write;

use chv_domain::HypervisorKind;
use chv_domain::VmSpec;
use chv_domain::spec::{Field, Part};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, structured};

/// What paths begin with.
const ROOT: &str = "vm.spec";

/// Say what a field of a manifest means: its values, its default, and which hypervisors can do it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv explain vm.spec
  chv explain vm.spec.memory
  chv explain vm.spec.disks.rateLimit.ops")]
pub(crate) struct Explain {
    /// The field, as a path from vm.spec; the places in a list are left out.
    #[arg(value_name = "PATH", default_value = ROOT)]
    path: String,
}

impl Explain {
    pub(crate) fn run(self, format: Format, to: &mut impl Write) -> Result<(), Failure> {
        let found = find(&self.path).map_err(|error| Failure::new(Exit::Usage, error))?;
        if !structured(format, &view(&self.path, found), to)? {
            to.write_all(text(&self.path, found).as_bytes())?;
        }
        Ok(())
    }
}

/// What a path leads to.
#[derive(Clone, Copy)]
enum Found {
    Root,
    Field(&'static Field),
}

impl Found {
    fn fields(self) -> &'static [Field] {
        match self {
            Self::Root => VmSpec::FIELDS,
            Self::Field(field) => field.fields,
        }
    }
}

fn find(path: &str) -> Result<Found, String> {
    let rest = match path.strip_prefix(ROOT) {
        Some("") => return Ok(Found::Root),
        Some(rest) if rest.starts_with('.') => &rest[1..],
        _ => {
            return Err(format!(
                "there is no {path}: paths begin with {ROOT}, as in {ROOT}.memory"
            ));
        }
    };
    let mut found = Found::Root;
    let mut walked = ROOT.to_owned();
    for name in rest.split('.') {
        let name = name.split('[').next().unwrap_or_default();
        let fields = found.fields();
        let field = fields.iter().find(|field| field.name() == name).ok_or_else(|| {
            let known: Vec<_> = fields.iter().map(Field::name).collect();
            match known.is_empty() {
                true => format!("{walked} has no fields; `chv explain {walked}` says what it is"),
                false => format!("{walked} has no field {name}; it has {}", known.join(", ")),
            }
        })?;
        found = Found::Field(field);
        walked = format!("{walked}.{name}");
    }
    Ok(found)
}

/// For people.
fn text(path: &str, found: Found) -> String {
    let mut text = String::new();
    let mut line = |line: &str| writeln!(text, "{line}").expect("a text takes every text");
    match found {
        Found::Root => {
            line(path);
            line("  What a VM is to be.");
        }
        Found::Field(field) => {
            line(path);
            for about in field.about {
                line(&format!("  {}", about.trim()));
            }
            line(&format!("  values:  {}", (field.values)()));
            line(&format!(
                "  default: {}",
                field.default.unwrap_or("none: it must be given")
            ));
            line(&format!("  on:      {}", on(field)));
        }
    }
    if !found.fields().is_empty() {
        line("fields:");
    }
    for field in found.fields() {
        let default = field
            .default
            .map_or("required".to_owned(), |default| format!("default: {default}"));
        line(&format!("  {:<22}{} ({default})", field.name(), about(field)));
    }
    text
}

/// What a field is, in one line.
fn about(field: &Field) -> String {
    field
        .about
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}

fn on(field: &Field) -> String {
    match field.on.len() == HypervisorKind::ALL.len() {
        true => "every hypervisor".to_owned(),
        false => field
            .on
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// For programs.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    path: String,
    about: String,
    values: String,
    default: Option<&'static str>,
    required: bool,
    on: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<View>,
}

fn view(path: &str, found: Found) -> View {
    let inner = |fields: &'static [Field]| {
        let view = |field| view(&format!("{path}.{}", Field::name(field)), Found::Field(field));
        fields.iter().map(view).collect()
    };
    match found {
        Found::Root => View {
            path: path.to_owned(),
            about: "What a VM is to be.".to_owned(),
            values: "fields".to_owned(),
            default: None,
            required: true,
            on: HypervisorKind::ALL.iter().map(ToString::to_string).collect(),
            fields: inner(VmSpec::FIELDS),
        },
        Found::Field(field) => View {
            path: path.to_owned(),
            about: about(field),
            values: (field.values)(),
            default: field.default,
            required: field.default.is_none(),
            on: field.on.iter().map(ToString::to_string).collect(),
            fields: inner(field.fields),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference of all fields, as a page.
    fn page() -> String {
        fn rows(at: &str, fields: &'static [Field], page: &mut String) {
            for field in fields {
                let path = format!("{at}{}", field.name());
                let default = field.default.unwrap_or("required");
                let row = [
                    format!("`{path}`"),
                    about(field),
                    (field.values)(),
                    default.to_owned(),
                    on(field),
                ];
                writeln!(
                    page,
                    "| {} |",
                    row.map(|cell| cell.replace('|', "\\|")).join(" | ")
                )
                .unwrap();
                rows(&format!("{path}."), field.fields, page);
            }
        }
        let mut page = "# A VM's specification\n\n\
            Made from the code by a test; `chv explain vm.spec` says the same. A list's fields are those of each of its \
            parts.\nWhat a hypervisor can't do is refused when the VM is created, with the field's name.\n\n\
            | field | what it is | values | default | hypervisors |\n|---|---|---|---|---|\n"
            .to_owned();
        rows("", VmSpec::FIELDS, &mut page);
        page
    }

    #[test]
    fn the_reference_is_what_the_code_says() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/vm-spec.md");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            there,
            page(),
            "docs/reference/vm-spec.md is old; BLESS=1 makes it anew"
        );
    }

    #[test]
    fn a_path_leads_to_its_field_also_with_places() {
        for path in [
            "vm.spec.memory.size",
            "vm.spec.disks[0].rateLimit.ops.refillMs",
            "vm.spec",
        ] {
            assert!(find(path).is_ok(), "{path}");
        }
        let text = text("vm.spec.cpu.affinity", find("vm.spec.cpu.affinity").ok().unwrap());
        assert!(
            text.contains("on:      cloud-hypervisor, qemu-kvm, qemu-tcg\n") && text.contains("hostCpus"),
            "{text}"
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_says_what_there_is() {
        for (path, expected) in [
            (
                "vm.spec.colour",
                "vm.spec has no field colour; it has cpu, memory,",
            ),
            ("vm.spec.memory.size.x", "vm.spec.memory.size has no fields"),
            ("host.spec", "paths begin with vm.spec"),
            ("vm.specs", "paths begin with vm.spec"),
        ] {
            let error = find(path).err().unwrap();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }
}
