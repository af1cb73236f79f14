//! Why credentials are not used for an address.

/// Why credentials are not used for an address. Nothing was sent there, and nothing connected. No message has anything of
/// what is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUsed {
    /// The operator did not name the origin.
    #[error("credentials {name:?} are not for {found}, expected {}", listed(expected))]
    Origin {
        /// Name of the credentials.
        name: String,
        /// The origin of the address.
        found: String,
        /// The origins of `for.yaml`.
        expected: Vec<String>,
    },
    /// Whoever is in between could read them.
    #[error(
        "credentials {name:?} do not go to {found} unencrypted, expected https, or an address of this machine"
    )]
    Plain {
        /// Name of the credentials.
        name: String,
        /// The origin of the address.
        found: String,
    },
    /// They are for something else.
    #[error("credentials {name:?} are of `use: {found}`, expected `use: {expected}`")]
    Use {
        /// Name of the credentials.
        name: String,
        /// What they are for.
        found: &'static str,
        /// For what they were to be used.
        expected: &'static str,
    },
    /// This server has no credentials of the name.
    #[error("found no credentials {name:?} under --credentials: {why}")]
    Lacking {
        /// Name of the credentials.
        name: String,
        /// Why there are none.
        why: String,
    },
    /// The cluster names its files itself, as documents of earlier versions did.
    #[error("{0}")]
    Outdated(String),
}

impl NotUsed {
    /// The name of which this server has no credentials that it can use.
    pub(crate) fn lacking(&self) -> Option<&str> {
        match self {
            Self::Lacking { name, .. } => Some(name),
            Self::Use { .. } | Self::Origin { .. } | Self::Plain { .. } | Self::Outdated(_) => None,
        }
    }

    /// Whether this server lacks them. Another one may have them, and so may this one later.
    pub const fn is_lack(&self) -> bool {
        match self {
            Self::Use { .. } | Self::Lacking { .. } => true,
            Self::Origin { .. } | Self::Plain { .. } | Self::Outdated(_) => false,
        }
    }
}

/// How many origins an error names. It is part of a sentence.
const LISTED: usize = 5;

fn listed(origins: &[String]) -> String {
    match origins.len() {
        0 => "nothing: its for.yaml names no `origins`".to_owned(),
        1..=LISTED => origins.join(" or "),
        all => {
            let some: Vec<_> = origins.iter().take(LISTED).map(String::as_str).collect();
            format!("{} or one of {} more", some.join(", "), all - LISTED)
        }
    }
}
