//! `chv vm set`: any field of a VM's specification.

use std::io::Write;
use std::str::FromStr;

use chv_domain::VmSpec;
use serde_json::Value;

use super::reference::Reference;
use super::respec;
use crate::change::Expect;
use crate::cli::Waiting;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// Change fields of a VM's specification.
///
/// What its hypervisor can do while it runs is done at once; the rest at its next start, and that is said. The fields
/// are those of a manifest; `chv explain vm.spec` has them all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chv vm set web stopTimeout=60 cpu.max=8
  chv vm set web 'disks[root].readOnly=true'
  chv vm set web memory.balloon.size=256MiB
  chv vm set web watchdog=                 as when it was never given")]
pub(crate) struct Set {
    /// Its name, project/name, or id.
    #[arg(value_name = "VM")]
    vm: Reference,
    /// A field and its value; without a value it is as when it was never given. A device is named by its id.
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<Assignment>,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    waiting: Waiting,
}

impl Set {
    pub(super) async fn run(self, session: &Session, to: &mut impl Write) -> Result<(), Failure> {
        let change = respec::of(session, &self.vm, self.expect, |spec| {
            assign(&spec, &self.fields).map_err(|why| Failure::new(Exit::Usage, why))
        });
        change.await?.make(session, self.waiting, to).await
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Device(String),
}

/// A field, and what it is to be.
#[derive(Debug, Clone, PartialEq)]
struct Assignment {
    /// As it was written.
    asked: String,
    path: Vec<Step>,
    value: Option<String>,
}

impl Assignment {
    /// The value: of the type that it looks like, or as text.
    fn value(&self, typed: bool) -> Option<Value> {
        let text = self.value.as_deref()?;
        let value = typed.then(|| serde_json::from_str(text).ok()).flatten();
        Some(value.unwrap_or_else(|| text.into()))
    }
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or("write FIELD=VALUE")?;
        let mut steps = Vec::new();
        for part in path.split('.') {
            let (field, device) = match part.split_once('[') {
                None => (part, None),
                Some((field, rest)) => {
                    let id = rest.strip_suffix(']').filter(|id| !id.is_empty());
                    (
                        field,
                        Some(id.ok_or_else(|| format!("`{part}`: write a device as disks[root]"))?),
                    )
                }
            };
            if field.is_empty() {
                return Err(format!(
                    "`{path}` is no field; write one such as cpu.vcpus or disks[root].readOnly"
                ));
            }
            steps.push(Step::Field(field.to_owned()));
            steps.extend(device.map(|id| Step::Device(id.to_owned())));
        }
        let value = match value {
            "" => None,
            value => Some(value.to_owned()),
        };
        Ok(Self {
            asked: text.to_owned(),
            path: steps,
            value,
        })
    }
}

/// `spec` with the fields as they are to be.
fn assign(spec: &VmSpec, fields: &[Assignment]) -> Result<VmSpec, String> {
    let whole = serde_json::to_value(spec).map_err(|error| error.to_string())?;
    let with = |typed: bool| -> Result<_, String> {
        let mut whole = whole.clone();
        for field in fields {
            put(&mut whole, &field.path, field.value(typed).as_ref())?;
        }
        Ok(serde_json::from_value(whole))
    };
    // What looks like a number or a word of JSON may be meant as text.
    with(true)?
        .or_else(|error| with(false)?.map_err(|_| error.to_string()))
        .map_err(|error| {
            let asked: Vec<&str> = fields.iter().map(|field| field.asked.as_str()).collect();
            format!(
                "{}: {error}; `chv explain vm.spec` says what each field takes",
                asked.join(" ")
            )
        })
}

fn put(within: &mut Value, path: &[Step], value: Option<&Value>) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *within = value.cloned().unwrap_or_default();
        return Ok(());
    };
    match step {
        Step::Field(name) => {
            if within.is_null() {
                *within = Value::Object(serde_json::Map::new());
            }
            let Value::Object(fields) = within else {
                return Err(format!("`{name}` is no field of a single value"));
            };
            if rest.is_empty() && value.is_none() {
                fields.remove(name);
                return Ok(());
            }
            put(fields.entry(name.clone()).or_insert(Value::Null), rest, value)
        }
        Step::Device(id) => {
            let list = within.as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
            let named = |device: &&mut Value| device["id"] == **id;
            let Some(device) = list.iter_mut().find(named) else {
                return Err(format!(
                    "it has no device {id} there; `chv vm attach` gives it one"
                ));
            };
            if rest.is_empty() {
                return Err(format!(
                    "`[{id}]` is a whole device; name a field of it, or use `chv vm detach`"
                ));
            }
            put(device, rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> VmSpec {
        serde_json::from_value(serde_json::json!({
            "cpu": 1, "memory": "1GiB", "boot": {"kernel": "k"}, "watchdog": true,
            "disks": [{"id": "root", "path": "p", "format": "raw"}],
        }))
        .unwrap()
    }

    fn set(fields: &[&str]) -> Result<VmSpec, String> {
        let fields: Result<Vec<_>, _> = fields.iter().map(|field| field.parse()).collect();
        assign(&spec(), &fields?)
    }

    #[test]
    fn given_fields_when_they_are_set_then_those_and_no_others_change() {
        let before = spec();
        let after = set(&[
            "cpu.vcpus=4",
            "memory.size=2GiB",
            "memory.balloon.size=256MiB",
            "disks[root].readOnly=true",
            "stopTimeout=60",
            "watchdog=",
        ])
        .unwrap();
        let fields: Vec<_> = before
            .differs_in(&after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            fields,
            [
                "cpu.vcpus",
                "memory.size",
                "memory.balloon",
                "disks[root].readOnly",
                "stopTimeout",
                "watchdog"
            ]
        );
        assert!(!after.watchdog);
        let serial = set(&["disks[root].serial=12345"]).unwrap();
        assert_eq!(serial.disks[0].serial(), "12345");
    }

    #[test]
    fn given_what_is_no_field_or_no_value_when_it_is_set_then_it_is_said() {
        for (field, expected) in [
            ("cpu", "FIELD=VALUE"),
            ("=1", "no field"),
            ("cpu..max=1", "no field"),
            ("disks[=1", "disks[root]"),
            ("disks[swap].readOnly=true", "no device swap"),
            ("disks[root]=", "whole device"),
            ("cpu.vcpus=many", "vcpus"),
            ("cpu.cores=2", "cores"),
            ("memory.size=lots", "lots"),
            ("watchdog.speed=1", "single value"),
        ] {
            let error = set(&[field]).unwrap_err();
            assert!(error.contains(expected), "{field}: {error}");
        }
    }
}
