//! Fleets: how many agents there are, and in which groups they are.

use crate::run::AgentId;

/// The names of groups that have a letter; those beyond are numbered.
const LETTERS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// The agents of a cluster when the stage begins, in their order: the group of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fleet {
    pub(super) groups: Vec<u32>,
}

impl Fleet {
    /// A fleet whose agents are all in one group.
    pub(super) fn alike(agents: u32) -> Self {
        Self { groups: vec![0; agents as usize] }
    }

    /// Every way to put this many agents into at most `groups` groups, whose names are given in the order in which the
    /// agents meet them. The first is that in which all are in one.
    pub(super) fn all(agents: u32, groups: u32) -> Vec<Self> {
        let mut all = vec![Vec::new()];
        for _ in 0..agents {
            let longer = |begun: Vec<u32>| {
                let new = begun.iter().max().map_or(0, |last| last + 1);
                (0..=new.min(groups.max(1) - 1)).map(move |next| {
                    let mut longer = begun.clone();
                    longer.push(next);
                    longer
                })
            };
            all = all.into_iter().flat_map(longer).collect();
        }
        all.into_iter().map(|groups| Self { groups }).collect()
    }

    /// How many agents there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// The agents with their groups.
    pub(super) fn agents(&self) -> impl Iterator<Item = (AgentId, u32)> + '_ {
        self.groups.iter().enumerate().map(|(index, group)| (agent(index), *group))
    }
}

/// The agent that has this place among all that there are or will be.
pub(super) fn agent(index: usize) -> AgentId {
    AgentId(format!("node-{}", index + 1))
}

/// The name of a group.
pub(super) fn group(number: u32) -> String {
    match LETTERS.get(number as usize) {
        Some(letter) => (*letter).to_owned(),
        None => format!("group-{}", number + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_put_into_groups_in_every_way_but_for_the_names() {
        let number = |agents, groups| Fleet::all(agents, groups).len();
        assert_eq!([number(1, 3), number(2, 3), number(3, 3), number(4, 3)], [1, 2, 5, 14]);
        assert_eq!(number(6, 3), 122);
        assert_eq!((number(5, 1), number(3, 2)), (1, 4));
        assert_eq!(Fleet::all(4, 3)[0], Fleet::alike(4));
    }

    #[test]
    fn groups_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = (0..20).map(group).collect();
        assert_eq!(names.len(), 20);
        assert_eq!((group(0), group(8)), ("a".to_owned(), "group-9".to_owned()));
    }
}
