//! What an expression reads, and what it gives.

use std::collections::BTreeMap;

use super::schema::FieldId;

/// A value that is neither a list nor a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    String(&'a str),
}

/// Value of a field.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A boolean, an integer or a string.
    Scalar(Scalar<'a>),
    /// A list of scalars of one type.
    List(&'a dyn ListValues),
    /// Strings by key.
    Map(&'a dyn MapValues),
}

/// Source of the values of fields: an event, a row or a payment.
pub trait Fields {
    /// Returns the value of a field; none if the field is missing.
    ///
    /// The value must have the type that the schema gives the field: another one is an error of the evaluation.
    fn get(&self, field: FieldId) -> Option<Value<'_>>;
}

/// A list of scalars of one type.
pub trait ListValues {
    /// Returns the number of elements.
    fn size(&self) -> usize;

    /// Returns the element at a position, from 0; none behind the end.
    fn get(&self, index: usize) -> Option<Scalar<'_>>;
}

/// Strings by key.
pub trait MapValues {
    /// Returns the number of keys.
    fn size(&self) -> usize;

    /// Returns the value of a key; none if the key is missing.
    fn get(&self, key: &str) -> Option<&str>;
}

impl<T> ListValues for Vec<T>
where
    for<'a> &'a T: Into<Scalar<'a>>,
{
    fn size(&self) -> usize {
        self.len()
    }

    fn get(&self, index: usize) -> Option<Scalar<'_>> {
        self.as_slice().get(index).map(Into::into)
    }
}

impl MapValues for BTreeMap<String, String> {
    fn size(&self) -> usize {
        self.len()
    }

    fn get(&self, key: &str) -> Option<&str> {
        BTreeMap::get(self, key).map(String::as_str)
    }
}

impl From<&bool> for Scalar<'_> {
    fn from(value: &bool) -> Self {
        Scalar::Bool(*value)
    }
}

impl From<&i64> for Scalar<'_> {
    fn from(value: &i64) -> Self {
        Scalar::Int(*value)
    }
}

impl<'a> From<&'a str> for Scalar<'a> {
    fn from(value: &'a str) -> Self {
        Scalar::String(value)
    }
}

impl<'a> From<&'a String> for Scalar<'a> {
    fn from(value: &'a String) -> Self {
        Scalar::String(value)
    }
}

impl<'a, T> From<T> for Value<'a>
where
    T: Into<Scalar<'a>>,
{
    fn from(value: T) -> Self {
        Value::Scalar(value.into())
    }
}
