//! Specs leave out what is not said where people read them, and nothing where they are stored: a stored field is told by
//! its place.

/// `Serialize` and `Deserialize` for a struct that derives both as `#[serde(remote = "Self")]`: as derived in text, and
/// with every field, in the order given, where it is stored. That has to be the order in which they are declared.
macro_rules! whole_where_stored {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    return $type::serialize(self, serializer);
                }
                let $type { $($field),+ } = self;
                ($($field,)+).serialize(serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $type::deserialize(deserializer)
            }
        }
    };
}

pub(super) use whole_where_stored;
