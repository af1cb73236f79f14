//! One list of cases that every back end of the store passes unchanged, and a comparison of the back ends
//! with the reference model.
//!
//! To add a back end, write a factory in `backends.rs` and one line below.

// Clippy takes helpers for ordinary code in a test target of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod backends;
mod cases;
mod damage;
mod differential;
mod mongodb;
mod mongodb_check;
mod mongodb_faults;
mod mongodb_held_up;
mod mongodb_moments;
mod mongodb_plans;
mod mongodb_races;
mod mongodb_sessions;
mod mongodb_time;
#[path = "../support/noise.rs"]
mod noise;
mod samples;
mod server;
mod sqlite;
mod sqlite_check;
mod sqlite_pages;
#[path = "../support/wait.rs"]
mod wait;

/// Makes each case of the list a test of one back end.
macro_rules! on {
    ($backend:ident: $($case:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            crate::cases::$case(crate::backends::$backend().await).await;
        })*
    };
}

/// All cases, for one back end.
macro_rules! all_cases_on {
    ($backend:ident) => {
        on! { $backend:
            a_store_says_its_name_and_that_it_answers,
            a_playbook_is_kept_once,
            changed_content_under_a_known_name_and_version_conflicts,
            a_playbook_pins_only_plugins_that_are_there,
            playbooks_are_listed_by_name_and_semantic_version,
            a_cluster_is_replaced_by_the_last_one_put,
            what_is_applied_together_is_kept_whole_or_not_at_all,
            no_more_is_applied_together_than_may_be,
            of_what_is_applied_at_once_and_conflicts_one_is_kept_whole,
            a_plugin_is_kept_under_its_digest,
            a_plugin_is_found_by_the_name_that_it_gives_itself,
            where_a_plugin_came_from_is_added_to_what_is_known,
            a_plugin_keeps_its_signatures,
            signatures_that_count_for_nothing_make_room,
            of_signatures_that_come_at_once_each_is_kept,
            a_plugin_is_not_removed_while_a_playbook_pins_it,
            a_plugin_is_not_removed_while_an_unexpired_run_pins_it,
            keys_that_are_none_are_refused,
            a_run_is_created_with_its_first_events,
            a_request_with_a_known_key_creates_nothing,
            a_request_is_found_by_its_key_whatever_became_of_its_cluster,
            a_run_is_not_created_when_its_cluster_is_missing,
            a_cluster_is_not_removed_while_a_run_of_it_has_not_ended,
            of_a_run_and_the_removal_of_its_cluster_at_once_one_happens,
            a_run_is_not_created_when_a_plugin_is_missing,
            a_run_is_not_created_with_too_many_events,
            a_snapshot_is_untouched_by_what_is_applied_later,
            runs_are_listed_newest_first,
            runs_are_found_by_their_playbook_and_from_one_on,
            the_newest_runs_are_known_without_their_documents,
            how_far_runs_are_is_asked_for_at_once,
            runs_are_claimed_oldest_first,
            a_lease_is_renewed_until_it_expires,
            a_run_is_taken_over_when_its_lease_has_expired,
            a_released_run_is_free_at_once,
            all_leases_of_an_engine_are_given_back_at_once,
            a_run_that_needs_a_newer_engine_is_left_alone,
            finished_runs_are_neither_claimed_nor_renewed,
            a_claim_says_of_which_cluster_a_run_is_and_whose_it_was,
            of_a_full_cluster_only_runs_that_have_started_are_claimed,
            who_holds_a_run_is_told_with_since_when,
            a_parked_run_is_claimed_once_a_command_has_come,
            a_parked_run_is_claimed_when_its_time_has_come,
            a_run_is_not_parked_while_a_command_waits,
            a_run_is_parked_and_woken_by_no_command_that_is_damaged,
            a_command_that_an_earlier_version_took_wakes_its_run,
            a_command_wakes_a_run_that_nobody_drives_whoever_had_it,
            a_command_that_came_before_its_engine_left_wakes_the_run_after_that,
            runs_that_were_left_asleep_are_all_woken_however_many_they_are,
            no_command_wakes_a_run_that_rests_or_has_ended,
            the_commands_that_wait_for_a_run_are_told_whoever_has_it,
            of_a_command_and_a_parking_at_once_none_is_missed,
            parking_needs_the_lease,
            an_engine_is_listed_until_it_is_silent_for_long,
            an_engine_is_drained_until_it_is_undrained,
            two_engines_never_claim_the_same_run,
            a_cluster_is_locked_by_one_run_until_it_is_finished,
            queued_runs_get_a_cluster_in_the_order_of_their_creation,
            only_runs_that_wait_for_the_same_cluster_are_queued_before_one,
            a_lock_outlives_the_lease_and_goes_with_the_run,
            a_lock_is_given_only_under_the_lease,
            no_more_than_so_many_that_are_queued_are_counted,
            queues_of_several_clusters_are_asked_for_at_once,
            engines_that_ask_at_once_never_get_a_lock_twice,
            a_run_that_rejects_a_busy_cluster_is_created_with_its_lock_or_not_at_all,
            a_run_that_rejects_a_busy_cluster_has_no_lock_before_it_is_approved,
            of_runs_that_reject_each_other_and_are_created_at_once_one_is,
            a_lock_is_not_given_twice_by_its_creation_and_by_asking_for_it,
            the_only_run_that_goes_gets_the_lock_with_the_first_guards,
            of_a_lock_and_first_guards_at_once_one_run_gets_the_cluster,
            a_commit_writes_every_kind_of_document,
            a_commit_replaces_documents_of_the_same_key,
            repeating_a_commit_changes_nothing,
            a_commit_without_the_lease_writes_nothing,
            a_commit_that_is_too_large_writes_nothing,
            one_document_may_have_any_size,
            commits_at_the_same_time_do_not_disturb_each_other,
            values_survive_as_they_are,
            what_the_door_lets_in_at_its_bounds_is_read_back,
            every_kind_of_record_gets_its_finish_ts_and_the_run_last,
            stamping_goes_in_bounded_chunks,
            stamping_needs_the_lease,
            expired_documents_are_never_returned,
            expired_documents_are_swept_within_the_limit,
            a_command_is_kept_once,
            waiting_commands_are_those_of_the_runs_that_an_engine_holds,
            a_command_with_an_outcome_no_longer_waits,
            a_command_that_comes_late_expires_with_its_run,
            agent_records_are_read_by_state_and_page,
            journals_are_read_in_order_of_their_keys,
            log_lines_are_read_in_order,
            old_lines_are_removed_by_level_in_bounded_parts,
            lines_of_early_versions_are_the_oldest,
            events_are_read_by_sequence,
            no_page_is_larger_than_the_largest,
            a_damaged_record_is_said_in_its_place_and_nothing_else_fails,
            a_damaged_run_is_listed_with_what_is_known_of_it,
            a_damaged_command_holds_up_no_other,
            damaged_objects_are_listed_beside_the_others,
            damaged_objects_are_mended_by_putting_them_anew,
            a_run_that_is_set_aside_rests_and_its_engine_is_fenced,
            a_run_that_goes_well_again_is_in_no_trouble,
            the_trouble_of_a_run_that_ends_by_itself_goes_with_its_last_commit,
            troubles_are_listed_by_run_and_page,
            an_abandoned_run_ends_with_all_its_records,
            a_run_is_abandoned_whatever_of_it_is_damaged,
            a_run_that_goes_well_is_abandoned_only_by_force,
            a_run_that_has_finished_is_not_abandoned,
            the_end_of_an_abandoned_run_goes_in_bounded_parts_and_goes_on,
            a_run_that_was_finishing_keeps_its_one_finish_time,
            a_run_that_was_finishing_for_long_is_still_found_once_it_is_given_up,
            every_damaged_document_is_a_typed_error_and_found_by_a_check,
            a_damaged_lock_is_given_to_nobody_else,
            a_damaged_lease_holds_up_no_other_and_is_mended,
            a_queue_goes_on_once_a_damaged_run_is_given_up,
            the_lock_of_a_cluster_goes_with_the_cluster,
            a_shorter_retention_is_refused_until_it_is_changed,
            a_plugin_that_nothing_pins_goes_with_all_that_is_known_of_it,
            the_retention_of_a_plugin_begins_when_a_sweep_finds_that_nothing_pins_it,
            whatever_pins_a_plugin_ends_its_retention,
            a_plugin_that_is_put_again_or_renewed_is_kept_like_a_new_one,
            sweeps_over_plugins_are_bounded_and_keep_their_distance,
            of_sweeps_over_plugins_at_once_one_is_made,
            of_a_sweep_and_what_pins_a_plugin_at_once_one_comes_first,
            a_damaged_plugin_is_passed_over_by_sweeps,
            a_shorter_retention_of_plugins_is_refused_until_it_is_changed,
        }
    };
}

mod on_memory {
    all_cases_on!(memory);
}

mod on_sqlite {
    all_cases_on!(sqlite);
}

mod on_mongodb {
    all_cases_on!(mongodb);
}

mod on_mongodb_by_collection {
    all_cases_on!(mongodb_by_collection);
}
