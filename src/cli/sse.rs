//! Reads `text/event-stream`, piece by piece and within limits, so that a broken or hostile server can't fill
//! the memory.

/// The longest line in bytes. A line holds one JSON value: an event is far smaller, and the view of a run with
/// the largest parameters fits.
pub(crate) const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// The most bytes of data in one message, however many lines they take; the limit has the same reason.
pub(crate) const MAX_DATA_BYTES: usize = 4 * 1024 * 1024;

/// One message of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The field `id`, if the message has one.
    pub id: Option<String>,
    /// The field `event`; `message` if it is missing.
    pub event: String,
    /// The field `data`, its lines joined by line feeds.
    pub data: String,
}

/// Why a stream could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    /// A line is too long.
    #[error("found a line of more than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    /// A message is too large.
    #[error("found a message of more than {MAX_DATA_BYTES} bytes")]
    MessageTooLarge,
    /// A line is not UTF-8.
    #[error("found a line that is not UTF-8")]
    NotUtf8,
}

/// A parser that takes whatever arrives and returns the messages that are complete.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    last_was_cr: bool,
    first_line_seen: bool,
    id: Option<String>,
    event: String,
    data: Option<String>,
}

impl Parser {
    /// Takes the next bytes of the stream, and returns the messages that they complete.
    ///
    /// # Errors
    /// A limit is exceeded, or the text is not UTF-8. The rest of the stream can't be read after that.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Message>, SseError> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.last_was_cr, byte == b'\r');
            match byte {
                // The second half of a CRLF.
                b'\n' if after_cr => {}
                b'\n' | b'\r' => messages.extend(self.end_line()?),
                byte => {
                    if self.line.len() >= MAX_LINE_BYTES {
                        return Err(SseError::LineTooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Result<Option<Message>, SseError> {
        let line = String::from_utf8(std::mem::take(&mut self.line));
        let line = line.map_err(|_| SseError::NotUtf8)?;
        let first = !std::mem::replace(&mut self.first_line_seen, true);
        let line = if first { line.strip_prefix('\u{feff}').unwrap_or(&line) } else { &line };
        if line.is_empty() {
            return Ok(self.end_message());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => self.add_data(value)?,
            // Comments keep the connection alive, this client has its own rules for `retry`, and fields of
            // later versions have to be ignored.
            _ => {}
        }
        Ok(None)
    }

    fn add_data(&mut self, value: &str) -> Result<(), SseError> {
        let before = self.data.as_ref().map_or(0, |data| data.len() + 1);
        if before + value.len() > MAX_DATA_BYTES {
            return Err(SseError::MessageTooLarge);
        }
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
            None => self.data = Some(value.to_owned()),
        }
        Ok(())
    }

    fn end_message(&mut self) -> Option<Message> {
        let event = std::mem::take(&mut self.event);
        let id = self.id.take();
        let data = self.data.take()?;
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Message { id, event, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: Option<&str>, event: &str, data: &str) -> Message {
        Message { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() }
    }

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\n\nid: 1\ndata: {\"a\":\ndata:  1}\n\n\
        event: end\r\nid:2\r\ndata\r\n\r\nretry: 5\nid: 3\n\ndata: \xc3\xa9\r\rdata: cut";

    #[test]
    fn messages_come_out_the_same_however_the_bytes_come_in() {
        let expected = vec![
            message(Some("1"), "message", "{\"a\":\n 1}"),
            message(Some("2"), "end", ""),
            message(None, "message", "é"),
        ];
        assert_eq!(Parser::default().feed(STREAM).unwrap(), expected);
        for size in 1..7 {
            let mut parser = Parser::default();
            let chunks = STREAM.chunks(size).flat_map(|chunk| parser.feed(chunk).unwrap());
            assert_eq!(chunks.collect::<Vec<_>>(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_may_not_be_longer_than_the_limit() {
        let mut parser = Parser::default();
        parser.feed(&vec![b':'; MAX_LINE_BYTES]).unwrap();
        assert_eq!(parser.feed(b"x"), Err(SseError::LineTooLong));
    }

    #[test]
    fn a_message_may_not_be_larger_than_the_limit() {
        let mut parser = Parser::default();
        let half = format!("data: {}\n", "x".repeat(MAX_DATA_BYTES / 2));
        parser.feed(half.as_bytes()).unwrap();
        assert_eq!(parser.feed(half.as_bytes()), Err(SseError::MessageTooLarge));
    }

    #[test]
    fn text_that_is_not_utf8_is_an_error() {
        assert_eq!(Parser::default().feed(b"data: \xff\n"), Err(SseError::NotUtf8));
    }
}
