//! Firecracker's REST API over its Unix socket: one request a connection, JSON both ways. Knows no meaning of what is
//! asked, and sets no limit to how long that takes.

use std::path::Path;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::hypervisor::socket::connect;

/// More than any answer has, in bytes.
const MOST: usize = 64 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Ask {
    pub(super) fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            body: None,
        }
    }

    pub(super) fn patch(path: &str, body: Value) -> Self {
        Self {
            method: Method::PATCH,
            path: path.to_owned(),
            body: Some(body),
        }
    }

    pub(super) fn put(path: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::PUT,
            path: path.into(),
            body: Some(body),
        }
    }
}

/// Why there is no answer, or another one than hoped for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// It answered, and refused.
    #[error("Firecracker answered {status}: {why}")]
    Refused { status: u16, why: String },
    /// Nothing listens there, or what does speaks otherwise.
    #[error("{0}")]
    Silent(String),
}

impl ApiError {
    fn silent(error: impl std::error::Error) -> Self {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            words = format!("{words}: {error}");
            source = error.source();
        }
        Self::Silent(words)
    }
}

/// Asks, and gives the answer; null when it has no content.
pub(super) async fn ask(socket: &Path, ask: &Ask) -> Result<Value, ApiError> {
    let stream = connect(socket).await.map_err(ApiError::silent)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(ApiError::silent)?;
    let body = ask.body.as_ref().map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(ask.method.clone())
        .uri(&ask.path)
        .header(HOST, "localhost")
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(ApiError::silent)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(ApiError::silent)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST).collect().await;
        let body = body
            .map_err(|error| ApiError::Silent(error.to_string()))?
            .to_bytes();
        Ok((status, body))
    };
    tokio::pin!(answered);
    // The connection moves while the answer is awaited, and ends with it.
    let (status, body) = tokio::select! {
        answered = &mut answered => answered?,
        ended = connection => match ended {
            Ok(()) => answered.await?,
            Err(error) => return Err(ApiError::silent(error)),
        },
    };
    if !status.is_success() {
        return Err(ApiError::Refused {
            status: status.as_u16(),
            why: fault(&body),
        });
    }
    match body.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&body).map_err(ApiError::silent),
    }
}

/// The reason in a refusal, which is JSON by itself.
fn fault(body: &[u8]) -> String {
    let text = || String::from_utf8_lossy(body).trim().to_owned();
    let json: Option<Value> = serde_json::from_slice(body).ok();
    json.and_then(|json| Some(json.get("fault_message")?.as_str()?.to_owned()))
        .unwrap_or_else(text)
}
