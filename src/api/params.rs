//! Reads what a request says outside of its body: path, query and headers. Every mistake becomes a problem
//! document that says where, what was found and what was expected.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{ApiError, Code};
use super::limits::DEFAULT_PAGE;
use super::wire::{DamagedView, Listing};
use crate::store::{Damage, Found, MAX_PAGE, Page};

/// The parameters in the path, percent-decoded.
pub(super) struct InPath<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(Code::BadParameter, rejection.body_text())),
        }
    }
}

/// The query. A parameter that the handler does not take is an error, so that a misspelt filter is not ignored.
#[derive(Debug)]
pub(super) struct InQuery {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for InQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(left)) => Ok(Self { left, known: Vec::new() }),
            Err(rejection) => Err(ApiError::new(Code::BadParameter, rejection.body_text())),
        }
    }
}

impl InQuery {
    /// A parameter that may be given once; `None` if it is not given.
    pub(super) fn take<T: FromStr>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ApiError> {
        let found = self.take_all(name);
        match found.as_slice() {
            [] => Ok(None),
            [text] => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(ApiError::bad_parameter(&place(name), text, expected)),
            },
            _ => Err(ApiError::bad_parameter(&place(name), &found.join("&"), "it once")),
        }
    }

    /// The values of a parameter that may be given several times or as a list separated by commas.
    pub(super) fn take_list<T: FromStr<Err: Display>>(
        &mut self,
        name: &'static str,
    ) -> Result<Vec<T>, ApiError> {
        let found = self.take_all(name);
        let words = found.iter().flat_map(|text| text.split(',')).filter(|word| !word.is_empty());
        let read = |word: &str| {
            let detail = |error| format!("{}: {error}", place(name));
            word.parse().map_err(|error| ApiError::new(Code::BadParameter, detail(error)))
        };
        words.map(read).collect()
    }

    /// The parameter `limit`: how many items a page may have.
    pub(super) fn limit(&mut self) -> Result<u32, ApiError> {
        let expected = format!("a whole number from 1 to {MAX_PAGE}");
        let limit = self.take("limit", &expected)?.unwrap_or(DEFAULT_PAGE);
        if (1..=MAX_PAGE).contains(&limit) {
            return Ok(limit);
        }
        Err(ApiError::bad_parameter(&place("limit"), &limit.to_string(), &expected))
    }

    /// The parameters `after` and `limit` of a list whose keys are text.
    pub(super) fn page(&mut self) -> Result<Page, ApiError> {
        Ok(Page { after: self.take("after", "a key")?, limit: self.limit()? })
    }

    /// Refuses parameters that were not taken.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        let expected = match self.known.is_empty() {
            true => "no query parameters".to_owned(),
            false => format!("one of {}", self.known.join(", ")),
        };
        Err(ApiError::bad_parameter("query", name, &expected))
    }

    fn take_all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let (found, left) =
            std::mem::take(&mut self.left).into_iter().partition(|(key, _)| key == name);
        self.left = left;
        found.into_iter().map(|(_, value)| value).collect()
    }
}

fn place(name: &str) -> String {
    format!("query parameter `{name}`")
}

/// A header that may be given once, as text; `None` if it is not given.
pub(super) fn header<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        (Err(_), _) | (_, Some(_)) => {
            let detail = format!("header `{name}`: expected it once, in visible ASCII");
            Err(ApiError::new(Code::BadHeader, detail))
        }
    }
}

/// One page of a list. A full page has a `next`, even if it happens to be the last one: the page after it is
/// empty then. Items that can't be read are named beside the others.
pub(super) fn listing<S, T>(
    found: Found<S>,
    limit: u32,
    key: impl Fn(&S) -> String,
    view: impl Fn(S) -> T,
) -> Listing<T> {
    let full = found.len() >= limit as usize;
    let key_of = |one: &Result<S, Damage>| match one {
        Ok(item) => key(item),
        Err(damage) => damage.key.clone(),
    };
    let next = found.last().filter(|_| full).map(key_of);
    let (mut items, mut damaged) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Ok(item) => items.push(view(item)),
            Err(Damage { what, why, key: _ }) => damaged.push(DamagedView { what, why }),
        }
    }
    Listing { items, next, damaged }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunStatus;

    fn query(text: &str) -> InQuery {
        let uri = format!("/x?{text}").parse().unwrap();
        let Query(left) = Query::try_from_uri(&uri).unwrap();
        InQuery { left, known: Vec::new() }
    }

    #[test]
    fn a_limit_has_a_default_and_bounds() {
        assert_eq!(query("").limit().unwrap(), DEFAULT_PAGE);
        assert_eq!(query("limit=1000").limit().unwrap(), MAX_PAGE);
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=ten", "limit=", "limit=1&limit=2"] {
            let error = query(bad).limit().unwrap_err();
            assert_eq!(error.code, Code::BadParameter, "{bad}");
            assert!(error.detail.starts_with("query parameter `limit`: found"), "{error}");
        }
    }

    #[test]
    fn what_is_not_taken_is_refused() {
        let mut params = query("limit=1&stat=DONE");
        params.limit().unwrap();
        let error = params.finish().unwrap_err();
        assert_eq!(error.to_string(), "query: found \"stat\", expected one of limit");
    }

    #[test]
    fn a_list_is_given_with_commas_or_repeated() {
        let mut params = query("status=running,PAUSED&status=DONE");
        let statuses: Vec<RunStatus> = params.take_list("status").unwrap();
        assert_eq!(statuses, [RunStatus::Running, RunStatus::Paused, RunStatus::Done]);
        let error = query("status=GONE").take_list::<RunStatus>("status").unwrap_err();
        assert!(error.detail.contains("`status`: \"GONE\" is not a run status"), "{error}");
    }

    #[test]
    fn only_a_full_page_has_a_next() {
        let page = |items: &[u32]| {
            listing(items.iter().map(|item| Ok(*item)).collect(), 2, u32::to_string, |item| item)
        };
        assert_eq!(page(&[1, 2]).next, Some("2".to_owned()));
        assert_eq!(page(&[1]).next, None);
        assert_eq!(page(&[]).next, None);
    }

    #[test]
    fn a_page_goes_on_after_what_can_not_be_read() {
        let damage = |n: u32| Damage {
            what: format!("an event ({n})"),
            key: n.to_string(),
            why: "EOF".to_owned(),
        };
        let page = listing(vec![Ok(1_u32), Err(damage(2))], 2, u32::to_string, |item| item);
        assert_eq!((page.items.as_slice(), page.next.as_deref()), ([1].as_slice(), Some("2")));
        assert_eq!(page.damaged[0].what, "an event (2)");
    }
}
