//! Files of [age](https://c2sp.org/age) for keys of its own kind, X25519, in the form for text: as much as SOPS puts a data key into.
//! Passphrases, plugins, keys of ssh and payloads of more than one chunk are not read.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use x25519_dalek::{PublicKey, StaticSecret};

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
const VERSION: &str = "age-encryption.org/v1\n";
const STANZA: &str = "-> X25519 ";
const WRAPPING: &[u8] = b"age-encryption.org/v1/X25519";

/// Characters of a line in the form for text, and in the body of a stanza.
const LINE: usize = 64;
/// Bytes of the nonce before the payload.
const NONCE: usize = 16;
/// Bytes of the key of one file.
const FILE_KEY: usize = 16;
/// The nonce of the first chunk of a payload, which is the last one.
const ONLY_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The alphabet of Bech32.
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const PUBLIC: &str = "age";
const SECRET: &str = "age-secret-key-";

/// The largest number of stanzas that are tried. SOPS makes a file for each recipient, with one.
const STANZAS: usize = 4;

/// A private key, and its public one.
#[derive(Clone)]
pub(super) struct AgeKey(StaticSecret, PublicKey);

/// A public key of age, for which files can be sealed.
#[derive(Clone, Debug, PartialEq)]
pub struct AgeRecipient(PublicKey);

impl AgeKey {
    /// Reads `AGE-SECRET-KEY-1…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_upper = !text.contains(|c: char| c.is_ascii_lowercase());
        let bytes = from_bech32(&text.to_ascii_lowercase(), SECRET).filter(|_| is_upper)?;
        let secret = StaticSecret::from(bytes);
        let public = PublicKey::from(&secret);
        Some(Self(secret, public))
    }

    pub(super) fn recipient(&self) -> AgeRecipient {
        AgeRecipient(self.1)
    }

    /// The key of a file from one of its stanzas: the public part of a key that was made for it, and the sealed key.
    fn file_key(&self, made: [u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
        let shared = self.0.diffie_hellman(&PublicKey::from(made));
        if !shared.was_contributory() {
            return None;
        }
        let key = wrapping_key(&made, self.1.as_bytes(), shared.as_bytes());
        open(&key, [0; 12], sealed).filter(|key| key.len() == FILE_KEY)
    }
}

impl AgeRecipient {
    /// Reads `age1…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        from_bech32(text, PUBLIC).map(|bytes| Self(PublicKey::from(bytes)))
    }

    /// `age1…`.
    pub(super) fn text(&self) -> String {
        to_bech32(self.0.as_bytes(), PUBLIC)
    }
}

impl std::str::FromStr for AgeRecipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.trim()).ok_or_else(|| "it is no public key of age, such as age1… from age-keygen".to_owned())
    }
}

/// Opens a file with a key; `None` if it does not fit, or the file has another form.
pub(super) fn decrypted(file: &str, key: &AgeKey) -> Option<Vec<u8>> {
    let file = from_armor(file)?;
    let marker = file.windows(4).position(|bytes| bytes == b"\n---")? + 1;
    let header = std::str::from_utf8(&file[..marker + 3]).ok()?;
    let after = &file[marker + 3..];
    let end = after.iter().position(|byte| *byte == b'\n')?;
    let mac = STANDARD_NO_PAD.decode(after[..end].strip_prefix(b" ")?).ok()?;
    let payload = &after[end + 1..];
    let stanzas = stanzas(header.strip_prefix(VERSION)?.strip_suffix("---")?);
    let file_key = stanzas.iter().take(STANZAS).find_map(|(made, sealed)| key.file_key(*made, sealed))?;
    hmac::verify(&header_key(&file_key), header.as_bytes(), &mac).ok()?;
    let (nonce, chunk) = payload.split_at_checked(NONCE)?;
    open(&derived(nonce, &file_key, b"payload"), ONLY_CHUNK, chunk)
}

/// The stanzas for keys of this kind: the public part of a key that was made for each, and the sealed key of the file.
fn stanzas(text: &str) -> Vec<([u8; 32], Vec<u8>)> {
    let stanza = |text: &str| {
        let (made, body) = text.split_once('\n')?;
        let made = STANDARD_NO_PAD.decode(made.strip_prefix(STANZA)?).ok()?.try_into().ok()?;
        Some((made, STANDARD_NO_PAD.decode(body.strip_suffix('\n')?).ok()?))
    };
    let starts: Vec<usize> = text.match_indices("-> ").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| stanza(&text[*start..end])).collect()
}

/// Seals bytes for one recipient. `random` are two numbers that were never used.
pub(super) fn encrypted(plain: &[u8], AgeRecipient(recipient): &AgeRecipient, random: [[u8; 32]; 2]) -> String {
    let [for_key, for_file] = random;
    let made = StaticSecret::from(for_key);
    let public = PublicKey::from(&made);
    let (file_key, nonce) = for_file.split_at(FILE_KEY);
    let key = wrapping_key(public.as_bytes(), recipient.as_bytes(), made.diffie_hellman(recipient).as_bytes());
    let [public, body] = [public.as_bytes(), &*seal(&key, [0; 12], file_key)].map(|it| STANDARD_NO_PAD.encode(it));
    let header = format!("{VERSION}{STANZA}{public}\n{body}\n---");
    let mac = STANDARD_NO_PAD.encode(hmac::sign(&header_key(file_key), header.as_bytes()));
    let mut file = format!("{header} {mac}\n").into_bytes();
    file.extend(nonce);
    file.extend(seal(&derived(nonce, file_key, b"payload"), ONLY_CHUNK, plain));
    let text = STANDARD.encode(file);
    let lines: Vec<&str> = text.as_bytes().chunks(LINE).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("{BEGIN}\n{}\n{END}\n", lines.join("\n"))
}

fn from_armor(text: &str) -> Option<Vec<u8>> {
    const STRICT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new());
    let inner = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    STRICT.decode(inner.lines().map(str::trim_end).collect::<String>()).ok()
}

fn wrapping_key(made: &[u8; 32], recipient: &[u8; 32], shared: &[u8; 32]) -> [u8; 32] {
    derived(&[*made, *recipient].concat(), shared, WRAPPING)
}

fn header_key(file_key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &derived(&[], file_key, b"header"))
}

/// HKDF with SHA-256.
fn derived(salt: &[u8], secret: &[u8], purpose: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let purpose = [purpose];
    let expanded = extracted.expand(&purpose, hkdf::HKDF_SHA256).expect("32 bytes can be derived");
    expanded.fill(&mut key).expect("32 bytes were asked for");
    key
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key has 32 bytes"))
}

fn open(key: &[u8; 32], nonce: [u8; 12], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let plain = cipher(key).open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut bytes).ok()?;
    Some(plain.to_vec())
}

fn seal(key: &[u8; 32], nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
    let mut bytes = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    cipher(key).seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).expect("a data key is short");
    bytes
}

/// The 32 bytes of a text in Bech32 with this prefix.
fn from_bech32(text: &str, prefix: &str) -> Option<[u8; 32]> {
    let data = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let digit = |byte: u8| BECH32.iter().position(|letter| *letter == byte).and_then(|at| u8::try_from(at).ok());
    let digits: Vec<u8> = data.bytes().map(digit).collect::<Option<_>>()?;
    if checksum(prefix, &digits) != 1 {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u16, 0);
    for digit in &digits[..digits.len().checked_sub(6)?] {
        (bits, count) = ((bits << 5) | u16::from(*digit), count + 5);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if count >= 5 || bits != 0 {
        return None;
    }
    bytes.try_into().ok()
}

fn to_bech32(bytes: &[u8; 32], prefix: &str) -> String {
    let (mut digits, mut bits, mut count) = (Vec::new(), 0_u16, 0);
    for byte in bytes {
        (bits, count) = ((bits << 8) | u16::from(*byte), count + 8);
        while count >= 5 {
            count -= 5;
            digits.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    digits.push((bits << (5 - count)) as u8);
    let sum = checksum(prefix, &[&digits[..], &[0; 6]].concat()) ^ 1;
    digits.extend((0..6).map(|at| (sum >> (5 * (5 - at))) as u8 & 31));
    let letters: String = digits.iter().map(|digit| char::from(BECH32[usize::from(*digit)])).collect();
    format!("{prefix}1{letters}")
}

/// The checksum of Bech32, which is 1 for a text with its own.
fn checksum(prefix: &str, digits: &[u8]) -> u32 {
    const TAPS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let upper = prefix.bytes().map(|byte| byte >> 5);
    let lower = prefix.bytes().map(|byte| byte & 31);
    upper.chain([0]).chain(lower).chain(digits.iter().copied()).fold(1, |sum, digit| {
        let top = sum >> 25;
        let shifted = ((sum & 0x1ff_ffff) << 5) ^ u32::from(digit);
        TAPS.iter().enumerate().filter(|(bit, _)| (top >> bit) & 1 == 1).fold(shifted, |sum, (_, tap)| sum ^ tap)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = include_str!("fixtures/one.agekey");
    const OTHER: &str = include_str!("fixtures/other.agekey");

    fn key(text: &str) -> AgeKey {
        text.lines().last().and_then(AgeKey::parse).expect("a key of age-keygen")
    }

    #[test]
    fn keys_are_those_of_age() {
        for text in [ONE, OTHER] {
            let public = text.lines().next().and_then(|line| line.rsplit(' ').next()).expect("its first line");
            assert_eq!(key(text).recipient().text(), public);
            assert_eq!(AgeRecipient::parse(public), Some(key(text).recipient()));
            let typo = public.replacen('g', "q", 2);
            assert_eq!(AgeRecipient::parse(&typo), None, "{typo}");
        }
        for wrong in ["", "age1", "age1qqqqqq", "AGE-SECRET-KEY-1", "age1é", "AGE-PLUGIN-X-1QQ", &ONE.to_lowercase()] {
            assert!(AgeKey::parse(wrong).is_none() && AgeRecipient::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_file_opens_with_its_key_alone() {
        let file = encrypted(b"the data key", &key(ONE).recipient(), [[1; 32], [2; 32]]);
        assert!(file.lines().all(|line| line.len() <= LINE), "{file}");
        assert_eq!(decrypted(&file, &key(ONE)).as_deref(), Some(&b"the data key"[..]));
        assert_eq!(decrypted(&file, &key(OTHER)), None);
        let bytes = from_armor(&file).expect("its own form");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let text = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&changed));
            assert_eq!(decrypted(&text, &key(ONE)), None, "byte {at}");
            let short = format!("{BEGIN}\n{}\n{END}", STANDARD.encode(&bytes[..at]));
            assert_eq!(decrypted(&short, &key(ONE)), None, "{at} bytes");
        }
        for text in ["", BEGIN, END, &format!("{BEGIN}{END}"), &format!("{BEGIN}\n!\n{END}")] {
            assert_eq!(decrypted(text, &key(ONE)), None, "{text}");
        }
    }
}
