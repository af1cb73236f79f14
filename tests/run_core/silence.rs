//! If the node at an agent's address may have changed, it is asked who it is before anything is sent there.

use replibook_core::playbook::Expr;
use replibook_core::run::{Answer, CallError, FailureReason, Happened};

use super::identity::{says, selecting, states};
use super::parts::{Setup, Work};
use super::world::World;

#[test]
fn after_an_agent_did_not_answer_it_is_compared_before_its_next_action() {
    let gone = || "gone".to_owned();
    for error in [CallError::NotTaken(gone()), CallError::Unreachable(gone())] {
        let select = Expr::parse("true").unwrap();
        let setup = Setup { attempts: 2, ..Setup::plain(0, 0) };
        let mut world = World::with(setup, |stage| stage.select = Some(select.clone()));
        world.retryable = true;
        world.take_members(vec![says("web-3", "web-3", "a")]);
        world.until_calls();
        assert_eq!((world.looked, world.first_call().unidentified), (0, false));
        world.answer_first_call(Answer::RunAction(Err(error.clone())));
        assert_eq!(world.records().next().unwrap().identified_at, None, "{error}");
        world.answers_as = Some("web-6".to_owned());
        if let CallError::NotTaken(_) = error {
            world.run_dry();
            let started =
                world.events().filter(|e| matches!(e.what, Happened::StepStarted { .. })).count();
            assert_eq!((world.looked, started), (1, 1), "the second attempt does not begin");
            assert_eq!(states(&world)[0].2, Some(FailureReason::WrongNode));
        } else {
            world.until_calls();
            let look = world.first_call();
            assert!(look.look_only && look.unidentified, "{look:?}");
        }
    }
}

#[test]
fn the_first_action_of_a_stage_goes_where_the_agent_was_seen_just_before() {
    for minutes in [0, 1] {
        let mut world = selecting("true", 0);
        world.work = Work::Twice;
        world.take_members(vec![says("web-0", "web-0", "a")]);
        world.until_activation();
        world.pass_minutes(minutes);
        world.until_calls();
        assert_eq!(world.first_call().unidentified, minutes > 0, "{minutes}");
        // Later calls of the same stage rely on that.
        world.perform_all();
        world.pass_minutes(minutes);
        world.until_calls();
        assert_eq!((world.first_call().call, world.first_call().unidentified), (1, false));
    }
}
