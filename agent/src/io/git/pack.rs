//! The pack that a git server sends: received into a file, checked, then indexed.
//!
//! gix limits the size of each object, and no more than that. A pack of a few kilobytes can hold a chain of differences whose
//! objects take gigabytes together, and gix keeps all objects of a chain in memory while another difference needs them. So the
//! headers of all objects are read before, which takes the memory of one object.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use gix::odb::pack;
use gix::odb::pack::data::entry::Header;
use gix::progress::Discard;

use super::error::{FailureClass, GitError};
use crate::model::duration::format_duration;
use crate::model::limits::PackLimits;

/// The file that a pack is received into. A leftover is swept with those of gix.
const RECEIVED: &str = "tmp_received";

/// Bytes at the start of a pack, before its first object.
const PACK_HEADER: u64 = 12;

/// Bytes that compressed data may have beyond what it holds: far more than any honest compressor adds.
const SLACK: u64 = 4096;

/// The reason why a pack is not taken.
pub(super) enum PackFailure {
    /// It passes a limit.
    Refused(GitError),
    /// It is damaged, or cannot be written.
    Failed(gix::Error),
}

impl From<gix::Error> for PackFailure {
    fn from(error: gix::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for PackFailure {
    fn from(error: io::Error) -> Self {
        Self::Failed(gix::Error::from_error(error))
    }
}

/// Receives a pack and adds it to the repository. `received` is called between the two. The `.keep` file of the new pack, to
/// be removed when a ref leads to its objects.
pub(super) fn add(
    pack: &mut dyn BufRead,
    repo: &gix::Repository,
    shown: &str,
    limits: &PackLimits,
    received: &mut dyn FnMut(),
) -> Result<Option<std::path::PathBuf>, PackFailure> {
    let directory = repo.objects.store_ref().path().join("pack");
    let path = directory.join(RECEIVED);
    io::copy(pack, &mut File::create(&path)?)?;
    received();
    let timer = UnpackTimer::start(limits.time);
    let added = check(&path, repo, shown, limits, &timer).and_then(|()| {
        let options = pack::bundle::write::Options {
            // Each thread may hold a chain.
            thread_limit: Some(1),
            iteration_mode: pack::data::input::Mode::Verify,
            index_version: pack::index::Version::default(),
            alloc_limit_bytes: Some(usize::try_from(limits.object_bytes).unwrap_or(usize::MAX)),
            compression: gix::zlib::Compression::default(),
        };
        let (mut file, objects) = (BufReader::new(File::open(&path)?), repo.objects.clone());
        let added = pack::Bundle::write_to_directory(
            &mut file,
            Some(&directory),
            &mut Discard,
            &timer.over,
            Some(objects),
            repo.object_hash(),
            options,
        );
        added.map_err(|error| timer.refusal(shown, limits).unwrap_or(PackFailure::Failed(error)))
    });
    fs::remove_file(&path)?;
    Ok(added?.keep_path)
}

/// Reads the headers of all objects of a pack, and refuses a pack that passes a limit.
fn check(
    path: &Path,
    repo: &gix::Repository,
    shown: &str,
    limits: &PackLimits,
    timer: &UnpackTimer,
) -> Result<(), PackFailure> {
    let pack = pack::data::File::at(path, repo.object_hash())?;
    let over = |what: String| Err(refused(shown, &what));
    if pack.num_objects() > limits.objects {
        return over(format!("has {} objects, more than {}", pack.num_objects(), limits.objects));
    }
    let mut chains = Chains::default();
    let (mut inflate, mut content) = (gix::zlib::Inflate::default(), Vec::new());
    let (mut offset, mut bytes) = (PACK_HEADER, 0_u64);
    for _ in 0..pack.num_objects() {
        if let Some(refusal) = timer.refusal(shown, limits) {
            return Err(refusal);
        }
        let entry = pack.entry(offset)?;
        let size = entry.decompressed_size;
        if size > limits.object_bytes {
            return over(format!("has an object of more than {} MiB", limits.object_bytes >> 20));
        }
        content.clear();
        content.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
        let consumed = pack.decompress_entry(&entry, &mut inflate, &mut content)? as u64;
        if consumed > size + size / 8 + SLACK {
            return over("has an object that is larger in the pack than unpacked".to_owned());
        }
        let own = if entry.header.is_delta() { result_size(&content).unwrap_or(u64::MAX) } else { size };
        bytes = bytes.saturating_add(own);
        let base = match entry.header {
            Header::OfsDelta { base_distance } => chains.at(offset.saturating_sub(base_distance)),
            Header::RefDelta { base_id } => match repo.try_find_header(base_id)? {
                Some(base) => Chain { bytes: base.size(), length: 1, run: WHOLE },
                // A base that is in the pack is found by its hash, which is not known here.
                None => chains.begin_run(),
            },
            _ => Chain::default(),
        };
        chains.add(offset, base, own);
        if own > limits.object_bytes {
            return over(format!("has an object of more than {} MiB", limits.object_bytes >> 20));
        }
        if bytes > limits.bytes {
            return over(format!("has more than {} MiB unpacked", limits.bytes >> 20));
        }
        if chains.bytes > limits.chain_bytes || chains.length > limits.chain {
            return over("has too long a chain of differences".to_owned());
        }
        offset = entry.data_offset + consumed;
    }
    Ok(())
}

/// An object and all objects that it is a difference of, back to the first one of its run.
#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    bytes: u64,
    length: u32,
    run: usize,
}

/// The run of all chains that begin with a whole object, or with one that the repository has.
const WHOLE: usize = 0;

/// The chains of the objects that were read, by their place in the pack. Each difference whose base is named by hash begins a run of its
/// own: its base may be any object of the pack, so that at the worst all runs are one behind the other.
struct Chains {
    /// In order of places.
    by_offset: Vec<(u64, Chain)>,
    /// The longest chain of each run.
    runs: Vec<Chain>,
    /// The bytes and the length of the runs together.
    bytes: u64,
    length: u32,
}

impl Default for Chains {
    fn default() -> Self {
        Self { by_offset: Vec::new(), runs: vec![Chain::default()], bytes: 0, length: 0 }
    }
}

impl Chains {
    /// The chain of the object at a place. A place without an object is found by the indexing.
    fn at(&self, offset: u64) -> Chain {
        let found = self.by_offset.binary_search_by_key(&offset, |(at, _)| *at);
        found.map_or(Chain::default(), |index| self.by_offset[index].1)
    }

    /// A new run, without an object yet.
    fn begin_run(&mut self) -> Chain {
        self.runs.push(Chain::default());
        Chain { run: self.runs.len() - 1, ..Chain::default() }
    }

    /// Adds an object of so many bytes, which is a difference of the end of `base`.
    fn add(&mut self, offset: u64, base: Chain, own: u64) {
        let chain = Chain { bytes: base.bytes.saturating_add(own), length: base.length.saturating_add(1), ..base };
        self.by_offset.push((offset, chain));
        let longest = &mut self.runs[chain.run];
        self.bytes = self.bytes.saturating_add(chain.bytes.saturating_sub(longest.bytes));
        self.length = self.length.saturating_add(chain.length.saturating_sub(longest.length));
        longest.bytes = longest.bytes.max(chain.bytes);
        longest.length = longest.length.max(chain.length);
    }
}

/// The size of the object that a difference makes: the second of the numbers at its start.
fn result_size(delta: &[u8]) -> Option<u64> {
    let mut bytes = delta.iter();
    let mut number = || {
        let (mut value, mut shift) = (0_u64, 0_u32);
        loop {
            let byte = *bytes.next()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    };
    number()?;
    number()
}

/// The time for unpacking. gix looks at the flag.
struct UnpackTimer {
    over: Arc<AtomicBool>,
    end: Instant,
    /// Ends the thread that sets the flag.
    _running: Sender<()>,
}

impl UnpackTimer {
    fn start(time: Duration) -> Self {
        let (running, ended) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        std::thread::spawn(move || {
            if ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::Relaxed);
            }
        });
        Self { over, end: Instant::now() + time, _running: running }
    }

    /// The failure when the time is over.
    fn refusal(&self, shown: &str, limits: &PackLimits) -> Option<PackFailure> {
        let text = || format!("takes longer than {} to unpack", format_duration(limits.time));
        (Instant::now() >= self.end).then(|| refused(shown, &text()))
    }
}

fn refused(shown: &str, what: &str) -> PackFailure {
    let message = format!("the commit of {shown} {what}");
    let hint = "Take large files out of the repository, or repack it on the server with git repack -a -d -f.";
    PackFailure::Refused(GitError::new(FailureClass::OverLimit, message).hint(hint))
}
