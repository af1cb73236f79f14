//! Zstandard, in frames of one size that follow each other.
//!
//! The encoder of `ruzstd` takes a broken disk for a mistake of the program, so it only ever sees
//! memory: each frame is compressed there, and written then.

use std::io::{self, BufRead, Read, Write};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::limits::FRAME_BYTES;

/// Compresses what is written to it.
pub(super) struct FrameWriter<W: Write> {
    out: W,
    waiting: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, waiting: Vec::with_capacity(FRAME_BYTES) }
    }

    /// Writes the last frame.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.write_frame()?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_frame(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            let frame = compress_to_vec(self.waiting.as_slice(), CompressionLevel::Fastest);
            self.out.write_all(&frame)?;
            self.waiting.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(FRAME_BYTES - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == FRAME_BYTES {
            self.write_frame()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads what frames hold, one after another. A frame that asks for more than 100 MiB of memory is
/// refused by the decoder itself.
pub(super) struct FrameReader<R: BufRead> {
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
    source: Option<R>,
}

impl<R: BufRead> FrameReader<R> {
    pub(super) fn new(source: R) -> Self {
        Self { frame: None, source: Some(source) }
    }

    /// Begins the next frame; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        let Some(mut source) = self.source.take() else { return Ok(false) };
        if source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let frame = StreamingDecoder::new(source);
        self.frame = Some(frame.map_err(|error| io::Error::other(error.to_string()))?);
        Ok(true)
    }
}

impl<R: BufRead> Read for FrameReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(mut frame) = self.frame.take() {
                let read = frame.read(into)?;
                if read > 0 {
                    self.frame = Some(frame);
                    return Ok(read);
                }
                self.source = Some(frame.into_inner());
            }
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(bytes: &[u8]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new());
        writer.write_all(bytes).unwrap();
        let packed = writer.finish().unwrap();
        let mut back = Vec::new();
        FrameReader::new(packed.as_slice()).read_to_end(&mut back).unwrap();
        assert_eq!(back, bytes);
        packed
    }

    #[test]
    fn what_is_written_is_read_back_over_several_frames() {
        assert_eq!(round(b""), b"");
        round(b"x");
        let text: String = (0..400_000).map(|n| format!("line {n}\n")).collect();
        assert!(text.len() > 3 * FRAME_BYTES);
        let packed = round(text.as_bytes());
        assert!(packed.len() < text.len() / 2, "{} of {}", packed.len(), text.len());
        round(&text.as_bytes()[..FRAME_BYTES]);
    }

    #[test]
    fn what_is_cut_or_no_frame_is_an_error() {
        let packed = round(b"some text that is long enough to be more than its header");
        let read = |bytes: &[u8]| FrameReader::new(bytes).read_to_end(&mut Vec::new());
        assert!(read(&packed[..packed.len() - 3]).is_err());
        assert!(read(b"no frame at all").is_err());
    }
}
