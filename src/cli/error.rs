//! What can go wrong in a command, and the exit code of each error. Both are in one place, since scripts depend
//! on the codes.

use std::io;

use super::exit::Exit;
use super::login::LoginFailed;
use crate::api::Code;
use crate::api::wire::ProblemDetails;
use crate::credentials::CredentialsError;
use crate::plugin::PluginError;
use crate::registry::RegistryError;
use crate::replay::ReplayError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line makes no sense; the text says why.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read.
    #[error("failed to read {path}")]
    Read {
        /// Path of the file, or `standard input`.
        path: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A document is not valid.
    #[error("{count} {} in {file}", if *count == 1 { "problem" } else { "problems" })]
    Invalid {
        /// Path of the file, or several with commas between them.
        file: String,
        /// Number of problems.
        count: usize,
        /// All problems as they are shown: with places, lines and markers.
        shown: String,
    },
    /// The server could not be reached, or refused the request.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No thing, or more than one, matches the name that was given.
    #[error("{0}")]
    NotFound(String),
    /// The request does not fit the present state of the thing.
    #[error("{0}")]
    Unfit(String),
    /// Plugins can't be checked on this machine.
    #[error("failed to start the plugin host")]
    PluginHost(#[source] PluginError),
    /// The bytes are no plugin that a server would take.
    #[error("failed to use {of} as a plugin")]
    Plugin {
        /// Where the bytes are.
        of: String,
        /// Why they are refused.
        #[source]
        source: PluginError,
    },
    /// A registry did not give or take a plugin.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Credentials can't be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Nobody has logged in.
    #[error(transparent)]
    Login(#[from] LoginFailed),
    /// A person stopped it; the text says what became of it.
    #[error("interrupted: {0}")]
    Interrupted(&'static str),
    /// A run could not be exported or replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The output could not be written.
    #[error("failed to write the output")]
    Output(#[source] io::Error),
    /// The output can't be written in the format that was asked for.
    #[error("failed to write the output as {format}: {message}")]
    Encode {
        /// Name of the format.
        format: &'static str,
        /// The error of the serializer.
        message: String,
    },
    /// The process could not be set up.
    #[error("failed to start")]
    Setup(#[source] io::Error),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the server is not a valid one.
    #[error("invalid address of the server {server:?}: {message}")]
    Address {
        /// The address that was given.
        server: String,
        /// What is wrong with that address.
        message: String,
    },
    /// No connection, or no complete answer in time.
    #[error("failed to reach the server at {server}: {message}")]
    Unreachable {
        /// Base URL of the server.
        server: String,
        /// The innermost cause, as human-readable text.
        message: String,
    },
    /// The server refused the request; its problem document says why.
    #[error("{}", .0.detail)]
    Refused(Box<ProblemDetails>),
    /// A Replibook server would not give such an answer.
    #[error("{server} answered something unexpected to {request}: {message}")]
    Malformed {
        /// Base URL of the server.
        server: String,
        /// Method and path of the request.
        request: String,
        /// What was found and what was expected.
        message: String,
    },
    /// The answer is larger than may be read.
    #[error("{server} answered {request} with more than {limit} bytes")]
    TooLarge {
        /// Base URL of the server.
        server: String,
        /// Method and path of the request.
        request: String,
        /// How many bytes are read at most.
        limit: usize,
    },
}

impl ClientError {
    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => is_passing(problem.status),
            Self::Address { .. } | Self::Malformed { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// The exit code of a command that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::Malformed { .. } | Self::TooLarge { .. } => {
                Exit::Unreachable
            }
            Self::Refused(problem) if problem.code == Code::StoreDamaged.as_str() => Exit::Damaged,
            Self::Refused(problem)
                if [
                    Code::PluginRefused,
                    Code::ApprovalNotWanted,
                    Code::NotAllowed,
                    Code::NotAuthenticated,
                ]
                .iter()
                .any(|code| problem.code == code.as_str()) =>
            {
                Exit::NotAllowed
            }
            Self::Refused(problem) => exit_of_status(problem.status, !problem.problems.is_empty()),
        }
    }
}

/// Whether a status says that the server can't answer at the moment.
pub(crate) const fn is_passing(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

const fn exit_of_status(status: u16, has_problems: bool) -> Exit {
    match status {
        404 | 409 | 410 | 412 => Exit::NotFound,
        413 | 422 => Exit::Invalid,
        400..500 if has_problems => Exit::Invalid,
        400..500 => Exit::Usage,
        _ => Exit::Unreachable,
    }
}

const fn exit_of_replay(error: &ReplayError) -> Exit {
    match error {
        ReplayError::NotFound(_) => Exit::NotFound,
        ReplayError::File { .. }
        | ReplayError::NotAnExport { .. }
        | ReplayError::TooLarge { .. }
        | ReplayError::Malformed { .. }
        | ReplayError::Plugin(_) => Exit::Invalid,
    }
}

fn exit_of_registry(error: &RegistryError) -> Exit {
    match error {
        RegistryError::NotFound { .. } => Exit::NotFound,
        RegistryError::Reference(_) | RegistryError::Credentials(_) => Exit::Usage,
        RegistryError::TooLarge { .. }
        | RegistryError::Length { .. }
        | RegistryError::Digest { .. }
        | RegistryError::NotPlugin { .. }
        | RegistryError::NotSignature { .. }
        | RegistryError::TooMany { .. } => Exit::Invalid,
        RegistryError::Unreachable { .. }
        | RegistryError::Address(_)
        | RegistryError::PlainHttp { .. }
        | RegistryError::Redirect { .. }
        | RegistryError::TokenServer { .. }
        | RegistryError::Challenge { .. }
        | RegistryError::Denied { .. }
        | RegistryError::Busy { .. }
        | RegistryError::Status { .. }
        | RegistryError::Slow { .. }
        | RegistryError::OutOfTime { .. }
        | RegistryError::Malformed { .. }
        | RegistryError::Client(_) => Exit::Unreachable,
    }
}

fn exit_of_login(failed: &LoginFailed) -> Exit {
    match failed {
        LoginFailed::NoIssuer(_) | LoginFailed::NoDevices => Exit::NotFound,
        LoginFailed::Issuer(_) => Exit::Unreachable,
        LoginFailed::TooLate => Exit::TimedOut,
        LoginFailed::Refused(_)
        | LoginFailed::Denied
        | LoginFailed::NoToken { .. }
        | LoginFailed::Ended(_) => Exit::NotAllowed,
    }
}

impl CliError {
    /// The exit code of a command that ends with this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Setup(_) | Self::Credentials(_) => Exit::Usage,
            Self::Read { .. }
            | Self::Invalid { .. }
            | Self::PluginHost(_)
            | Self::Plugin { .. } => Exit::Invalid,
            Self::Registry(error) => exit_of_registry(error),
            Self::Login(failed) => exit_of_login(failed),
            Self::Interrupted(_) => Exit::Interrupted,
            Self::Replay(error) => exit_of_replay(error),
            Self::Client(error) => error.exit(),
            Self::NotFound(_) | Self::Unfit(_) => Exit::NotFound,
            // Whoever read the output has seen enough of it.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::Output(_) | Self::Encode { .. } => Exit::Output,
        }
    }

    /// What to try next, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Client(ClientError::Unreachable { .. }) => Some(
                "`replibook serve` starts a server; --server or REPLIBOOK_SERVER names another one",
            ),
            Self::Client(ClientError::Refused(problem))
                if problem.code == Code::NotAuthenticated.as_str() =>
            {
                Some(
                    "`replictl login` logs in; programs have a token, in --token-file, in REPLIBOOK_TOKEN or in a context",
                )
            }
            Self::Client(
                ClientError::Address { .. }
                | ClientError::Refused(_)
                | ClientError::Malformed { .. }
                | ClientError::TooLarge { .. },
            )
            | Self::Usage(_)
            | Self::Read { .. }
            | Self::Invalid { .. }
            | Self::NotFound(_)
            | Self::Unfit(_)
            | Self::PluginHost(_)
            | Self::Plugin { .. }
            | Self::Registry(_)
            | Self::Credentials(_)
            | Self::Login(_)
            | Self::Interrupted(_)
            | Self::Replay(_)
            | Self::Output(_)
            | Self::Encode { .. }
            | Self::Setup(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_the_server_become_exit_codes() {
        let codes = |status| exit_of_status(status, false).code();
        assert_eq!([404, 409, 410, 412].map(codes), [4; 4]);
        assert_eq!([413, 422].map(codes), [3; 2]);
        assert_eq!([400, 403, 405].map(codes), [2; 3]);
        assert_eq!([500, 502, 503, 301].map(codes), [8; 4]);
        assert_eq!(exit_of_status(400, true), Exit::Invalid);
    }

    #[test]
    fn damage_is_told_from_a_server_that_can_not_be_reached() {
        let refused = |code: Code| {
            let problem = ProblemDetails {
                kind: "about:blank".to_owned(),
                title: String::new(),
                status: code.status().as_u16(),
                detail: String::new(),
                code: code.as_str().to_owned(),
                problems: Vec::new(),
                documents: Vec::new(),
            };
            ClientError::Refused(Box::new(problem))
        };
        let damaged = refused(Code::StoreDamaged);
        assert_eq!((damaged.exit().code(), damaged.retryable()), (14, false));
        assert_eq!(refused(Code::Internal).exit(), Exit::Unreachable);
        assert_eq!(refused(Code::PluginRefused).exit().code(), 11);
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = CliError::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(gone.exit(), Exit::Ok);
        let full = CliError::Output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit().code(), 12);
    }
}
