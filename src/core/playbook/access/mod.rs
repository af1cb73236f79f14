//! Who may do what on a server. Everything here is pure.

mod model;

pub use model::OidcIssuer;
