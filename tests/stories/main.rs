//! Stories: the real agent on a real control plane, told from the outside.
//!
//! Where the control plane is not built every story is ignored, and says so; in CI it fails.
#![expect(clippy::disallowed_methods, reason = "stories start and watch the world")]

mod broken_commit;
mod control_plane;
mod custom_resources;
mod deleted_namespace;
mod drift;
mod endpoints;
mod failing_object;
mod foreign_objects;
mod fresh_cluster;
mod guard;
mod health;
mod killed;
mod lost_cluster;
mod once;
mod small_commits;
mod stopped;
mod status;
mod unreadable_sync;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::controlplane::ControlPlane;

type Story = fn() -> anyhow::Result<()>;

/// Each story under the name by which `cargo test --test stories NAME` runs it alone.
const STORIES: &[(&str, Story)] = &[
    // The walkthrough of README.md.
    ("a_fresh_cluster_reaches_synced", fresh_cluster::reaches_synced),
    ("a_deleted_namespace_comes_back", deleted_namespace::comes_back),
    ("drift_returns_to_the_declared_values", drift::returns),
    ("a_commit_of_one_file_is_one_apply", small_commits::one_file_is_one_apply),
    ("a_commit_costs_few_writes_of_our_own", small_commits::few_writes_of_our_own),
    ("a_broken_commit_changes_nothing", broken_commit::changes_nothing),
    ("a_large_prune_waits_for_approval", guard::waits_for_approval),
    ("an_agent_killed_in_its_first_sync_goes_on", killed::goes_on),
    ("a_lost_cluster_comes_back", lost_cluster::comes_back),
    ("inherited_endpoints_are_left_alone", endpoints::are_left_alone),
    // What else is promised.
    ("a_sync_writes_status_inventory_and_events", status::is_written),
    ("a_held_commit_stays_held_after_a_restart", guard::is_remembered),
    ("an_object_that_fails_delays_no_other", failing_object::delays_no_other),
    ("custom_resources_come_with_their_kind", custom_resources::come_with_their_kind),
    ("a_kind_may_come_later", custom_resources::kind_may_come_later),
    ("a_removed_kind_is_noticed_after_a_restart", custom_resources::kind_is_missed),
    ("what_cannot_be_seen_is_not_forgotten", custom_resources::are_not_forgotten),
    ("a_foreign_object_is_adopted_and_released", foreign_objects::adopted_and_released),
    ("copied_metadata_proves_nothing", foreign_objects::copied_metadata),
    ("an_object_of_another_sync_is_not_taken_over", foreign_objects::of_another_sync),
    ("a_sync_that_cannot_be_read_hides_no_other", unreadable_sync::hides_no_other),
    ("the_control_plane_leaves_nothing_behind", control_plane::leaves_nothing),
    ("health_and_metrics_are_served", health::served),
    ("a_stopped_agent_writes_its_status", stopped::writes_status),
    ("once_ends_with_an_exit_code", once::exit_codes),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = STORIES.iter().map(|&(name, story)| Trial::ignorable_test(name, move || tell(story))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    world::end();
    conclusion.exit_code()
}

fn tell(story: Story) -> Result<Completion, Failed> {
    // A change must not pass because a build was forgotten.
    let may_be_ignored = std::env::var_os("CI").is_none();
    if may_be_ignored && ControlPlane::binary().is_none() {
        return Ok(Completion::ignored_with("the control plane is not built: run `cargo control-plane`"));
    }
    world::forget_logs();
    match story() {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => Err(format!("{error:#}\n\n{}", world::logs()).into()),
    }
}
