//! A machine's disk that loses writes from a moment on: dm-flakey in the machine, and the switch here. What the machine does
//! with it is in `e2e/machine`.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::PATIENCE;
use crate::machines::OUTSIDE;

/// How writes are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The disk says that it has them, flushed or not, and has not.
    Dropped,
    /// They fail, and so do flushes.
    Refused,
}

impl Loss {
    /// What dm-flakey calls it.
    const fn feature(self) -> &'static str {
        match self {
            Self::Dropped => "drop_writes",
            Self::Refused => "error_writes",
        }
    }
}

/// How a disk loses writes, and where the machine is told when.
#[derive(Debug, Clone, Copy)]
pub struct Loses {
    loss: Loss,
    port: u16,
}

impl Loses {
    /// As the machine's environment has it.
    pub(crate) fn environment(self) -> (String, String) {
        let Self { loss, port } = self;
        let words = format!("{},{OUTSIDE}:{port}", loss.feature());
        ("CHV_MACHINE_LOSES".to_owned(), words)
    }
}

/// The switch of one machine's disk.
#[derive(Debug)]
pub struct Switch {
    listener: TcpListener,
    loses: Loses,
}

impl Switch {
    /// A switch to this; the disk loses nothing yet.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(loss: Loss) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let port = listener.local_addr()?.port();
        let loses = Loses { loss, port };
        Ok(Self { listener, loses })
    }

    /// What the machine is to be started with.
    pub const fn loses(&self) -> Loses {
        self.loses
    }

    /// From some moment before this returns, and not before it is called, the disk loses all writes until the next start.
    ///
    /// # Errors
    /// When the machine does not say that it is so.
    pub async fn flip(&self) -> Result<()> {
        let flipping = async {
            let (mut machine, _) = self.listener.accept().await?;
            machine.write_all(&[1]).await?;
            machine.read_exact(&mut [0]).await
        };
        let flipped = tokio::time::timeout(PATIENCE, flipping).await;
        flipped
            .context("the machine does not answer")?
            .context("the machine does not say that its disk loses writes")?;
        Ok(())
    }
}
