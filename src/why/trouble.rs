//! What people are told about a run that can't go on at all, and about those that wait behind it.

use super::explanation::{Explanation, NextCommand};
use super::words::{quoted, since};
use crate::run::{RunId, RunStatus, Timestamp, Trouble, TroubleCode};

/// Explains why a run in trouble does nothing. `status` is none if it can't be read; the run is shown as PAUSED
/// then, since it does nothing. `locks` says whether a run of its playbook locks its cluster, as far as is known.
pub fn explain_trouble(
    trouble: &Trouble,
    status: Option<RunStatus>,
    status_since: Timestamp,
    locks: bool,
    now: Timestamp,
) -> Explanation {
    let mut next = Vec::new();
    let ended = match status {
        Some(status) => format!("The run ended as {status}"),
        None => "The run ended, and how can't be read".to_owned(),
    };
    let (unread, stuck) = match status {
        Some(status) => {
            (format!("The run is {status}, and it"), format!("The run is {status}, and it"))
        }
        None => (
            "The run, and its status too,".to_owned(),
            "The run, whose status can't be read,".to_owned(),
        ),
    };
    let status = status.unwrap_or(RunStatus::Paused);
    let text = match &trouble.abandoned {
        Some(abandoned) if trouble.finish_ts.is_some() => {
            let was = was(trouble);
            format!("{ended}: {}.{was}", quoted(&abandoned.reason().message))
        }
        Some(abandoned) => format!(
            "The run is given up ({}). All its records get their finish time, and it ends once nothing \
             can be sent for it any more, by itself.",
            quoted(&abandoned.reason().message)
        ),
        None if trouble.finish_ts.is_some() => {
            format!("{ended}.{}", was(trouble))
        }
        None if trouble.tries == 0 => {
            let effect = "end it, once what is out has ended".to_owned();
            next.push(NextCommand { effect, command: format!("run cancel {}", trouble.run) });
            format!(
                "{unread} can't be read any more: {}. No engine has failed at it so \
                 far; one that had read it before goes on with it.",
                what(trouble)
            )
        }
        None => {
            let held = Held::by(status, locks);
            next.push(NextCommand { effect: held.effect().to_owned(), ..command(trouble.run) });
            format!(
                "{stuck} can't go on {}: {}. It does nothing meanwhile{}. It is \
                 tried again by itself, within 5 minutes and when a server starts; tries so far: {}.",
                since(trouble.since, now),
                what(trouble),
                held.meanwhile(),
                trouble.tries,
            )
        }
    };
    Explanation { status, since: status_since, text, next, actions: Vec::new() }
}

/// What a run in trouble keeps from others.
#[derive(Clone, Copy)]
enum Held {
    Nothing,
    /// Its place in the queue for the cluster.
    Place,
    Cluster,
}

impl Held {
    const fn by(status: RunStatus, locks: bool) -> Self {
        if locks && status.holds_cluster() {
            Self::Cluster
        } else if locks && matches!(status, RunStatus::Pending) {
            Self::Place
        } else {
            Self::Nothing
        }
    }

    const fn meanwhile(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Place => ", and runs that are queued behind it wait",
            Self::Cluster => ", and its cluster stays locked, since actions of it may be out",
        }
    }

    const fn effect(self) -> &'static str {
        match self {
            Self::Nothing => "give it up",
            Self::Place => "give it up, which lets those behind it go on",
            Self::Cluster => "give it up, which frees its cluster",
        }
    }
}

/// Says that a run waits for one in trouble, and so may wait for long.
pub fn explain_behind(explanation: &mut Explanation, trouble: &Trouble) {
    let run = trouble.run;
    let more = match trouble.abandoned {
        Some(_) => format!(" Run {run} was given up and is about to end."),
        None => format!(" Run {run} can't go on by itself: {}.", what(trouble)),
    };
    explanation.text.push_str(&more);
    if trouble.abandoned.is_none() {
        let effect = format!("end {run}");
        explanation.next.insert(0, NextCommand { effect, ..command(run) });
    }
}

fn command(run: RunId) -> NextCommand {
    let command = format!("run abandon {run} --reason …");
    NextCommand { effect: "give it up".to_owned(), command }
}

/// What kept a run from going on that has ended.
fn was(trouble: &Trouble) -> String {
    match trouble.code {
        TroubleCode::Abandoned => String::new(),
        // It may have ended before.
        TroubleCode::Damaged if trouble.abandoned.is_none() => {
            format!(" It can't be read any more: {}.", what(trouble))
        }
        TroubleCode::Damaged
        | TroubleCode::TooLarge
        | TroubleCode::Refused
        | TroubleCode::IllegalInput
        | TroubleCode::Panicked => format!(" It could not go on: {}.", what(trouble)),
    }
}

fn what(trouble: &Trouble) -> String {
    format!("{} ({})", quoted(&trouble.message), trouble.code.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Abandoned;

    const NOW: Timestamp = Timestamp::from_millis(1_763_802_600_000);

    fn trouble(abandoned: Option<Abandoned>, finish_ts: Option<Timestamp>) -> Trouble {
        Trouble {
            run: RunId(uuid::Uuid::nil()),
            cluster: Some("mongo-eu".to_owned()),
            code: TroubleCode::Damaged,
            message: "a journal (7.0.0.1) in the store is damaged: EOF.".to_owned(),
            since: Timestamp::from_millis(1_763_802_000_000),
            tries: 3,
            tried_at: NOW,
            engine: None,
            abandoned,
            finish_ts,
        }
    }

    fn explained(trouble: &Trouble) -> Explanation {
        explain_trouble(trouble, Some(RunStatus::Running), NOW, true, NOW)
    }

    #[test]
    fn a_run_in_trouble_says_what_it_is_and_how_to_end_it() {
        let told = explained(&trouble(None, None));
        for part in
            ["RUNNING", "a journal (7.0.0.1)", "(damaged)", "tries so far: 3", "stays locked"]
        {
            assert!(told.text.contains(part), "{part} in {}", told.text);
        }
        assert!(told.next[0].command.starts_with("run abandon 00000000-"));
        let abandoned = Abandoned {
            actor: Some("ada".to_owned()),
            why: "stuck".to_owned(),
            at: NOW,
            not_before: NOW,
        };
        let going = explained(&trouble(Some(abandoned.clone()), None));
        assert!(going.text.contains("abandoned by ada: stuck") && going.next.is_empty());
        let ended = explained(&trouble(Some(abandoned), Some(NOW)));
        assert!(ended.text.contains("ended") && ended.text.contains("It could not go on"));
    }

    #[test]
    fn a_lock_is_told_of_only_where_there_is_one() {
        use RunStatus::{
            Cancelling, Finishing, Paused, Pending, PendingApprove, Running, Starting,
        };
        for status in [PendingApprove, Pending, Starting, Running, Paused, Cancelling, Finishing] {
            for locks in [true, false] {
                let told = explain_trouble(&trouble(None, None), Some(status), NOW, locks, NOW);
                let is_held = locks && status.holds_cluster();
                assert_eq!(told.text.contains("stays locked"), is_held, "{status} {}", told.text);
                let effect = &told.next[0].effect;
                assert_eq!(effect.contains("frees its cluster"), is_held, "{status} {effect}");
                let waited_for = locks && status == Pending;
                assert_eq!(told.text.contains("queued behind it"), waited_for, "{}", told.text);
            }
        }
    }

    #[test]
    fn a_run_that_no_engine_has_failed_at_is_not_said_to_stand_still() {
        let untried = Trouble { tries: 0, ..trouble(None, None) };
        let told = explain_trouble(&untried, Some(RunStatus::Paused), NOW, true, NOW);
        assert!(told.text.contains("can't be read any more: "), "{}", told.text);
        assert!(told.text.contains("No engine has failed at it"), "{}", told.text);
        assert!(told.next[0].command.starts_with("run cancel 0000"), "{:?}", told.next);
        assert_eq!(told.next.len(), 1);
        let ended = Trouble { finish_ts: Some(NOW), ..untried };
        let told = explain_trouble(&ended, Some(RunStatus::Done), NOW, true, NOW);
        assert!(told.text.starts_with("The run ended as DONE. It can't be read"), "{}", told.text);
        assert!(!told.text.contains("again") && told.next.is_empty(), "{told:?}");
    }

    #[test]
    fn a_run_that_ended_all_the_same_is_not_said_to_be_unreadable() {
        let large = Trouble { code: TroubleCode::TooLarge, ..trouble(None, Some(NOW)) };
        let told = explain_trouble(&large, Some(RunStatus::Failed), NOW, true, NOW);
        assert!(told.text.starts_with("The run ended as FAILED. It could not go on: "), "{told:?}");
        assert!(!told.text.contains("can't be read"), "{told:?}");
    }

    #[test]
    fn no_status_is_made_up_for_a_run_whose_status_cannot_be_read() {
        let abandoned =
            Abandoned { actor: None, why: "stuck".to_owned(), at: NOW, not_before: NOW };
        for (tries, abandoned, finish_ts) in [
            (0, None, None),
            (3, None, None),
            (3, None, Some(NOW)),
            (3, Some(abandoned.clone()), Some(NOW)),
        ] {
            let trouble = Trouble { tries, ..trouble(abandoned, finish_ts) };
            let told = explain_trouble(&trouble, None, NOW, true, NOW);
            assert!(!told.text.contains("PAUSED"), "{}", told.text);
            assert!(told.text.contains("can't be read"), "{}", told.text);
        }
    }

    #[test]
    fn who_waits_behind_it_says_so() {
        let mut told = Explanation {
            status: RunStatus::Pending,
            since: NOW,
            text: "It waits.".to_owned(),
            next: Vec::new(),
            actions: Vec::new(),
        };
        explain_behind(&mut told, &trouble(None, None));
        assert!(told.text.starts_with("It waits. Run 00000000-"), "{}", told.text);
        assert!(told.text.contains("can't go on by itself: a journal"), "{}", told.text);
        assert!(told.next[0].command.contains("run abandon"));
    }
}
