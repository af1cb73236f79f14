//! What was not carried over, told once for all hosts that it is true of.

/// The most hosts that a note names; a person finds the others by themselves.
const MAX_NAMED: usize = 3;

/// Notes, in the order in which they came up. There are no more than hosts have variables, whose text is bounded.
#[derive(Debug, Default)]
pub(super) struct Notes(indexed::Lines);

impl Notes {
    /// Notes something about the whole inventory.
    pub(super) fn all(&mut self, text: impl Into<String>) {
        self.0.of(text.into());
    }

    /// Notes something about a host.
    pub(super) fn host(&mut self, host: &str, text: impl Into<String>) {
        let hosts = self.0.of(text.into());
        // The same is often noted of one host after another.
        if hosts.last().is_none_or(|last| last != host) {
            hosts.push(host.to_owned());
        }
    }

    /// The notes, each in one line. `all` is how many hosts there are.
    pub(super) fn lines(&self, all: usize) -> Vec<String> {
        let lines = self.0.iter().map(|(text, hosts)| match hosts.len() {
            0 => text.clone(),
            count if count == all && all > 1 => format!("{text} (all hosts)"),
            count if count <= MAX_NAMED => format!("{text} ({})", hosts.join(", ")),
            count => {
                let named = hosts.get(..MAX_NAMED).unwrap_or_default().join(", ");
                format!("{text} ({named} and {} more)", count - MAX_NAMED)
            }
        });
        lines.collect()
    }
}

/// Texts in the order in which they came, each with its hosts.
mod indexed {
    use std::collections::HashMap;

    #[derive(Debug, Default)]
    pub(super) struct Lines {
        lines: Vec<(String, Vec<String>)>,
        places: HashMap<String, usize>,
    }

    impl Lines {
        /// The hosts of a text.
        pub(super) fn of(&mut self, text: String) -> &mut Vec<String> {
            let next = self.lines.len();
            let place = *self.places.entry(text.clone()).or_insert(next);
            if place == next {
                self.lines.push((text, Vec::new()));
            }
            &mut self.lines[place].1
        }

        pub(super) fn iter(&self) -> impl Iterator<Item = &(String, Vec<String>)> {
            self.lines.iter()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_told_once_for_all_its_hosts() {
        let mut notes = Notes::default();
        for host in ["a", "b", "c", "d", "e"] {
            notes.host(host, "x is left out");
            notes.host(host, "x is left out");
        }
        notes.host("b", "y is left out");
        notes.all("z");
        let expected = ["x is left out (a, b, c and 2 more)", "y is left out (b)", "z"];
        assert_eq!(notes.lines(9), expected);
        assert_eq!(notes.lines(5)[0], "x is left out (all hosts)");
    }
}
