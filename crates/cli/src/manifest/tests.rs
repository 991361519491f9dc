//! Good manifests read; bad ones say exactly where and what to do, and none of either kind panics.

use proptest::prelude::*;

use super::*;

const SPEC: &str = "spec:\n  cpu: 1\n  memory: 1GiB\n  boot: {kernel: k}\n";

fn source(text: &str) -> Source {
    Source {
        name: "f.yaml".to_owned(),
        text: text.to_owned(),
    }
}

fn problems(text: &str) -> Vec<String> {
    let problems = read(&[source(text)], &ProjectName::default()).expect_err(text);
    problems.0.iter().map(ToString::to_string).collect()
}

#[test]
fn given_two_documents_when_read_then_both_are_there_with_their_defaults() {
    let text = format!(
        "kind: Vm\nname: web\n{SPEC}---\nkind: Vm\nname: db\nproject: shop\nlabels: {{tier: 1}}\nstart: false\n{SPEC}"
    );
    let manifests = read(&[source(&text)], &"mine".parse().unwrap()).unwrap();
    let [web, db] = manifests.as_slice() else {
        panic!("two manifests, not {manifests:?}")
    };
    assert_eq!(
        (web.project.as_str(), web.name.as_str(), web.start),
        ("mine", "web", true)
    );
    assert_eq!(
        (db.project.as_str(), db.name.as_str(), db.start),
        ("shop", "db", false)
    );
    assert_eq!(db.labels["tier"], "1");
    assert_eq!(web.place.to_string(), "f.yaml:2:7");
}

#[test]
fn given_json_with_tabs_when_read_then_it_reads_like_yaml() {
    let text = "{\n\t\"kind\": \"Vm\",\n\t\"name\": \"web\",\n\t\"spec\": {\"cpu\": 1, \"memory\": \"1GiB\", \"boot\": {\"kernel\": \"k\"}}\n}\n";
    assert_eq!(read(&[source(text)], &ProjectName::default()).unwrap().len(), 1);
}

/// Each of these documents, and the one line that it gets.
#[test]
fn a_bad_document_says_where_and_what_to_do() {
    let spec = |body: &str| format!("kind: Vm\nname: web\nspec:\n{body}");
    let good = "  cpu: 1\n  memory: 1GiB\n  boot: {kernel: k}\n";
    let top = |body: &str| format!("{body}{SPEC}");
    for (text, expected) in [
        (
            spec("  cpus: 1\n"),
            "f.yaml:4:3: unknown field `cpus`; did you mean `cpu`?",
        ),
        (
            spec("  stop_timeout: 3\n"),
            "f.yaml:4:3: unknown field `stop_timeout`; did you mean `stopTimeout`?",
        ),
        (
            spec("  colour: red\n"),
            "f.yaml:4:3: unknown field `colour`; known: `cpu`, `memory`",
        ),
        (spec("  cpu: 0\n"), "f.yaml:4:8: a VM needs at least 1 vCPU"),
        (
            spec("  cpu: {vcpus: 0}\n"),
            "f.yaml:4:16: a VM needs at least 1 vCPU",
        ),
        (spec("  cpu: -1\n"), "f.yaml:4:8: \"-1\" is no number of vCPUs"),
        (
            spec("  cpu: {vcpus: -1}\n"),
            "f.yaml:4:16: this is no whole number from 0 to",
        ),
        (spec("  cpu: two\n"), "f.yaml:4:8: \"two\" is no number of vCPUs"),
        (
            spec("  memory: 0MiB\n"),
            "f.yaml:4:11: a VM needs at least 1MiB of memory",
        ),
        (
            spec("  memory: 512\n"),
            "f.yaml:4:11: \"512\" is not an amount of memory: write a whole number and MiB",
        ),
        (
            spec("  memory: 512MB\n"),
            "f.yaml:4:11: \"512MB\" is not an amount of memory",
        ),
        (
            spec("  memory: 9999999TiB\n"),
            "f.yaml:4:11: \"9999999TiB\" is more memory",
        ),
        (
            spec("  boot: {kernel: ../k}\n"),
            "f.yaml:4:18: the path \"../k\" has `..` in it",
        ),
        (
            spec("  cpu: 1\n  memory: 1GiB\n  boot:\n    initramfs: i\n"),
            "f.yaml:2:7: VM web: spec.boot: says nothing to boot",
        ),
        (
            spec("  disks: [{id: a, path: x}]\n"),
            "f.yaml:4:19: the field `format` is missing",
        ),
        (
            spec("  disks: [{id: a, path: x, format: qcow}]\n"),
            "f.yaml:4:36: unknown value `qcow`; did you mean `qcow2`?",
        ),
        (
            spec("  nics: [{id: a, backend: bridge}]\n"),
            "f.yaml:4:27: unknown value `bridge`; known: `user`, `tap`",
        ),
        (
            spec("  nics: [{id: a, backend: {tap: a/b}}]\n"),
            "f.yaml:4:33: \"a/b\" is not an interface name",
        ),
        (
            spec("  nics: [{id: a, backend: user, mac: zz}]\n"),
            "f.yaml:4:38: \"zz\" is not a MAC address",
        ),
        (
            spec("  stopTimeout: 0\n"),
            "f.yaml:4:16: a stop timeout is 1 to 3600 seconds",
        ),
        (
            spec("  hypervisor: qemu\n"),
            "f.yaml:4:15: unknown value `qemu`; did you mean `qemu-",
        ),
        (
            spec("  memory: 1GiB\n  boot: {kernel: k}\n"),
            "f.yaml:5:3: the field `cpu` is missing",
        ),
        (
            spec(&format!("{good}  cpu: 2\n")),
            "f.yaml:7:3: the field `cpu` is here twice",
        ),
        (
            spec("  cpu: {vcpus: 4, max: 2}\n  memory: 1GiB\n  boot: {kernel: k}\n"),
            "f.yaml:2:7: VM web: spec.cpu.max: 2 is fewer than the 4",
        ),
        (
            top("kind: Vm\nname: Web_1\n"),
            "f.yaml:2:7: \"Web_1\" is not a VM name: use a-z, 0-9 and -",
        ),
        (top("kind: Vm\nname:\n"), "f.yaml:2:5: the value is missing here"),
        (top("kind: Vm\n"), "f.yaml:2:1: the field `name` is missing"),
        (top("name: web\n"), "f.yaml:2:1: the field `kind` is missing"),
        (
            top("kind: vm\n"),
            "f.yaml:1:7: unknown value `vm`; did you mean `Vm`?",
        ),
        (
            top("kind: Vm\nname: web\nproject: A\n"),
            "f.yaml:3:10: \"A\" is not a project name",
        ),
        (
            top("kind: Vm\nname: web\nstart: maybe\n"),
            "f.yaml:3:8: this is no true or false",
        ),
        (
            top("kind: Vm\nname: web\nlabels: [a]\n"),
            "f.yaml:3:9: this is no group of fields",
        ),
        (
            "kind: Vm\nname: web\n".to_owned(),
            "f.yaml:2:1: the field `spec` is missing",
        ),
        (
            "kind: Vm\nname: web\nspec: small\n".to_owned(),
            "f.yaml:3:7: this is no group of fields",
        ),
        ("hello\n".to_owned(), "f.yaml:1:1: this is no group of fields"),
        ("# nothing\n".to_owned(), "f.yaml:1:1: there is no manifest in it"),
        (String::new(), "f.yaml:1:1: there is no manifest in it"),
        ("kind: [\n".to_owned(), "f.yaml:"),
        ("\0\u{1}".to_owned(), "f.yaml:1:1: "),
    ] {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        assert!(
            found[0].starts_with(expected),
            "{text}\nfound:    {}\nexpected: {expected}",
            found[0]
        );
    }
}

#[test]
fn given_several_bad_documents_when_read_then_each_is_told() {
    let text = format!(
        "kind: Vm\nspce: 1\n---\nkind: Vm\nname: b\nspec: 3\n---\nkind: Vm\nname: c\n{SPEC}---\nkind: Vm\nname: c\n{SPEC}"
    );
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].starts_with("f.yaml:2:1: unknown field `spce`; did you mean `spec`?"),
        "{found:?}"
    );
    assert!(found[1].starts_with("f.yaml:6:7: "), "{found:?}");
    assert!(
        found[2].starts_with("f.yaml:16:7: VM default/c is described at f.yaml:9:7 already"),
        "{found:?}"
    );
}

#[test]
fn given_a_directory_when_opened_then_its_manifests_are_read_in_order_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b.yaml", "a.json", "c.yml", "notes.txt"] {
        std::fs::write(directory.path().join(name), name).unwrap();
    }
    std::fs::create_dir(directory.path().join("d.yaml")).unwrap();
    let texts: Vec<_> = open(&[directory.path().to_owned()])
        .unwrap()
        .into_iter()
        .map(|source| source.text)
        .collect();
    assert_eq!(texts, ["a.json", "b.yaml", "c.yml"]);
}

#[test]
fn every_example_is_good_and_hello_is_the_smallest() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let manifests = read(&open(&[examples]).unwrap(), &ProjectName::default()).unwrap();
    let named = |name: &str| {
        let found = manifests.iter().find(|vm| vm.name.as_str() == name);
        found.unwrap_or_else(|| panic!("no example is named {name}"))
    };
    let hello = &named("hello").spec;
    assert_eq!((hello.cpu.vcpus.get(), hello.memory.size.mib()), (1, 128));
    assert_eq!(hello.boot.kernel.as_ref().unwrap().as_str(), "uos/vmlinuz");
    let disk = &named("disk").spec;
    assert!(!disk.disks.is_empty() && !disk.nics.is_empty() && disk.hypervisor.is_some());
    assert!(!named("pair-b").start);
}

#[test]
fn the_manifest_in_the_docs_is_good() {
    let docs = include_str!("../../../../docs/cli.md");
    let text = docs
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let manifests = read(
        &[source(text.expect("docs/cli.md shows a manifest"))],
        &ProjectName::default(),
    );
    assert_eq!(manifests.unwrap().len(), 1);
}

#[test]
fn given_nothing_to_open_when_opened_then_the_error_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let none = open(&[directory.path().to_owned()]).unwrap_err();
    assert!(
        none.to_string().contains("ends in .yaml, .yml or .json"),
        "{none}"
    );
    let missing = open(&[directory.path().join("x.yaml")]).unwrap_err();
    assert!(missing.to_string().contains("x.yaml"), "{missing}");
}

proptest! {
    #[test]
    fn junk_never_panics_and_is_never_taken(text in "\\PC{0,200}") {
        prop_assert!(read(&[source(&text)], &ProjectName::default()).is_err());
    }

    #[test]
    fn a_cut_or_changed_manifest_never_panics(at in 0usize..200, with in "\\PC{0,3}") {
        let mut text = format!("kind: Vm\nname: web\nlabels: {{a: b}}\n{SPEC}  disks: [{{id: a, path: d, format: raw}}]\n");
        let at = at.min(text.len());
        text.replace_range(at..(at + 1).min(text.len()), &with);
        let _ = read(&[source(&text)], &ProjectName::default());
        text.truncate(at);
        let _ = read(&[source(&text)], &ProjectName::default());
    }
}
