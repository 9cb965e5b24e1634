//! Deletions that are not wanted any more before they are sent.

use super::*;

impl Scene {
    /// Answers all deletions as withdrawn, which they have to be, and everything else.
    fn withdraw(&mut self) {
        assert!(self.commands.iter().any(|command| matches!(command, Command::Withdraw)), "{:?}", self.commands);
        let ids = deleted(&self.commands);
        self.commands.retain(|command| !matches!(command, Command::Delete(..) | Command::Withdraw));
        for id in ids {
            self.step(Event::Finished(id, Outcome::Withdrawn));
        }
        self.answer();
    }

    /// Number of deletions that count for the budget of the hour.
    pub(super) fn counted(&self) -> usize {
        self.state.prunes.memory().recent.number(self.now)
    }
}

#[test]
fn a_deletion_that_waits_is_not_sent_for_an_object_that_the_next_commit_declares() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..18));
    scene.answer();
    assert_eq!(deleted(&scene.commands), [config_map("c18"), config_map("c19")]);
    scene.commit('c', &config_maps(0..19));
    scene.withdraw();
    assert_eq!(deleted(&scene.commands), [config_map("c19")], "the one that it does not declare goes");
    scene.settle();
    assert!(scene.state.is_synced() && scene.deletions == 1, "{:#?}", scene.state.last_report());
    scene.commit('d', &config_maps(0..18));
    scene.settle();
    assert_eq!((scene.deletions, scene.counted()), (2, 2), "one that was not sent counts for nothing");
}

/// Commit c declares c18 and would delete too much.
#[test]
fn nothing_is_deleted_that_a_held_commit_declares() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..18));
    scene.answer();
    scene.commit('c', &config_maps(16..19));
    scene.withdraw();
    assert_eq!((deleted(&scene.commands), scene.held().len()), (vec![config_map("c19")], 1));
    scene.settle();
    assert_eq!(scene.counted(), 1);
    scene.commit('d', &config_maps(0..18));
    scene.answer();
    assert_eq!((deleted(&scene.commands), scene.held().len()), (vec![config_map("c18")], 0));
    scene.settle();
    assert!(scene.state.is_synced() && scene.deletions == 2, "{:#?}", scene.state.last_report());
}

#[test]
fn a_deletion_that_waits_is_not_sent_when_its_approval_is_taken_back() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    scene.answer();
    let approval = offered(&scene.commands);
    scene.step(Event::Approved(Some(approval.clone())));
    scene.answer();
    assert_eq!(deleted(&scene.commands).len(), 15);
    scene.step(Event::Approved(None));
    scene.withdraw();
    assert_eq!(deleted(&scene.commands), []);
    assert_eq!(scene.state.last_report().sync.findings[0].code, Code::EmptySource);
    scene.approve(&approval);
    assert!(scene.state.is_synced() && scene.deletions == 15);
}

#[test]
fn nothing_is_deleted_that_a_commit_declares_which_waits_for_a_list() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..18));
    let widget = "---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: default}\n";
    let set = declared(&(manifests(0..20) + widget));
    scene.commit('c', &set);
    scene.answer();
    assert_eq!(deleted(&scene.commands), []);
    scene.commit('d', &config_maps(0..18));
    scene.answer();
    assert_eq!(deleted(&scene.commands), [config_map("c18"), config_map("c19")]);
    scene.commit('c', &set);
    scene.withdraw();
    assert_eq!(deleted(&scene.commands), [], "those are not wanted any more that were on their way");
}

/// Or else they would count together with those of the next commit, which would be held, and be sent after all.
#[test]
fn a_commit_is_judged_when_the_deletions_that_it_takes_back_are_answered() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..10));
    scene.answer();
    assert_eq!(deleted(&scene.commands).len(), 10);
    scene.commit('c', &config_maps(10..20));
    assert!(scene.held().is_empty());
    scene.withdraw();
    assert_eq!(deleted(&scene.commands), (0..10).map(|n| config_map(&format!("c{n}"))).collect::<Vec<_>>());
    scene.settle();
    assert!(scene.state.is_synced() && scene.held().is_empty(), "{:#?}", scene.state.last_report());
    assert_eq!((scene.deletions, scene.counted()), (10, 10));
}

#[test]
fn nothing_is_withdrawn_when_nothing_is_being_deleted() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..19));
    scene.settle();
    scene.commit('c', &config_maps(0..20));
    scene.settle();
    assert!(scene.state.is_synced() && !scene.commands.iter().any(|command| matches!(command, Command::Withdraw)));
}
