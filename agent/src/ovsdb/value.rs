//! Values of columns as RFC 7047 §5.1 writes them: atoms, sets and maps.
//!
//! On the wire a set of one element is a bare atom, and what is optional is a set of none or one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::{SerializeTuple, Serializer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A row that an operation of the same transaction inserts. RFC 7047 wants an identifier, which names of links are not
/// (`veth-1.0` is a syntax error), so these are numbered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedUuid(String);

impl NamedUuid {
    /// The `number`th row of what `what` says; `what` is an identifier itself.
    pub fn numbered(what: &'static str, number: usize) -> Self {
        Self(format!("{what}{number}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One scalar.
#[derive(Debug, Clone, PartialEq)]
pub enum Atom {
    /// 64 bits, signed.
    Integer(i64),
    /// IEEE 754.
    Real(f64),
    /// True or false.
    Boolean(bool),
    /// UTF-8 without NUL.
    String(Cow<'static, str>),
    /// A row.
    Uuid(Uuid),
    /// A row of this transaction.
    Named(NamedUuid),
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A scalar, or a set of one.
    Atom(Atom),
    /// No order, no repeats.
    Set(Vec<Atom>),
    /// Unique keys.
    Map(Vec<(Atom, Atom)>),
}

/// A row, or a part of one: column and value.
pub type Row = BTreeMap<Cow<'static, str>, Value>;

/// A row from its columns.
pub fn row<const N: usize>(columns: [(&'static str, Value); N]) -> Row {
    columns.into_iter().map(|(column, value)| (Cow::Borrowed(column), value)).collect()
}

impl Value {
    /// A scalar.
    pub fn atom(atom: impl Into<Atom>) -> Self {
        Self::Atom(atom.into())
    }

    /// A set of any size.
    pub fn set<T: Into<Atom>>(atoms: impl IntoIterator<Item = T>) -> Self {
        Self::Set(atoms.into_iter().map(Into::into).collect())
    }

    /// A map.
    pub fn map<K: Into<Atom>, V: Into<Atom>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

macro_rules! atom_from {
    ($($from:ty => $variant:ident),*) => { $(
        impl From<$from> for Atom {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::Atom(value.into())
            }
        }
    )* };
}
atom_from!(i64 => Integer, f64 => Real, bool => Boolean, &'static str => String, String => String, Uuid => Uuid,
    NamedUuid => Named);

impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(number) => out.serialize_i64(*number),
            Self::Real(number) => out.serialize_f64(*number),
            Self::Boolean(truth) => out.serialize_bool(*truth),
            Self::String(text) => out.serialize_str(text),
            Self::Uuid(uuid) => tagged(out, "uuid", uuid),
            Self::Named(name) => tagged(out, "named-uuid", name.as_str()),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Atom(atom) => atom.serialize(out),
            Self::Set(atoms) => tagged(out, "set", atoms),
            Self::Map(pairs) => tagged(out, "map", pairs),
        }
    }
}

fn tagged<S: Serializer>(out: S, tag: &str, value: impl Serialize) -> Result<S::Ok, S::Error> {
    let mut pair = out.serialize_tuple(2)?;
    pair.serialize_element(tag)?;
    pair.serialize_element(&value)?;
    pair.end()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for Atom {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Atom(atom) => Ok(atom),
            Value::Set(_) | Value::Map(_) => Err(D::Error::custom("a set or a map inside a set or a map")),
        }
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an OVSDB value (RFC 7047 §5.1)")
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Atom(Atom::Integer(number)))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number).map(Value::from).map_err(|_| E::custom("an integer past 64 bits"))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Atom(Atom::Real(number)))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Atom(Atom::Boolean(truth)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Value, A::Error> {
        let missing = || A::Error::custom("a tag and a value");
        let tag: Cow<'de, str> = pair.next_element()?.ok_or_else(missing)?;
        let value = match &*tag {
            "uuid" => Value::from(pair.next_element::<Uuid>()?.ok_or_else(missing)?),
            "named-uuid" => Value::from(NamedUuid(pair.next_element()?.ok_or_else(missing)?)),
            "set" => Value::Set(pair.next_element()?.ok_or_else(missing)?),
            "map" => Value::Map(pair.next_element()?.ok_or_else(missing)?),
            other => return Err(A::Error::custom(format!("\"{other}\" is no tag of RFC 7047"))),
        };
        Ok(value)
    }
}

/// A column read as a set of `T`; one element or none may stand for an optional.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set<T>(pub Vec<T>);

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Set<T> {
    /// The element of an optional column.
    pub fn into_first(self) -> Option<T> {
        self.0.into_iter().next()
    }
}

impl<'de, T: FromAtom> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let atoms = match Value::deserialize(from)? {
            Value::Atom(atom) => vec![atom],
            Value::Set(atoms) => atoms,
            Value::Map(_) => return Err(D::Error::custom("a map instead of a set")),
        };
        let elements: Option<Vec<T>> = atoms.into_iter().map(T::from_atom).collect();
        elements.map(Self).ok_or_else(|| D::Error::custom("a set of another type"))
    }
}

/// A column read as a map of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StringMap(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Value::Map(pairs) = Value::deserialize(from)? else {
            return Err(D::Error::custom("a set instead of a map"));
        };
        let pair = |(key, value)| Some((String::from_atom(key)?, String::from_atom(value)?));
        let pairs: Option<BTreeMap<_, _>> = pairs.into_iter().map(pair).collect();
        pairs.map(Self).ok_or_else(|| D::Error::custom("a map of something else than strings"))
    }
}

/// What an atom can be read as.
pub trait FromAtom: Sized {
    /// `None` if it is an atom of another type.
    fn from_atom(atom: Atom) -> Option<Self>;
}

macro_rules! from_atom {
    ($($type:ty => $variant:ident),*) => { $(
        impl FromAtom for $type {
            fn from_atom(atom: Atom) -> Option<Self> {
                let Atom::$variant(value) = atom else { return None };
                Some(value.into())
            }
        }
    )* };
}
from_atom!(i64 => Integer, f64 => Real, bool => Boolean, String => String, Uuid => Uuid);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{from_value, json, to_value};

    use super::{Value, *};

    #[test]
    fn every_form_of_the_rfc_reads_as_it_is_written() {
        let id = Uuid::from_u128(7);
        let forms = [
            (Value::from(-3), json!(-3)),
            (Value::from(1.5), json!(1.5)),
            (Value::from(true), json!(true)),
            (Value::from("br0"), json!("br0")),
            (Value::from(id), json!(["uuid", id])),
            (Value::from(NamedUuid::numbered("port", 2)), json!(["named-uuid", "port2"])),
            (Value::set([1, 2]), json!(["set", [1, 2]])),
            (Value::set([id]), json!(["set", [["uuid", id]]])),
            (Value::map([("a", "b")]), json!(["map", [["a", "b"]]])),
        ];

        for (value, form) in forms {
            assert_eq!(to_value(&value).unwrap(), form);
            assert_eq!(from_value::<Value>(form).unwrap(), value);
        }
    }

    fn any_atom() -> impl Strategy<Value = Atom> {
        prop_oneof![
            any::<i64>().prop_map(Atom::from),
            any::<bool>().prop_map(Atom::from),
            any::<String>().prop_map(Atom::from),
            any::<u128>().prop_map(|id| Atom::from(Uuid::from_u128(id))),
            (0_usize..100).prop_map(|number| Atom::from(NamedUuid::numbered("row", number))),
        ]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any_atom().prop_map(Value::Atom),
            prop::collection::vec(any_atom(), 0..5).prop_map(Value::Set),
            prop::collection::vec((any_atom(), any_atom()), 0..5).prop_map(Value::Map),
        ]
    }

    proptest! {
        #[test]
        fn any_value_reads_as_it_is_written(value in any_value()) {
            let text = serde_json::to_string(&value).unwrap();

            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn a_set_of_one_may_be_bare() {
        assert_eq!(from_value::<Set<i64>>(json!(42)).unwrap().0, [42]);
        assert_eq!(from_value::<Set<i64>>(json!(["set", []])).unwrap().into_first(), None);
        assert_eq!(from_value::<Set<Uuid>>(json!(["uuid", Uuid::nil()])).unwrap().0, [Uuid::nil()]);
    }

    #[test]
    fn what_is_of_another_type_is_refused() {
        assert!(from_value::<Set<i64>>(json!("42")).is_err());
        assert!(from_value::<Set<i64>>(json!(["map", []])).is_err());
        assert!(from_value::<StringMap>(json!(["map", [[1, "a"]]])).is_err());
        for broken in [
            json!(["uuid"]),
            json!(["uuid", 1]),
            json!(["sets", []]),
            json!([]),
            json!(u64::MAX),
            json!(null),
        ] {
            assert!(from_value::<Value>(broken.clone()).is_err(), "{broken}");
        }
        assert!(from_value::<Value>(json!(["set", [["set", [1]]]])).is_err());
    }
}
