//! Logging and tracing set-up, shared by every binary of Chronovisor: lines on standard error, spans to an
//! OpenTelemetry collector when the standard `OTEL_` variables name one, and the W3C trace context of a span.
//!
//! It does not say what is traced, and it holds no metrics.
//!
//! # Variables
//!
//! | variable | meaning |
//! |---|---|
//! | `CHV_LOG`, else `RUST_LOG` | which lines are written, e.g. `info,chv_hostd=debug`; replaces the verbosity |
//! | `CHV_LOG_FORMAT` | `text` (default) or `json` |
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | where spans go, used as it is |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | where telemetry goes; `/v1/traces` is added |
//! | `OTEL_SDK_DISABLED=true`, `OTEL_TRACES_EXPORTER=none` | no spans are exported, whatever else is set |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_{HEADERS,TIMEOUT}` | as OpenTelemetry defines them |
//!
//! # Carrying one trace through many processes
//!
//! A process that starts a piece of work on behalf of another gives its span the parent that it was handed, before
//! it enters the span, and hands on what [`current`] says inside of it:
//!
//! ```
//! # let parent = chv_telemetry::new_root();
//! let span = tracing::info_span!("decide");
//! chv_telemetry::set_parent(&span, &parent);
//! let _entered = span.enter();
//! let to_store = chv_telemetry::current().unwrap_or(parent);
//! ```
//!
//! Without an exporter [`current`] is `None`, and the parent is handed on unchanged: the whole path then shares the
//! one context that `chv` made with [`new_root`], so that the stored trail names a trace even where none is exported.

mod context;
mod export;
mod logging;

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use context::{current, new_root, set_parent};
pub use logging::Verbosity;

/// The target of spans that are made for each of very many commands, as `debug_span!(target: TRACED, ..)`: they are there
/// where spans are exported, and cost nothing where they are not. A line of the log that is written inside of one says for
/// itself what it is about.
pub const TRACED: &str = "chv_traced";

/// How long the end of a process may wait for its last spans to reach the collector.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Sets logging and tracing up for this process, named `service` to the collector; call it once, first thing in
/// `main`, and keep the guard until the end. It needs no async runtime.
///
/// It never fails: telemetry keeps nothing from running. What it can't follow in a variable is a warning.
pub fn init(service: &'static str, verbosity: Verbosity) -> Guard {
    let telemetry = Telemetry::assemble(service, verbosity, &|name| std::env::var(name).ok());
    if tracing_subscriber::registry()
        .with(telemetry.layers)
        .try_init()
        .is_err()
    {
        tracing::warn!("telemetry is set up twice in this process; the first set-up stays");
    }
    for warning in telemetry.warnings {
        tracing::warn!("{warning}");
    }
    telemetry.guard
}

/// Exports what is left of the spans when it is dropped, waiting at most two seconds for the collector.
#[must_use = "dropping the guard ends the export of spans"]
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(provider) = self.provider.take() else {
            return;
        };
        if let Err(error) = provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans may not have reached the collector");
        }
    }
}

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Looks a variable up; the process's environment, or a test's.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All that [`init`] installs, assembled without touching the process.
struct Telemetry {
    layers: Layers,
    guard: Guard,
    warnings: Vec<String>,
}

impl Telemetry {
    fn assemble(service: &'static str, verbosity: Verbosity, environment: Environment<'_>) -> Self {
        let mut warnings = Vec::new();
        let mut layers = vec![logging::layer(verbosity, environment, &mut warnings)];
        let provider = match export::provider(service, environment) {
            Ok(provider) => provider,
            Err(error) => {
                warnings.push(format!("spans are not exported: {error}"));
                None
            }
        };
        layers.extend(provider.as_ref().map(export::layer));
        Telemetry {
            layers,
            guard: Guard { provider },
            warnings,
        }
    }
}

#[cfg(test)]
mod tests;
