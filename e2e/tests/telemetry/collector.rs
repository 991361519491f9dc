//! The stand-in for an OpenTelemetry collector: an HTTP server just large enough to take spans, and to keep them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

/// A span, as far as this test looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
}

/// A running collector. Its threads end with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    endpoint: String,
    spans: Arc<Mutex<BTreeMap<Vec<u8>, Span>>>,
}

impl Collector {
    pub(crate) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let collector = Self {
            endpoint,
            spans: Arc::default(),
        };
        let serving = collector.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let serving = serving.clone();
                // A sender that goes away in the middle of a request has nothing more to say.
                std::thread::spawn(move || serving.serve(&connection).ok());
            }
        });
        Ok(collector)
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What came so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.values().cloned().collect()
    }

    fn serve(&self, connection: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(connection);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                let line = line.trim().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().map_err(std::io::Error::other)?;
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            self.keep(ExportTraceServiceRequest::decode(body.as_slice())?);
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            (&mut &*connection).write_all(answer.as_bytes())?;
        }
    }

    fn keep(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.resource_spans {
            let attributes = resource
                .resource
                .map(|resource| resource.attributes)
                .unwrap_or_default();
            let service = attributes
                .into_iter()
                .find(|attribute| attribute.key == "service.name");
            let service = match service.and_then(|attribute| attribute.value?.value) {
                Some(Value::StringValue(name)) => name,
                _ => String::new(),
            };
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.insert(
                    span.span_id.clone(),
                    Span {
                        service: service.clone(),
                        name: span.name,
                        trace: span.trace_id,
                        id: span.span_id,
                        parent: span.parent_span_id,
                    },
                );
            }
        }
    }
}
