//! What somebody is told when a node could not be asked.

use axum::http::StatusCode;

use super::nodes::{NodeError, Trouble};
use crate::agent::server::Refusal;

/// Why an action was not begun, or may not have been.
///
/// What a person has to mend is a refusal, which engines do not repeat. What may pass is asked again: where it is certain that
/// nothing has begun, with a status that says so (425), so that nobody has to wait until a late request can't arrive any more.
pub(super) fn not_started(error: &NodeError) -> Refusal {
    let message = error.to_string();
    match (error.may_have_begun(), is_for_a_person(&error.trouble)) {
        (true, _) => not_answered(error),
        (false, true) => Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message),
        (false, false) => Refusal::new(StatusCode::TOO_EARLY, message),
    }
}

/// Why a question has no answer. That says nothing about the actions of the node.
pub(super) fn not_answered(error: &NodeError) -> Refusal {
    let status = match &error.trouble {
        Trouble::TimeIsUp { .. } => StatusCode::GATEWAY_TIMEOUT,
        Trouble::Unreachable { .. }
        | Trouble::CutOff { .. }
        | Trouble::JumpHost { .. }
        | Trouble::HostKeyChanged { .. }
        | Trouble::HostKeyUnknown { .. }
        | Trouble::Denied { .. }
        | Trouble::NoShell { .. }
        | Trouble::DiskFull { .. }
        | Trouble::ReadOnly { .. }
        | Trouble::Folder { .. }
        | Trouble::Sudo { .. }
        | Trouble::NoPrintf { .. }
        | Trouble::NotUnderstood { .. }
        | Trouble::Refused { .. }
        | Trouble::Program { .. } => StatusCode::BAD_GATEWAY,
    };
    Refusal::new(status, error.to_string())
}

/// Whether it stays as it is until a person does something.
const fn is_for_a_person(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::HostKeyChanged { .. }
        | Trouble::HostKeyUnknown { .. }
        | Trouble::Denied { .. }
        | Trouble::NoShell { .. }
        | Trouble::DiskFull { .. }
        | Trouble::ReadOnly { .. }
        | Trouble::Folder { .. }
        | Trouble::Sudo { .. }
        | Trouble::NoPrintf { .. }
        | Trouble::Refused { .. }
        | Trouble::Program { .. } => true,
        Trouble::Unreachable { .. }
        | Trouble::CutOff { .. }
        | Trouble::JumpHost { .. }
        | Trouble::NotUnderstood { .. }
        | Trouble::TimeIsUp { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_may_have_begun_is_never_said_not_to_have() {
        let place = || "ssh web-1".to_owned();
        let said = || "no".to_owned();
        let unreachable = Trouble::Unreachable { place: place(), said: said() };
        let changed = Trouble::HostKeyChanged { place: place(), said: said() };
        let late = Trouble::TimeIsUp { place: place(), within: Duration::from_secs(1) };
        for (error, started, answered) in [
            (NodeError::before(unreachable.clone()), 425, 502),
            (NodeError::unknown(unreachable), 502, 502),
            (NodeError::before(changed.clone()), 422, 502),
            (NodeError::unknown(changed), 502, 502),
            (NodeError::before(late.clone()), 425, 504),
            (NodeError::unknown(late), 504, 504),
        ] {
            assert_eq!(not_started(&error).parts().0, started, "{error:?}");
            let refusal = not_answered(&error);
            assert_eq!(refusal.parts().0, answered, "{error:?}");
            assert!(refusal.parts().1.contains("ssh web-1"), "{refusal:?}");
        }
    }
}
