//! The W3C trace context of spans: making one, reading a span's, giving a span its parent.
//! How a context is written and stored is the domain's business.

use chv_domain::TraceContext;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetrySpanExt, SetParentError};

/// A new trace's context, for a process that was handed none: random ids, sampled, so that whoever exports further
/// along the path records the trace although this process may not.
pub fn new_root() -> TraceContext {
    TraceContext {
        trace_id: non_zero(rand::random),
        span_id: non_zero(rand::random),
        sampled: true,
    }
}

/// The context of the span that this thread or task is in; `None` outside of any span, and in a process that exports
/// no spans.
pub fn current() -> Option<TraceContext> {
    let context = Span::current().context();
    let span = context.span();
    let span_context = span.span_context();
    span_context.is_valid().then(|| TraceContext {
        trace_id: span_context.trace_id().to_bytes(),
        span_id: span_context.span_id().to_bytes(),
        sampled: span_context.is_sampled(),
    })
}

/// Makes `span` a child of `parent`, which may belong to another process and may long have ended.
///
/// Call it before the span is first entered. In a process that exports no spans it does nothing.
pub fn set_parent(span: &Span, parent: &TraceContext) {
    let flags = if parent.sampled {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    };
    let remote = SpanContext::new(
        TraceId::from_bytes(parent.trace_id),
        SpanId::from_bytes(parent.span_id),
        flags,
        true,
        TraceState::default(),
    );
    match span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)) {
        Ok(()) | Err(SetParentError::LayerNotFound | SetParentError::SpanDisabled) => {}
        Err(error @ SetParentError::AlreadyStarted) => {
            debug_assert!(false, "set_parent was called on a span that had been entered");
            tracing::warn!(%error, "a span keeps its first parent");
        }
    }
}

/// All-zero ids mean "none" in W3C trace context.
fn non_zero<const N: usize>(mut draw: impl FnMut() -> [u8; N]) -> [u8; N] {
    loop {
        let id = draw();
        if id != [0; N] {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_valid_and_differ() {
        let (one, other) = (new_root(), new_root());
        assert_ne!(one.trace_id, other.trace_id);
        assert_ne!(one.span_id, other.span_id);
        assert!(one.sampled);
    }

    #[test]
    fn an_id_of_zeros_is_drawn_again() {
        let mut draws = [[0; 8], [0; 8], [7; 8]].into_iter();
        assert_eq!(non_zero(|| draws.next().expect("three draws are enough")), [7; 8]);
    }
}
