//! What the server answered, taken apart. A reply of the wrong shape is a damaged record, not a panic.

use redis::Value;

use super::connect::{Endpoint, server_error};
use super::keys;
use crate::error::{Error, Result};

/// The replies of one flush, read in the order of the commands.
pub(super) struct Replies<'e> {
    endpoint: &'e Endpoint,
    values: std::vec::IntoIter<Value>,
}

impl<'e> Replies<'e> {
    pub(super) fn new(endpoint: &'e Endpoint, values: Vec<Value>) -> Self {
        Self { endpoint, values: values.into_iter() }
    }

    /// # Errors
    /// The server's own error, translated.
    pub(super) fn next(&mut self) -> Result<Value> {
        let value = self.values.next().ok_or_else(|| corrupt("reply", "fewer replies than commands"))?;
        match server_error(&value) {
            Some(error) => Err(self.endpoint.refused(error)),
            None => Ok(value),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Option<Vec<u8>>> {
        bytes(self.next()?)
    }

    pub(super) fn int(&mut self) -> Result<i64> {
        int(self.next()?)
    }

    pub(super) fn array(&mut self) -> Result<Vec<Value>> {
        array(self.next()?)
    }

    /// A decimal number in a string; `None` when missing.
    pub(super) fn number(&mut self, record: &str) -> Result<Option<i64>> {
        self.bytes()?.map(|digits| decimal(&digits, record)).transpose()
    }
}

fn corrupt(record: &str, cause: impl Into<String>) -> Error {
    Error::Corrupt { record: record.to_owned(), cause: cause.into() }
}

fn unexpected(wanted: &str, got: &Value) -> Error {
    // Only the shape: the content may be a name or worse.
    let shape = match got {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a string",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    corrupt("reply", format!("{shape} instead of {wanted}"))
}

pub(super) fn bytes(value: Value) -> Result<Option<Vec<u8>>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::SimpleString(text) => Ok(Some(text.into_bytes())),
        other => Err(unexpected("a string", &other)),
    }
}

pub(super) fn some_bytes(value: Value) -> Result<Vec<u8>> {
    bytes(value)?.ok_or_else(|| unexpected("a string", &Value::Nil))
}

pub(super) fn int(value: Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(number),
        other => Err(unexpected("a number", &other)),
    }
}

pub(super) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected("a list", &other)),
    }
}

pub(super) fn decimal(digits: &[u8], record: &str) -> Result<i64> {
    keys::signed(digits).ok_or_else(|| corrupt(record, format!("\"{}\" is no number", digits.escape_ascii())))
}

/// A sorted set's score: the peer writes whole unix seconds, the server may print them as a float.
pub(super) fn score(digits: &[u8], record: &str) -> Result<i64> {
    if let Some(number) = keys::signed(digits) {
        return Ok(number);
    }
    let float = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<f64>().ok());
    match float {
        Some(number) if number.is_finite() => Ok(number as i64),
        _ => Err(corrupt(record, format!("\"{}\" is no time", digits.escape_ascii()))),
    }
}

/// Pairs of a flat list: field and value, member and score.
pub(super) fn pairs(values: Vec<Value>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut values = values.into_iter();
    let mut pairs = Vec::with_capacity(values.len() / 2);
    while let (Some(first), Some(second)) = (values.next(), values.next()) {
        pairs.push((some_bytes(first)?, some_bytes(second)?));
    }
    Ok(pairs)
}
