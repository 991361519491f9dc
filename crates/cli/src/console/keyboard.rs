//! What is typed, read by a thread of its own, as a terminal can't be read without blocking. The thread ends
//! with its owner.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

/// Keys as they come.
#[derive(Debug)]
pub(super) struct Keyboard {
    keys: mpsc::Receiver<Vec<u8>>,
    /// Closed when this is dropped, which ends the thread.
    _end: UnixStream,
}

impl Keyboard {
    /// Starts reading standard input.
    pub(super) fn listen() -> io::Result<Self> {
        let (end, ended) = UnixStream::pair()?;
        let (send, keys) = mpsc::channel(64);
        std::thread::Builder::new()
            .name("keyboard".to_owned())
            .spawn(move || read(&send, &ended))?;
        Ok(Self { keys, _end: end })
    }

    /// The next keys; `None` when standard input ended.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        self.keys.recv().await
    }
}

fn read(send: &mpsc::Sender<Vec<u8>>, ended: &UnixStream) {
    let stdin = rustix::stdio::stdin();
    let mut buffer = [0; 1024];
    loop {
        let mut ready = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) if ready[1].revents().is_empty() => {}
            Err(Errno::INTR) => continue,
            Ok(_) | Err(_) => return,
        }
        match rustix::io::read(stdin, &mut buffer) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if send.blocking_send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}
