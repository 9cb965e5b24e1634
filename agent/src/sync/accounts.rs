//! The ServiceAccounts that syncs act as, and the bindings that give them rights: which objects there have to be, and the writes that
//! lead there. Names and labels are those of Config Sync, so that bindings and policies that name an account go on to hold.
//!
//! An account of a RootSync is an administrator of the cluster, or has the roles of `spec.override.roleRefs` and no other. An account
//! of a RepoSync has the rights that users give it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::RoleRef;
use crate::model::hex::hex;
use crate::model::metadata::{CONTROLLER_NAMESPACE, RECONCILER_MANAGER, SyncId, SyncKind, annotation, label};

/// The rights that a sync is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The roles of a RootSync; empty for an administrator, and for a RepoSync.
    pub roles: Vec<RoleRef>,
    /// The Google service account that the account acts as; empty for none.
    pub google: String,
}

/// The rights of every sync object; `None` where the spec cannot be read, so that they stay as they are.
pub type Accounts = BTreeMap<SyncId, Option<Rights>>;

/// The kinds of which there are objects for accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccountKind {
    /// `v1`
    ServiceAccount,
    /// `rbac.authorization.k8s.io/v1`
    ClusterRoleBinding,
    /// `rbac.authorization.k8s.io/v1`
    RoleBinding,
}

/// Kind, namespace (empty: none) and name.
pub type AccountObjectId = (AccountKind, String, String);

/// The part of an object that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountObject {
    /// Labels of syncs, by [`LABELS`].
    labels: BTreeMap<String, String>,
    /// The Google service account of a ServiceAccount.
    google: String,
    /// `true` if the agent wrote that, so that it can take it off.
    owns_google: bool,
    /// Kind and name of the role of a binding.
    role: (String, String),
    /// The ServiceAccounts in the namespace of the agent that a binding is for.
    subjects: BTreeSet<String>,
    /// `true` if a binding is for anything else too.
    has_others: bool,
    /// `metadata.resourceVersion`, 0 if it is no number.
    pub version: u64,
}

/// The field manager of Config Sync for these objects.
pub const FIELD_MANAGER: &str = "configsync.gke.io/reconciler-manager";

/// `true` for an entry of `metadata.managedFields` by which the agent owns the Google service account.
fn owns_google(entry: &Value) -> bool {
    let annotations = &entry["fieldsV1"]["f:metadata"]["f:annotations"];
    entry["manager"] == FIELD_MANAGER && annotations.get(format!("f:{}", annotation::GOOGLE_ACCOUNT)).is_some()
}

/// The labels by which the objects are known.
const LABELS: [&str; 4] = [label::MADE_BY, label::SYNC_KIND, label::SYNC_NAMESPACE, label::SYNC_NAME];

/// A write that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountWrite {
    /// The object.
    pub id: AccountObjectId,
    /// The object as it is to be; `None` to delete it.
    pub body: Option<Value>,
    /// The syncs whose rights it changes.
    pub concerns: BTreeSet<SyncId>,
    /// They do nothing before it is done. A role that cannot be bound, such as one in a Namespace that is not there, holds the others
    /// up no more.
    pub is_awaited: bool,
}

impl AccountKind {
    /// Its API version.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::ServiceAccount => "v1",
            Self::ClusterRoleBinding | Self::RoleBinding => "rbac.authorization.k8s.io/v1",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
            Self::RoleBinding => "RoleBinding",
        }
    }
}

/// The ClusterRole of administrators.
const ADMINISTRATOR: &str = "cluster-admin";
/// The base roles, which are installed with the agent, and the bindings to them that all syncs of a scope share.
const ROOT: &str = "configsync.gke.io:root-reconciler";
const ROOT_BASE: &str = "configsync.gke.io:root-reconciler-base";
/// The binding in the namespace of a RepoSync to the base role.
pub const TENANT: &str = "configsync.gke.io:ns-reconciler";
const TENANT_CLUSTER: &str = "configsync.gke.io:ns-reconciler:cluster-scope";
/// The shared bindings in the cluster.
const SHARED_IN_CLUSTER: [&str; 3] = [ROOT, ROOT_BASE, TENANT_CLUSTER];

/// `true` for a binding that syncs share.
fn is_shared((kind, _, name): &AccountObjectId) -> bool {
    match kind {
        AccountKind::ServiceAccount => false,
        AccountKind::ClusterRoleBinding => SHARED_IN_CLUSTER.contains(&&**name),
        AccountKind::RoleBinding => name == TENANT,
    }
}

impl AccountObject {
    /// The part that matters of an object as JSON.
    pub fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let labels =
            LABELS.iter().filter_map(|key| Some(((*key).to_owned(), metadata["labels"][key].as_str()?.to_owned())));
        let account = |subject: &Value| {
            (subject["kind"] == "ServiceAccount" && subject["namespace"] == CONTROLLER_NAMESPACE)
                .then(|| text(&subject["name"]))
        };
        let subjects = object["subjects"].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            labels: labels.collect(),
            google: text(&metadata["annotations"][annotation::GOOGLE_ACCOUNT]),
            owns_google: metadata["managedFields"].as_array().into_iter().flatten().any(owns_google),
            role: (text(&object["roleRef"]["kind"]), text(&object["roleRef"]["name"])),
            subjects: subjects.iter().filter_map(account).collect(),
            version: text(&metadata["resourceVersion"]).parse().unwrap_or(0),
            has_others: subjects.iter().any(|subject| account(subject).is_none()),
        }
    }

    /// `true` if the object has what `wanted` has; other labels may be there too.
    fn is(&self, wanted: &Self) -> bool {
        let is_google = if wanted.google.is_empty() { !self.owns_google } else { self.google == wanted.google };
        is_google
            && (&self.role, &self.subjects, self.has_others) == (&wanted.role, &wanted.subjects, false)
            && wanted.labels.iter().all(|label| self.labels.get(label.0) == Some(label.1))
    }

    fn body(&self, (kind, namespace, name): &AccountObjectId) -> Value {
        let mut metadata = json!({"name": name, "labels": self.labels});
        if !namespace.is_empty() {
            metadata["namespace"] = namespace.as_str().into();
        }
        if !self.google.is_empty() {
            metadata["annotations"] = json!({annotation::GOOGLE_ACCOUNT: self.google});
        }
        let mut body = json!({"apiVersion": kind.api_version(), "kind": kind.name(), "metadata": metadata});
        if *kind != AccountKind::ServiceAccount {
            let (role_kind, role) = &self.role;
            body["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role});
            let subject = |name| json!({"kind": "ServiceAccount", "namespace": CONTROLLER_NAMESPACE, "name": name});
            body["subjects"] = self.subjects.iter().map(subject).collect();
        }
        body
    }
}

/// A binding that syncs share, and the role that it gives.
fn shared(sync: &SyncId, rights: &Rights) -> Vec<(AccountObjectId, &'static str)> {
    let cluster = |name: &str| (AccountKind::ClusterRoleBinding, String::new(), name.to_owned());
    match sync.kind {
        SyncKind::RootSync if rights.roles.is_empty() => vec![(cluster(ROOT), ADMINISTRATOR)],
        SyncKind::RootSync => vec![(cluster(ROOT_BASE), ROOT)],
        SyncKind::RepoSync => vec![
            ((AccountKind::RoleBinding, sync.namespace.clone(), TENANT.to_owned()), TENANT),
            (cluster(TENANT_CLUSTER), TENANT_CLUSTER),
        ],
    }
}

/// The labels of an object of a sync: the first ones of kind, namespace and name. What several syncs share has not all of them.
fn labels(sync: &SyncId, count: usize) -> BTreeMap<String, String> {
    let (kind, SyncId { namespace, name, .. }) = (sync.kind.to_string(), sync);
    let own = [(label::SYNC_KIND, &kind), (label::SYNC_NAMESPACE, namespace), (label::SYNC_NAME, name)];
    let mut labels: BTreeMap<String, String> =
        own.into_iter().take(count).map(|(key, value)| (key.to_owned(), value.clone())).collect();
    labels.insert(label::MADE_BY.to_owned(), RECONCILER_MANAGER.to_owned());
    labels
}

/// The name of the binding of a role: always the same for one role.
fn binding_name(account: &str, role: &RoleRef) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", role.kind, role.namespace, role.name));
    format!("{account}-{}", hex(&digest[..5]))
}

/// The objects that there have to be.
#[derive(Default)]
struct WantedObjects {
    objects: BTreeMap<AccountObjectId, AccountObject>,
    /// Objects that stay as they are, or have another name than the agent gives them.
    kept: BTreeSet<AccountObjectId>,
}

/// The objects that there are.
pub type AccountObjects = BTreeMap<AccountObjectId, AccountObject>;

impl WantedObjects {
    fn of(accounts: &Accounts, there: &AccountObjects) -> Self {
        let mut wanted = Self::default();
        for (sync, rights) in accounts {
            match rights {
                Some(rights) => {
                    wanted.add_account(sync, rights);
                    wanted.add_roles(sync, rights, there);
                }
                None => wanted.keep(sync, there),
            }
        }
        wanted
    }

    /// The account of a sync, and its place in the bindings that syncs share.
    fn add_account(&mut self, sync: &SyncId, rights: &Rights) {
        let account = sync.reconciler();
        let object =
            AccountObject { labels: labels(sync, 3), google: rights.google.clone(), ..AccountObject::default() };
        self.objects.insert((AccountKind::ServiceAccount, CONTROLLER_NAMESPACE.to_owned(), account.clone()), object);
        for (id, role) in shared(sync, rights) {
            let count = if id.2 == TENANT_CLUSTER { 1 } else { 2 };
            let binding = self.objects.entry(id).or_insert_with(|| AccountObject {
                labels: labels(sync, count),
                role: ("ClusterRole".to_owned(), role.to_owned()),
                ..AccountObject::default()
            });
            binding.subjects.insert(account.clone());
        }
    }

    /// The bindings of the roles of a RootSync.
    fn add_roles(&mut self, sync: &SyncId, rights: &Rights, there: &AccountObjects) {
        let account = sync.reconciler();
        for role in &rights.roles {
            let kind =
                if role.namespace.is_empty() { AccountKind::ClusterRoleBinding } else { AccountKind::RoleBinding };
            let binding = AccountObject {
                labels: labels(sync, 3),
                role: (role.kind.clone(), role.name.clone()),
                subjects: [account.clone()].into(),
                ..AccountObject::default()
            };
            // One that Config Sync made has a random name.
            let same = there.iter().find(|(id, object)| id.0 == kind && id.1 == role.namespace && object.is(&binding));
            match same {
                Some((id, _)) => _ = self.kept.insert(id.clone()),
                None => {
                    let id = (kind, role.namespace.clone(), binding_name(&account, role));
                    self.objects.insert(id, binding);
                }
            }
        }
    }

    /// A sync whose spec cannot be read keeps its account, its own bindings, and its place in those that syncs share.
    fn keep(&mut self, sync: &SyncId, there: &AccountObjects) {
        let account = sync.reconciler();
        for (id, object) in there {
            let is_subject = object.subjects.contains(&account);
            if object.is_of(sync) {
                self.kept.insert(id.clone());
            } else if is_shared(id) && is_subject {
                let empty = || AccountObject { subjects: BTreeSet::new(), has_others: false, ..object.clone() };
                self.objects.entry(id.clone()).or_insert_with(empty).subjects.insert(account.clone());
            }
        }
    }
}

/// The writes that are due so that the objects that there are become those that the accounts need.
pub fn due(accounts: &Accounts, there: &AccountObjects) -> Vec<AccountWrite> {
    let wanted = WantedObjects::of(accounts, there);
    let syncs: BTreeMap<String, &SyncId> = accounts.keys().map(|sync| (sync.reconciler(), sync)).collect();
    let concerns = |accounts: &mut dyn Iterator<Item = &String>| -> BTreeSet<SyncId> {
        accounts.filter_map(|account| syncs.get(account).map(|sync| (*sync).clone())).collect()
    };
    // Rights go before others come.
    let mut writes = Vec::new();
    for (id, object) in there {
        if !wanted.objects.contains_key(id) && !wanted.kept.contains(id) && object.is_made(id) {
            let concerns = concerns(&mut object.subjects.iter());
            writes.push(AccountWrite { id: id.clone(), body: None, concerns, is_awaited: true });
        }
    }
    for (id, object) in &wanted.objects {
        let before = there.get(id);
        if before.is_some_and(|before| before.is(object)) {
            continue;
        }
        let (none, name) = (BTreeSet::new(), BTreeSet::from([id.2.clone()]));
        let had = before.map_or(&none, |before| &before.subjects);
        let is_account = id.0 == AccountKind::ServiceAccount;
        let concerns = if is_account {
            concerns(&mut name.iter())
        } else {
            concerns(&mut had.symmetric_difference(&object.subjects))
        };
        let is_awaited = is_account || is_shared(id);
        // The role of a binding cannot be changed.
        if before.is_some_and(|before| before.role != object.role && before.is_made(id)) {
            writes.push(AccountWrite { id: id.clone(), body: None, concerns: concerns.clone(), is_awaited });
        }
        writes.push(AccountWrite { id: id.clone(), body: Some(object.body(id)), concerns, is_awaited });
    }
    writes
}

impl AccountObject {
    /// `true` if the labels name this sync.
    fn is_of(&self, sync: &SyncId) -> bool {
        let named = |key: &str, value: &str| self.labels.get(key).is_some_and(|it| it == value);
        named(label::SYNC_KIND, &sync.kind.to_string())
            && named(label::SYNC_NAMESPACE, &sync.namespace)
            && named(label::SYNC_NAME, &sync.name)
    }

    /// `true` if the object is as the agent or Config Sync makes it: what another client has labelled so is left alone.
    pub fn is_made(&self, id: &AccountObjectId) -> bool {
        let (kind, namespace, name) = id;
        let is_account = |account: &str| account.starts_with("root-reconciler") || account.starts_with("ns-reconciler");
        let of_account = |account: &String| is_account(account) && name.starts_with(&format!("{account}-"));
        // No other program has these names, so labels and subjects that another client has changed do not matter.
        if is_shared(id) || self.has_name_of_role(id) {
            return true;
        }
        if self.labels.get(label::MADE_BY).is_none_or(|manager| manager != RECONCILER_MANAGER) {
            return false;
        }
        match kind {
            AccountKind::ServiceAccount => {
                namespace == CONTROLLER_NAMESPACE && is_account(name) && self.labels.contains_key(label::SYNC_NAME)
            }
            _ => !self.subjects.is_empty() && self.subjects.iter().all(of_account),
        }
    }
}

impl AccountObject {
    /// `true` for the binding of a role that has the name which the agent gives it.
    fn has_name_of_role(&self, (kind, namespace, name): &AccountObjectId) -> bool {
        let (role_kind, role) = self.role.clone();
        let role = RoleRef { kind: role_kind, namespace: namespace.clone(), name: role };
        *kind != AccountKind::ServiceAccount
            && self.subjects.iter().any(|account| *name == binding_name(account, &role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(kind: &str, namespace: &str, name: &str) -> RoleRef {
        RoleRef { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    fn with(roles: &[RoleRef]) -> Option<Rights> {
        Some(Rights { roles: roles.to_vec(), google: String::new() })
    }

    /// Carries out what is due, and returns it in words.
    fn settle(accounts: &Accounts, there: &mut AccountObjects) -> Vec<String> {
        let writes = due(accounts, there);
        let mut told = Vec::new();
        for AccountWrite { id, body, .. } in writes {
            let (kind, namespace, name) = &id;
            let at = format!("{} {namespace}/{name}", kind.name());
            match body {
                None => {
                    told.push(format!("- {at}"));
                    there.remove(&id);
                }
                Some(body) => {
                    let object = AccountObject::of(&body);
                    let subjects: Vec<&str> = object.subjects.iter().map(String::as_str).collect();
                    told.push(format!("+ {at} {} {}", object.role.1, subjects.join(",")).trim_end().to_owned());
                    there.insert(id, object);
                }
            }
        }
        assert_eq!(due(accounts, there), [], "what is as it is to be needs no write");
        told
    }

    #[test]
    fn a_root_sync_is_an_administrator_or_has_its_roles() {
        let (mut there, root) = (AccountObjects::new(), SyncId::root("root-sync"));
        let told = settle(&[(root.clone(), with(&[]))].into(), &mut there);
        let account = "+ ServiceAccount config-management-system/root-reconciler";
        let admin = "+ ClusterRoleBinding /configsync.gke.io:root-reconciler cluster-admin root-reconciler";
        assert_eq!(told, [account, admin]);

        let roles = [role("ClusterRole", "", "view"), role("Role", "shop", "ops")];
        let told = settle(&[(root.clone(), with(&roles))].into(), &mut there);
        let expected = [
            "- ClusterRoleBinding /configsync.gke.io:root-reconciler",
            "+ ClusterRoleBinding /configsync.gke.io:root-reconciler-base configsync.gke.io:root-reconciler root-reconciler",
            "+ ClusterRoleBinding /root-reconciler-199b902baa view root-reconciler",
            "+ RoleBinding shop/root-reconciler-fd087d627d ops root-reconciler",
        ];
        assert_eq!(told, expected);

        let told = settle(&[(root.clone(), with(&roles[..1]))].into(), &mut there);
        assert_eq!(told, ["- RoleBinding shop/root-reconciler-fd087d627d"]);
        settle(&Accounts::new(), &mut there);
        assert_eq!(there, AccountObjects::new(), "nothing is left of a sync that is gone");
    }

    #[test]
    fn syncs_share_bindings_and_leave_them() {
        let mut there = AccountObjects::new();
        let [one, two] = ["one", "two"].map(|name| SyncId::repo("shop", name));
        let both: Accounts = [(one.clone(), with(&[])), (two.clone(), with(&[]))].into();
        settle(&both, &mut there);
        let subjects = |there: &AccountObjects, name: &str| {
            let (_, object) = there.iter().find(|(id, _)| id.2 == name).expect("a binding");
            object.subjects.clone()
        };
        let accounts: BTreeSet<String> = [one.reconciler(), two.reconciler()].into();
        assert_eq!((subjects(&there, TENANT), subjects(&there, TENANT_CLUSTER)), (accounts.clone(), accounts.clone()));

        // One whose spec cannot be read keeps its rights.
        let unreadable: Accounts = [(one.clone(), None), (two.clone(), with(&[]))].into();
        assert_eq!(due(&unreadable, &there), []);
        assert_eq!(
            due(&[(one.clone(), None)].into(), &there).len(),
            3,
            "the account of the other, and its place in two bindings"
        );

        settle(&[(one.clone(), with(&[]))].into(), &mut there);
        assert_eq!(subjects(&there, TENANT), [one.reconciler()].into());
    }

    #[test]
    fn a_binding_that_config_sync_made_is_used_on() {
        let (mut there, root) = (AccountObjects::new(), SyncId::root("root-sync"));
        let accounts: Accounts = [(root.clone(), with(&[role("ClusterRole", "", "view")]))].into();
        settle(&accounts, &mut there);
        let (id, object) = there.pop_last().expect("the binding of the role");
        assert_eq!(id.1, "");
        there.insert((id.0, String::new(), "root-reconciler-x7k2p".to_owned()), object);
        assert_eq!(due(&accounts, &there), []);
    }

    #[test]
    fn what_others_have_labelled_is_left_alone_and_what_they_changed_is_put_back() {
        let (mut there, root) = (AccountObjects::new(), SyncId::root("root-sync"));
        let accounts: Accounts = [(root.clone(), with(&[]))].into();
        settle(&accounts, &mut there);
        let labels = json!({label::MADE_BY: RECONCILER_MANAGER, label::SYNC_NAME: "root-sync"});
        let binding = json!({
            "metadata": {"name": "mine", "labels": labels},
            "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "alice"}],
        });
        let foreign = (AccountKind::ClusterRoleBinding, String::new(), "mine".to_owned());
        there.insert(foreign.clone(), AccountObject::of(&binding));
        assert_eq!(due(&accounts, &there), []);

        let shared = (AccountKind::ClusterRoleBinding, String::new(), ROOT.to_owned());
        let mut body = there[&shared].body(&shared);
        body["subjects"] = json!([{"kind": "User", "name": "mallory"}]);
        there.insert(shared.clone(), AccountObject::of(&body));
        let writes = due(&accounts, &there);
        assert_eq!(writes.len(), 1);
        assert!(writes[0].id == shared && writes[0].concerns == [root.clone()].into());

        // A subject that another client has added, or a label that is gone, does not keep rights that are taken away.
        let roles = with(&[role("ClusterRole", "", "view")]);
        let mut body = there[&shared].body(&shared);
        body["subjects"] = json!([
            {"kind": "ServiceAccount", "namespace": CONTROLLER_NAMESPACE, "name": "root-reconciler"},
            {"kind": "User", "name": "mallory"},
        ]);
        body["metadata"]["labels"] = Value::Null;
        there.insert(shared.clone(), AccountObject::of(&body));
        settle(&[(root.clone(), roles)].into(), &mut there);
        assert!(!there.contains_key(&shared));
        let (id, object) = there.iter().find(|(id, _)| id.2.starts_with("root-reconciler-")).expect("a binding");
        let (id, mut body) = (id.clone(), object.body(id));
        body["subjects"].as_array_mut().expect("subjects").push(json!({"kind": "User", "name": "mallory"}));
        there.insert(id.clone(), AccountObject::of(&body));
        settle(&[(root.clone(), with(&[]))].into(), &mut there);
        assert!(!there.contains_key(&id) && there.contains_key(&foreign));

        // The binding of a role is known by its name too.
        let roles = with(&[role("Role", "shop", "ops")]);
        settle(&[(root.clone(), roles)].into(), &mut there);
        let (id, object) = there.iter().find(|(id, _)| id.1 == "shop").expect("a binding");
        let (id, mut body) = (id.clone(), object.body(id));
        body["metadata"]["labels"] = Value::Null;
        there.insert(id.clone(), AccountObject::of(&body));
        settle(&[(root, with(&[]))].into(), &mut there);
        assert!(!there.contains_key(&id));
    }

    #[test]
    fn the_google_account_that_the_agent_wrote_is_taken_off() {
        let (mut there, root) = (AccountObjects::new(), SyncId::root("root-sync"));
        let rights = |google: &str| Some(Rights { google: google.to_owned(), ..Rights::default() });
        let one: Accounts = [(root.clone(), rights("one@x.iam"))].into();
        settle(&one, &mut there);
        let none: Accounts = [(root, rights(""))].into();
        let id = (AccountKind::ServiceAccount, CONTROLLER_NAMESPACE.to_owned(), "root-reconciler".to_owned());
        assert_eq!(due(&none, &there), [], "another client has it too");
        let mut body = there[&id].body(&id);
        body["metadata"]["managedFields"] = json!([{
            "manager": FIELD_MANAGER,
            "fieldsV1": {"f:metadata": {"f:annotations": {format!("f:{}", annotation::GOOGLE_ACCOUNT): {}}}},
        }]);
        there.insert(id.clone(), AccountObject::of(&body));
        assert_eq!(due(&one, &there), []);
        let writes = due(&none, &there);
        assert_eq!(writes.iter().map(|write| &write.id).collect::<Vec<_>>(), [&id]);
        assert_eq!(writes[0].body.as_ref().expect("an apply")["metadata"]["annotations"], Value::Null);
    }
}
