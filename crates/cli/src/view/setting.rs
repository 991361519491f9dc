//! What of a spec has no line of its own, a line each: a field that is new is shown without anybody thinking of it.

use chv_domain::VmSpec;
use serde_json::Value;

/// Every field of `spec` that was given and is not beneath one of `shown`, as `memory.shared: true`. Paths in `shown` leave
/// the places in lists out.
pub(super) fn beside(spec: &VmSpec, shown: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    // A spec is text and numbers: it always has a JSON form.
    let whole = serde_json::to_value(spec).unwrap_or_default();
    walk(&whole, "", "", shown, &mut found);
    found
}

fn walk(value: &Value, path: &str, plain: &str, shown: &[&str], found: &mut Vec<String>) {
    if shown.contains(&plain) {
        return;
    }
    let join = |outer: &str, name: &str| match outer {
        "" => name.to_owned(),
        outer => format!("{outer}.{name}"),
    };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(value, &join(path, name), &join(plain, name), shown, found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (place, value) in list.iter().enumerate() {
                walk(value, &format!("{path}[{place}]"), plain, shown, found);
            }
        }
        Value::Array(list) => {
            let words: Vec<_> = list.iter().map(word).collect();
            found.push(format!("{path}: {}", words.join(", ")));
        }
        single => found.push(format!("{path}: {}", word(single))),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_and_is_not_shown_elsewhere_is_a_line() {
        let spec = serde_json::json!({
            "cpu": {"vcpus": 2, "features": ["+avx2", "-svm"]}, "memory": "1GiB", "boot": {"kernel": "k"},
            "disks": [
                {"id": "a", "path": "p", "format": "raw"},
                {"id": "b", "path": "q", "format": "raw", "direct": true},
            ],
        });
        let spec = serde_json::from_value(spec).unwrap();
        let shown = [
            "cpu.vcpus",
            "memory.size",
            "boot",
            "disks.id",
            "disks.path",
            "disks.format",
        ];
        assert_eq!(
            beside(&spec, &shown),
            ["cpu.features: +avx2, -svm", "disks[1].direct: true"]
        );
    }
}
