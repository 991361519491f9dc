//! Texts that people put on things: labels and annotations. They mean nothing to Chronovisor.

use std::collections::{BTreeMap, BTreeSet};

/// What is changed of texts, each of which has a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextsChange {
    /// These are so from now on.
    pub set: BTreeMap<String, String>,
    /// These are gone. A key that is set as well is set.
    pub remove: BTreeSet<String>,
}

impl TextsChange {
    /// What `before` becomes.
    pub fn of(&self, before: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let kept = before.iter().filter(|(key, _)| !self.remove.contains(*key));
        kept.chain(&self.set)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// How much may be said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    what: &'static str,
    count: usize,
    value: usize,
    all: usize,
}

/// The longest key, in bytes.
const MAX_KEY: usize = 128;

/// Of labels: they are in every list.
pub(crate) const LABELS: Bounds = Bounds {
    what: "labels",
    count: 64,
    value: 1024,
    all: 64 * (1024 + MAX_KEY),
};

/// Of annotations.
pub(crate) const ANNOTATIONS: Bounds = Bounds {
    what: "annotations",
    count: 64,
    value: 16 << 10,
    all: 64 << 10,
};

impl Bounds {
    /// What is wrong with `texts`, when something is.
    pub(crate) fn broken_by(self, texts: &BTreeMap<String, String>) -> Option<String> {
        let Self {
            what,
            count,
            value,
            all,
        } = self;
        let oversized = texts
            .iter()
            .any(|(k, v)| k.is_empty() || k.len() > MAX_KEY || v.len() > value);
        let size: usize = texts.iter().map(|(k, v)| k.len() + v.len()).sum();
        (texts.len() > count || oversized || size > all).then(|| {
            format!(
                "{what}: at most {count}, each with a key of 1 to {MAX_KEY} bytes and a value of at most {value}, and \
                 {all} bytes together"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn what_is_set_is_so_and_what_is_removed_is_gone() {
        let change = TextsChange {
            set: texts(&[("b", "2"), ("c", "3")]),
            remove: ["a", "c", "x"].map(str::to_owned).into(),
        };
        let before = texts(&[("a", "1"), ("b", "1"), ("d", "4")]);
        assert_eq!(change.of(&before), texts(&[("b", "2"), ("c", "3"), ("d", "4")]));
    }

    #[test]
    fn texts_that_are_too_many_or_too_large_are_told() {
        let long = "x".repeat(17 << 10);
        assert_eq!(LABELS.broken_by(&texts(&[("a", "1")])), None);
        assert!(LABELS.broken_by(&texts(&[("", "1")])).is_some());
        assert!(ANNOTATIONS.broken_by(&texts(&[("a", &long)])).is_some());
        let large = "x".repeat(16 << 10);
        let keys: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        let many: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), large.as_str())).collect();
        assert!(
            ANNOTATIONS
                .broken_by(&texts(&many))
                .is_some_and(|why| why.contains("together"))
        );
        assert_eq!(ANNOTATIONS.broken_by(&texts(&many[..3])), None);
    }
}
