//! The bytes around what an archive holds. Pure.

use chv_domain::ClusterId;

/// The version of the form; another one is refused.
pub const VERSION: u32 = 1;

/// Bytes of the header: magic (8), version (u32), zero (4), cluster (16), zero (12), CRC of all before it (u32).
pub(super) const HEADER: usize = 48;
/// Bytes of a part's head: kind (4), length (u64), CRC of the body (u32), CRC of the head before it (u32).
pub(super) const HEAD: usize = 20;
pub(super) const MAGIC: [u8; 8] = *b"CHVARCHV";

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The state that folding begins with.
    Base,
    /// Records.
    History,
    /// The state after them.
    State,
    /// The digest of everything before.
    End,
}

impl Kind {
    const fn bytes(self) -> [u8; 4] {
        match self {
            Self::Base => *b"BASE",
            Self::History => *b"HIST",
            Self::State => *b"STAT",
            Self::End => *b"ENDS",
        }
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        [Self::Base, Self::History, Self::State, Self::End]
            .into_iter()
            .find(|kind| kind.bytes() == bytes)
    }
}

pub(super) fn header(cluster: ClusterId) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&cluster.to_bytes());
    let crc = crc32fast::hash(&bytes[..44]);
    bytes[44..48].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What a header says, or why it is none.
pub(super) enum Told {
    Cluster(ClusterId),
    Version(u32),
    Damaged,
}

pub(super) fn read_header(bytes: &[u8; HEADER]) -> Told {
    if bytes[0..8] != MAGIC || crc32fast::hash(&bytes[..44]).to_le_bytes() != bytes[44..48] {
        return Told::Damaged;
    }
    match u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes")) {
        VERSION => Told::Cluster(ClusterId::from_bytes(
            bytes[16..32].try_into().expect("sixteen bytes"),
        )),
        other => Told::Version(other),
    }
}

pub(super) fn head(kind: Kind, body: &[u8]) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[0..4].copy_from_slice(&kind.bytes());
    bytes[4..12].copy_from_slice(&(body.len() as u64).to_le_bytes());
    bytes[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A part's kind, length and the CRC of its body; `None` where the head does not check.
pub(super) fn read_head(bytes: &[u8; HEAD]) -> Option<(Kind, u64, u32)> {
    if crc32fast::hash(&bytes[..16]).to_le_bytes() != bytes[16..20] {
        return None;
    }
    let length = u64::from_le_bytes(bytes[4..12].try_into().expect("eight bytes"));
    let crc = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes"));
    Some((Kind::of(&bytes[0..4])?, length, crc))
}
