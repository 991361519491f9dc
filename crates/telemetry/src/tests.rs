//! Spans against a collector's stand-in on loopback: an HTTP server just large enough to take an export.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span as ExportedSpan;
use prost::Message;
use tracing::{debug_span, info_span};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Takes one export, answers it, and passes its path and content on.
fn receive(listener: TcpListener) -> mpsc::Receiver<(String, ExportTraceServiceRequest)> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("an exporter connects");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        let mut reader = BufReader::new(&stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line of the head");
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_lowercase());
        }
        let path = head[0].split(' ').nth(1).expect("a request line").to_owned();
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "))
            .expect("a length");
        let mut body = vec![0; length.parse().expect("a number")];
        reader.read_exact(&mut body).expect("the whole body");
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        (&stream)
            .write_all(answer.as_bytes())
            .expect("the exporter waits for the answer");
        let request = ExportTraceServiceRequest::decode(&*body).expect("an export in protobuf");
        sender.send((path, request)).expect("the test waits");
    });
    receiver
}

fn loopback() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, endpoint)
}

/// Runs `work` under what `init` would install with these variables, then ends the telemetry as a process would.
fn traced<T>(variables: &[(&str, &str)], work: impl FnOnce() -> T) -> T {
    let environment = |name: &str| {
        variables
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let telemetry = Telemetry::assemble("chv-test", Verbosity::Error, &environment);
    assert_eq!(telemetry.warnings, Vec::<String>::new());
    let subscriber = tracing_subscriber::registry().with(telemetry.layers);
    let result = tracing::subscriber::with_default(subscriber, work);
    drop(telemetry.guard);
    result
}

#[test]
fn given_a_collector_when_a_span_is_given_a_parent_then_it_arrives_in_the_parents_trace() {
    let (listener, endpoint) = loopback();
    let received = receive(listener);
    let parent: chv_domain::TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        .parse()
        .expect("a traceparent");

    let (decide, step) = traced(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], || {
        let span = debug_span!(target: TRACED, "decide");
        set_parent(&span, &parent);
        let decide = span.in_scope(current).expect("the span has a context");
        // As in another process, later: only the stored text of the context is left.
        let stored = decide.to_string().parse().expect("what was stored");
        drop(span);
        let span = info_span!("step");
        set_parent(&span, &stored);
        (decide, span.in_scope(current).expect("the span has a context"))
    });

    let (path, request) = received
        .recv_timeout(PATIENCE)
        .expect("spans are flushed when the guard is dropped");
    assert_eq!(path, "/v1/traces");
    let resource = &request.resource_spans[0];
    let attributes = &resource.resource.as_ref().expect("a resource").attributes;
    assert!(
        attributes
            .iter()
            .any(|a| a.key == "service.name" && format!("{:?}", a.value).contains("chv-test"))
    );
    let spans: HashMap<&str, &ExportedSpan> = resource
        .scope_spans
        .iter()
        .flat_map(|s| &s.spans)
        .map(|span| (span.name.as_str(), span))
        .collect();
    assert_eq!(spans.len(), 2, "{spans:?}");
    for (name, own, parent) in [("decide", &decide, &parent), ("step", &step, &decide)] {
        let span = spans[name];
        assert_eq!(span.trace_id, parent.trace_id, "{name} is in its parent's trace");
        assert_eq!(span.parent_span_id, parent.span_id, "{name} has its parent");
        assert_eq!(span.span_id, own.span_id, "{name} is what `current` said");
        assert!(own.sampled);
    }
}

#[test]
fn given_a_parent_that_is_not_sampled_then_its_child_is_not_either() {
    let (listener, endpoint) = loopback();
    listener.set_nonblocking(true).expect("a socket option");
    let parent = chv_domain::TraceContext {
        sampled: false,
        ..new_root()
    };

    let child = traced(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], || {
        let span = info_span!("step");
        set_parent(&span, &parent);
        span.in_scope(current).expect("the span has a context")
    });

    assert_eq!((child.trace_id, child.sampled), (parent.trace_id, false));
    assert_eq!(
        listener.accept().expect_err("nobody connects").kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn given_no_variables_or_a_switch_that_is_off_then_nothing_is_connected_and_there_is_no_context() {
    let (listener, endpoint) = loopback();
    listener.set_nonblocking(true).expect("a socket option");
    for variables in [
        &[][..],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_SDK_DISABLED", "true"),
        ],
        &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str()),
            ("OTEL_TRACES_EXPORTER", "none"),
        ],
    ] {
        let context = traced(variables, || {
            // What is only there to be exported is not made either.
            assert!(debug_span!(target: TRACED, "decide").is_disabled());
            let span = info_span!("step");
            set_parent(&span, &new_root());
            span.in_scope(current)
        });
        assert_eq!(context, None, "{variables:?}");
        assert_eq!(
            listener.accept().expect_err("nobody connects").kind(),
            ErrorKind::WouldBlock
        );
    }
}

#[test]
fn given_a_collector_that_never_answers_then_the_end_waits_no_longer_than_the_flush_timeout() {
    let (_listener, endpoint) = loopback();

    let started = std::time::Instant::now();
    traced(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)], || {
        drop(info_span!("lost").entered())
    });

    assert!(
        started.elapsed() < FLUSH_TIMEOUT + Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn given_a_protocol_that_is_not_spoken_then_it_is_a_warning_and_work_goes_on() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let environment = |name: &str| {
        variables
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| (*value).to_owned())
    };

    let telemetry = Telemetry::assemble("chv-test", Verbosity::Error, &environment);

    assert!(telemetry.guard.provider.is_none());
    assert_eq!(telemetry.warnings.len(), 1, "{:?}", telemetry.warnings);
    assert!(
        telemetry.warnings[0].contains("OTEL_EXPORTER_OTLP_PROTOCOL is `grpc`"),
        "{:?}",
        telemetry.warnings
    );
}
