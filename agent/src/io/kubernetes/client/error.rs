//! Why a request failed, and what follows from it for the object and for the next attempt.

use std::time::Duration;

use http::StatusCode;
use kube::core::Status;
use kube::core::response::StatusCause;

use crate::io::kubernetes::limited::OversizedAnswer;
use crate::model::duration::format_duration;
use crate::model::error_chain::error_chain;
use crate::model::finding::{Code, Finding};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::{Failure, Retry};
use crate::sync::managed_fields::RefusedApply;

/// The longest pause that the API server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The API server refused it.
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    /// The API server does not serve this kind (any more, or not yet).
    #[error("the API server does not serve {0}")]
    Unserved(GroupKind),
    /// The API server does not serve this kind in this version (any more, or not yet).
    #[error("the API server does not serve {0} in version {1}")]
    UnservedVersion(GroupKind, String),
    /// The API server answers, but has not answered this request in time.
    #[error("no answer within {}", format_duration(*.0))]
    Slow(Duration),
    /// There was no answer, or none that could be read.
    #[error("{0}")]
    Unreachable(String),
    /// The request could not be made, because of a name in it: nothing was sent.
    #[error("the request cannot be made: {0}")]
    Unsendable(String),
    /// These APIs have servers of their own, which are away: nothing shows the objects of their kinds, and nothing was sent.
    #[error("of these APIs no server answers, so that nothing shows their objects: {}", .0.join(", "))]
    Absent(Vec<String>),
    /// The object is larger than an API server takes: nothing was sent.
    #[error("the object is too large: {0}")]
    Oversized(String),
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            kube::Error::Service(cause) if cause.is::<OversizedAnswer>() => {
                Self::Refused(Status::failure(&cause.to_string(), "").boxed())
            }
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => Self::Unsendable(error_chain(&error)),
            // The outermost words of a connection error say the least.
            error => Self::Unreachable(error_chain(&error)),
        }
    }
}

impl ApiError {
    /// The HTTP status; 0 without an answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(status) => status.code,
            Self::Unserved(_) | Self::UnservedVersion(..) => 404,
            Self::Slow(_) | Self::Unreachable(_) | Self::Unsendable(_) | Self::Absent(_) | Self::Oversized(_) => 0,
        }
    }

    /// `true` if the same request is likely to work a while later, without a change by a user.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Slow(_)) || matches!(self.meaning().1, Retry::Server(_))
    }

    /// The fields of which the API server says that others must not be beside them, if it refused the request because of that. A field
    /// that must not have several others in it is given as `field.*`.
    pub fn refused_members(&self) -> Option<Vec<String>> {
        let Self::Refused(status) = self else { return None };
        let causes = status.details.as_ref().filter(|_| status.code == 422)?.causes.iter();
        let refused = causes.filter_map(|cause| match cause.message.contains(SEVERAL) {
            true => Some(format!("{}.*", cause.field)),
            false => EXCLUDING.iter().any(|words| cause.message.contains(words)).then(|| cause.field.clone()),
        });
        let fields: Vec<String> = refused.collect();
        (!fields.is_empty()).then_some(fields)
    }

    /// The refusal, if the object as declared may be a valid one, and only what an apply makes of the object that is there is not.
    pub fn refused_result(&self) -> Option<RefusedApply> {
        let Self::Refused(status) = self else { return None };
        let says = |words: &[&str]| words.iter().any(|words| status.message.contains(words));
        match status.code {
            422 if self.is_about_another() || is_unchangeable(status) || says(&ONE_WAY) => None,
            422 if says(&[NULL]) => Some(RefusedApply::Untaken),
            422 => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                Some(RefusedApply::Invalid(causes.map(|cause| cause.field.clone()).collect()))
            }
            // A webhook that does not answer is an outage.
            500 if says(&["failed: Post"]) => None,
            500 if says(&UNREADABLE) => Some(RefusedApply::Unreadable),
            500 if unserved_version(&status.message).is_some() => {
                unserved_version(&status.message).map(|version| RefusedApply::Unserved(version.to_owned()))
            }
            500 if says(&[UNCONVERTIBLE]) => Some(RefusedApply::Untaken),
            _ => None,
        }
    }

    /// `true` if the API server may have refused the request because the object that it names is not there, but maybe another one of that
    /// name. It answers so to an apply with a version or a uid.
    pub fn is_about_another(&self) -> bool {
        let Self::Refused(status) = self else { return false };
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        status.code == 409 || status.code == 422 && causes.any(|cause| cause.field == "metadata.uid")
    }

    /// `true` if the request has changed nothing, and will not.
    fn is_without_effect(&self) -> bool {
        match self {
            Self::Refused(status) => (400..500).contains(&status.code),
            Self::Unserved(_) | Self::UnservedVersion(..) => true,
            Self::Unsendable(_) | Self::Absent(_) | Self::Oversized(_) => true,
            Self::Slow(_) | Self::Unreachable(_) => false,
        }
    }

    /// `true` if the object does not exist although its kind is served. Where the kind is not served, the object may exist
    /// unseen.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404 && !self.is_unserved()
    }

    /// `true` if the request was refused because the Namespace is being deleted.
    pub fn is_of_terminating_namespace(&self) -> bool {
        matches!(self, Self::Refused(status) if is_of_terminating_namespace(status))
    }

    /// `true` if the kind is not served: the API server's answer is then a 404 that names no object.
    pub fn is_unserved(&self) -> bool {
        match self {
            Self::Refused(status) => {
                status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
            }
            Self::Unserved(_) | Self::UnservedVersion(..) => true,
            Self::Slow(_) | Self::Unreachable(_) | Self::Unsendable(_) | Self::Absent(_) | Self::Oversized(_) => false,
        }
    }

    /// The failure of a command about an object. `doing` is its verb: apply, delete. `finding` adds the manifest to the
    /// finding.
    pub fn failure(&self, doing: &str, finding: impl FnOnce(Finding) -> Finding, id: &ObjectId) -> Failure {
        self.failure_withheld(doing, finding, id, id.group().is_empty() && id.kind() == "Secret")
    }

    /// As [`Self::failure`]. The API server's own words are withheld if the object is secret: they may quote the value that is refused.
    pub fn failure_withheld(
        &self,
        doing: &str,
        finding: impl FnOnce(Finding) -> Finding,
        id: &ObjectId,
        secret: bool,
    ) -> Failure {
        let (code, retry, hint) = self.meaning();
        let found = match self {
            Self::Refused(status) if secret => {
                let message = format!("failed to {doing} {id}: the API server refuses it (HTTP {})", status.code);
                let of_values = matches!(status.code, 400 | 422) && hint != MAKE_ANEW && !lacks_values(status);
                let message = match harmless_words(status) {
                    Some(words) => format!("{message}: {words}"),
                    None => message,
                };
                Finding::new(code, message).hint(if of_values { WITHHELD } else { hint })
            }
            _ => Finding::new(code, format!("failed to {doing} {id}: {self}")).hint(hint),
        };
        Failure { finding: finding(found), retry, refused: self.is_without_effect() }
    }

    /// The failure of a request that any API server answers; `None` if it says that the API server is there.
    pub fn outage(&self) -> Option<Failure> {
        let finding = || self.finding("reach the API server");
        self.is_transient().then(|| Failure {
            finding: finding(),
            retry: self.meaning().1,
            refused: self.is_without_effect(),
        })
    }

    /// The finding about a request that is about no single object. `doing` is as in "list ConfigMap".
    pub fn finding(&self, doing: &str) -> Finding {
        let (code, _, hint) = self.meaning();
        Finding::new(code, format!("failed to {doing}: {self}")).hint(hint)
    }

    /// The code of the finding, when to try again, and the hint.
    fn meaning(&self) -> (Code, Retry, &'static str) {
        match self {
            Self::Refused(status) => meaning_of(status),
            Self::Unserved(_) => {
                (Code::UnknownKind, Retry::Soon, "install the CRD of this kind, or declare it in the repository")
            }
            Self::UnservedVersion(..) => (
                Code::UnknownKind,
                Retry::Soon,
                "declare the object in a version that `kubectl api-versions` lists, or add the version to the CRD of the kind",
            ),
            Self::Slow(_) => (Code::ApiServer, Retry::Object, SLOW),
            Self::Unreachable(_) => (Code::ApiServer, Retry::Server(Duration::ZERO), AWAY),
            Self::Unsendable(_) => (Code::Applier, Retry::Object, "correct the name and the Namespace in the manifest"),
            Self::Absent(_) => (Code::ApiServer, Retry::Object, ABSENT),
            Self::Oversized(_) => (Code::Applier, Retry::Object, TOO_LARGE),
        }
    }
}

/// The words in which the API server refuses a field because of another one, of which an object may have one alone.
const EXCLUDING: [&str; 5] = [
    "may not be specified when",
    "may not specify more than",
    "may not specify both",
    "may not be set when",
    "only allowed for",
];
/// The words in which it refuses a field that has several of which it may have one alone.
const SEVERAL: &str = "may not have more than one field specified at a time";
/// The words in which it refuses an object whose CustomResourceDefinition is being deleted.
const TERMINATING_CRD: &str = "not allowed while custom resource definition is terminating";
/// The words in which it refuses to change a field of an object that is there.
const UNCHANGEABLE: [&str; 10] = [
    "field is immutable",
    "is immutable after creation",
    "cannot change roleRef",
    "may not be changed in an update",
    "may not change once set",
    "updates to statefulset spec for fields other than",
    "pod updates may not change fields other than",
    "existing toleration can not be modified",
    "updates to parameters are forbidden",
    "Value is immutable",
];
/// The words in which it refuses to change a field back that may be changed in one direction alone, such as the size of a volume.
const ONE_WAY: [&str; 2] = ["must be less than or equal to previous value", "field can not be less than"];
/// The words in which it says that the schema of the kind does not allow the live object.
const UNREADABLE: [&str; 2] = ["failed to create manager for existing fields", "failed to create typed live object"];
/// The words in which it refuses a null that it has left in the place of what it took away of our fields.
const NULL: &str = "Invalid value: \"null\"";
/// The words in which it says that it cannot convert the live object without the fields of our entry, which is of another version than the
/// apply. A webhook converts no object without metadata.
const UNCONVERTIBLE: &str = "failed to prune fields";
/// The words in which it refuses a list that has one key twice.
const TWICE: &str = "duplicate entries for key";
const MAKE_ANEW: &str = "the field keeps its value as long as the object is there: give the object another name in the source, or \
                         delete it on the cluster, and the agent makes it anew";
const CORRECT: &str = "do as the message says: correct the manifest, what refuses it, or what another client has set beside the declared \
                       fields (`kubectl get -o yaml --show-managed-fields` names the clients)";
const AWAY: &str = "the agent tries again by itself until the API server answers";
/// The words in which it says that an object is stored in a version that its CustomResourceDefinition does not have.
const STORED: &str = "request to convert CR from an invalid group/version";
const SERVE_STORED: &str = "the object is stored in that version: put it back into the CustomResourceDefinition (`served: false` is enough) \
                            until every object was written in another one";
const ABSENT: &str =
    "bring the server of the API back, or delete its APIService; `kubectl get apiservices` says why it is away";
const TOO_LARGE: &str = "divide it into smaller objects, or keep the data elsewhere and name its place";
const SLOW: &str = "find out what holds the request up, such as an admission webhook, or raise \
                    spec.override.apiServerTimeout; the agent tries again by itself";

const WITHHELD: &str = "check the values: each must be text; the server's own words are withheld";
/// The words in which a quota, and the levels of security of Pods, refuse an object.
const QUOTA: &str = "exceeded quota: ";
const POD_SECURITY: &str = "violates PodSecurity";
/// The words with which the message of a policy or a webhook begins: it may quote a value.
const DENIALS: [&str; 2] = [" denied request", " denied the request"];
/// The reason of a cause that a field is missing.
const REQUIRED: &str = "FieldValueRequired";
/// The words in which the API server says that it cannot reach a webhook.
const UNCALLED: &str = "failed to call webhook: Post";

/// The policy or the webhook that denies a request, in the words of the API server. A value of the object can hold such words too, but
/// not in this place.
fn denial(message: &str) -> Option<String> {
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || ['-', '.'].contains(&c));
    if let Some(webhook) = message.strip_prefix("admission webhook \"") {
        let (name, _) = webhook.split_once("\" denied the request")?;
        return Some(name).filter(is_name).map(|name| format!("admission webhook \"{name}\" denied the request"));
    }
    let (_, policy) = message.split_once(" is forbidden: ValidatingAdmissionPolicy '")?;
    let (policy, binding) = policy.split_once("' with binding '")?;
    let (binding, _) = binding.split_once("' denied request")?;
    let denial = || format!("ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request");
    [policy, binding].iter().all(is_name).then(denial)
}

fn causes(status: &Status) -> impl Iterator<Item = &StatusCause> {
    let causes = status.details.iter().filter(|_| status.code == 422).flat_map(|details| &details.causes);
    causes.filter(|cause| !cause.field.is_empty())
}

/// `true` if no value of the object is refused.
fn lacks_values(status: &Status) -> bool {
    let all_lack = causes(status).all(|cause| cause.reason == REQUIRED) && causes(status).next().is_some();
    all_lack || denial(&status.message).is_some()
}

/// The part of a refusal that quotes no value of the object: what refuses it, and the fields that are refused.
fn harmless_words(status: &Status) -> Option<String> {
    let message = status.message.as_str();
    if let Some(denial) = denial(message) {
        return Some(format!("{denial} (its own words are withheld: they may quote a value)"));
    }
    match status.code {
        403 if message.contains(QUOTA) => return message.find(QUOTA).map(|at| message[at..].to_owned()),
        500 if message.contains(UNCALLED) => return Some(message.to_owned()),
        _ => {}
    }
    let fields = causes(status).map(|cause| match cause.reason.as_str() {
        REQUIRED => format!("{}: Required value", cause.field),
        // A key may be a value that stands in the wrong place.
        reason => {
            let field = cause.field.split('[').next().unwrap_or_default();
            format!("{field}: {}", reason.strip_prefix("FieldValue").unwrap_or(reason))
        }
    });
    Some(fields.collect::<Vec<_>>().join(", ")).filter(|fields| !fields.is_empty())
}

/// The version of an entry in `metadata.managedFields` that the API server does not serve any more, by its words.
fn unserved_version(message: &str) -> Option<&str> {
    let (_, version) = message.split_once("request to convert CR to an invalid group/version: ")?;
    version.split([' ', ',', ';']).next().filter(|version| version.contains('/'))
}

fn is_unchangeable(status: &Status) -> bool {
    UNCHANGEABLE.iter().any(|words| status.message.contains(words))
}

fn is_of_terminating_namespace(status: &Status) -> bool {
    let causes = status.details.as_ref().map(|details| &details.causes);
    causes.is_some_and(|causes| causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

/// The code, the retry and the hint of a refusal, by its HTTP status.
fn meaning_of(status: &Status) -> (Code, Retry, &'static str) {
    let details = status.details.as_ref();
    let asked = details.map_or(0, |details| details.retry_after_seconds);
    let asked = Duration::from_secs(u64::from(asked)).min(MAX_RETRY_AFTER);
    match StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR) {
        StatusCode::FORBIDDEN if is_of_terminating_namespace(status) => {
            (Code::Applier, Retry::Soon, "wait until the Namespace is gone")
        }
        StatusCode::FORBIDDEN if status.message.contains(TERMINATING_CRD) => (
            Code::UnsupportedCRDRemoval,
            Retry::Soon,
            "declare the CustomResourceDefinition of the object again, or remove the object too; the agent tries again by itself",
        ),
        StatusCode::UNAUTHORIZED => {
            (Code::ApiServer, Retry::Server(Duration::from_secs(5)), "check the agent's credentials")
        }
        StatusCode::FORBIDDEN if status.message.contains(QUOTA) => (
            Code::InsufficientPermission,
            Retry::Object,
            "raise the ResourceQuota that the message names, or delete what takes it up; the agent tries again by itself",
        ),
        StatusCode::FORBIDDEN if status.message.contains(POD_SECURITY) => (
            Code::InsufficientPermission,
            Retry::Object,
            "do as the message says in the manifest, or lower the level in the label pod-security.kubernetes.io/enforce of the Namespace",
        ),
        StatusCode::FORBIDDEN if DENIALS.iter().any(|words| status.message.contains(words)) => {
            (Code::InsufficientPermission, Retry::Object, CORRECT)
        }
        StatusCode::FORBIDDEN => (
            Code::InsufficientPermission,
            Retry::Object,
            "let the account of the sync do this, by a Role and a RoleBinding, or correct what an admission policy refuses",
        ),
        StatusCode::CONFLICT => (Code::ResourceConflict, Retry::Soon, "the agent decides again on the newest version"),
        StatusCode::NOT_FOUND => (Code::Applier, Retry::Soon, "the Namespace or the kind does not exist yet"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            (Code::ApiServer, Retry::Server(asked), AWAY)
        }
        StatusCode::INTERNAL_SERVER_ERROR if status.message.contains(STORED) => {
            (Code::Applier, Retry::Object, SERVE_STORED)
        }
        StatusCode::INTERNAL_SERVER_ERROR if status.message.contains(TWICE) => {
            (Code::Applier, Retry::Object, "list the item with this key once in the manifest")
        }
        StatusCode::INTERNAL_SERVER_ERROR if status.message.contains("failed to create typed patch object") => {
            (Code::Applier, Retry::Object, "correct the field in the manifest: the kind's schema does not have it so")
        }
        StatusCode::PAYLOAD_TOO_LARGE => (Code::Applier, Retry::Object, TOO_LARGE),
        // The words of etcd.
        _ if status.message.contains("request is too large") => (Code::Applier, Retry::Object, TOO_LARGE),
        StatusCode::UNPROCESSABLE_ENTITY if is_unchangeable(status) => (Code::Applier, Retry::Object, MAKE_ANEW),
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => (Code::Applier, Retry::Object, CORRECT),
        _ => (Code::Applier, Retry::Object, "the agent tries again by itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::kubernetes::path;

    #[test]
    fn a_request_that_cannot_be_made_is_the_failure_of_its_object() {
        let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "..");
        let error =
            ApiError::Unsendable(path::object("/api/v1/namespaces/shop/configmaps", id.name()).expect_err("no name"));
        assert!(!error.is_transient() && !error.is_not_found() && !error.is_unserved());
        let failure = error.failure("apply", |finding| finding, &id);
        assert_eq!((failure.finding.code, failure.retry), (Code::Applier, Retry::Object));
        let text = "failed to apply configmap/shop/..: the request cannot be made: \"..\" cannot be a name";
        assert_eq!(failure.finding.message, text);
    }

    #[test]
    fn what_refuses_a_secret_is_told_without_its_values() {
        let refusal = |code: u16, message: &str, causes: serde_json::Value| {
            let status = serde_json::json!({"code": code, "message": message, "details": {"causes": causes}});
            let error = ApiError::Refused(Box::new(serde_json::from_value(status).expect("a Status")));
            let id = ObjectId::new(&GroupKind::new("", "Secret"), "n", "s");
            let finding = error.failure("apply", |finding| finding, &id).finding;
            assert!(!finding.message.contains("hunter2"), "{}", finding.message);
            let words = finding.message.split_once("refuses it (HTTP ").map(|(_, words)| words.to_owned());
            (words.expect("it is refused"), finding.hint.unwrap_or_default())
        };
        let none = || serde_json::json!([]);
        let policy = "secrets \"s\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: hunter2 is weak";
        let (words, hint) = refusal(422, policy, none());
        let withheld = "(its own words are withheld: they may quote a value)";
        assert_eq!(words, format!("422): ValidatingAdmissionPolicy 'p' with binding 'b' denied request {withheld}"));
        assert_eq!(hint, CORRECT);
        let (words, _) = refusal(403, "admission webhook \"w.x.y\" denied the request: hunter2", none());
        assert_eq!(words, format!("403): admission webhook \"w.x.y\" denied the request {withheld}"));
        let (words, hint) = refusal(403, "secrets \"s\" is forbidden: exceeded quota: q, used: secrets=1", none());
        assert_eq!(words, "403): exceeded quota: q, used: secrets=1");
        assert!(hint.contains("ResourceQuota"), "{hint}");
        let away = "failed calling webhook \"w\": failed to call webhook: Post \"https://x\": connection refused";
        assert_eq!(refusal(500, away, none()).0, format!("500): {away}"));
        let causes =
            serde_json::json!([{"reason": "FieldValueRequired", "field": "data[username]", "message": "hunter2"}]);
        let (words, hint) = refusal(422, "hunter2", causes);
        assert_eq!((words.as_str(), hint.as_str()), ("422): data[username]: Required value", CORRECT));
        let causes =
            serde_json::json!([{"reason": "FieldValueInvalid", "field": "data[hunter2]", "message": "hunter2"}]);
        let (words, hint) = refusal(422, "hunter2", causes);
        assert_eq!((words.as_str(), hint.as_str()), ("422): data: Invalid", WITHHELD));
        for message in ["hunter2", "type: Invalid value: \"hunter2 denied request", "hunter2 exceeded quota: hunter2"] {
            assert_eq!(refusal(400, message, none()), ("400)".to_owned(), WITHHELD.to_owned()));
        }
    }

    #[test]
    fn a_refusal_because_the_crd_goes_is_no_want_of_a_right() {
        let code = |message: &str| {
            let status = serde_json::json!({ "code": 403, "message": message });
            let (code, ..) = ApiError::Refused(Box::new(serde_json::from_value(status).expect("a Status"))).meaning();
            code
        };
        let words = "widgets.example.com \"wheel\" is forbidden: create not allowed while custom resource definition is terminating";
        assert_eq!(code(words), Code::UnsupportedCRDRemoval);
        assert_eq!(code("widgets.example.com is forbidden: User cannot patch it"), Code::InsufficientPermission);
    }

    #[test]
    fn a_field_that_cannot_be_changed_needs_a_new_object() {
        let hint = |message: &str| {
            let status = serde_json::json!({ "code": 422, "message": message });
            ApiError::Refused(Box::new(serde_json::from_value(status).expect("a Status"))).meaning().2
        };
        for words in [
            "RoleBinding.rbac.authorization.k8s.io \"team\" is invalid: roleRef: Invalid value: cannot change roleRef",
            "Deployment.apps \"web\" is invalid: spec.selector: Invalid value: field is immutable",
        ] {
            assert_eq!(hint(words), MAKE_ANEW);
        }
        assert_ne!(hint("Service \"web\" is invalid: spec.ports: Required value"), MAKE_ANEW);
    }

    #[test]
    fn fields_that_exclude_each_other_are_known_by_the_words_about_them() {
        let refused = |code: u16, message: &str| {
            let causes = serde_json::json!([{ "reason": "FieldValueInvalid", "message": message, "field": "spec.a" }]);
            let status = serde_json::json!({ "code": code, "details": { "causes": causes } });
            ApiError::Refused(Box::new(serde_json::from_value(status).expect("a Status"))).refused_members()
        };
        let words = "Invalid value: \"\": may not be specified when `value` is not empty";
        assert_eq!(refused(422, words), Some(vec!["spec.a".to_owned()]));
        assert_eq!(refused(409, words), None);
        let several = "Invalid value: \"\": may not have more than one field specified at a time";
        assert_eq!(refused(422, several), Some(vec!["spec.a.*".to_owned()]));
        assert_eq!(refused(422, "Invalid value: -1: must be greater than or equal to 0"), None);
    }

    #[test]
    fn a_url_that_is_not_valid_says_nothing_about_the_api_server() {
        let error = http::Uri::try_from("/a b").expect_err("a space");
        let error = ApiError::from(kube::Error::HttpError(error.into()));
        assert!(matches!(error, ApiError::Unsendable(_)) && !error.is_transient(), "{error}");
    }

    #[test]
    fn the_api_server_cannot_ask_for_a_pause_of_years() {
        for (asked, seconds) in [(0, 0), (1, 1), (60, 60), (61, 60), (u32::MAX, 60)] {
            for code in [429, 503, 504] {
                let status = serde_json::json!({ "code": code, "details": { "retryAfterSeconds": asked } });
                let status: Status = serde_json::from_value(status).expect("a Status");
                let (_, retry, _) = ApiError::Refused(Box::new(status)).meaning();
                let Retry::Server(pause) = retry else { panic!("{code} is about the API server") };
                assert_eq!(pause.as_secs(), seconds, "{code}: {asked}");
            }
        }
    }
}
