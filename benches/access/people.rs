//! Those who ask, and the file that says what they may.

use std::fmt::Write as _;

use replibook::access::{TOKEN_BYTES, new_token};

use crate::issuer::Issuer;
use crate::load::CONNECTIONS;

/// Tokens and rules of others in the file, as a site has them.
const OTHERS: usize = 100;

pub(crate) struct People {
    issuer: String,
    /// Tokens that may do everything.
    pub(crate) everything: Vec<String>,
    /// Tokens whose rules have patterns.
    pub(crate) something: Vec<String>,
    /// Tokens of an issuer, whose group may do everything.
    pub(crate) vouched: Vec<String>,
}

impl People {
    pub(crate) fn new(issuer: &Issuer) -> Self {
        let tokens = |first: u8| (0..CONNECTIONS).map(|n| token(first, n).0).collect();
        Self {
            issuer: issuer.name.clone(),
            everything: tokens(1),
            something: tokens(2),
            vouched: (0..CONNECTIONS)
                .map(|n| issuer.token(&format!("person-{n}@example.com")))
                .collect(),
        }
    }

    /// The file of the server.
    pub(crate) fn access(&self) -> String {
        let (mut tokens, mut rules) = (String::new(), String::new());
        let mut add = |kind: &str, first: u8, count: usize, rule: &dyn Fn(usize) -> String| {
            for n in 0..count {
                let (name, sum) = (format!("{kind}-{n}"), token(first, n).1);
                writeln!(
                    tokens,
                    "    - {{ name: {name}, sha256: {sum}, expires: 2099-01-01T00:00:00Z }}"
                )
                .unwrap();
                writeln!(rules, "    - {{ who: ['token:{name}'], {} }}", rule(n)).unwrap();
            }
        };
        add("other", 3, OTHERS, &|n| format!("may: [view, start], playbooks: ['team-{n}/*']"));
        add("everything", 1, CONNECTIONS, &|_| "may: [admin]".to_owned());
        add("something", 2, CONNECTIONS, &|_| {
            "may: [view, start, steer], playbooks: ['ops/*'], clusters: ['eu-*']".to_owned()
        });
        format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: bench }}\nspec:\n  tokens:\n{tokens}  oidc:\n    \
             - {{ name: id, issuer: '{}', audience: replibook, user: email, groups: groups }}\n  rules:\n{rules}    \
             - {{ who: ['group:id/sre'], may: [admin] }}\n",
            self.issuer
        )
    }
}

/// A token and its sum, the same each time.
fn token(kind: u8, number: usize) -> (String, String) {
    let mut random = [kind; TOKEN_BYTES];
    random[0] = u8::try_from(number).unwrap();
    new_token(random)
}
