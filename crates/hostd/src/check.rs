//! What a check of this host found out, for people and for programs.

use std::fmt::Write;

use crate::probe::{Outcome, ProbeReport};

/// Whether any hypervisor runs guests.
pub fn any_runs(reports: &[ProbeReport]) -> bool {
    reports
        .iter()
        .any(|report| matches!(report.outcome, Outcome::Runs { .. }))
}

/// A line for each hypervisor, the preferred first, and below what to do about those that run no guests.
pub fn table(reports: &[ProbeReport]) -> String {
    let mut rows = vec![["HYPERVISOR", "RUNS GUESTS", "BOOT", "VERSION"].map(str::to_owned)];
    let mut remarks = String::new();
    for report in reports {
        let (runs, boot, remark) = match &report.outcome {
            Outcome::Runs { boot } => ("yes", format!("{:.2} s", boot.as_secs_f64()), None),
            Outcome::Absent { why } => ("absent", "-".to_owned(), Some(why)),
            Outcome::Fails { why } => ("no", "-".to_owned(), Some(why)),
        };
        rows.push([
            report.kind.to_string(),
            runs.to_owned(),
            boot,
            report.version.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
        if let Some(why) = remark {
            let _ = writeln!(remarks, "{}: {why}", report.kind);
        }
    }
    let mut text = aligned(&rows);
    if !remarks.is_empty() {
        text.push('\n');
        text.push_str(&remarks);
    }
    if !any_runs(reports) {
        text.push_str("\nNo hypervisor runs guests here, so no VM will be placed on this host.\n");
    }
    text
}

fn aligned(rows: &[[String; 4]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [kind, runs, boot, version] in rows {
        let [a, b, c] = widths;
        let _ = writeln!(text, "{kind:a$}  {runs:b$}  {boot:c$}  {version}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chv_domain::HypervisorKind;

    use super::*;

    fn reports() -> Vec<ProbeReport> {
        vec![
            ProbeReport {
                kind: HypervisorKind::CloudHypervisor,
                version: None,
                outcome: Outcome::Absent {
                    why: "install it".to_owned(),
                },
            },
            ProbeReport {
                kind: HypervisorKind::QemuTcg,
                version: Some("QEMU 7.2".to_owned()),
                outcome: Outcome::Runs {
                    boot: Duration::from_millis(2340),
                },
            },
        ]
    }

    #[test]
    fn given_reports_then_the_table_says_what_runs_and_what_to_do_about_the_rest() {
        assert_eq!(
            table(&reports()),
            "HYPERVISOR        RUNS GUESTS  BOOT    VERSION
cloud-hypervisor  absent       -       -
qemu-tcg          yes          2.34 s  QEMU 7.2

cloud-hypervisor: install it
"
        );
        assert!(any_runs(&reports()));
    }

    #[test]
    fn given_nothing_that_runs_guests_then_the_table_says_what_that_means() {
        let reports = &reports()[..1];
        assert!(!any_runs(reports));
        assert!(table(reports).ends_with("no VM will be placed on this host.\n"));
    }
}
