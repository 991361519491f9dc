//! One trace, from the command that a person gives to the guest that says it is ready.

mod collector;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chv_e2e::{Cluster, Options, PATIENCE, trail, vms};
use collector::{Collector, Span};

#[tokio::test(flavor = "multi_thread")]
async fn given_a_collector_then_one_trace_leads_from_chv_to_the_booted_guest_needs_guest() -> Result<()> {
    let collector = Collector::start()?;
    let mut options = Options::emulated(1);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        // Spans are sent soon, and not after five seconds.
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    options.environment = variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    Cluster::run(options, async |cluster| {
        // When a VM is created, and becomes ready.
        let create = [
            "vm",
            "create",
            "traced",
            "--kernel",
            "uos/vmlinuz",
            "--initramfs",
            "uos/initramfs.cpio",
            "--memory",
            "128MiB",
            "--for",
            "ready",
        ];
        cluster.chv(&create).await?.done()?;

        // Then every one of its events is stored with the same trace.
        let client = cluster.client("alice").await?;
        let events = trail(&client, Some(&vms::named("traced"))).await?;
        let traces: Vec<_> = events
            .iter()
            .map(|event| event.traceparent.split('-').nth(1))
            .collect();
        let trace = traces[0].context("the first event has a trace")?.to_owned();
        ensure!(traces.iter().all(|other| *other == Some(&trace)), "{traces:?}");

        // And the spans of that trace come from all three programs, and lead back to `chv`, each by its parent.
        let look = async || whole(&collector.spans(), &trace);
        let spans = cluster
            .wait("the whole trace has arrived", PATIENCE, look)
            .await?;
        println!("{spans}");
        Ok(())
    })
    .await
}

/// The trace as a tree, when it has a root in `chv`, and spans of all programs that lead to it.
fn whole(spans: &[Span], trace: &str) -> Result<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mine: BTreeMap<&[u8], &Span> = spans
        .iter()
        .filter(|span| hex(&span.trace) == trace)
        .map(|span| (span.id.as_slice(), span))
        .collect();
    let shown = mine
        .values()
        .map(|span| format!("{} of {}", span.name, span.service))
        .collect::<Vec<_>>();
    let roots: Vec<_> = mine.values().filter(|span| span.parent.is_empty()).collect();
    ensure!(
        roots.len() == 1 && roots[0].service == "chv",
        "the roots are {roots:?}, among {shown:?}"
    );
    for span in mine.values().filter(|span| !span.parent.is_empty()) {
        ensure!(
            mine.contains_key(span.parent.as_slice()),
            "the parent of `{}` of {} is missing among {shown:?}",
            span.name,
            span.service
        );
    }
    for (service, name) in [
        ("chv-scheduler", "decide"),
        ("chv-scheduler", "commit"),
        ("chv-hostd", "launch"),
        ("chv-hostd", "ready"),
    ] {
        let found = mine
            .values()
            .any(|span| span.service == service && span.name.contains(name));
        ensure!(found, "`{name}` of {service} is missing among {shown:?}");
    }
    Ok(tree(&mine, roots[0], 0))
}

fn tree(spans: &BTreeMap<&[u8], &Span>, root: &Span, depth: usize) -> String {
    let below = spans.values().filter(|span| span.parent == root.id);
    let below: String = below.map(|span| tree(spans, span, depth + 1)).collect();
    format!(
        "{:indent$}{} ({})\n{below}",
        "",
        root.name,
        root.service,
        indent = 2 * depth
    )
}
