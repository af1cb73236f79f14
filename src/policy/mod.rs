//! The policy of this server: which plugins it takes, and what they may ever be granted. What a policy says is decided in
//! the core ([`crate::playbook::policy`]), by what is known of a plugin; here is where that comes from.
//!
//! `current` has the policy that counts now, if there is one. `watch` reads its file again when it changes. `facts` finds out
//! what is known about plugins: where they came from, and who signed them, which `signatures` checks over their bytes.
//! `reach` says which networks requests on behalf of a plugin may go to, and `secrets` which secrets it may send where; both
//! ask `pin_facts` at each use. `runs` finds the unfinished runs that a policy would not let start any more.

mod current;
mod facts;
mod pin_facts;
mod reach;
mod runs;
mod secrets;
mod signatures;
mod watch;

pub use current::{CurrentPolicy, Standing};
pub use facts::{
    Known, claimed, facts_of, facts_of_pin, facts_of_pins, imported, signed, signed_by_all,
    uploaded,
};
pub use pin_facts::PinFacts;
pub use reach::PolicyNetworks;
pub use runs::{Outside, runs_outside};
pub use secrets::PolicySecrets;
pub use signatures::{checked, checked_of_registry, unchecked};
pub use watch::{MAX_POLICY_BYTES, PolicyFile, follow};
