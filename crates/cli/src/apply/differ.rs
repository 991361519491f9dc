//! In which fields a manifest and a VM differ. Pure.

use serde_json::Value;

use crate::manifest::VmManifest;
use crate::view::vm::VmView;

/// The fields that differ, each as `field (there: …, here: …)`; none when the VM is what the manifest says.
///
/// `start` is not compared: it says what a new VM does, and whoever stops one later wants it stopped.
pub(super) fn differences(manifest: &VmManifest, vm: &VmView) -> Vec<String> {
    let mut found = Vec::new();
    compare("labels", &json(vm.labels()), &json(&manifest.labels), &mut found);
    compare("spec", &json(vm.spec()), &json(&manifest.spec), &mut found);
    found
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn compare(path: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    match (there, here) {
        (same, other) if same == other => {}
        (Value::Object(there), Value::Object(here)) => {
            let mut names: Vec<&String> = there.keys().chain(here.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let of =
                    |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                compare(&format!("{path}.{name}"), &of(there), &of(here), found);
            }
        }
        (there, here) => found.push(format!("{path} (there: {}, here: {})", show(there), show(here))),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
