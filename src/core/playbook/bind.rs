//! Converts between JSON and CEL: the values that an expression uses go in, borrowed, and its result comes out.
//! Both directions count sizes, since expressions come from playbooks and must not take memory without bound.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::Val;
use cel::objects::Key;
use serde_json::{Map, Number, Value};

use super::scan::Use;

/// The largest result of an expression, in bytes (approximately): no more than an argument may have.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// How many bytes of a string count as one value when the size of a scope is worked out.
const BYTES_PER_VALUE: u64 = 32;

/// Makes CEL of the part of `value` that is used, and adds its size to `size`. A used key that `value` lacks is
/// left out, so that CEL reports it, or `has()` is false.
///
/// Integers become `int`, not `uint`, so that arithmetic such as `params.grace + 1` works.
pub(super) fn bind<'v>(value: &'v Value, uses: &Use, size: &mut u64) -> Box<dyn Val + 'v> {
    *size += 1;
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Box::new(CelInt::from(integer)),
            (None, Some(integer)) => Box::new(CelUInt::from(integer)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => {
            *size += text.len() as u64 / BYTES_PER_VALUE;
            Box::new(CelString::from(text.as_str()))
        }
        Value::Array(items) => {
            let items: Vec<Box<dyn Val + 'v>> =
                items.iter().map(|item| bind(item, &Use::Whole, size)).collect();
            Box::new(CelList::from(items))
        }
        Value::Object(object) => {
            let entries: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = match uses {
                Use::Whole => object
                    .iter()
                    .map(|(key, value)| (key.as_str().into(), bind(value, &Use::Whole, size)))
                    .collect(),
                Use::Keys(keys) => keys
                    .iter()
                    .filter_map(|(key, uses)| {
                        let (key, value) = object.get_key_value(key)?;
                        Some((key.as_str().into(), bind(value, uses, size)))
                    })
                    .collect(),
            };
            Box::new(CelMap::from(entries))
        }
    }
}

/// The size of the part of `value` that is used, counted in the same way as in [`bind`].
pub(super) fn size(value: &Value, uses: &Use) -> u64 {
    let whole = |value| size(value, &Use::Whole);
    match (value, uses) {
        (Value::Null | Value::Bool(_) | Value::Number(_), _) => 1,
        (Value::String(text), _) => 1 + text.len() as u64 / BYTES_PER_VALUE,
        (Value::Array(items), _) => 1 + items.iter().map(whole).sum::<u64>(),
        (Value::Object(object), Use::Whole) => 1 + object.values().map(whole).sum::<u64>(),
        (Value::Object(object), Use::Keys(keys)) => {
            let used = keys.iter().filter_map(|(key, uses)| Some(size(object.get(key)?, uses)));
            used.sum()
        }
    }
}

/// Makes JSON of the result of an expression, if JSON has such a value and it is at most [`MAX_VALUE_BYTES`].
pub(super) fn to_json(value: &cel::Value) -> Result<Value, String> {
    let mut left = MAX_VALUE_BYTES;
    convert(value, &mut left)
}

fn convert(value: &cel::Value, left: &mut usize) -> Result<Value, String> {
    let size = if let cel::Value::String(text) = value { text.len() + 2 } else { 4 };
    *left = left
        .checked_sub(size)
        .ok_or_else(|| format!("the value is larger than {MAX_VALUE_BYTES} bytes"))?;
    match value {
        cel::Value::Null => Ok(Value::Null),
        cel::Value::Bool(value) => Ok(Value::Bool(*value)),
        cel::Value::Int(value) => Ok(Value::from(*value)),
        cel::Value::UInt(value) => Ok(Value::from(*value)),
        cel::Value::Float(value) => Number::from_f64(*value)
            .map(Value::Number)
            .ok_or_else(|| format!("found the number {value}, expected a finite one")),
        cel::Value::String(text) => Ok(Value::String(text.to_string())),
        cel::Value::List(items) => {
            items.iter().map(|item| convert(item, left)).collect::<Result<_, _>>().map(Value::Array)
        }
        cel::Value::Map(map) => {
            let mut object = Map::with_capacity(map.map.len());
            for (key, value) in map.map.iter() {
                let Key::String(key) = key else {
                    return Err(format!("found a map with the key {key}, expected only strings"));
                };
                object.insert(key.to_string(), convert(value, left)?);
            }
            // A map of CEL has no order; the same input must give the same output.
            object.sort_keys();
            Ok(Value::Object(object))
        }
        cel::Value::Function(..)
        | cel::Value::Bytes(_)
        | cel::Value::Opaque(_)
        | cel::Value::Struct(_) => {
            Err(format!("found a value of type {}, expected one that JSON has", value.type_of()))
        }
    }
}
