//! Lists and maps in bodies of requests, checked while they are read, so that a list that is too long never
//! gets into memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::run::Unambiguous;

/// Reads a list of at most `N` items. A longer list is refused at the first item beyond that, and the rest is
/// never in memory.
///
/// # Errors
/// What was found and what was expected.
pub(super) fn at_most<'de, D, T, const N: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    from.deserialize_seq(AtMost::<T, N>(PhantomData))
}

/// Reads a map in which no key occurs twice, at any depth.
///
/// # Errors
/// The key that occurs twice.
pub(super) fn unambiguous<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Map<String, Value>, D::Error> {
    match Unambiguous::deserialize(from)?.0 {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(D::Error::custom("found no object, expected one"))
        }
    }
}

struct AtMost<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for AtMost<T, N> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {N}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while items.len() < N {
            match from.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
        match from.next_element::<IgnoredAny>()? {
            None => Ok(items),
            Some(_) => Err(A::Error::custom(format!("found more than {N}, expected at most that"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::ApplyDocuments;
    use crate::store::MAX_PUT;

    fn read(documents: usize, rest: &str) -> Result<usize, String> {
        let items = vec![r#"{"document": "a"}"#; documents].join(",");
        let body = format!(r#"{{"documents": [{items}{rest}]}}"#);
        let read = serde_json::from_str::<ApplyDocuments>(&body);
        read.map(|read| read.documents.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_refused_at_the_first_item_that_is_too_many() {
        assert_eq!(read(0, ""), Ok(0));
        assert_eq!(read(MAX_PUT, ""), Ok(MAX_PUT));
        // What comes after the surplus item is not even looked at.
        let error = read(MAX_PUT + 1, ",\0").unwrap_err();
        let expected =
            format!("found more than {MAX_PUT}, expected at most that at line 1 column ");
        assert!(error.starts_with(&expected), "{error}");
        let error = read(MAX_PUT, ",\0").unwrap_err();
        assert!(error.contains("expected value"), "{error}");
    }
}
