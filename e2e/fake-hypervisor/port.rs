//! A socket that is listened on, and one client of it at a time, as QEMU's are: who comes meanwhile waits.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// The most that is kept of a line, in bytes.
const MAX_LINE: usize = 1 << 16;

/// A socket and its client.
#[derive(Debug)]
pub(crate) struct Port {
    listener: UnixListener,
    client: Option<UnixStream>,
    received: Vec<u8>,
}

impl Port {
    pub(crate) fn new(listener: UnixListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            client: None,
            received: Vec::new(),
        })
    }

    /// What is waited for: a client, or what it says.
    pub(crate) fn waits_for(&self) -> BorrowedFd<'_> {
        match &self.client {
            Some(client) => client.as_fd(),
            None => self.listener.as_fd(),
        }
    }

    /// Whether there is one.
    pub(crate) const fn has_client(&self) -> bool {
        self.client.is_some()
    }

    /// Takes a client, when none is there and one waits. Says whether one came.
    pub(crate) fn accept(&mut self) -> std::io::Result<bool> {
        if self.client.is_some() {
            return Ok(false);
        }
        match self.listener.accept() {
            Ok((client, _)) => {
                client.set_nonblocking(true)?;
                self.client = Some(client);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The lines that have come.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.receive();
        let mut lines = Vec::new();
        while let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim().to_owned());
        }
        lines
    }

    fn receive(&mut self) {
        let mut chunk = [0; 1024];
        loop {
            let Some(client) = &mut self.client else { return };
            match client.read(&mut chunk) {
                Ok(length @ 1..) if self.received.len() + length <= MAX_LINE => {
                    self.received.extend_from_slice(&chunk[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return self.hang_up(),
            }
        }
    }

    /// Says something to the client; one that is not there, or doesn't read, misses it.
    pub(crate) fn say(&mut self, text: &str) {
        if let Some(client) = &mut self.client
            && client.write_all(text.as_bytes()).is_err()
        {
            self.hang_up();
        }
    }

    /// Lets the client go.
    pub(crate) fn hang_up(&mut self) {
        self.client = None;
        self.received = Vec::new();
    }
}
