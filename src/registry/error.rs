//! Why something could not be pulled or pushed. Nothing of a password, a token or a signed address is in a message.

use super::origin::Origin;
use super::reach::RefusedAddress;
use crate::credentials::CredentialsError;
use crate::run::Digest;

/// Why a registry did not give or take a plugin.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke.
    #[error("failed to reach {origin}: {message}")]
    Unreachable {
        /// The server.
        origin: Origin,
        /// The innermost cause.
        message: String,
    },
    /// The server has an address that is not connected to.
    #[error(transparent)]
    Address(#[from] RefusedAddress),
    /// A server without encryption that the operator did not name.
    #[error("{origin} is not encrypted; expected https, a loopback address, or --registry-plain-http {}", .origin.authority())]
    PlainHttp {
        /// The server.
        origin: Origin,
    },
    /// A redirect that is not followed.
    #[error("{origin} redirects to {to}: {why}")]
    Redirect {
        /// Who redirects.
        origin: Origin,
        /// Where to: an origin, never a whole address.
        to: String,
        /// Why it is not followed.
        why: String,
    },
    /// The registry wants a password to be told to another server.
    #[error(
        "{registry} sends to the token server {realm}, which is not told the credentials {credentials}; expected \
         {registry}, or one of the `origins` of the credentials"
    )]
    TokenServer {
        /// The registry.
        registry: Origin,
        /// The token server that it names.
        realm: Origin,
        /// What the credentials are called.
        credentials: String,
    },
    /// What the registry asks for can't be understood or given.
    #[error("{origin} asks for a login in a way that is not known: {message}")]
    Challenge {
        /// The server.
        origin: Origin,
        /// What was found and what was expected.
        message: String,
    },
    /// The registry refuses who asks.
    #[error("{origin} refuses access to {repository} ({status}{codes}), asked {login}")]
    Denied {
        /// The server.
        origin: Origin,
        /// The repository.
        repository: String,
        /// The status of the answer.
        status: u16,
        /// Codes that the registry gave, after a comma.
        codes: String,
        /// As whom it was asked.
        login: String,
    },
    /// The registry does not have it.
    #[error("{origin} has no {what}{codes}")]
    NotFound {
        /// The server.
        origin: Origin,
        /// What was asked for.
        what: String,
        /// Codes that the registry gave, after a comma.
        codes: String,
    },
    /// The registry has no time now.
    #[error("{origin} asks to come again {later} (status {status})")]
    Busy {
        /// The server.
        origin: Origin,
        /// The status of the answer.
        status: u16,
        /// When, as human-readable text.
        later: String,
    },
    /// Another status than expected.
    #[error("{origin} answered {what} with status {status}{codes}")]
    Status {
        /// The server.
        origin: Origin,
        /// What was asked for.
        what: String,
        /// The status of the answer.
        status: u16,
        /// Codes that the registry gave, after a comma.
        codes: String,
    },
    /// Something has more bytes than are read.
    #[error("{what} has {found}, expected at most {most} bytes")]
    TooLarge {
        /// What it is.
        what: String,
        /// How many bytes were found, as human-readable text.
        found: String,
        /// How many there may be.
        most: u64,
    },
    /// Something has another size than it was said to have.
    #[error("{what} has {found} bytes, expected {expected}")]
    Length {
        /// What it is.
        what: String,
        /// Bytes that came.
        found: u64,
        /// Bytes that the manifest names.
        expected: u64,
    },
    /// The answer came too slowly.
    #[error("{origin} sends {what} too slowly: {message}")]
    Slow {
        /// The server.
        origin: Origin,
        /// What it sends.
        what: String,
        /// What was found and what was expected.
        message: String,
    },
    /// It did not end in time.
    #[error("{origin} did not give everything within {seconds} s")]
    OutOfTime {
        /// The registry.
        origin: Origin,
        /// The time that there was.
        seconds: u64,
    },
    /// Bytes are not what they were said to be.
    #[error("{what} has digest {found}, expected {expected}")]
    Digest {
        /// What it is.
        what: String,
        /// The digest of the bytes.
        found: Digest,
        /// The digest that was named.
        expected: Digest,
    },
    /// The artefact is none that holds one plugin.
    #[error("{what} is no plugin: found {found}; expected a manifest with config {config} and one layer {layer}",
        config = super::manifest::CONFIG_TYPE, layer = super::manifest::LAYER_TYPE)]
    NotPlugin {
        /// Which artefact.
        what: String,
        /// What was found.
        found: String,
    },
    /// What is said to be a signature of the plugin is none.
    #[error("{what} is not a signature of this plugin: {message}")]
    NotSignature {
        /// Which artefact.
        what: String,
        /// What was found and what was expected.
        message: String,
    },
    /// There are more signatures than are read.
    #[error("{what} has {found}, expected at most {most}")]
    TooMany {
        /// What has them.
        what: String,
        /// How many were found, as human-readable text.
        found: String,
        /// How many are read.
        most: usize,
    },
    /// An answer that is not what the protocol says.
    #[error("{origin} answered {what} with something unexpected: {message}")]
    Malformed {
        /// The server.
        origin: Origin,
        /// What was asked for.
        what: String,
        /// What was found and what was expected.
        message: String,
    },
    /// The reference can't be used so.
    #[error("{0}")]
    Reference(String),
    /// Credentials can't be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The client could not be made.
    #[error("failed to make an HTTP client: {0}")]
    Client(String),
}

impl RegistryError {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "registry-unreachable",
            Self::Address(_) => "registry-address",
            Self::PlainHttp { .. } => "registry-plain-http",
            Self::Redirect { .. } => "registry-redirect",
            Self::TokenServer { .. } => "registry-token-server",
            Self::Challenge { .. } => "registry-challenge",
            Self::Denied { .. } => "registry-denied",
            Self::NotFound { .. } => "registry-not-found",
            Self::Busy { .. } => "registry-busy",
            Self::Status { .. } => "registry-status",
            Self::TooLarge { .. } => "registry-too-large",
            Self::Length { .. } => "registry-length",
            Self::Slow { .. } => "registry-slow",
            Self::OutOfTime { .. } => "registry-out-of-time",
            Self::Digest { .. } => "registry-digest",
            Self::NotPlugin { .. } => "registry-not-a-plugin",
            Self::NotSignature { .. } => "registry-not-a-signature",
            Self::TooMany { .. } => "registry-too-many",
            Self::Malformed { .. } => "registry-malformed",
            Self::Reference(_) => "registry-reference",
            Self::Credentials(_) => "registry-credentials",
            Self::Client(_) => "registry-client",
        }
    }

    /// Whether the same may succeed in a moment.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Busy { .. }
            | Self::Slow { .. }
            | Self::OutOfTime { .. } => true,
            Self::Address(_)
            | Self::PlainHttp { .. }
            | Self::Redirect { .. }
            | Self::TokenServer { .. }
            | Self::Challenge { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Status { .. }
            | Self::TooLarge { .. }
            | Self::Length { .. }
            | Self::Digest { .. }
            | Self::NotPlugin { .. }
            | Self::NotSignature { .. }
            | Self::TooMany { .. }
            | Self::Malformed { .. }
            | Self::Reference(_)
            | Self::Credentials(_)
            | Self::Client(_) => false,
        }
    }
}
