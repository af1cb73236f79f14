//! Why nobody has logged in.

/// Why nobody has logged in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginFailed {
    /// The server has no issuer for people.
    #[error("{0}")]
    NoIssuer(String),
    /// The issuer has no way for programs without a browser.
    #[error(
        "the issuer has no `device_authorization_endpoint`, which programs without a browser need"
    )]
    NoDevices,
    /// The issuer does not answer as it should.
    #[error("failed to ask the issuer: {0}")]
    Issuer(String),
    /// The issuer does not know this program, or wants something else.
    #[error("the issuer refuses: {0}")]
    Refused(String),
    /// The person, or the issuer in their name, said no.
    #[error("the login was denied")]
    Denied,
    /// The person did not log in in time.
    #[error("nobody has logged in before the code ended")]
    TooLate,
    /// The issuer made no token that the server takes.
    #[error("the issuer made no token for {audience:?}, which the server asks for: {found}")]
    NoToken {
        /// What the server expects in `aud`.
        audience: String,
        /// What was made instead.
        found: String,
    },
    /// What was kept of the login can't be used any more.
    #[error("the login has ended: {0}; `replictl login` begins a new one")]
    Ended(String),
}
