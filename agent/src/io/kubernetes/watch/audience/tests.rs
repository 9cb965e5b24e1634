//! Random worlds: whatever changes, joins, leaves and breaks off, each follower ends with a true picture of its objects.

use proptest::prelude::*;

use super::*;
use crate::model::object::GroupKind;

/// The values of the label `part-of`. The last one is that of no follower.
const LABELS: [&str; 4] = ["a", "b", "c", "nobody"];
const FOLLOWERS: usize = 3;
const OBJECTS: usize = 5;

fn own(part_of: &str) -> Own {
    Own { part_of: part_of.into(), sync: SyncId::root(part_of).into() }
}

#[derive(Clone, Debug)]
enum Step {
    /// An object gets this label, or is deleted or loses its label.
    Write(usize, Option<usize>),
    /// The watch tells of the next change.
    Watch,
    Join(usize),
    Leave(usize),
    /// A list begins for those that joined.
    List,
    /// The list shows one more object, or ends.
    Page,
    /// The list fails.
    Fail,
    /// The watch has lost its position: everything is listed anew.
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..OBJECTS, prop::option::weighted(0.8, 0..LABELS.len())).prop_map(|(object, label)| Step::Write(object, label)),
        6 => Just(Step::Watch),
        2 => (0..FOLLOWERS).prop_map(Step::Join),
        1 => (0..FOLLOWERS).prop_map(Step::Leave),
        2 => Just(Step::List),
        6 => Just(Step::Page),
        1 => Just(Step::Fail),
        1 => Just(Step::Expire),
    ]
}

/// The knowledge of one sync.
#[derive(Default)]
struct Picture {
    follows: bool,
    listed: bool,
    /// The version at which each object was seen.
    objects: BTreeMap<ObjectId, u64>,
    missing: BTreeSet<ObjectId>,
}

impl Picture {
    fn hear(&mut self, id: &ObjectId, news: News, version: u64) {
        self.missing.remove(id);
        let before = self.objects.get(id).copied().unwrap_or(0);
        match news {
            News::Shown => _ = self.objects.insert(id.clone(), before.max(version)),
            News::Gone if before <= version => _ = self.objects.remove(id),
            News::Gone => {}
        }
    }
}

struct World {
    audience: Audience,
    declared: Vec<(usize, usize)>,
    /// The label and the version of each object.
    live: BTreeMap<usize, (usize, u64)>,
    /// All changes: object, label, version. The version is the position in it.
    changes: Vec<(usize, Option<usize>)>,
    /// Changes that the watch has told.
    told: usize,
    pictures: Vec<Picture>,
    /// Objects that the list that is going on has still to show.
    page: Option<Vec<(usize, usize, u64)>>,
}

fn id(object: usize) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", &object.to_string())
}

impl World {
    fn new(declared: Vec<(usize, usize)>) -> Self {
        let pictures = (0..FOLLOWERS).map(|_| Picture::default()).collect();
        let (live, page) = (BTreeMap::new(), None);
        Self { audience: Audience::default(), declared, live, changes: Vec::new(), told: 0, pictures, page }
    }

    fn declaring(&self, object: usize) -> Vec<FollowerId> {
        let of = self.declared.iter().filter(|(_, declared)| *declared == object);
        of.map(|(follower, _)| *follower as FollowerId).collect()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write(object, label) => {
                self.changes.push((object, label));
                match label {
                    Some(label) => _ = self.live.insert(object, (label, self.changes.len() as u64)),
                    None => _ = self.live.remove(&object),
                }
            }
            Step::Watch => self.watch(),
            Step::Join(follower) => {
                self.audience.join(follower as FollowerId, own(LABELS[follower]));
                self.pictures[follower] = Picture { follows: true, ..Picture::default() };
            }
            Step::Leave(follower) => {
                self.audience.leave(follower as FollowerId);
                self.pictures[follower] = Picture::default();
            }
            Step::List if self.page.is_none() => self.list(false),
            Step::List => {}
            Step::Page => self.page(),
            Step::Fail => {
                self.audience.give_list_up();
                self.page = None;
            }
            Step::Expire => {
                self.audience.give_list_up();
                self.told = self.changes.len();
                self.list(true);
                while self.page.is_some() {
                    self.page();
                }
            }
        }
    }

    fn watch(&mut self) {
        let Some((object, label)) = self.changes.get(self.told).copied() else { return };
        self.told += 1;
        let news = self.audience.changed(&id(object), label.map(|label| LABELS[label]), &self.declaring(object));
        for (follower, news) in news {
            self.pictures[follower as usize].hear(&id(object), news, self.told as u64);
        }
    }

    fn list(&mut self, whole: bool) {
        let Some(selector) = self.audience.begin_list(whole) else { return };
        let names = |label: usize| {
            !selector.contains(['=', '(']) || selector.replace(label::PART_OF, "").contains(LABELS[label])
        };
        let live = self.live.iter().filter(|(_, (label, _))| names(*label));
        self.page = Some(live.map(|(object, (label, version))| (*object, *label, *version)).collect());
        for follower in self.audience.members() {
            let picture = &mut self.pictures[follower as usize];
            picture.missing = picture.objects.keys().cloned().collect();
        }
    }

    fn page(&mut self) {
        let Some(page) = &mut self.page else { return };
        if let Some((object, label, version)) = page.pop() {
            for follower in self.audience.listed(&id(object), LABELS[label], &self.declaring(object)) {
                self.pictures[follower as usize].hear(&id(object), News::Shown, version);
            }
            return;
        }
        self.page = None;
        for follower in self.audience.end_list() {
            let picture = &mut self.pictures[follower as usize];
            picture.listed = true;
            for missing in std::mem::take(&mut picture.missing) {
                picture.objects.remove(&missing);
            }
        }
    }

    /// Everything is told, and all lists are complete.
    fn settle(&mut self) {
        for _ in 0..2 {
            while self.page.is_some() {
                self.page();
            }
            self.list(false);
        }
        while self.told < self.changes.len() {
            self.watch();
        }
    }
}

proptest! {
    #[test]
    fn each_follower_ends_with_a_true_picture(
        declared in prop::collection::vec((0..FOLLOWERS, 0..OBJECTS), 0..4),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = World::new(declared);
        for step in steps {
            world.take(step);
        }
        world.settle();
        for (follower, picture) in world.pictures.iter().enumerate() {
            prop_assert_eq!(picture.listed, picture.follows);
            for (object, (label, version)) in world.live.iter().filter(|_| picture.follows) {
                let known = picture.objects.get(&id(*object));
                // Another sync's object that was there before is read when the sync tries to make it.
                let read = *label != follower && world.declaring(*object).contains(&(follower as FollowerId));
                let right = if *label == follower { known == Some(version) } else { known.is_none_or(|_| read) };
                prop_assert!(right, "follower {follower}, object {object}: {known:?}, live {version}");
            }
            for known in picture.objects.keys() {
                prop_assert!(world.live.keys().any(|object| id(*object) == *known), "{known:?} is gone");
            }
        }
    }
}

#[test]
fn an_object_is_told_to_its_own_sync_and_to_those_that_declare_it() {
    let mut audience = Audience::default();
    for (follower, label) in LABELS.into_iter().enumerate() {
        audience.join(follower as FollowerId, own(label));
    }
    assert_eq!(audience.changed(&id(1), Some("a"), &[]), []);
    let named = "applyset.kubernetes.io/part-of in (a,b,c,nobody)";
    assert_eq!(audience.begin_list(false).as_deref(), Some(named));
    assert_eq!(audience.listed(&id(1), "a", &[]), [0]);
    assert_eq!(audience.listed(&id(2), "a", &[2]), [0, 2]);
    assert_eq!(audience.end_list(), [0, 1, 2, 3]);
    assert_eq!(audience.changed(&id(1), Some("b"), &[]), [(0, News::Gone), (1, News::Shown)]);
    assert_eq!(audience.changed(&id(2), Some("b"), &[2]), [(0, News::Gone), (1, News::Shown), (2, News::Shown)]);
    assert_eq!(audience.changed(&id(2), None, &[2]), [(1, News::Gone), (2, News::Gone)]);
    assert_eq!(audience.changed(&id(3), Some("other"), &[]), []);
}

#[test]
fn a_sync_that_joins_makes_no_other_list_again() {
    let mut audience = Audience::default();
    audience.join(0, own("a"));
    assert_eq!(audience.begin_list(true).as_deref(), Some("applyset.kubernetes.io/part-of=a"));
    audience.end_list();
    assert_eq!(audience.begin_list(false), None);
    audience.join(1, own("b"));
    assert_eq!(audience.begin_list(false).as_deref(), Some("applyset.kubernetes.io/part-of=b"));
    assert_eq!(audience.members(), [1]);
    assert_eq!(audience.end_list(), [1]);
    assert_eq!(audience.begin_list(true).as_deref(), Some(label::PART_OF));
}

#[test]
fn a_sync_of_a_namespace_hears_of_no_object_elsewhere_whatever_its_label() {
    let mut audience = Audience::default();
    audience.join(0, Own { part_of: "a".into(), sync: SyncId::repo("shop", "a").into() });
    assert!(audience.begin_list(false).is_some());
    let id = |namespace: &str| ObjectId::new(&GroupKind::new("", "ConfigMap"), namespace, "x");
    let [own, other, cluster] = ["shop", "bank", ""].map(id);
    for (id, told) in [(&own, vec![0]), (&other, Vec::new()), (&cluster, Vec::new())] {
        assert_eq!(audience.listed(id, "a", &[]), told);
    }
    audience.end_list();
    assert_eq!(audience.changed(&own, Some("a"), &[]), [(0, News::Shown)]);
    assert_eq!(audience.changed(&other, Some("a"), &[]), []);
}
