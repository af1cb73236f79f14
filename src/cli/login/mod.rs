//! `replictl login` and `logout`: a person logs in at an issuer of OpenID Connect that the server knows, and what the issuer
//! gives is kept for later commands.
//!
//! `command` is the way as a whole, `device` the part with the issuer, and `kept` what remains of it.

mod command;
mod device;
mod error;
mod kept;

pub(crate) use command::{Change, LoginArgs, LoginPlace, fresh, login, logout};
pub use error::LoginFailed;
pub(crate) use kept::Login;
