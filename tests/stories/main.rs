//! Stories: tests of the real agent on clusters, seen from outside.
//!
//! On the sandbox they always run. On the real control plane, and on the one with a node, they run in CI and with
//! `-- --include-ignored`; where it is not built or cannot run they are ignored even then, and say so, but in CI they fail.
#![expect(clippy::disallowed_methods, reason = "stories start and watch the world")]

mod accounts;
mod adoption;
mod attacks;
mod broken_commit;
mod bug_report;
mod changed_spec;
mod config_management;
mod control_plane;
mod copied_values;
mod custom_resources;
mod dead_connections;
mod deleted_namespace;
mod dependencies;
mod drift;
mod dynamic_selectors;
mod empty_values;
mod endpoints;
mod examples;
mod export;
mod failing_object;
mod faults;
mod foreign_objects;
mod fresh_cluster;
mod guard;
mod handed_over;
mod health;
mod hostile_source;
mod install;
mod installed;
mod killed;
mod kubeconfigs;
mod kubectl;
mod local_repositories;
mod lost_cluster;
mod lost_watch;
mod many_syncs;
mod migration;
mod names;
mod node;
mod notifications;
mod once;
mod one_writer;
mod page;
mod private_repositories;
mod records;
mod refused_applies;
mod removal;
mod rights;
mod role_refs;
mod sealed;
mod secrets;
mod small_commits;
mod sources;
mod steering;
mod stopped;
mod status;
mod tenants;
mod timeouts;
mod unreadable_sync;
mod unsupported_fields;
mod versions;
mod vet;
mod webhook;
mod world;

use std::num::NonZero;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::cluster::Kind;
use tests::controlplane::{CannotRun, ControlPlane};
use tests::node::Node;
use tests::sops::Sops;
use tests::ssh_server::SshServer;

/// The story that needs sshd (Debian's openssh-server); ignored where it is missing, but in CI.
const OVER_SSH: &str = "a_repository_of_sshd_is_read";

/// Stories that need SOPS (`tests/sops/build target/controlplane/sops`); ignored where it is not built, but in CI.
const WITH_SOPS: [&str; 3] =
    ["sealed_files_are_opened_and_stay_secret", "tenants_have_keys_of_their_own", "an_export_can_be_sealed"];

type Story = fn(Kind) -> anyhow::Result<()>;

/// Each story under the name by which `cargo test --test stories NAME` runs it alone, and the clusters that it is told on.
const STORIES: &[(&str, Story, &[Kind])] = &[
    // Pods, on a node.
    ("an_installed_agent_serves", installed::serves, &[Kind::Node]),
    ("a_lost_cluster_is_back_from_its_export", export::disaster::is_survived, &[Kind::Node]),
    ("pods_run_on_the_node", node::runs_pods, &[Kind::Node]),
    ("pods_outlive_a_kubelet", node::pods_outlive_a_kubelet, &[Kind::Node]),
    ("a_drain_keeps_to_the_budget", node::is_drained, &[Kind::Node]),
    ("the_node_leaves_nothing_behind", node::leaves_nothing, &[Kind::Node]),
    // Stories that need a cluster with faults. The longest run first, so that no other waits for them at the end.
    ("faults_are_survived", faults::are_survived, &[Kind::Sandbox]),
    ("an_api_that_is_away_delays_no_other", faults::absent_group, &[Kind::Sandbox]),
    ("a_kind_that_cannot_be_listed_delays_no_new_sync", faults::unlisted_kind, &[Kind::Sandbox]),
    ("an_outage_is_reported_and_waited_for", faults::outage, &[Kind::Sandbox]),
    ("a_refused_write_is_reported_and_retried_rarely", faults::refusal, &[Kind::Sandbox]),
    ("a_slow_request_is_given_up_in_time", timeouts::slow_request, &[Kind::Sandbox]),
    ("slow_events_delay_no_status", timeouts::slow_events, &[Kind::Sandbox]),
    ("a_lost_watch_is_reported", lost_watch::is_reported, &[Kind::Sandbox]),
    ("connections_that_die_are_noticed", dead_connections::are_noticed, &Kind::ALL),
    ("an_agent_waits_for_its_api_server", dead_connections::absent_server, &Kind::ALL),
    ("many_syncs_cost_what_their_objects_cost", many_syncs::cost_what_their_objects_cost, &Kind::ALL),
    // The walk through nomos in README.md.
    ("a_fresh_cluster_reaches_synced", fresh_cluster::reaches_synced, &Kind::ALL),
    ("a_deleted_namespace_comes_back", deleted_namespace::comes_back, &Kind::ALL),
    ("a_namespace_that_a_commit_brings_back_in_time_stays", deleted_namespace::brought_back_in_time, &[Kind::Sandbox]),
    ("drift_returns_to_the_declared_values", drift::returns, &Kind::ALL),
    ("drift_of_what_is_declared_empty_is_put_back", empty_values::are_put_back, &Kind::ALL),
    ("drift_is_no_value_that_is_not_stored", empty_values::cause_no_drift, &Kind::ALL),
    ("a_commit_of_one_file_is_one_apply", small_commits::one_file_is_one_apply, &Kind::ALL),
    ("a_commit_costs_few_writes_of_our_own", small_commits::few_writes_of_our_own, &Kind::ALL),
    ("a_broken_commit_changes_nothing", broken_commit::changes_nothing, &Kind::ALL),
    ("a_large_prune_waits_for_approval", guard::waits_for_approval, &Kind::ALL),
    ("an_agent_killed_in_its_first_sync_goes_on", killed::goes_on, &Kind::ALL),
    ("a_lost_cluster_comes_back", lost_cluster::comes_back, &Kind::ALL),
    ("inherited_endpoints_are_left_alone", endpoints::are_left_alone, &Kind::ALL),
    // Other promises.
    ("kubectl_works", kubectl::works, &Kind::ALL),
    ("a_sync_writes_status_inventory_and_events", status::is_written, &Kind::ALL),
    ("a_held_commit_stays_held_after_a_restart", guard::is_remembered, &Kind::ALL),
    ("an_object_that_fails_delays_no_other", failing_object::delays_no_other, &Kind::ALL),
    ("an_object_that_no_api_server_takes_is_not_sent", failing_object::large_is_not_sent, &Kind::ALL),
    ("custom_resources_come_with_their_kind", custom_resources::come_with_their_kind, &Kind::ALL),
    ("an_older_version_is_no_drift", versions::older_ones_are_no_drift, &Kind::ALL),
    ("a_newer_version_is_applied_at_once", versions::new_ones_are_applied_at_once, &Kind::ALL),
    ("a_kind_may_come_later", custom_resources::kind_may_come_later, &Kind::ALL),
    ("an_object_of_a_kind_that_terminates_is_refused", custom_resources::kind_terminates, &Kind::ALL),
    ("a_removed_kind_is_noticed_after_a_restart", custom_resources::kind_is_missed, &Kind::ALL),
    ("objects_of_an_unlisted_kind_are_not_forgotten", custom_resources::are_not_forgotten, &Kind::ALL),
    ("a_git_server_that_resets_connections_is_told_and_waited_for", hostile_source::server_that_resets, &Kind::ALL),
    ("a_private_repository_is_read_with_the_secret_as_it_is", private_repositories::secret_as_it_is, &Kind::ALL),
    ("a_commit_that_is_not_signed_as_asked_is_refused", private_repositories::signed_commits, &Kind::ALL),
    (OVER_SSH, private_repositories::over_ssh, &Kind::ALL),
    (WITH_SOPS[0], sealed::opened_and_secret, &Kind::ALL),
    (WITH_SOPS[1], sealed::tenants, &Kind::ALL),
    (WITH_SOPS[2], sealed::export, &[Kind::ControlPlane]),
    ("a_webhook_starts_a_poll", webhook::starts_a_poll, &Kind::ALL),
    ("a_git_server_that_hangs_delays_no_other", hostile_source::server_that_hangs, &Kind::ALL),
    ("a_commit_that_the_agent_dies_at_is_not_read_again", hostile_source::commit_that_kills, &Kind::ALL),
    ("sources_for_kustomize_are_refused", sources::for_kustomize_are_refused, &Kind::ALL),
    ("values_that_are_not_encoded_fail_alone", sources::values_not_encoded_fail_alone, &Kind::ALL),
    ("an_exported_annotation_is_no_drift", sources::exported_annotation_is_no_drift, &Kind::ALL),
    ("a_foreign_object_is_adopted_and_released", foreign_objects::adopted_and_released, &Kind::ALL),
    ("objects_of_other_tools_are_taken_over", adoption::takes_over, &Kind::ALL),
    ("fields_that_exclude_declared_ones_are_removed", adoption::excluded_fields, &[Kind::ControlPlane]),
    ("what_no_apply_can_make_is_written_over", refused_applies::are_written_over, &[Kind::ControlPlane]),
    ("an_object_that_depends_on_another_repository_waits_alone", dependencies::on_objects_of_others, &Kind::ALL),
    ("what_depends_on_an_object_is_pruned_before_it", dependencies::are_pruned_first, &Kind::ALL),
    ("a_claim_that_waits_for_its_first_pod_is_no_obstacle", dependencies::on_a_claim, &Kind::ALL),
    ("live_namespaces_are_selected_by_their_labels", dynamic_selectors::by_labels, &Kind::ALL),
    ("namespaces_with_other_labels_lose_few_objects_at_once", dynamic_selectors::guard, &Kind::ALL),
    ("namespaces_are_followed_beside_a_broken_commit", dynamic_selectors::beside_a_broken_commit, &Kind::ALL),
    ("labels_that_change_all_the_time_are_collected", dynamic_selectors::flapping, &Kind::ALL),
    ("dynamic_selectors_wait_for_the_namespaces", dynamic_selectors::unlistable, &[Kind::Sandbox]),
    ("values_of_other_objects_are_copied_and_followed", copied_values::follow_their_source, &Kind::ALL),
    ("copied_values_of_secrets_stay_secret", copied_values::of_secrets_stay_secret, &Kind::ALL),
    ("replicas_that_leave_the_repository_stay", handed_over::replicas, &Kind::ALL),
    ("a_renamed_sync_takes_over_what_the_old_one_left", handed_over::between_syncs, &Kind::ALL),
    ("tenants_come_and_go_with_a_root_sync", tenants::come_with_a_root_sync, &Kind::ALL),
    ("tenants_have_the_rights_of_their_accounts", tenants::have_the_rights_of_their_accounts, &[Kind::ControlPlane]),
    ("a_root_sync_has_its_roles_and_no_others", role_refs::are_all_that_it_has, &[Kind::ControlPlane]),
    ("objects_go_over_between_a_root_sync_and_tenants", tenants::conflicts, &[Kind::ControlPlane]),
    ("objects_go_over_to_a_tenant_in_one_commit", handed_over::to_a_tenant, &[Kind::ControlPlane]),
    ("tenants_keep_nothing_that_they_were_given", tenants::keep_nothing_that_they_were_given, &[Kind::ControlPlane]),
    ("attacks_of_tenants_are_refused", attacks::are_refused, &[Kind::ControlPlane]),
    ("silent_servers_of_a_tenant_delay_nobody_else", attacks::silent_servers, &Kind::ALL),
    ("tenants_reach_no_inner_network", attacks::repositories_of_inner_networks, &Kind::ALL),
    ("the_rights_of_syncs_are_those_of_their_accounts", rights::are_those_of_the_account, &[Kind::ControlPlane]),
    ("tenants_lose_their_rights_last", tenants::lose_their_rights_last, &[Kind::ControlPlane]),
    (
        "a_root_sync_with_roles_of_one_namespace_leaves_that_alone",
        role_refs::are_of_one_namespace,
        &[Kind::ControlPlane],
    ),
    ("two_tenants_do_not_share_an_account", accounts::of_one_name, &[Kind::ControlPlane]),
    ("a_tenant_has_the_logins_of_its_namespace", accounts::own_login, &[Kind::ControlPlane]),
    ("errors_of_other_clients_leave_the_status", accounts::foreign_errors, &[Kind::ControlPlane]),
    ("tenants_go_with_their_namespaces", tenants::go_with_their_namespaces, &Kind::ALL),
    ("a_sync_takes_its_objects_along_in_the_foreground", removal::foreground, &Kind::ALL),
    ("a_sync_in_any_state_takes_its_objects_along", removal::foreground_in_any_state, &Kind::ALL),
    ("a_sync_without_a_record_waits_for_an_approval_before_it_goes", removal::without_record, &Kind::ALL),
    ("a_sync_that_leaves_orphans_takes_its_metadata_off", removal::orphan, &Kind::ALL),
    ("a_sync_that_goes_follows_another_policy", removal::changed_policy, &Kind::ALL),
    ("groups_have_no_statuses_when_the_spec_wants_none", records::without_statuses, &Kind::ALL),
    ("a_record_that_another_client_wipes_is_written_again", records::wiped, &Kind::ALL),
    ("a_record_of_another_tool_is_left_alone", records::of_another_tool, &Kind::ALL),
    ("what_holds_a_detached_object_stays", dependencies::hold_detached_objects, &Kind::ALL),
    ("what_holds_a_formerly_detached_object_stays", dependencies::hold_formerly_detached_objects, &Kind::ALL),
    ("a_namespace_stays_while_an_api_is_away", dependencies::hidden_by_an_absent_api, &[Kind::ControlPlane]),
    ("an_object_that_moves_between_directories_of_syncs_is_handed_over", handed_over::between_directories, &Kind::ALL),
    ("a_detached_object_moves_between_syncs", handed_over::detached, &Kind::ALL),
    ("an_explicit_namespace_is_neither_made_nor_marked", handed_over::explicit_namespaces, &Kind::ALL),
    ("a_namespace_with_objects_of_another_sync_stays", handed_over::namespace_of_several, &Kind::ALL),
    ("a_sync_that_cannot_run_delays_no_deletion", handed_over::stalled_delays_nothing, &Kind::ALL),
    ("a_namespace_belongs_to_the_sync_that_declares_it", handed_over::implicit_namespaces, &Kind::ALL),
    ("names_of_any_signs_are_synced", names::are_encoded, &Kind::ALL),
    ("texts_of_any_characters_are_synced_as_they_are", names::texts_are_exact, &Kind::ALL),
    ("copied_metadata_proves_nothing", foreign_objects::copied_metadata, &Kind::ALL),
    ("objects_stay_as_their_annotations_say", foreign_objects::annotated_by_users, &Kind::ALL),
    ("an_object_of_another_sync_is_not_taken_over", foreign_objects::of_another_sync, &Kind::ALL),
    ("an_object_of_a_sync_that_does_not_run_is_left_alone", foreign_objects::of_a_sync_that_does_not_run, &Kind::ALL),
    ("a_changed_spec_keeps_the_state_before", changed_spec::keeps_the_state_before, &Kind::ALL),
    ("a_config_management_gives_the_session_of_older_versions", config_management::session, &Kind::ALL),
    ("a_config_management_makes_its_root_sync", config_management::root_sync, &Kind::ALL),
    ("a_cluster_of_config_sync_is_handed_over", migration::from_config_sync, &Kind::ALL),
    ("the_repository_of_a_config_management_becomes_a_root_sync", migration::from_a_config_management, &Kind::ALL),
    ("no_secret_is_in_a_bug_report", bug_report::has_no_secret, &Kind::ALL),
    ("nothing_is_deleted_with_the_crd_of_root_syncs", unreadable_sync::crd_goes, &Kind::ALL),
    ("an_unreadable_sync_hides_no_other", unreadable_sync::hides_no_other, &Kind::ALL),
    ("a_wait_ends_after_the_reconcile_timeout", timeouts::reconcile, &Kind::ALL),
    ("a_deletion_that_a_finalizer_keeps_from_its_end_is_told", timeouts::deletion, &Kind::ALL),
    ("a_sync_with_role_refs_is_refused", unsupported_fields::incomplete_role_is_refused, &Kind::ALL),
    ("a_sync_with_harmless_overrides_is_synced", unsupported_fields::harmless_overrides, &Kind::ALL),
    ("a_root_sync_in_another_namespace_is_refused", unsupported_fields::elsewhere, &Kind::ALL),
    ("the_control_plane_leaves_nothing_behind", control_plane::leaves_nothing, &[Kind::ControlPlane]),
    ("kubeconfigs_are_read_as_by_kubectl", kubeconfigs::are_read_as_by_kubectl, &[Kind::ControlPlane]),
    ("services_are_told_of_commits_once", notifications::are_told, &Kind::ALL),
    ("a_dead_receiver_delays_nothing", notifications::delay_nothing, &Kind::ALL),
    ("health_and_metrics_are_served", health::served, &Kind::ALL),
    ("the_page_shows_what_a_user_may_get", page::shows_what_a_user_may_get, &[Kind::ControlPlane]),
    ("the_page_needs_no_token_if_the_agent_is_told_so", page::needs_no_token_on_request, &Kind::ALL),
    ("a_stopped_agent_writes_its_status", stopped::writes_status, &Kind::ALL),
    ("a_suspended_sync_writes_nothing", steering::suspended, &[Kind::ControlPlane]),
    ("a_commit_is_shown_before_it_is_made", steering::shown_before, &[Kind::ControlPlane]),
    ("commits_are_compared_and_remembered", steering::commits, &[Kind::ControlPlane]),
    ("operators_ask_and_approve", steering::asked, &Kind::ALL),
    ("secrets_stay_secret", secrets::stay_secret, &Kind::ALL),
    ("a_repository_on_the_agents_disk_is_refused", local_repositories::are_refused, &Kind::ALL),
    ("once_ends_with_an_exit_code", once::exit_codes, &Kind::ALL),
    ("the_agent_is_installed_and_uninstalled", install::comes_and_goes, &Kind::ALL),
    ("nothing_is_left_of_an_agent_in_whatever_state", install::goes_whatever_the_state, &Kind::ALL),
    ("tenants_go_with_an_agent_that_is_uninstalled", install::prunes_tenants, &[Kind::ControlPlane]),
    ("an_agent_that_is_uninstalled_can_take_along_what_it_applied", install::prunes, &Kind::ALL),
    ("syncs_of_syncs_are_taken_along", install::prunes_syncs_of_syncs, &Kind::ALL),
    ("syncs_that_declare_each_other_are_taken_along", install::prunes_a_circle, &Kind::ALL),
    ("one_of_several_agents_writes", one_writer::takes_over, &Kind::ALL),
    ("an_agent_that_stands_by_is_warm", one_writer::stands_by_warm, &Kind::ALL),
    ("a_leader_that_is_killed_in_a_sync_is_followed", one_writer::is_killed, &Kind::ALL),
    ("a_leader_that_is_paused_in_a_sync_writes_nothing", one_writer::is_paused, &Kind::ALL),
    ("a_leader_that_is_cut_off_writes_nothing", one_writer::is_cut_off, &Kind::ALL),
    ("the_examples_are_synced", examples::are_synced, &Kind::ALL),
    ("an_export_is_the_cluster_again", export::round_trip, &[Kind::ControlPlane, Kind::Node]),
    ("a_namespace_is_exported_by_its_admin", export::admin::of_one_namespace, &[Kind::ControlPlane]),
    ("vet_asks_the_cluster_for_kinds", vet::asks_the_cluster, &Kind::ALL),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A story waits as long as it works.
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(processors + 1);
    let in_ci = std::env::var_os("CI").is_some();
    let trials = STORIES.iter().flat_map(|&(name, story, kinds)| {
        let on = move |&kind: &Kind| {
            let trial = Trial::ignorable_test(format!("{kind}::{name}"), move || tell(story, kind));
            let impossible =
                name == OVER_SSH && !SshServer::is_possible() || WITH_SOPS.contains(&name) && !Sops::is_possible();
            trial.with_ignored_flag(!in_ci && (impossible || kind != Kind::Sandbox))
        };
        kinds.iter().map(on)
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    world::end();
    conclusion.exit_code()
}

fn tell(story: Story, kind: Kind) -> Result<Completion, Failed> {
    let excuse = match kind {
        Kind::Sandbox => None,
        Kind::ControlPlane => ControlPlane::excuse(),
        Kind::Node => Node::excuse(),
    };
    if let Some(excuse) = excuse {
        return Ok(Completion::ignored_with(excuse));
    }
    world::forget_logs();
    match story(kind) {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<CannotRun>() {
            Some(CannotRun(reason)) if std::env::var_os("CI").is_none() => {
                Ok(Completion::ignored_with(reason.as_str()))
            }
            _ => Err(format!("{error:#}\n\n{}", world::logs()).into()),
        },
    }
}
