//! Policies: which plugins a server takes, and what they may ever be granted. Everything here is pure.
//!
//! ```text
//! text ──document, read──▶ Policy ──judge──▶ what both give, or why not
//!        origin, web, networks  ▲
//!   keys: whose signature  ─────┘   proof: what was proved, and who vouches for it
//! ```
//!
//! [`parse_policy`] makes a valid [`Policy`]. [`Policy::admit`] judges a plugin alone, before anything of it runs;
//! [`Policy::judge`] judges it with a playbook and what that grants. [`check_document`] does this for a whole
//! document, and places what is refused in its text; [`check_playbook`] does it for a playbook that was resolved before.

mod asks;
mod check;
mod document;
mod judge;
#[cfg(test)]
mod judge_tests;
mod keys;
mod model;
mod networks;
mod origin;
mod proof;
mod read;
#[cfg(test)]
mod samples;
mod signature;
mod web;

pub use asks::{Ask, Asked, GrantChange, asks, grants_changed};
pub use check::{check_document, check_playbook};
pub(crate) use document::PolicyFile;
pub use judge::{Allowed, Facts, Refusal};
pub use keys::PublicKey;
pub use model::{May, Policy, Proved, Rule};
pub use networks::{NotNetwork, read_network};
pub use origin::{Match, NotMatch, Repositories, Versions};
pub use proof::{ALWAYS_PROVED, MAX_PROOF_BYTES, PROOF_FORM, StrategyProof, Vouched};
pub use read::{not_applied, parse_policy};
pub use signature::{
    MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signature, SignatureError, Signer, read_signatures, verify,
};
pub use web::{HostPattern, OriginPattern};
