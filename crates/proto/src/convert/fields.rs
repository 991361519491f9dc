//! Writes a protobuf message field by field, from values that are only looked at: making the message first would copy each
//! of its texts. Which fields there are is not decided here; see `encoded`.

use std::fmt::{self, Display, Write as _};

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint};

/// The fields of a message at the end of a buffer.
pub(super) struct Fields<'a>(pub(super) &'a mut Vec<u8>);

impl Fields<'_> {
    /// A number; as in every message, 0 is not written.
    pub(super) fn number(&mut self, tag: u32, number: u64) {
        if number != 0 {
            encode_key(tag, WireType::Varint, self.0);
            encode_varint(number, self.0);
        }
    }

    /// A text; as in every message, an empty one is not written.
    pub(super) fn text(&mut self, tag: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(tag, text.as_bytes());
        }
    }

    /// Bytes, also when there are none.
    pub(super) fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        encode_key(tag, WireType::LengthDelimited, self.0);
        encode_varint(bytes.len() as u64, self.0);
        self.0.extend_from_slice(bytes);
    }

    /// A value as its text, which is not empty.
    pub(super) fn shown(&mut self, tag: u32, value: impl Display) {
        self.message(tag, |text| {
            let written = write!(AsText(text.0), "{value}");
            written.expect("a buffer takes every text");
        });
    }

    /// A message in this one.
    pub(super) fn message(&mut self, tag: u32, write: impl FnOnce(&mut Fields<'_>)) {
        encode_key(tag, WireType::LengthDelimited, self.0);
        let start = self.0.len();
        write(&mut Fields(self.0));
        // How long it is is known only now, and goes before it.
        let length = self.0.len() - start;
        let room = prost::length_delimiter_len(length);
        self.0.put_bytes(0, room);
        self.0.copy_within(start..start + length, start + room);
        encode_varint(length as u64, &mut &mut self.0[start..start + room]);
    }

    /// A message in this one that is there already.
    pub(super) fn ready(&mut self, tag: u32, message: &impl prost::Message) {
        prost::encoding::message::encode(tag, message, self.0);
    }
}

struct AsText<'a>(&'a mut Vec<u8>);

impl fmt::Write for AsText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
