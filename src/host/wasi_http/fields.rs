//! Headers. They keep to the limits of a request from the start, so that a guest can't fill the memory of the host.

use wasmtime::component::Resource;

use crate::bindings::outgoing::wasi::http::types::{HeaderError, HostFields};
use crate::guest::Guest;
use replibook_core::run::{FailureReason, HttpRequest, MAX_HTTP_HEADER_BYTES, MAX_HTTP_HEADERS};

/// The header that a client may set, and that the host sends by itself.
const CONTENT_LENGTH: &str = "content-length";

/// The digits of the largest length.
const LENGTH_DIGITS: usize = 20;

/// Headers, in the order and the spelling in which they were added.
#[derive(Clone, Default)]
pub struct Fields {
    entries: Vec<(String, Vec<u8>)>,
    /// Whether they may no longer be changed.
    fixed: bool,
}

/// Why a change of headers was refused.
enum Refused {
    Fixed,
    Syntax,
    OfTheHost(String),
    TooMany { headers: usize, bytes: usize },
}

impl Fields {
    /// The headers of a response.
    pub(super) fn received(headers: &[(String, String)]) -> Self {
        let bytes = |(name, value): &(String, String)| (name.clone(), value.clone().into_bytes());
        Self { entries: headers.iter().map(bytes).collect(), fixed: true }
    }

    /// The same headers, which nobody can change any more.
    pub(super) fn fixed(self) -> Self {
        Self { fixed: true, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The headers as they are sent: without the length of the body, which the host knows. None where a value is no
    /// text, which only a copy of a response's headers can have.
    pub(super) fn sent(&self) -> Option<Vec<(String, String)>> {
        let others =
            self.entries.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(CONTENT_LENGTH));
        let text = |(name, value): &(String, Vec<u8>)| {
            Some((name.clone(), String::from_utf8(value.clone()).ok()?))
        };
        others.map(text).collect()
    }

    /// The length of the body that the headers tell, if they do.
    ///
    /// # Errors
    /// More than one length, or one that is no number, as a message.
    pub(super) fn length(&self) -> Result<Option<u64>, String> {
        let lengths = self.values(CONTENT_LENGTH);
        let [length] = lengths.as_slice() else {
            return match lengths.is_empty() {
                true => Ok(None),
                false => Err(format!("found {} content-length headers", lengths.len())),
            };
        };
        let number = std::str::from_utf8(length).ok().and_then(|text| text.trim().parse().ok());
        number.map(Some).ok_or_else(|| "found a content-length that is no number".to_owned())
    }

    fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let of_name = self.entries.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.clone()).collect()
    }

    /// Adds a value for each of `values`, and removes those that the name had if `instead`. Changes nothing if it fails.
    fn add(&mut self, name: &str, values: Vec<Vec<u8>>, instead: bool) -> Result<(), Refused> {
        if self.fixed {
            return Err(Refused::Fixed);
        }
        if !is_name(name) || !values.iter().all(|value| is_value(value)) {
            return Err(Refused::Syntax);
        }
        let is_length = |known: &str| known.eq_ignore_ascii_case(CONTENT_LENGTH);
        // Headers of a response may have such a name too, and a copy of them may be rid of it.
        if HttpRequest::is_header_of_the_host(name) && !is_length(name) && !values.is_empty() {
            return Err(Refused::OfTheHost(name.to_ascii_lowercase()));
        }
        let stays = |known: &str| !(instead && known.eq_ignore_ascii_case(name));
        let kept = self.entries.iter().filter(|(known, _)| stays(known));
        let kept = kept.map(|(known, value)| (known.as_str(), value.len()));
        let mut sizes: Vec<_> = kept.chain(values.iter().map(|it| (name, it.len()))).collect();
        // The length is not sent, so it takes no place: once, and only if it is as short as a number.
        let free = |(known, size): &(&str, usize)| is_length(known) && *size <= LENGTH_DIGITS;
        if let Some(place) = sizes.iter().position(free) {
            sizes.swap_remove(place);
        }
        let headers = sizes.len();
        let bytes = sizes.iter().fold(0_usize, |all, (known, size)| {
            all.saturating_add(known.len()).saturating_add(*size)
        });
        if headers > MAX_HTTP_HEADERS || bytes > MAX_HTTP_HEADER_BYTES {
            return Err(Refused::TooMany { headers, bytes });
        }
        self.entries.retain(|(known, _)| stays(known));
        self.entries.extend(values.into_iter().map(|value| (name.to_owned(), value)));
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Whether a request with this value can be sent.
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|b| *b == b'\t' || (b' '..=b'~').contains(b))
}

impl Guest {
    /// What a guest is told. The codes have no text, so the log has it.
    fn refused_header(&mut self, refused: Refused) -> HeaderError {
        self.refused(FailureReason::StepFailed);
        match refused {
            Refused::Fixed => HeaderError::Immutable,
            Refused::Syntax => HeaderError::InvalidSyntax,
            Refused::OfTheHost(name) => {
                self.note(format!("found the header {name}, which only the host sets"));
                HeaderError::Forbidden
            }
            Refused::TooMany { headers, bytes } => {
                let most = MAX_HTTP_HEADER_BYTES;
                self.note(format!(
                    "found {headers} headers of {bytes} bytes, expected at most {MAX_HTTP_HEADERS} of {most} bytes"
                ));
                HeaderError::Forbidden
            }
        }
    }

    fn change(
        &mut self,
        fields: &Resource<Fields>,
        name: &str,
        values: Vec<Vec<u8>>,
        instead: bool,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        match self.wasi.table.get_mut(fields)?.add(name, values, instead) {
            Ok(()) => Ok(Ok(())),
            Err(refused) => Ok(Err(self.refused_header(refused))),
        }
    }
}

impl HostFields for Guest {
    fn new(&mut self) -> wasmtime::Result<Resource<Fields>> {
        Ok(self.wasi.table.push(Fields::default())?)
    }

    fn from_list(
        &mut self,
        entries: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<Resource<Fields>, HeaderError>> {
        let mut fields = Fields::default();
        for (name, value) in entries {
            if let Err(refused) = fields.add(&name, vec![value], false) {
                return Ok(Err(self.refused_header(refused)));
            }
        }
        Ok(Ok(self.wasi.table.push(fields)?))
    }

    fn get(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        Ok(self.wasi.table.get(&fields)?.values(&name))
    }

    fn has(&mut self, fields: Resource<Fields>, name: String) -> wasmtime::Result<bool> {
        Ok(!self.wasi.table.get(&fields)?.values(&name).is_empty())
    }

    fn set(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        values: Vec<Vec<u8>>,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(&fields, &name, values, true)
    }

    fn delete(
        &mut self,
        fields: Resource<Fields>,
        name: String,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(&fields, &name, Vec::new(), true)
    }

    fn append(
        &mut self,
        fields: Resource<Fields>,
        name: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), HeaderError>> {
        self.change(&fields, &name, vec![value], false)
    }

    fn entries(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        Ok(self.wasi.table.get(&fields)?.entries.clone())
    }

    fn clone(&mut self, fields: Resource<Fields>) -> wasmtime::Result<Resource<Fields>> {
        let entries = self.wasi.table.get(&fields)?.entries.clone();
        Ok(self.wasi.table.push(Fields { entries, fixed: false })?)
    }

    fn drop(&mut self, fields: Resource<Fields>) -> wasmtime::Result<()> {
        self.wasi.table.delete(fields)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(fields: &mut Fields, name: &str, value: &str) -> bool {
        fields.add(name, vec![value.as_bytes().to_vec()], false).is_ok()
    }

    #[test]
    fn names_are_the_same_in_any_spelling_and_come_back_as_they_were() {
        let mut fields = Fields::default();
        assert!(added(&mut fields, "X-Team", "dba") && added(&mut fields, "x-team", "ops"));
        assert_eq!(fields.values("X-TEAM"), [b"dba".to_vec(), b"ops".to_vec()]);
        assert!(fields.add("x-TEAM", vec![b"one".to_vec()], true).is_ok());
        assert_eq!(fields.entries, [("x-TEAM".to_owned(), b"one".to_vec())]);
        assert!(fields.add("X-Team", Vec::new(), true).is_ok());
        assert!(fields.is_empty());
        let mut fixed = fields.fixed();
        assert!(matches!(fixed.add("a", Vec::new(), true), Err(Refused::Fixed)));
    }

    #[test]
    fn what_can_not_be_sent_is_refused() {
        let mut fields = Fields::default();
        for (name, value) in [("", "a"), ("a b", "c"), ("a", "b\r\nc: d"), ("a", "ä"), ("a:", "b")]
        {
            let refused = fields.add(name, vec![value.as_bytes().to_vec()], false);
            assert!(matches!(refused, Err(Refused::Syntax)), "{name}: {value}");
        }
        for name in
            ["Host", "idempotency-key", "Transfer-Encoding", "connection", "accept-encoding"]
        {
            let refused = fields.add(name, vec![b"a".to_vec()], false);
            assert!(matches!(refused, Err(Refused::OfTheHost(_))), "{name}");
        }
        assert!(fields.is_empty());
    }

    #[test]
    fn headers_have_a_number_and_a_size() {
        let mut fields = Fields::default();
        for _ in 0..MAX_HTTP_HEADERS {
            assert!(added(&mut fields, "a", ""));
        }
        let one_more = fields.add("a", vec![Vec::new()], false);
        assert!(matches!(one_more, Err(Refused::TooMany { headers: 65, .. })));
        assert!(fields.add("a", vec![Vec::new()], true).is_ok());
        let mut fields = Fields::default();
        assert!(added(&mut fields, "a", &"b".repeat(MAX_HTTP_HEADER_BYTES - 1)));
        assert!(!added(&mut fields, "c", ""));
        assert!(!added(&mut Fields::default(), "a", &"b".repeat(MAX_HTTP_HEADER_BYTES)));
    }

    #[test]
    fn one_length_of_the_body_takes_no_place() {
        let mut fields = Fields::default();
        assert!(added(&mut fields, "Content-Length", "12"));
        for _ in 0..MAX_HTTP_HEADERS {
            assert!(added(&mut fields, "a", ""));
        }
        assert!(!added(&mut fields, "content-length", "12") && !added(&mut fields, "a", ""));
        assert_eq!(fields.sent().unwrap().len(), MAX_HTTP_HEADERS);
        assert!(added(&mut Fields::default(), "content-length", &u64::MAX.to_string()));
        let long = "1".repeat(MAX_HTTP_HEADER_BYTES);
        assert!(!added(&mut Fields::default(), "content-length", &long));
    }

    #[test]
    fn a_copy_of_the_headers_of_a_response_can_be_rid_of_those_that_only_the_host_sets() {
        let received = [("Connection".to_owned(), "close".to_owned())];
        let mut copy = Fields { fixed: false, ..Fields::received(&received) };
        let again = copy.add("connection", vec![b"close".to_vec()], true);
        assert!(matches!(again, Err(Refused::OfTheHost(_))));
        assert!(copy.add("connection", Vec::new(), true).is_ok());
        assert!(copy.is_empty());
    }

    #[test]
    fn the_length_of_the_body_is_read_and_not_sent() {
        let mut fields = Fields::default();
        assert_eq!(fields.length(), Ok(None));
        assert!(added(&mut fields, "Content-Length", "12") && added(&mut fields, "a", "b"));
        assert_eq!(fields.length(), Ok(Some(12)));
        assert_eq!(fields.sent().unwrap(), [("a".to_owned(), "b".to_owned())]);
        assert!(added(&mut fields, "content-length", "12") && fields.length().is_err());
        assert!(fields.add("content-length", vec![b"many".to_vec()], true).is_ok());
        assert!(fields.length().is_err());
        let received = [("a".to_owned(), "ä".to_owned())];
        assert_eq!(Fields::received(&received).values("A"), ["ä".as_bytes().to_vec()]);
    }
}
