//! Packs and trees that were made to exhaust memory or time, with small limits.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::pack::{PackFailure, add};
use super::super::*;
use super::fixture::Repo;
use crate::model::limits::{PACK, PackLimits, READ, ReadLimits};

/// Objects of types, as a pack has them.
const BLOB: u8 = 3;
const OFS_DELTA: u8 = 6;
const REF_DELTA: u8 = 7;

/// A pack that is written by hand.
struct PackBytes {
    bytes: Vec<u8>,
    objects: u32,
}

impl PackBytes {
    fn new() -> Self {
        Self { bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), objects: 0 }
    }

    /// An object that says that it has `size` bytes. Its place.
    fn object(&mut self, kind: u8, size: usize, base: &[u8], content: &[u8]) -> usize {
        let at = self.bytes.len();
        let (mut byte, mut rest) = (kind << 4 | (size & 0x0f) as u8, size >> 4);
        while rest > 0 {
            self.bytes.push(byte | 0x80);
            (byte, rest) = ((rest & 0x7f) as u8, rest >> 7);
        }
        self.bytes.push(byte);
        self.bytes.extend_from_slice(base);
        self.bytes.extend(stored(content));
        self.objects += 1;
        at
    }

    fn blob(&mut self, content: &[u8]) -> usize {
        self.object(BLOB, content.len(), &[], content)
    }

    /// A difference to the object at `base`, by which that one is repeated until `size` bytes are there.
    fn difference(&mut self, base: usize, base_size: usize, size: usize) -> usize {
        let distance = self.bytes.len() - base;
        let mut encoded = vec![(distance & 0x7f) as u8];
        let mut rest = distance >> 7;
        while rest > 0 {
            rest -= 1;
            encoded.insert(0, (rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        let delta = delta(base_size, size);
        self.object(OFS_DELTA, delta.len(), &encoded, &delta)
    }

    fn finished(mut self) -> Vec<u8> {
        self.bytes[8..12].copy_from_slice(&self.objects.to_be_bytes());
        let hash = sha1(&self.bytes);
        self.bytes.extend_from_slice(hash.as_slice());
        self.bytes
    }
}

fn sha1(bytes: &[u8]) -> gix::ObjectId {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(bytes);
    hasher.try_finalize().expect("no collision")
}

/// A difference that copies the first byte of its base `size` times at most 65,536 at once.
fn delta(base_size: usize, size: usize) -> Vec<u8> {
    let number = |mut value: usize| {
        let mut bytes = Vec::new();
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            bytes.push(if value > 0 { byte | 0x80 } else { byte });
            if value == 0 {
                return bytes;
            }
        }
    };
    let mut bytes = [number(base_size), number(size)].concat();
    let mut left = size;
    while left > 0 {
        let length = left.min(base_size).min(0xffff);
        // Copies from the start of the base, with a length of two bytes.
        bytes.extend([0x80 | 0x10 | 0x20, (length & 0xff) as u8, (length >> 8) as u8]);
        left -= length;
    }
    bytes
}

/// A zlib stream without compression.
fn stored(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x78, 0x01];
    let mut blocks: Vec<&[u8]> = content.chunks(0xffff).collect();
    if blocks.is_empty() {
        blocks.push(&[]);
    }
    for (n, block) in blocks.iter().enumerate() {
        let length = block.len() as u16;
        bytes.push(u8::from(n + 1 == blocks.len()));
        bytes.extend(length.to_le_bytes());
        bytes.extend((!length).to_le_bytes());
        bytes.extend_from_slice(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in content {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    bytes.extend((b << 16 | a).to_be_bytes());
    bytes
}

const SMALL: PackLimits =
    PackLimits { objects: 50, object_bytes: 2000, bytes: 20_000, chain_bytes: 5000, chain: 20, ..PACK };

/// The reason why the pack is refused; `None` if it is taken; an empty text if it is damaged.
fn refusal(pack: &[u8], limits: &PackLimits) -> Option<String> {
    let repo = Repo::new();
    let bare = repo.path().join("bare");
    let kind = gix::create::Kind::Bare;
    let opened = gix::ThreadSafeRepository::init_opts(&bare, kind, gix::create::Options::default(), options()).unwrap();
    let mut received = 0;
    let mut input = pack;
    let added = add(&mut input, &opened.to_thread_local(), "there", limits, &mut || received += 1);
    assert_eq!(received, 1, "it is told when the server has sent everything");
    let left: Vec<_> =
        fs::read_dir(bare.join("objects/pack")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("pack-")), "{left:?}");
    match added {
        Ok(_) => None,
        Err(PackFailure::Failed(_)) => Some(String::new()),
        Err(PackFailure::Refused(error)) => {
            assert_eq!(error.class, FailureClass::OverLimit);
            assert!(error.hint.is_some());
            Some(error.message)
        }
    }
}

/// A chain of differences, each as large as its base.
fn chain(length: usize, size: usize) -> Vec<u8> {
    let mut pack = PackBytes::new();
    (1..length).fold(pack.blob(&vec![0; size]), |base, _| pack.difference(base, size, size));
    pack.finished()
}

fn several(count: u8, size: usize) -> Vec<u8> {
    let mut pack = PackBytes::new();
    for n in 0..count {
        pack.blob(&vec![n; size]);
    }
    pack.finished()
}

/// An object that says that it has so many bytes.
fn declared(size: usize) -> Vec<u8> {
    let mut pack = PackBytes::new();
    pack.object(BLOB, size, &[], b"x");
    pack.finished()
}

/// An object that a difference makes so large.
fn grown(size: usize) -> Vec<u8> {
    let mut pack = PackBytes::new();
    let base = pack.blob(b"xxxxxxxxxx");
    pack.difference(base, 10, size);
    pack.finished()
}

/// Differences whose bases are named by hash.
fn by_hash(length: u8) -> Vec<u8> {
    let mut pack = PackBytes::new();
    pack.blob(&[7; 1000]);
    for n in 0..length {
        let delta = delta(1000, 1000);
        pack.object(REF_DELTA, delta.len(), &[n; 20], &delta);
    }
    pack.finished()
}

/// Differences whose bases are named by hash, each with a chain of others behind it.
fn runs_by_hash(runs: u8, length: usize) -> Vec<u8> {
    let mut pack = PackBytes::new();
    pack.blob(&[7; 900]);
    for n in 0..runs {
        let delta = delta(900, 900);
        let first = pack.object(REF_DELTA, delta.len(), &[n; 20], &delta);
        (1..length).fold(first, |base, _| pack.difference(base, 900, 900));
    }
    pack.finished()
}

/// An empty object, with empty blocks before its last one.
fn padded(blocks: usize) -> Vec<u8> {
    let mut pack = PackBytes::new();
    pack.object(BLOB, 0, &[], b"");
    let end = pack.bytes.len() - 9;
    pack.bytes.splice(end..end, [0, 0, 0, 0xff, 0xff].repeat(blocks));
    pack.finished()
}

#[test]
fn packs_that_pass_a_limit_are_refused_before_they_are_indexed() {
    for (what, pack, expected) in [
        ("an honest pack", chain(5, 900), None),
        ("a long chain", chain(30, 10), Some("too long a chain")),
        ("a chain of large objects", chain(6, 900), Some("too long a chain")),
        ("many objects", several(51, 1), Some("51 objects, more than 50")),
        ("much content", several(20, 1500), Some("unpacked")),
        ("a large object", several(1, 2001), Some("an object of more than")),
        ("a large declared size", declared(usize::MAX >> 8), Some("an object of more than")),
        ("another declared size", declared(1000), Some("")),
        ("an object that a difference makes large", grown(2001), Some("an object of more than")),
        ("differences by hash", by_hash(6), Some("too long a chain")),
        ("chains behind differences by hash", runs_by_hash(2, 4), Some("too long a chain")),
        ("empty blocks", padded(10), None),
        ("many empty blocks", padded(2000), Some("larger in the pack")),
        ("half a pack", chain(5, 900)[..1000].to_vec(), Some("")),
        ("nothing", Vec::new(), Some("")),
    ] {
        let found = refusal(&pack, &SMALL);
        assert_eq!(found.is_some(), expected.is_some(), "{what}: {found:?}");
        assert!(found.as_deref().unwrap_or_default().contains(expected.unwrap_or_default()), "{what}: {found:?}");
        assert_eq!(found.as_deref() == Some(""), expected == Some(""), "{what}: {found:?}");
    }
    let over = refusal(&chain(5, 900), &PackLimits { time: Duration::ZERO, ..SMALL });
    assert!(over.as_ref().is_some_and(|said| said.contains("takes longer than")), "{over:?}");
}

/// Makes a commit of the tree that `git mktree` makes of these lines.
fn commit_of(repo: &Repo, lines: &str) -> Commit {
    let mut command = Command::new("git");
    command.arg("-C").arg(repo.path()).args(["mktree", "--missing"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let tree = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    Commit::from_hex(&repo.git(&format!("commit-tree {} -m hostile", tree.trim()))).unwrap()
}

fn tree_of(repo: &Repo, commit: Commit) -> String {
    repo.git(&format!("rev-parse {commit}^{{tree}}"))
}

fn over_limit(repo: &Repo, commit: Commit, limits: ReadLimits) -> Option<String> {
    let store = repo.open(repo.path().to_str().unwrap());
    let tree = store.tree(commit, "", &mut ReadBudget::of(limits)).unwrap();
    tree.err().map(|finding| finding.message)
}

#[test]
fn trees_that_pass_a_limit_are_not_listed() {
    let repo = Repo::new();
    let blob = repo.git("rev-parse HEAD:a.yaml");
    let entry = |mode: &str, kind: &str, id: &str, name: &str| format!("{mode} {kind} {id}\t{name}\n");
    let many: String = (0..30).map(|n| entry("100644", "blob", &blob, &format!("{n}.yaml"))).collect();
    let many = commit_of(&repo, &many);
    let name = "x".repeat(200);
    let long = commit_of(&repo, &entry("100644", "blob", &blob, &format!("{name}.yaml")));
    // Each directory has the next one twice, so that the paths double at each level.
    let doubled = (0..12).fold(many, |inner, _| {
        let inner = tree_of(&repo, inner);
        commit_of(&repo, &[entry("040000", "tree", &inner, "a"), entry("040000", "tree", &inner, "b")].concat())
    });
    let deep = (0..30).fold(long, |inner, _| commit_of(&repo, &entry("040000", "tree", &tree_of(&repo, inner), &name)));
    let link = repo.git("hash-object -w a.yaml");
    let links: String = (0..30).map(|n| entry("120000", "blob", &link, &format!("{n}.yaml"))).collect();
    let links = commit_of(&repo, &links);
    let small = ReadLimits { entries: 29, path_bytes: 150, ..READ };
    for (what, commit, limits, expected) in [
        ("few entries", many, ReadLimits { entries: 30, path_bytes: 1000, ..READ }, None),
        ("many entries", many, ReadLimits { path_bytes: 1000, ..small }, Some("more than 29 files")),
        ("a long path", long, small, Some("more than 150 bytes")),
        ("doubled directories", doubled, ReadLimits { entries: 10_000, ..READ }, Some("more than 10000 files")),
        ("deep directories", deep, ReadLimits { path_bytes: 20_000, ..READ }, Some("more than 20000 bytes")),
        ("no time", many, ReadLimits { time: Duration::ZERO, ..READ }, Some("longer than")),
        // A name is counted where it is listed and where a link is followed through its directory.
        ("links", links, ReadLimits { entries: 59, ..READ }, Some("more than 59 files")),
    ] {
        let found = over_limit(&repo, commit, limits);
        assert_eq!(found.is_some(), expected.is_some(), "{what}: {found:?}");
        assert!(found.as_deref().unwrap_or_default().contains(expected.unwrap_or_default()), "{what}: {found:?}");
    }
}
