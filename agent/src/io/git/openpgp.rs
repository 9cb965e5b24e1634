//! OpenPGP keys that may sign commits, and whether one of them was valid when it signed.

use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp};

use crate::model::hex::hex;

/// The first line of a block of public keys.
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Hashes of which two texts can have the same.
const BROKEN: [HashAlgorithm; 3] = [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::Ripemd160];

/// The public keys in a text of blocks as `gpg --export --armor` writes them; `None` if there are none, or one cannot be read.
pub fn openpgp_keys(text: &str) -> Option<Vec<SignedPublicKey>> {
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let mut keys = Vec::new();
    for (start, end) in starts.iter().zip(ends) {
        let (block, _) = SignedPublicKey::from_string_many(&text[*start..end]).ok()?;
        keys.extend(block.collect::<Result<Vec<_>, _>>().ok()?);
    }
    (!keys.is_empty()).then_some(keys)
}

/// Checks that a text is signed by one of the keys.
///
/// # Errors
/// When it is not: the words for the reason.
pub(super) fn verify(keys: &[SignedPublicKey], signature: &str, signed: &[u8]) -> Result<(), String> {
    let unreadable = || "has a signature that cannot be read".to_owned();
    let (DetachedSignature { signature }, _) = DetachedSignature::from_string(signature).map_err(|_| unreadable())?;
    let (Some(at), Some(hash)) = (signature.created(), signature.hash_alg()) else { return Err(unreadable()) };
    if signature.typ() != Some(SignatureType::Binary) || BROKEN.contains(&hash) {
        return Err("has a signature of a kind that is not believed".to_owned());
    }
    let signer = signature.issuer_fingerprint().first().map(|issuer| format!("{issuer:X}"));
    let signer = signer.or_else(|| signature.issuer_key_id().first().map(|issuer| hex(issuer.as_ref()).to_uppercase()));
    let signer = signer.unwrap_or_else(|| "without a name".to_owned());
    for key in keys {
        let found = if is_issuer(&signature, &key.primary_key) {
            (signature.verify(&key.primary_key, signed), primary(key, at).and_then(may_sign))
        } else if let Some(subkey) = key.public_subkeys.iter().find(|subkey| is_issuer(&signature, &subkey.key)) {
            (signature.verify(&subkey.key, signed), primary(key, at).and_then(|_| of_subkey(key, subkey, at)))
        } else {
            continue;
        };
        return match found {
            (Err(_), _) => Err("has a signature that is not its own".to_owned()),
            (Ok(()), Err(why)) => Err(format!("is signed by the OpenPGP key {signer}, which {why}")),
            (Ok(()), Ok(())) => Ok(()),
        };
    }
    Err(format!("is signed by the OpenPGP key {signer}, which is not allowed"))
}

/// `true` if a signature names a key as the one that made it.
fn is_issuer(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

/// The uses that its owner gives a primary key, if the key was valid at a time.
fn primary(key: &SignedPublicKey, at: Timestamp) -> Result<KeyFlags, &'static str> {
    let own = &key.primary_key;
    if key.details.revocation_signatures.iter().any(|revocation| revocation.verify_key(own).is_ok()) {
        return Err("is revoked");
    }
    let direct = key.details.direct_signatures.iter().filter(|signature| signature.verify_key(own).is_ok());
    let of_users = key.details.users.iter().filter_map(|user| {
        let valid = |signature: &&Signature| signature.verify_certification(own, Tag::UserId, &user.id).is_ok();
        let newest = user.signatures.iter().filter(valid).max_by_key(|signature| signature.created())?;
        (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
    });
    let newest = direct.chain(of_users).max_by_key(|signature| signature.created());
    let newest = newest.ok_or("does not name its owner")?;
    lives(own, newest, at).map(|()| newest.key_flags())
}

/// Keys without flags are older than these, and may sign.
fn may_sign(flags: KeyFlags) -> Result<(), &'static str> {
    if flags.sign() || flags == KeyFlags::default() { Ok(()) } else { Err("is not for signatures") }
}

/// Checks that a subkey belongs to its primary key, and was valid at a time.
fn of_subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey, at: Timestamp) -> Result<(), &'static str> {
    let own = &key.primary_key;
    let valid = |signature: &&Signature| signature.verify_subkey_binding(own, &subkey.key).is_ok();
    let is = |signature: &Signature, kind| signature.typ() == Some(kind);
    if subkey.signatures.iter().filter(valid).any(|signature| is(signature, SignatureType::SubkeyRevocation)) {
        return Err("is revoked");
    }
    let bindings = subkey.signatures.iter().filter(valid).filter(|one| is(one, SignatureType::SubkeyBinding));
    let newest = bindings.max_by_key(|signature| signature.created()).ok_or("does not belong to its primary key")?;
    may_sign(newest.key_flags())?;
    // Without it, an owner could take another's key for a subkey.
    let back =
        newest.embedded_signature().is_some_and(|back| back.verify_primary_key_binding(&subkey.key, own).is_ok());
    if !back {
        return Err("does not belong to its primary key");
    }
    lives(&subkey.key, newest, at)
}

/// Checks that a key was there, and had not expired, at a time. The signature is the one that tells for how long it lives.
fn lives(key: &impl KeyDetails, signature: &Signature, at: Timestamp) -> Result<(), &'static str> {
    let (made, at) = (u64::from(key.created_at().as_secs()), u64::from(at.as_secs()));
    let lifetime = signature.key_expiration_time().map_or(0, |lifetime| u64::from(lifetime.as_secs()));
    if at < made {
        return Err("is younger than the signature");
    }
    if lifetime > 0 && at >= made + lifetime { Err("had expired") } else { Ok(()) }
}
