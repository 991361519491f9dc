//! Messages on a stream: a length of four bytes, big endian, then as many bytes.

use std::io;

use bytes::BytesMut;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest message: a full read of the log, with room to spare.
const MAX: usize = 64 << 20;

/// After a larger message its memory is not kept for the next one, in bytes.
const KEPT: usize = 4 << 20;

/// The room that is made for a message before any of it has come.
const AT_FIRST: usize = 256 << 10;

pub(super) async fn send<M: Message>(to: &mut (impl AsyncWrite + Unpin), message: &M) -> io::Result<()> {
    write(to, message, &mut Vec::new()).await
}

/// Sends message after message out of the same memory.
#[derive(Default)]
pub(super) struct Sender(Vec<u8>);

impl Sender {
    /// As [`send`].
    pub(super) async fn send<M: Message>(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        message: &M,
    ) -> io::Result<()> {
        if self.0.capacity() > KEPT {
            self.0 = Vec::new();
        }
        write(to, message, &mut self.0).await
    }
}

async fn write<M: Message>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &M,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    let length = message.encoded_len();
    if length > MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes is too large"),
        ));
    }
    bytes.clear();
    bytes.reserve(4 + length);
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    message.encode(bytes).map_err(io::Error::other)?;
    to.write_all(bytes).await?;
    // An encrypted stream holds back what the socket did not take at once.
    to.flush().await
}

pub(super) async fn receive<M: Message + Default>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    receive_at_most(from, MAX).await
}

pub(super) async fn receive_at_most<M: Message + Default>(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> io::Result<M> {
    let (message, _) = read(from, most, &mut BytesMut::new()).await?;
    Ok(message)
}

/// Receives message after message into the same memory, as far as nobody keeps a part of a message.
#[derive(Default)]
pub(super) struct Receiver(BytesMut);

impl Receiver {
    /// As [`receive`].
    pub(super) async fn receive<M: Message + Default>(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<M> {
        let (message, size) = read(from, MAX, &mut self.0).await?;
        if size > KEPT {
            self.0 = BytesMut::new();
        }
        Ok(message)
    }
}

/// A message, and its size in bytes.
async fn read<M: Message + Default>(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
    into: &mut BytesMut,
) -> io::Result<(M, usize)> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {length} bytes is too large"),
        ));
    }
    // Grows as bytes arrive: a length that nothing follows takes little memory.
    into.clear();
    into.reserve(length.min(AT_FIRST));
    let mut rest = from.take(length as u64);
    while into.len() < length {
        if rest.read_buf(into).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let message = M::decode(into.split().freeze());
    let message = message.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((message, length))
}
