//! A connection between replicas, encrypted or not.

use tokio::io::{AsyncRead, AsyncWrite};

/// What both kinds of connection can do.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for S {}

/// A connection between replicas.
pub(super) type Stream = Box<dyn Duplex>;
