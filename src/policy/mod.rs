//! The policy of this server: which plugins it takes, and what they may ever be granted. What a policy says is decided in
//! the core ([`crate::playbook::policy`]), by what is known of a plugin; here is where that comes from.
//!
//! `current` has the policy that counts now, if there is one. `watch` reads its file again when it changes. `facts` finds out
//! what is known about plugins: where they came from, and whose signatures were checked over their bytes. `reach` says
//! which networks requests on behalf of a plugin may go to, and `secrets` which secrets it may send where. `runs` finds the
//! unfinished runs that a policy would not let start any more.

mod current;
mod facts;
mod reach;
mod runs;
mod secrets;
mod watch;

pub use current::{CurrentPolicy, Standing};
pub use facts::{checked, facts_of, facts_of_pin, facts_of_pins, imported, uploaded};
pub use reach::PolicyNetworks;
pub use runs::{Outside, runs_outside};
pub use secrets::PolicySecrets;
pub use watch::{MAX_POLICY_BYTES, PolicyFile, follow};
