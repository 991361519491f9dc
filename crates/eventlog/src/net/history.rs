//! Sealed files of history, and checkpoints, on their way between replicas, in pieces.

use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::Bytes;
use chv_domain::Seq;

use super::message::{Ask, HistoryPiece, HistoryWanted, Told};
use super::peer::Peer;
use crate::history::{History, HistoryError, checkpoint};

/// Bytes of a piece.
const PIECE: u64 = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(10);

/// A part of a file that another replica has.
pub(crate) struct FilePiece {
    /// SHA-256 of the file, as its end tells it.
    pub(crate) digest: [u8; 32],
    /// Bytes of the file.
    pub(crate) size: u64,
    pub(crate) data: Bytes,
}

impl Peer {
    /// The part from `offset` on of a sealed file that holds the event `seq`; of the file with that digest, when one is
    /// given. `None` when the replica has no such file, or has not sealed it yet: asking makes it do so.
    pub(crate) async fn history(
        &mut self,
        seq: Seq,
        digest: Option<[u8; 32]>,
        offset: u64,
    ) -> io::Result<Option<FilePiece>> {
        self.file(seq, digest, offset, false).await
    }

    /// The part from `offset` on of the checkpoint at the event `seq`; from the beginning, where the replica has another file
    /// than the one with that digest. `None` when it has none.
    pub(crate) async fn checkpoint(
        &mut self,
        seq: Seq,
        digest: Option<[u8; 32]>,
        offset: u64,
    ) -> io::Result<Option<FilePiece>> {
        self.file(seq, digest, offset, true).await
    }

    async fn file(
        &mut self,
        seq: Seq,
        digest: Option<[u8; 32]>,
        offset: u64,
        checkpoint: bool,
    ) -> io::Result<Option<FilePiece>> {
        let wanted = HistoryWanted {
            seq: seq.0,
            digest: digest.map_or_else(Bytes::new, |digest| digest.to_vec().into()),
            offset,
            checkpoint,
        };
        let Told::History(piece) = self.ask(Ask::History(wanted), PATIENCE).await? else {
            return Err(io::Error::other("an answer to another question"));
        };
        if piece.digest.is_empty() {
            return Ok(None);
        }
        let digest = piece.digest.as_ref().try_into();
        Ok(Some(FilePiece {
            digest: digest.map_err(|_| io::Error::other("a digest of another length"))?,
            size: piece.size,
            data: piece.data,
        }))
    }
}

/// What is answered to that. Blocks.
pub(super) fn piece(history: &History, wanted: &HistoryWanted) -> Result<HistoryPiece, HistoryError> {
    let seq = Seq(wanted.seq);
    if wanted.checkpoint {
        let piece = checkpoint::piece(history, seq, &wanted.digest, wanted.offset, PIECE);
        let piece = piece.map_err(|source| HistoryError::Io {
            path: history.dir().to_owned(),
            source,
        })?;
        return Ok(piece.map_or_else(HistoryPiece::default, |piece| HistoryPiece {
            digest: piece.digest.to_vec().into(),
            size: piece.size,
            data: piece.data.into(),
        }));
    }
    let sealed = match wanted.digest.is_empty() {
        true => history.file_of(seq),
        false => history
            .files()
            .into_iter()
            .find(|file| file.digest.as_slice() == wanted.digest.as_ref()),
    };
    let Some(sealed) = sealed else {
        history.ask_to_seal(seq);
        return Ok(HistoryPiece::default());
    };
    let file = history.open_file(&sealed)?;
    let mut data = vec![0; sealed.size.saturating_sub(wanted.offset).min(PIECE) as usize];
    file.read_exact_at(&mut data, wanted.offset)
        .map_err(|source| HistoryError::Io {
            path: sealed.file_name().into(),
            source,
        })?;
    Ok(HistoryPiece {
        digest: sealed.digest.to_vec().into(),
        size: sealed.size,
        data: data.into(),
    })
}
