//! Asks the API server by dry runs which values of an object are defaults.

use agent::io::kubernetes::client::{ApiError, Cluster};
use agent::io::kubernetes::dry_run::dry_run_without;
use agent::model::object::Object;

use super::makers::MakerFacts;
use super::meant;
use super::requests::{in_version, patiently};

/// The largest number of dry runs of one object. Most objects need one.
const ROUNDS: usize = 40;
/// The HTTP status of an object that the API server finds wrong.
const INVALID: u16 = 422;

/// The object as it was meant, and the reason why it has all of its default values, if it has; `None` if it is gone.
///
/// A dry run can fail because of one candidate: then halves of the candidates are asked for alone, and in the end all that are defaults
/// together.
pub(super) async fn object_without_defaults(
    server: &Cluster,
    mut live: Object,
    facts: &MakerFacts,
) -> Result<Option<(Object, Option<String>)>, ApiError> {
    let (mut parts, mut found) = (vec![meant::default_candidates(&live, facts)], Vec::new());
    for _ in 0..ROUNDS {
        if parts.is_empty() && !found.is_empty() {
            parts.push(std::mem::take(&mut found));
        }
        let Some(mut part) = parts.pop() else { return Ok(Some((meant::meant(live, &[], facts), None))) };
        if part.is_empty() {
            continue;
        }
        match patiently(async || dry_run_without(server, &live, &part).await).await {
            Ok(answer) => {
                let (given_back, is_same) = meant::given_back(&live, &answer, &part);
                if is_same && parts.is_empty() && found.is_empty() {
                    return Ok(Some((meant::meant(live, &part, facts), None)));
                }
                if is_same {
                    found.extend(part);
                } else if given_back.len() < part.len() {
                    parts.push(given_back);
                } else {
                    // All of them are there again, so another client has changed the rest since it was read.
                    let Some(newer) = in_version(server, &live.id(), live.version()).await? else { return Ok(None) };
                    (parts, found) = (vec![meant::default_candidates(&newer, facts)], Vec::new());
                    live = newer;
                }
            }
            Err(error) if error.code() == 404 => return Ok(None),
            Err(error) if error.code() == INVALID => {
                // One that is refused alone stays in the object.
                if part.len() > 1 {
                    let half = part.split_off(part.len() / 2);
                    parts.extend([part, half]);
                }
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                // The words about an object with secret values may have these.
                let withheld = live.is_confidential();
                let said = error.to_string();
                // Words about many objects are told once.
                let said = said.lines().next().unwrap_or_default().replace(&format!(" {:?}", live.name()), "");
                let refusal = if withheld { "the API server refused a dry run".to_owned() } else { said };
                return Ok(Some((meant::meant(live, &[], facts), Some(refusal))));
            }
        }
    }
    Ok(Some((meant::meant(live, &[], facts), Some(format!("{ROUNDS} dry runs did not tell the default values")))))
}
