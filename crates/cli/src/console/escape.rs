//! What is typed for the guest and what is typed for `chv`: Ctrl-a t leaves, Ctrl-a a types a Ctrl-a. Pure.

const PREFIX: u8 = 0x01;

/// What to say about it at the start.
pub(super) const HELP: &str = "Ctrl-a t leaves, Ctrl-a a types a Ctrl-a";

/// Remembers whether the prefix was typed last.
#[derive(Debug, Default)]
pub(super) struct Escape {
    prefixed: bool,
}

/// What some keys come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    /// For the guest.
    pub(super) bytes: Vec<u8>,
    /// Whether to leave after that.
    pub(super) leave: bool,
}

impl Escape {
    /// Takes what was typed; what comes after leaving is dropped.
    pub(super) fn take(&mut self, keys: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(keys.len());
        for &key in keys {
            if !std::mem::take(&mut self.prefixed) {
                if key == PREFIX {
                    self.prefixed = true;
                } else {
                    bytes.push(key);
                }
                continue;
            }
            match key {
                b't' => return Typed { bytes, leave: true },
                b'a' | PREFIX => bytes.push(PREFIX),
                other => bytes.extend([PREFIX, other]),
            }
        }
        Typed { bytes, leave: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_escape_leaves_and_nothing_else_is_lost() {
        let typed = |keys: &[&[u8]]| {
            let mut escape = Escape::default();
            let mut all = Typed {
                bytes: vec![],
                leave: false,
            };
            for keys in keys {
                let Typed { bytes, leave } = escape.take(keys);
                all.bytes.extend(bytes);
                all.leave |= leave;
            }
            (all.bytes, all.leave)
        };
        assert_eq!(typed(&[b"ls\r"]), (b"ls\r".to_vec(), false));
        assert_eq!(typed(&[b"x\x01", b"ty"]), (b"x".to_vec(), true));
        assert_eq!(typed(&[b"\x01ab"]), (b"\x01b".to_vec(), false));
        assert_eq!(typed(&[b"\x01\x01t"]), (b"\x01t".to_vec(), false));
        assert_eq!(typed(&[b"\x01x\x03"]), (b"\x01x\x03".to_vec(), false));
    }
}
