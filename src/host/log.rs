//! What a guest writes to its log and to its standard streams. Both become lines of one log, within the same
//! limits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::error::Stop;
use super::limits::{LOG_BYTES, LOG_LINE_BYTES, LOG_LINES};
use replibook_core::run::{LogLevel, PluginLine, escaped_bytes};

/// The log of one activation. The guest's standard streams share it.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    /// The lines after the last recorded answer.
    kept: Vec<PluginLine>,
    /// Their bytes, as JSON.
    bytes: usize,
    /// The last lines of the standard streams, while they have no line break yet.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    fn push(&mut self, level: LogLevel, message: String) -> Result<(), Stop> {
        let bytes = self.bytes + escaped_bytes(&message);
        if self.kept.len() >= LOG_LINES {
            return Err(limit(format!("the plugin wrote more than {LOG_LINES} lines to its log")));
        }
        if bytes > LOG_BYTES {
            let most = LOG_BYTES >> 10;
            return Err(limit(format!("the plugin wrote more than {most} KiB to its log")));
        }
        // A line that has no place takes none, so that a shorter one may still follow.
        self.bytes = bytes;
        self.kept.push(PluginLine { level, message });
        Ok(())
    }

    fn push_bytes(&mut self, level: LogLevel, bytes: &[u8]) -> Result<(), Stop> {
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.trim_end_matches('\r');
        loop {
            let (head, tail) = rest.split_at(fitting(rest));
            self.push(level, head.to_owned())?;
            if tail.is_empty() {
                return Ok(());
            }
            rest = tail;
        }
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// How many bytes of a text fit into one line, in whole characters.
fn fitting(text: &str) -> usize {
    let mut bytes = 0;
    let past = text.char_indices().find(|(at, character)| {
        let end = at + character.len_utf8();
        bytes += text.get(*at..end).map_or(0, escaped_bytes);
        bytes > LOG_LINE_BYTES
    });
    past.map_or(text.len(), |(at, _)| at)
}

fn limit(message: String) -> Stop {
    Stop::Limit { code: "log-limit", message }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line. Fails if that exceeds a limit.
    pub(super) fn push(&self, level: LogLevel, message: String) -> Result<(), Stop> {
        let bytes = escaped_bytes(&message);
        if bytes > LOG_LINE_BYTES {
            let most = LOG_LINE_BYTES >> 10;
            let message =
                format!("found a line of {bytes} bytes as JSON, expected at most {most} KiB");
            return Err(limit(message));
        }
        self.lines().push(level, message)
    }

    /// Forgets what was written so far. A recorded answer was consumed, and everything before it was committed
    /// together with it, including a line without an end.
    pub(super) fn forget(&self) {
        *self.lines() = Lines::default();
    }

    /// The lines after the last recorded answer. A line without an end counts as one.
    pub(super) fn take(&self) -> Vec<PluginLine> {
        let mut lines = self.lines();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(lines.partial(stream));
            if !rest.is_empty() {
                // The guest has ended, so a line beyond the limit is just dropped.
                let _ = lines.push_bytes(stream.level(), &rest);
            }
        }
        std::mem::take(&mut lines.kept)
    }

    /// A standard stream that writes to this log.
    pub(super) fn stream(&self, stream: Stream) -> Box<dyn OutputStream> {
        Box::new(Writer { log: self.clone(), stream })
    }

    fn write(&self, stream: Stream, bytes: &[u8]) -> Result<(), Stop> {
        let mut lines = self.lines();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut line = std::mem::take(lines.partial(stream));
            line.extend_from_slice(part);
            let ended = line.last() == Some(&b'\n');
            if ended {
                line.pop();
            }
            let mut rest = line.as_slice();
            while rest.len() > LOG_LINE_BYTES {
                let (head, tail) = rest.split_at(LOG_LINE_BYTES);
                lines.push_bytes(stream.level(), head)?;
                rest = tail;
            }
            if ended {
                lines.push_bytes(stream.level(), rest)?;
            } else {
                *lines.partial(stream) = rest.to_vec();
            }
        }
        Ok(())
    }
}

/// Which of a guest's standard streams.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn level(self) -> LogLevel {
        match self {
            Self::Stdout => LogLevel::Info,
            Self::Stderr => LogLevel::Warn,
        }
    }
}

struct Writer {
    log: Log,
    stream: Stream,
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.write(self.stream, &bytes).map_err(|stop| StreamError::Trap(stop.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_LINE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<String> {
        log.take().into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn streams_become_lines_whatever_the_pieces() {
        let log = Log::default();
        log.write(Stream::Stdout, b"one\ntw").unwrap();
        log.write(Stream::Stderr, b"warn\r\n").unwrap();
        log.write(Stream::Stdout, b"o\n\nrest").unwrap();
        assert_eq!(texts(&log), ["one", "warn", "two", "", "rest"]);
        assert!(texts(&log).is_empty());
    }

    #[test]
    fn a_line_that_began_before_an_answer_was_committed_with_it() {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let log = Log::default();
            log.write(stream, b"moving ").unwrap();
            assert_eq!(texts(&log), ["moving "]);

            let log = Log::default();
            log.write(stream, b"moving ").unwrap();
            log.forget();
            log.write(stream, b"ok\n").unwrap();
            assert_eq!(texts(&log), ["ok"]);
        }
    }

    #[test]
    fn a_stream_without_ends_is_cut_and_a_log_has_its_limits() {
        let log = Log::default();
        log.write(Stream::Stderr, &vec![b'x'; LOG_LINE_BYTES * 2 + 1]).unwrap();
        assert_eq!(
            texts(&log).iter().map(String::len).collect::<Vec<_>>(),
            [LOG_LINE_BYTES, LOG_LINE_BYTES, 1]
        );

        let log = Log::default();
        assert!(log.push(LogLevel::Info, "x".repeat(LOG_LINE_BYTES)).is_ok());
        assert!(log.push(LogLevel::Info, "x".repeat(LOG_LINE_BYTES + 1)).is_err());
        let log = Log::default();
        for _ in 0..LOG_LINES {
            log.push(LogLevel::Info, String::new()).unwrap();
        }
        assert!(log.push(LogLevel::Info, String::new()).is_err());
        log.forget();
        log.push(LogLevel::Info, String::new()).unwrap();
        let log = Log::default();
        for _ in 0..LOG_BYTES / LOG_LINE_BYTES {
            log.push(LogLevel::Info, "x".repeat(LOG_LINE_BYTES)).unwrap();
        }
        assert!(log.push(LogLevel::Info, "x".to_owned()).is_err());
    }

    #[test]
    fn a_line_that_has_no_place_takes_none() {
        let log = Log::default();
        for _ in 1..LOG_BYTES / LOG_LINE_BYTES {
            log.push(LogLevel::Info, "x".repeat(LOG_LINE_BYTES)).unwrap();
        }
        log.push(LogLevel::Info, "x".repeat(LOG_LINE_BYTES - 1)).unwrap();
        assert!(log.push(LogLevel::Info, "xx".to_owned()).is_err());
        assert!(log.push(LogLevel::Info, "x".to_owned()).is_ok());
    }

    /// The log is stored as JSON, in which some characters take six bytes.
    #[test]
    fn bytes_count_as_they_are_kept() {
        let control = "\u{1}";
        let most = LOG_LINE_BYTES / 6;
        let log = Log::default();
        assert!(log.push(LogLevel::Info, control.repeat(most + 1)).is_err());
        for _ in 0..LOG_BYTES / (6 * most) {
            log.push(LogLevel::Info, control.repeat(most)).unwrap();
        }
        assert!(log.push(LogLevel::Info, control.repeat(most)).is_err());

        let log = Log::default();
        let text = format!("éé{}\n", control.repeat(2 * most));
        log.write(Stream::Stdout, text.as_bytes()).unwrap();
        let lines = texts(&log);
        assert!(lines.iter().all(|line| escaped_bytes(line) <= LOG_LINE_BYTES));
        assert_eq!(lines.len(), 3);
        assert!(lines.concat() == text.trim_end_matches('\n'));
    }
}
