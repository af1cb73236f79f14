//! Reads what the script on a node says: parts that begin with a mark which nobody else can know.

use uuid::Uuid;

/// The most bytes of an answer: the output of a job, its record, and room for what a login prints before. What is more
/// does not come from the script.
pub(super) const MAX_ANSWER: usize = super::MAX_STDOUT + super::MAX_STDERR + 12 * 1024 * 1024;

/// The most bytes of the line of a mark.
const MAX_MARK: usize = 4 * 1024;

/// An answer, or what has come of it so far.
pub(super) struct Answer {
    mark: Vec<u8>,
    bytes: Vec<u8>,
    /// Where to look for the next mark.
    looked: usize,
    parts: Vec<Part>,
}

/// A part of an answer.
struct Part {
    words: Vec<String>,
    /// Where its mark begins, and where its content does.
    at: usize,
    from: usize,
}

impl Answer {
    pub(super) fn new(nonce: Uuid) -> Self {
        let mark = format!("\n@{} ", nonce.simple()).into_bytes();
        Self { mark, bytes: Vec::new(), looked: 0, parts: Vec::new() }
    }

    /// Adds what has come. Returns whether there is room for more.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        while let Some(found) = find(self.bytes.get(self.looked..).unwrap_or_default(), &self.mark)
        {
            let at = self.looked + found;
            let line = at + self.mark.len();
            let rest = self.bytes.get(line..).unwrap_or_default();
            let end = rest.iter().take(MAX_MARK).position(|byte| *byte == b'\n');
            let Some(end) = end else {
                // The rest of the line is still to come.
                self.looked = at;
                return rest.len() < MAX_MARK && self.bytes.len() < MAX_ANSWER;
            };
            let words = String::from_utf8_lossy(rest.get(..end).unwrap_or_default());
            let words = words.split(' ').map(str::to_owned).collect();
            self.parts.push(Part { words, at, from: line + end + 1 });
            // The line break at the end of a mark is the one that the next mark begins with.
            self.looked = line + end;
        }
        // Half a mark may be at the end.
        let half = self.bytes.len().saturating_sub(self.mark.len());
        self.looked = self.looked.max(half);
        self.bytes.len() < MAX_ANSWER
    }

    /// How many bytes have come.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the script has run at all.
    pub(super) fn began(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Whether all has come.
    pub(super) fn is_whole(&self) -> bool {
        self.words("bye").is_some()
    }

    /// What comes after `name` in the line of a mark.
    pub(super) fn words(&self, name: &str) -> Option<&[String]> {
        self.all(name).next().map(|(words, _)| words)
    }

    /// What comes after the mark.
    pub(super) fn content(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next().map(|(_, content)| content)
    }

    /// All parts of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = (&[String], &[u8])> {
        self.parts.iter().enumerate().filter_map(move |(at, part)| {
            let (first, words) = part.words.split_first()?;
            let end = self.parts.get(at + 1).map_or(self.bytes.len(), |next| next.at);
            let content = self.bytes.get(part.from..end).unwrap_or_default();
            (first == name).then_some((words, content))
        })
    }

    /// The beginning of what came instead of an answer, for people.
    pub(super) fn stray(&self) -> String {
        shorten(&self.bytes)
    }
}

/// The most bytes of other programs' words in a message.
const MAX_SAID: usize = 500;

/// What another program said, short enough for a message: its end, which says most, in one line.
pub(super) fn shorten(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join("; ");
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_empty() {
        return "it said nothing".to_owned();
    }
    let start = text.ceil_char_boundary(text.len().saturating_sub(MAX_SAID));
    match start {
        0 => text,
        start => format!("…{}", text.get(start..).unwrap_or_default()),
    }
}

/// Where `what` is first.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = what.first()?;
    let mut from = 0;
    loop {
        let found = bytes.get(from..)?.iter().position(|byte| byte == first)?;
        let at = from + found;
        if bytes.get(at..)?.starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Uuid = Uuid::from_u128(0xabc);

    fn text(lines: &str) -> Vec<u8> {
        lines.replace('@', &format!("@{} ", NONCE.simple())).into_bytes()
    }

    #[test]
    fn parts_are_found_however_the_bytes_come() {
        let bytes = text("Welcome!\nmotd\n@hi 12.5\n@out\nline\n\n\n@err\n@end 0 1 2 -\n@bye\n");
        for size in 1..=bytes.len() {
            let mut answer = Answer::new(NONCE);
            assert!(bytes.chunks(size).all(|piece| answer.add(piece)));
            assert_eq!(answer.words("hi"), Some(["12.5".to_owned()].as_slice()));
            assert_eq!(answer.content("out"), Some(b"line\n\n".as_slice()), "{size}");
            assert_eq!(answer.content("err"), Some(b"".as_slice()));
            assert_eq!(answer.words("end").unwrap().len(), 4);
            assert!(answer.is_whole());
        }
    }

    #[test]
    fn an_answer_is_whole_only_with_its_last_line() {
        let bytes = text("\n@hi 1\n@bye\n");
        for end in 0..bytes.len() {
            let mut answer = Answer::new(NONCE);
            answer.add(&bytes[..end]);
            assert!(!answer.is_whole(), "{end}");
            answer.add(&bytes[end..]);
            assert!(answer.is_whole(), "{end}");
        }
    }

    #[test]
    fn nobody_else_can_mark_a_part() {
        let mut answer = Answer::new(NONCE);
        answer.add(&text("\n@hi 1\n@out\n"));
        answer.add(b"\n@00000000000000000000000000000abd bye\n@bye\n @abc bye\n");
        assert!(!answer.is_whole());
        assert_eq!(answer.parts.len(), 2);
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        let mut answer = Answer::new(NONCE);
        assert!(answer.add(&vec![b'x'; MAX_ANSWER - 1]));
        assert!(!answer.add(b"x"));
        let mut answer = Answer::new(NONCE);
        assert!(answer.add(&text("\n@")));
        assert!(!answer.add(&vec![b'x'; MAX_MARK]));
    }

    #[test]
    fn words_of_others_are_short_and_in_one_line() {
        assert_eq!(shorten(b" a\r\n\nb\x1b[1m\n"), "a; b [1m");
        assert_eq!(shorten(b""), "it said nothing");
        let long = shorten("ä".repeat(1_000).as_bytes());
        assert!(long.starts_with('…') && long.len() <= MAX_SAID + 3, "{long}");
    }
}
