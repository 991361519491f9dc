//! The one form of a spec's structs: from the list of fields come the struct, how it is written for people and where it is
//! stored, what `chv explain` says of it, and what a hypervisor lacks for it.
//!
//! Written for people, what is not given is left out. Stored, every field has its place, and one that is as when not given
//! takes a single byte.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::device_id::DeviceId;
use super::part::{Fault, Lack};
use crate::host::HypervisorKind;

/// Reads a struct from the single value that may stand for it.
pub(super) type ReadShort<T> = fn(&str) -> Result<T, String>;

/// What a spec's struct says of itself beside its fields.
pub(super) trait Rules: Sized {
    /// How it is read where a single value is written for it.
    const SHORT: Option<ReadShort<Self>> = None;

    /// The first rule between its own fields that is broken.
    fn broken(&self) -> Option<Fault> {
        None
    }

    /// What it is called in a list of its like.
    fn id(&self) -> Option<&DeviceId> {
        None
    }

    /// What `kind` can't do although it has the field: a value that is too large for it, say.
    fn lacking(&self, _: HypervisorKind) -> Option<Lack> {
        None
    }
}

/// Reads a struct from its fields.
pub(super) trait FromFields: Sized {
    fn from_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Defines a struct of a spec. `on(KINDS)` names the hypervisors that can do a field; without it, all can.
macro_rules! spec {
    (
        $(#[doc = $about:literal])+
        $(#[derive($derive:ident)])?
        pub struct $name:ident {
            $(required {
                $($(#[doc = $req_doc:literal])+ $req:ident: $req_type:ty;)+
            })?
            $(optional {
                $($(#[doc = $opt_doc:literal])+ $opt:ident: $opt_type:ty = $default:literal $(, on($opt_on:expr))?;)+
            })?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize $(, $derive)?)]
        #[serde(remote = "Self", deny_unknown_fields, rename_all = "camelCase")]
        pub struct $name {
            $($($(#[doc = $req_doc])+ pub $req: $req_type,)+)?
            $($(
                $(#[doc = $opt_doc])+
                #[serde(
                    default,
                    skip_serializing_if = "crate::spec::fields::is_default",
                    deserialize_with = "crate::spec::fields::sparse"
                )]
                pub $opt: $opt_type,
            )+)?
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                if serializer.is_human_readable() {
                    return $name::serialize(self, serializer);
                }
                const FIELDS: usize = <$name as crate::spec::part::Part>::FIELDS.len();
                let mut fields = serializer.serialize_struct(stringify!($name), FIELDS)?;
                $($(fields.serialize_field(stringify!($req), &self.$req)?;)+)?
                $($(fields.serialize_field(stringify!($opt), &crate::spec::fields::Sparse(&self.$opt))?;)+)?
                fields.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::spec::fields::read(deserializer)
            }
        }

        impl crate::spec::fields::FromFields for $name {
            fn from_fields<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $name::deserialize(deserializer)
            }
        }

        impl crate::spec::part::Part for $name {
            const FIELDS: &'static [crate::spec::part::Field] = &[
                $($(crate::spec::part::Field {
                    ident: stringify!($req),
                    about: &[$($req_doc),+],
                    default: None,
                    on: crate::spec::fields::on!(),
                    values: <$req_type as crate::spec::part::Part>::values,
                    fields: <$req_type as crate::spec::part::Part>::FIELDS,
                },)+)?
                $($(crate::spec::part::Field {
                    ident: stringify!($opt),
                    about: &[$($opt_doc),+],
                    default: Some($default),
                    on: crate::spec::fields::on!($($opt_on)?),
                    values: <$opt_type as crate::spec::part::Part>::values,
                    fields: <$opt_type as crate::spec::part::Part>::FIELDS,
                },)+)?
            ];

            fn values() -> String {
                "fields".to_owned()
            }

            fn lacks(&self, kind: crate::host::HypervisorKind) -> Option<crate::spec::part::Lack> {
                if let Some(lack) = crate::spec::fields::Rules::lacking(self, kind) {
                    return Some(lack);
                }
                $($(
                    if let Some(lack) = crate::spec::part::Part::lacks(&self.$req, kind) {
                        return Some(lack.within(stringify!($req)));
                    }
                )+)?
                $($(
                    let on: &[crate::host::HypervisorKind] = crate::spec::fields::on!($($opt_on)?);
                    if !on.contains(&kind) && !crate::spec::fields::is_default(&self.$opt) {
                        return Some(crate::spec::part::Lack::of(stringify!($opt), on));
                    }
                    if let Some(lack) = crate::spec::part::Part::lacks(&self.$opt, kind) {
                        return Some(lack.within(stringify!($opt)));
                    }
                )+)?
                None
            }

            fn fault(&self) -> Option<crate::spec::part::Fault> {
                if let Some(fault) = crate::spec::fields::Rules::broken(self) {
                    return Some(fault);
                }
                $($(
                    if let Some(fault) = crate::spec::part::Part::fault(&self.$req) {
                        return Some(fault.within(stringify!($req)));
                    }
                )+)?
                $($(
                    if let Some(fault) = crate::spec::part::Part::fault(&self.$opt) {
                        return Some(fault.within(stringify!($opt)));
                    }
                )+)?
                None
            }

            fn differences(&self, other: &Self) -> Vec<String> {
                let mut found = Vec::new();
                let mut field = |ident: &str, inner: Vec<String>| {
                    let name = crate::spec::part::camel(ident);
                    found.extend(inner.iter().map(|inner| crate::spec::part::join(&name, inner)));
                };
                $($(field(stringify!($req), crate::spec::part::Part::differences(&self.$req, &other.$req));)+)?
                $($(field(stringify!($opt), crate::spec::part::Part::differences(&self.$opt, &other.$opt));)+)?
                found
            }

            fn id(&self) -> Option<&crate::spec::DeviceId> {
                crate::spec::fields::Rules::id(self)
            }
        }
    };
}

macro_rules! on {
    () => {
        &crate::host::HypervisorKind::ALL
    };
    ($kinds:expr) => {
        $kinds
    };
}

pub(super) use {on, spec};

/// Whether a field is as when it is not given.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A stored field: nothing when it is as when not given.
pub(super) struct Sparse<'a, T>(pub(super) &'a T);

impl<T: Serialize + Default + PartialEq> Serialize for Sparse<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match is_default(self.0) {
            true => serializer.serialize_none(),
            false => serializer.serialize_some(self.0),
        }
    }
}

/// Reads what [`Sparse`] stored, or what a person wrote.
pub(super) fn sparse<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    if deserializer.is_human_readable() {
        return T::deserialize(deserializer);
    }
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a struct from its fields, or from the single value that may stand for it where people write it.
pub(super) fn read<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Rules + FromFields,
    D: Deserializer<'de>,
{
    match T::SHORT {
        Some(short) if deserializer.is_human_readable() => deserializer.deserialize_any(Short {
            short,
            whole: PhantomData,
        }),
        _ => T::from_fields(deserializer),
    }
}

struct Short<T> {
    short: ReadShort<T>,
    whole: PhantomData<T>,
}

impl<'de, T: FromFields> Visitor<'de> for Short<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a single value, or fields")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.short)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::from_fields(MapAccessDeserializer::new(fields))
    }
}
