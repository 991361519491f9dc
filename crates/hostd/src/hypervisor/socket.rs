//! Connects to a socket in a hypervisor's own directory, where the hypervisor may put what it likes: a link to somebody
//! else's socket is not followed.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use tokio::net::UnixStream;

/// Connects to the socket at `path`.
///
/// # Errors
/// As connecting does, and when there is something else than a socket.
pub(crate) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = open(
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if FileType::from_raw_mode(fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "not a socket"));
    }
    UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn given_a_socket_then_it_is_connected_to_and_a_link_to_it_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        connect(&path).await.unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(connect(&link).await.is_err());
        assert!(connect(&dir.path().join("none")).await.is_err());
    }
}
