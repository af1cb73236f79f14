//! The optional call of the agent API that tells what an action has written so far: what our agent and our gateway
//! answer, and what the client reads. `docs/agents.md` describes it.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

/// The most bytes of output in one answer. Whoever follows asks again at once while there is more, so a larger answer
/// would save little, and all of it is in memory on its way.
pub const OUTPUT_BYTES: usize = 64 * 1024;

/// Header: the offset of the first byte of the answer, where that is not the one that was asked for.
pub(crate) const FROM: &str = "output-from";

/// Header: the offset to ask with next.
pub(crate) const NEXT: &str = "output-next";

/// Header: whether nothing comes after that.
pub(crate) const ENDED: &str = "output-ended";

/// Header: the exit code of the command, once it has ended.
pub(crate) const EXIT: &str = "output-exit";

/// What a command writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl OutputStream {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// The word for it in requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl std::str::FromStr for OutputStream {
    type Err = NotAStream;

    fn from_str(text: &str) -> Result<Self, NotAStream> {
        Self::ALL.into_iter().find(|stream| stream.as_str() == text).ok_or(NotAStream)
    }
}

/// The text is not the word for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected stdout or stderr")]
pub struct NotAStream;

/// A piece of what an action has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPiece {
    /// The offset of the first byte. More than was asked for if what came before is not kept any more.
    pub from: u64,
    /// The offset to ask with next.
    pub next: u64,
    /// Whether nothing comes after that.
    pub ended: bool,
    /// The exit code of the command, if it has ended and has one.
    pub exit: Option<u8>,
    /// The bytes. They need not be UTF-8.
    pub bytes: Bytes,
}

impl OutputPiece {
    /// Reads the headers of an answer to a request that asked for what comes from `asked` on.
    ///
    /// # Errors
    /// What was found instead of what was expected.
    pub(crate) fn read(asked: u64, headers: &HeaderMap, bytes: Bytes) -> Result<Self, String> {
        let wrong = |name: &str, found: &str, expected: &str| {
            format!("header {name}: found {found:?}, expected {expected}")
        };
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let number = |name: &str, text: &str| {
            text.parse::<u64>().map_err(|_| wrong(name, text, "a whole number"))
        };
        let from = text(FROM).map_or(Ok(asked), |text| number(FROM, text))?;
        let next = text(NEXT).ok_or_else(|| wrong(NEXT, "", "the offset to ask with next"))?;
        let next = number(NEXT, next)?;
        if next < from {
            return Err(wrong(NEXT, &next.to_string(), &format!("{from} or more")));
        }
        let ended = match text(ENDED).unwrap_or_default() {
            "true" => true,
            "false" => false,
            other => return Err(wrong(ENDED, other, "true or false")),
        };
        let exit = text(EXIT).map(|text| {
            text.parse().map_err(|_| wrong(EXIT, text, "a whole number from 0 to 255"))
        });
        // Whoever follows would ask for the same bytes for ever.
        if next == from && !bytes.is_empty() {
            return Err(wrong(NEXT, &next.to_string(), "more, after bytes"));
        }
        Ok(Self { from, next, ended, exit: exit.transpose()?, bytes })
    }

    /// The headers that go with the bytes.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(FROM, self.from.into());
        headers.insert(NEXT, self.next.into());
        headers.insert(ENDED, HeaderValue::from_static(if self.ended { "true" } else { "false" }));
        if let Some(exit) = self.exit {
            headers.insert(EXIT, u16::from(exit).into());
        }
        let bytes = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, bytes);
        headers
    }
}

impl IntoResponse for OutputPiece {
    fn into_response(self) -> Response {
        (self.headers(), self.bytes).into_response()
    }
}

/// What a request for output asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputQuery {
    /// The offset of the first byte.
    pub from: u64,
    /// Which stream.
    pub stream: OutputStream,
}

impl OutputQuery {
    /// Reads the query of a request, as it is in the address. Other parameters are passed over, as agents do.
    ///
    /// # Errors
    /// What was found instead of what was expected.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, String> {
        let mut read = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("from", text)) => {
                    read.from = text
                        .parse()
                        .map_err(|_| format!("from: found {text:?}, expected a whole number"))?;
                }
                Some(("stream", text)) => {
                    read.stream =
                        text.parse().map_err(|error| format!("stream: found {text:?}, {error}"))?;
                }
                Some(_) | None => {}
            }
        }
        Ok(read)
    }

    /// The same as the query of a request.
    pub(crate) fn write(self) -> String {
        format!("from={}&stream={}", self.from, self.stream.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (from, exit) in [(0, None), (7, Some(0)), (u64::MAX - 2, Some(255))] {
            let bytes = Bytes::from_static(b"\xFF\0");
            let piece = OutputPiece { from, next: from + 2, ended: exit.is_some(), exit, bytes };
            let read = OutputPiece::read(1, &piece.headers(), piece.bytes.clone());
            assert_eq!(read, Ok(piece));
        }
        for stream in OutputStream::ALL {
            let query = OutputQuery { from: 42, stream };
            assert_eq!(OutputQuery::read(Some(&query.write())), Ok(query));
        }
        assert_eq!(OutputQuery::read(None), Ok(OutputQuery::default()));
        assert_eq!(OutputQuery::read(Some("")), Ok(OutputQuery::default()));
    }

    #[test]
    fn only_what_is_always_there_has_to_be() {
        let least = headers(&[(NEXT, "12"), (ENDED, "false")]);
        let piece = OutputPiece::read(10, &least, Bytes::from_static(b"ab")).unwrap();
        assert_eq!((piece.from, piece.next, piece.exit), (10, 12, None));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_refused() {
        let good = [(NEXT, "12"), (ENDED, "false")];
        for (bad, found) in [
            (vec![(ENDED, "true")], "output-next: found \"\""),
            (vec![(NEXT, "12")], "output-ended: found \"\""),
            (vec![(NEXT, "-1"), (ENDED, "true")], "output-next: found \"-1\""),
            (vec![(NEXT, "12"), (ENDED, "yes")], "output-ended: found \"yes\""),
            ([&good[..], &[(FROM, "13")]].concat(), "output-next: found \"12\", expected 13"),
            ([&good[..], &[(FROM, "12")]].concat(), "output-next: found \"12\", expected more"),
            ([&good[..], &[(EXIT, "256")]].concat(), "output-exit: found \"256\""),
        ] {
            let error =
                OutputPiece::read(10, &headers(&bad), Bytes::from_static(b"ab")).unwrap_err();
            assert!(error.starts_with(&format!("header {found}")), "{error}");
        }
    }

    #[test]
    fn a_query_that_makes_no_sense_is_refused() {
        for bad in ["from=", "from=-1", "from=x", "from=18446744073709551616", "stream=both"] {
            assert!(OutputQuery::read(Some(bad)).is_err(), "{bad}");
        }
    }
}
