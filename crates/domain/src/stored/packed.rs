//! How values become CBOR: structs as arrays of their fields, variants by their number. serde_cbor writes maps by itself,
//! with a key for each field; its reader takes an array for a struct as it is, and then need not find out which field is
//! which. What is in a value, and how numbers and texts are written, is not decided here.

use std::fmt::Display;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_cbor::Error;
use serde_cbor::ser::Write;

/// Around serde_cbor's own. What follows a head that tells a length needs no end, so this is also what elements go to.
pub(super) struct Packed<'a, W>(pub(super) &'a mut serde_cbor::Serializer<W>);

impl<W: Write> Packed<'_, W> {
    fn array(self, length: usize) -> Result<Self, Error> {
        self.0.serialize_tuple(length)?;
        Ok(self)
    }

    fn map(self, length: usize) -> Result<Self, Error> {
        self.0.serialize_map(Some(length))?;
        Ok(self)
    }

    /// A map with one key, the variant's number, and without its value.
    fn variant(mut self, number: u32) -> Result<Self, Error> {
        self = self.map(1)?;
        self.0.serialize_u32(number)?;
        Ok(self)
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Packed(&mut *self.0))
    }
}

fn known(length: Option<usize>) -> Result<usize, Error> {
    length.ok_or_else(|| Error::custom("how many there are is not known beforehand"))
}

/// One method for each kind of value that has no parts.
macro_rules! plain {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            self.0.$method(value)
        })*
    };
}

impl<W: Write> Serializer for Packed<'_, W> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.0.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, number: u32, _: &'static str) -> Result<(), Error> {
        self.0.serialize_u32(number)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self.variant(number)?)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Error> {
        self.array(known(length)?)
    }

    fn serialize_tuple(self, length: usize) -> Result<Self, Error> {
        self.array(length)
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Self, Error> {
        self.array(length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Self, Error> {
        self.variant(number)?.array(length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Error> {
        self.map(known(length)?)
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Self, Error> {
        self.array(length)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        length: usize,
    ) -> Result<Self, Error> {
        self.variant(number)?.array(length)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of one kind of value, one after the other.
macro_rules! parts {
    ($($kind:ident: $method:ident,)*) => {
        $(impl<W: Write> $kind for Packed<'_, W> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

impl<W: Write> SerializeMap for Packed<'_, W> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// The fields of one kind of struct. None is left out: those after it would have another place.
macro_rules! fields {
    ($($kind:ident,)*) => {
        $(impl<W: Write> $kind for Packed<'_, W> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Error> {
                Err(Error::custom(format!("the field {name} is left out")))
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        })*
    };
}

fields! {
    SerializeStruct,
    SerializeStructVariant,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::strategy::Union;
    use serde::{Deserialize, Serialize};

    use super::super::{HEADER, decode, encode};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Fields {
        number: i64,
        text: Option<String>,
        map: BTreeMap<u8, (bool, Vec<u16>)>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Unit,
        Newtype(Box<Shape>),
        Pair(u32, Result<u8, String>),
        Struct {
            inner: Fields,
            other: Option<Box<Shape>>,
        },
    }

    fn fields() -> impl Strategy<Value = Fields> {
        any::<(i64, Option<String>, BTreeMap<u8, (bool, Vec<u16>)>)>()
            .prop_map(|(number, text, map)| Fields { number, text, map })
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let leaf = Union::new([
            Just(Shape::Unit).boxed(),
            any::<(u32, Result<u8, String>)>()
                .prop_map(|(number, result)| Shape::Pair(number, result))
                .boxed(),
        ]);
        leaf.prop_recursive(4, 16, 1, |inner| {
            let other = prop::option::of(inner.clone().prop_map(Box::new));
            prop_oneof![
                inner.prop_map(|shape| Shape::Newtype(Box::new(shape))),
                (fields(), other).prop_map(|(inner, other)| Shape::Struct { inner, other }),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_shape_reads_as_it_was_written(shapes in prop::collection::vec(shape(), 0..4)) {
            prop_assert_eq!(decode::<Vec<Shape>>(&encode(&shapes).unwrap()).unwrap(), shapes);
        }
    }

    #[test]
    fn a_struct_is_an_array_and_a_variant_a_number() {
        let inner = Fields {
            number: 1,
            text: None,
            map: BTreeMap::new(),
        };
        let stored = encode(&Shape::Struct { inner, other: None }).unwrap();
        assert_eq!(stored[HEADER..], [0xa1, 3, 0x82, 0x83, 1, 0xf6, 0xa0, 0xf6]);
    }

    #[test]
    fn a_value_that_leaves_a_field_out_is_not_stored() {
        #[derive(Serialize)]
        struct Sparse {
            #[serde(skip_serializing_if = "Option::is_none")]
            first: Option<u8>,
            second: u8,
        }
        let refused = encode(&Sparse {
            first: None,
            second: 2,
        })
        .unwrap_err();
        assert!(refused.to_string().contains("first is left out"), "{refused}");
        assert!(
            encode(&Sparse {
                first: Some(1),
                second: 2
            })
            .is_ok()
        );
    }
}
