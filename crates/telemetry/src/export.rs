//! Spans to an OpenTelemetry collector by OTLP (http/protobuf), when the standard variables ask for it.
//! Without TLS: a collector runs beside the process or in its network, and carries spans on from there.

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter as Exporter};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::{Layer, Registry};

use crate::Environment;

/// Which spans and events are recorded: not the exporter's own, which would feed on itself. The second is
/// [`crate::TRACED`].
const RECORDED: &str = "info,chv_traced=debug,opentelemetry=off,hyper=off,hyper_util=off";

/// Why spans are not exported although a variable asks for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("OTEL_TRACES_EXPORTER is `{0}`: set it to `otlp` or `none`")]
    UnknownExporter(String),
    #[error("{variable} is `{protocol}`: only `http/protobuf` is spoken (port 4318 of most collectors)")]
    UnknownProtocol {
        variable: &'static str,
        protocol: String,
    },
    #[error("{variable} is `{endpoint}`: it must begin with http:// (name a collector in this network)")]
    NotHttp {
        variable: &'static str,
        endpoint: String,
    },
    #[error("the exporter to `{endpoint}` can't be built")]
    Build {
        endpoint: String,
        source: ExporterBuildError,
    },
    #[error("the exporter's runtime can't be started")]
    Runtime(#[source] std::io::Error),
}

/// The provider that batches spans and sends them off, or `None` when the variables name no collector.
pub(crate) fn provider(
    service: &'static str,
    environment: Environment<'_>,
) -> Result<Option<SdkTracerProvider>, ExportError> {
    let Some(endpoint) = endpoint(environment)? else {
        return Ok(None);
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(&endpoint)
        .build()
        .map_err(|source| ExportError::Build { endpoint, source })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ExportError::Runtime)?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(service, environment))
        .with_batch_exporter(OnOwnRuntime { exporter, runtime })
        .build();
    Ok(Some(provider))
}

/// The layer that turns `tracing`'s spans into the provider's.
pub(crate) fn layer(provider: &SdkTracerProvider) -> Box<dyn Layer<Registry> + Send + Sync> {
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("chronovisor"))
        .with_filter(EnvFilter::new(RECORDED))
        .boxed()
}

fn resource(service: &'static str, environment: Environment<'_>) -> Resource {
    let builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ]);
    match environment("OTEL_SERVICE_NAME") {
        Some(name) if !name.is_empty() => builder.with_service_name(name).build(),
        _ => builder.with_service_name(service).build(),
    }
}

/// Where spans go, by the rules of OpenTelemetry's specification: an empty variable counts as unset.
fn endpoint(environment: Environment<'_>) -> Result<Option<String>, ExportError> {
    let set = |name: &'static str| {
        environment(name)
            .map(|v| v.trim().to_owned())
            .filter(|v| !v.is_empty())
            .map(|value| (name, value))
    };
    if set("OTEL_SDK_DISABLED").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let named = match set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some((variable, endpoint)) => Some((variable, endpoint.clone(), endpoint)),
        None => set("OTEL_EXPORTER_OTLP_ENDPOINT").map(|(variable, endpoint)| {
            let traces = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
            (variable, endpoint, traces)
        }),
    };
    let Some((variable, endpoint, traces)) = named else {
        return Ok(None);
    };
    match set("OTEL_TRACES_EXPORTER") {
        Some((_, exporter)) if exporter == "none" => return Ok(None),
        Some((_, exporter)) if exporter != "otlp" => return Err(ExportError::UnknownExporter(exporter)),
        _ => {}
    }
    let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
    if let Some((variable, protocol)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
        return Err(ExportError::UnknownProtocol { variable, protocol });
    }
    if !endpoint.starts_with("http://") {
        return Err(ExportError::NotHttp { variable, endpoint });
    }
    Ok(Some(traces))
}

/// The HTTP client needs a Tokio runtime, and the batch processor calls it from a plain thread of its own: this gives
/// that thread one, so that export depends neither on the binary's runtime nor on the order in which both end.
#[derive(Debug)]
struct OnOwnRuntime {
    exporter: SpanExporter,
    runtime: tokio::runtime::Runtime,
}

impl Exporter for OnOwnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        // Blocks the batch processor's thread, which does nothing else.
        self.runtime.block_on(self.exporter.export(batch))
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACES: (&str, &str) = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "http://traces:4318/own/path",
    );
    const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/");

    fn endpoint_of(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let environment = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        };
        endpoint(&environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_traces_endpoint_is_used_as_it_is_and_before_the_general_one() {
        assert_eq!(
            endpoint_of(&[ALL, TRACES]),
            Ok(Some("http://traces:4318/own/path".to_owned()))
        );
        assert_eq!(
            endpoint_of(&[ALL]),
            Ok(Some("http://all:4318/v1/traces".to_owned()))
        );
    }

    #[test]
    fn nothing_is_exported_unless_asked_for() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ALL, ("OTEL_SDK_DISABLED", "TRUE")],
            &[TRACES, ("OTEL_TRACES_EXPORTER", "none")],
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:4318")],
            &[("OTEL_TRACES_EXPORTER", "otlp")],
        ] {
            assert_eq!(endpoint_of(variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn what_cannot_be_followed_is_refused_with_the_variable_to_change() {
        for (variables, said) in [
            (
                &[ALL, ("OTEL_TRACES_EXPORTER", "zipkin")][..],
                "OTEL_TRACES_EXPORTER is `zipkin`",
            ),
            (
                &[ALL, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                "OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://all")],
                "OTEL_EXPORTER_OTLP_ENDPOINT is `https://all`",
            ),
        ] {
            let error = endpoint_of(variables).expect_err("must be refused");
            assert!(error.contains(said), "{error}");
        }
    }
}
