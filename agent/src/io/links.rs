//! Symbolic links of a repository, in a commit and in a work tree alike. They are followed by names alone, from directory to
//! directory below the root of the repository, so that they lead to its files and nowhere else.

use std::collections::VecDeque;

/// Longest path of a file, and longest target of a link: no file system takes longer ones.
pub(super) const MAX_PATH_BYTES: usize = 4096;

/// Number of links that may lead to one file.
const MAX_LINKS: usize = 40;

/// The remedy for a link that leads nowhere.
pub(super) const HINT: &str = "Remove the link, or let it lead to a file of the repository by a relative path.";

/// A path from the root of the repository, name by name, without links.
pub(super) type PathNames = Vec<Vec<u8>>;

/// An entry of a directory.
pub(super) enum DirectoryEntry<P> {
    Directory(P),
    File(P),
    /// The target of a link.
    Link(Vec<u8>),
    /// There is no such entry, or none that a path leads to.
    Nothing,
}

/// The entry that a path leads to.
pub(super) enum Located<P> {
    /// It is there, at this path.
    Entry {
        names: PathNames,
        place: P,
        is_directory: bool,
    },
    Nothing,
    Outside,
}

/// The directories of a repository.
pub(super) trait Directories {
    /// A directory or a file, as it is looked up.
    type Place;
    /// The reason why a lookup ended early.
    type Error;

    /// The root of the repository.
    fn root(&self) -> Self::Place;

    /// The entry of this name.
    fn entry(&mut self, directory: &Self::Place, name: &[u8]) -> Result<DirectoryEntry<Self::Place>, Self::Error>;
}

/// Follows `path` from the directory `from`, which holds no links, as a file system would.
pub(super) fn locate<D: Directories>(
    directories: &mut D,
    from: PathNames,
    path: &[u8],
) -> Result<Located<D::Place>, D::Error> {
    let mut ahead: VecDeque<Vec<u8>> = from.into();
    ahead.extend(parts(path));
    let mut links = MAX_LINKS;
    let mut names = PathNames::new();
    let mut above = Vec::new();
    let mut here = directories.root();
    while let Some(name) = ahead.pop_front() {
        if name == b".." {
            let Some(parent) = above.pop() else { return Ok(Located::Outside) };
            names.pop();
            here = parent;
            continue;
        }
        match directories.entry(&here, &name)? {
            DirectoryEntry::Directory(directory) => {
                names.push(name);
                above.push(std::mem::replace(&mut here, directory));
            }
            DirectoryEntry::File(file) if ahead.is_empty() => {
                names.push(name);
                return Ok(Located::Entry { names, place: file, is_directory: false });
            }
            DirectoryEntry::Link(target) if links > 0 && target.len() <= MAX_PATH_BYTES => {
                links -= 1;
                if target.starts_with(b"/") {
                    return Ok(Located::Outside);
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(part);
                }
            }
            DirectoryEntry::File(_) | DirectoryEntry::Link(_) | DirectoryEntry::Nothing => return Ok(Located::Nothing),
        }
    }
    Ok(Located::Entry { names, place: here, is_directory: true })
}

/// `target` as seen from `dir`, both from the root.
pub(super) fn relative(dir: &[Vec<u8>], target: &[Vec<u8>]) -> Vec<u8> {
    let shared = dir.iter().zip(target).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(&b".."[..], dir.len() - shared);
    let parts: Vec<&[u8]> = up.chain(target[shared..].iter().map(Vec::as_slice)).collect();
    parts.join(&b'/')
}

/// The names of a path, which `/` parts.
pub(super) fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Links by their paths. Everything else is a file if its name has a dot, and else a directory.
    struct LinkedFiles<'a>(&'a [(&'a str, &'a str)]);

    impl Directories for LinkedFiles<'_> {
        type Place = String;
        type Error = Infallible;

        fn root(&self) -> String {
            String::new()
        }

        fn entry(&mut self, directory: &String, name: &[u8]) -> Result<DirectoryEntry<String>, Infallible> {
            let path = format!("{directory}/{}", String::from_utf8_lossy(name));
            Ok(match self.0.iter().find(|(link, _)| *link == path) {
                Some((_, target)) => DirectoryEntry::Link(target.as_bytes().to_vec()),
                None if name == b"none" => DirectoryEntry::Nothing,
                None if name.contains(&b'.') => DirectoryEntry::File(path),
                None => DirectoryEntry::Directory(path),
            })
        }
    }

    #[test]
    fn a_path_leads_to_an_entry_of_the_repository_or_nowhere() {
        let long = "./".repeat(MAX_PATH_BYTES);
        let links = [
            ("/dir/link", "../other/./a.yaml"),
            ("/dir/chain", "link"),
            ("/dir/up", "../.."),
            ("/dir/loop", "loop"),
            ("/dir/absolute", "/a.yaml"),
            ("/dir/empty", ""),
            ("/dir/directory", "..//other/"),
            ("/dir/through", "directory/b.yaml"),
            ("/dir/long", long.as_str()),
        ];
        for (path, expected) in [
            ("a.yaml", "file dir/a.yaml"),
            ("link", "file other/a.yaml"),
            ("chain", "file other/a.yaml"),
            ("through", "file other/b.yaml"),
            ("directory", "directory other"),
            ("empty", "directory dir"),
            ("..", "directory "),
            ("../..", "outside"),
            ("up", "outside"),
            ("../../dir/a.yaml", "outside"),
            ("absolute", "outside"),
            ("loop", "nothing"),
            ("long", "nothing"),
            ("none", "nothing"),
            ("none/..", "nothing"),
            ("a.yaml/b", "nothing"),
            ("a.yaml/..", "nothing"),
        ] {
            let Ok(found) = locate(&mut LinkedFiles(&links), vec![b"dir".to_vec()], path.as_bytes());
            let found = match found {
                Located::Entry { names, place, is_directory } => {
                    let names = String::from_utf8(names.join(&b'/')).expect("UTF-8");
                    assert_eq!(place.trim_start_matches('/'), names);
                    format!("{} {names}", if is_directory { "directory" } else { "file" })
                }
                Located::Nothing => "nothing".to_owned(),
                Located::Outside => "outside".to_owned(),
            };
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_file_is_named_as_seen_from_the_directory() {
        let names = |path: &str| parts(path.as_bytes()).collect::<PathNames>();
        for (dir, target, expected) in [
            ("", "a.yaml", "a.yaml"),
            ("x", "x/y/a.yaml", "y/a.yaml"),
            ("x/y", "x/a.yaml", "../a.yaml"),
            ("x/y", "z/a.yaml", "../../z/a.yaml"),
        ] {
            assert_eq!(relative(&names(dir), &names(target)), expected.as_bytes(), "{dir} {target}");
        }
    }
}
