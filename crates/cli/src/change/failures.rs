//! One failure out of those of many changes: each told with what it is about, the same reason told once.

use std::collections::BTreeMap;

use super::Change;
use crate::failure::Failure;

/// How many are named that have the same reason.
const NAMED: usize = 3;

/// The failure of all, if any failed: by their places in `changes`. The first one's end and tip are those of all.
pub(super) fn one(changes: &[Change], failed: BTreeMap<usize, Failure>) -> Result<(), Failure> {
    let mut reasons: Vec<(String, Vec<&Change>)> = Vec::new();
    let mut first = None;
    for (place, failure) in failed {
        match reasons.iter_mut().find(|(what, _)| *what == failure.what) {
            Some((_, same)) => same.push(&changes[place]),
            None => reasons.push((failure.what.clone(), vec![&changes[place]])),
        }
        first.get_or_insert(failure);
    }
    let Some(mut failure) = first else { return Ok(()) };
    if changes.len() > 1 || changes.iter().any(|change| change.place.is_some()) {
        let lines: Vec<String> = reasons
            .iter()
            .map(|(what, changes)| line(what, changes))
            .collect();
        failure.what = lines.join("\n");
    }
    Err(failure)
}

fn line(what: &str, changes: &[&Change]) -> String {
    match changes {
        [change] => match &change.place {
            Some(place) => format!("{place}: {}: {what}", change.named()),
            None => format!("{}: {what}", change.named()),
        },
        changes => {
            let names: Vec<&str> = changes
                .iter()
                .take(NAMED)
                .map(|change| change.about.as_str())
                .collect();
            let more = match changes.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{}{more}: {what}", names.join(", "))
        }
    }
}
