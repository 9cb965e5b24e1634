//! The limits of what is read of repositories and of what is applied, each with its reason. A repository of 50,000 objects stays far below all of them;
//! they are for sources that were made to exhaust memory or time, or are so by mistake. Passing one is a finding, and nothing of
//! that commit is applied. The limits of one YAML document are in [`compile::parse`](crate::compile::parse).

use std::time::Duration;

/// The limits of one reading of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Files and directories that are walked. The walk of a million takes seconds, and their names have a limit of their own.
    pub entries: usize,
    /// Bytes of all paths together: 50,000 paths of 100 bytes are 5 MB. A path may have 4,096 bytes, and a tree of a few
    /// kilobytes can name a million of them.
    pub path_bytes: u64,
    /// Bytes of all files that are parsed anew. 50,000 objects of 2 kB are 100 MB. A content that several files have counts once.
    pub content_bytes: u64,
    /// Bytes of memory that the files and their objects take: about a kilobyte for each object beside its text. Aliases can
    /// make objects larger than their text.
    pub object_bytes: u64,
    /// Time for walking and parsing, without waiting for a server or for other syncs. It is seconds for 50,000 objects.
    pub time: Duration,
}

/// The limits of one reading of a source, by the agent and by `nomos`.
pub const READ: ReadLimits = ReadLimits {
    entries: 1_000_000,
    path_bytes: 64 << 20,
    content_bytes: 256 << 20,
    object_bytes: 512 << 20,
    time: Duration::from_secs(300),
};

/// Bytes of one file. The API server takes 3 MiB for one object, so that a larger file is a list or no manifest.
pub const FILE_BYTES: u64 = 16 << 20;

/// Findings about files that cannot be read. More would not help a user.
pub const MAX_FINDINGS: usize = 1000;

/// Bytes of contents that all syncs together parse at one time. What a parser needs meanwhile is a multiple of it. A sync with
/// more than that reads alone.
pub const PARSED_AT_ONCE: u64 = 64 << 20;

/// Bytes of memory that the files and objects of all syncs together take, as counted for [`ReadLimits::object_bytes`].
pub const KEPT: u64 = 1 << 30;

/// The limits of one pack that a git server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Objects: files, directories and the commit. A repository of 50,000 files has some 60,000.
    pub objects: u32,
    /// Bytes of one object, manifest or not. GitHub takes files of 100 MB.
    pub object_bytes: u64,
    /// Bytes of all objects. They are hashed one by one, a second or two for each gigabyte.
    pub bytes: u64,
    /// Bytes of an object and all those that it is a difference of: they are in memory together.
    pub chain_bytes: u64,
    /// Length of such a chain. It is the limit of git.
    pub chain: u32,
    /// Time for unpacking, without the time for receiving.
    pub time: Duration,
}

/// The limits of one pack.
pub const PACK: PackLimits = PackLimits {
    objects: 1_000_000,
    object_bytes: 128 << 20,
    bytes: 4 << 30,
    chain_bytes: 256 << 20,
    chain: 4095,
    time: Duration::from_secs(300),
};

/// Bytes that a reading is counted with in [`PARSED_AT_ONCE`] while its pack is unpacked, which takes the memory of a chain.
pub const UNPACKED: u64 = PARSED_AT_ONCE / 2;

/// Bytes that a reading is counted with while its files are listed, which takes the memory of their paths.
pub const LISTED: u64 = PARSED_AT_ONCE / 8;

/// Bytes of the body of one apply. An API server answers a larger one with 413, without a look at it.
pub const APPLIED_BYTES: usize = 3 << 20;

/// Bytes of memory of one copy of an object that is applied, as a value. etcd takes 1.5 MiB for an object: 200,000 maps of one
/// entry each, which are 128 MiB as values.
pub const APPLIED_VALUE: usize = 128 << 20;

/// Bytes of memory of one copy of all objects that are applied at the same time. An apply has some five copies.
pub const APPLIED_AT_ONCE: usize = 128 << 20;

/// An object of so many values is heavy for the API server, which merges the owners of each field.
pub const HEAVY_OBJECT: usize = 1500;

/// An object that takes less memory than this is not counted in [`APPLIED_AT_ONCE`], so that it never waits for memory: all
/// requests that may be in flight are then a hundred megabytes.
pub const SMALL_OBJECT: usize = 2 << 20;
