//! `index.tsv`: which inputs there are, for people, and which locks need them. Columns are parted by tabs, lines sorted by kind
//! and name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use super::{Amount, ArchiveError};
use crate::digest::Digest;
use crate::lock::Lock;

/// Its name.
pub(super) const INDEX: &str = "index.tsv";
const HEAD: &str = "sha256\tsize\tkind\tname\tversion\tfile\tlocks";

/// An input of a lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// `deb`, `wheel`, `npm`, `url`
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its version; of a file of one address there is none.
    pub version: String,
    /// What the file is called elsewhere.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
}

impl Input {
    /// For messages: `deb bash 5.2`.
    pub fn label(&self) -> String {
        format!("{} {} {}", self.kind, self.name, self.version).trim_end().to_owned()
    }
}

/// All inputs of a lock, those that only test an image among them; each digest once.
pub fn inputs(lock: &Lock) -> Vec<Input> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    // What parts columns and lines stands in none.
    let column = |text: &str| text.replace(|c: char| c.is_whitespace() || c.is_control(), "_");
    let input = |kind: &str, name: &str, version: &str, file: String, size, digest| Input {
        kind: kind.to_owned(),
        name: column(name),
        version: column(version),
        file: column(&file),
        size,
        digest,
    };
    let debs = lock.debs.iter();
    let debs =
        debs.map(|it| input("deb", &it.name, &it.version, last(&it.path), it.size, it.digest));
    let wheels = lock.wheels.iter();
    let wheels =
        wheels.map(|it| input("wheel", &it.name, &it.version, it.file.clone(), it.size, it.digest));
    let npm = lock.npm.iter().map(|it| {
        let file = format!("{}-{}.tgz", last(&it.name), it.version);
        input("npm", &it.name, &it.version, file, it.size, it.digest)
    });
    let urls = lock.urls.iter().map(|it| {
        let asked = lock.request.url.get(&it.name).map(|asked| last(&asked.url));
        input("url", &it.name, "", asked.unwrap_or_default(), it.size, it.digest)
    });
    let mut seen = BTreeSet::new();
    let all = debs.chain(wheels).chain(npm).chain(urls);
    all.filter(|input| seen.insert(input.digest)).collect()
}

/// Inputs, and the locks that need each.
#[derive(Debug, Default)]
pub(super) struct Index {
    inputs: BTreeMap<Digest, (Input, BTreeSet<String>)>,
}

impl Index {
    /// Reads it; one that is not there is empty.
    pub(super) fn read(path: &Path) -> Result<Self, ArchiveError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(ArchiveError::io("reading", path))?,
        };
        let wrong = |line: usize| ArchiveError::Damaged {
            path: path.to_owned(),
            why: format!("line {line} is not what `chatimg archive` writes"),
        };
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(wrong(1));
        }
        let mut index = Self::default();
        for (number, line) in lines.enumerate() {
            let (digest, entry) = parse(line).ok_or_else(|| wrong(number + 2))?;
            index.inputs.insert(digest, entry);
        }
        Ok(index)
    }

    /// Adds what a lock needs.
    pub(super) fn add(&mut self, lock: &str, inputs: &[Input]) {
        for input in inputs {
            let entry = self.inputs.entry(input.digest);
            entry.or_insert_with(|| (input.clone(), BTreeSet::new())).1.insert(lock.to_owned());
        }
    }

    /// An input by its digest, with the locks that need it.
    pub(super) fn get(&self, digest: &Digest) -> Option<(&Input, &BTreeSet<String>)> {
        self.inputs.get(digest).map(|(input, locks)| (input, locks))
    }

    /// All that a lock needs.
    pub(super) fn of_lock<'a>(&'a self, lock: &'a str) -> impl Iterator<Item = &'a Input> {
        let needs = move |(_, locks): &&(Input, BTreeSet<String>)| locks.contains(lock);
        self.inputs.values().filter(needs).map(|(input, _)| input)
    }

    /// The locks.
    pub(super) fn locks(&self) -> BTreeSet<&str> {
        self.inputs.values().flat_map(|(_, locks)| locks).map(String::as_str).collect()
    }

    /// How many locks, and inputs.
    pub(super) fn totals(&self) -> (usize, Amount) {
        let mut amount = Amount::default();
        self.inputs.values().for_each(|(input, _)| amount.add(input.size));
        (self.locks().len(), amount)
    }
}

fn parse(line: &str) -> Option<(Digest, (Input, BTreeSet<String>))> {
    let columns: Vec<_> = line.split('\t').collect();
    let [digest, size, kind, name, version, file, locks] = columns[..] else { return None };
    let digest = digest.parse().ok()?;
    let input = Input {
        kind: kind.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        file: file.to_owned(),
        size: size.parse().ok()?,
        digest,
    };
    Some((digest, (input, locks.split(' ').map(str::to_owned).collect())))
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        let mut all: Vec<_> = self.inputs.values().collect();
        all.sort();
        for (Input { kind, name, version, file, size, digest }, locks) in all {
            let locks = locks.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
            writeln!(f, "{digest}\t{size}\t{kind}\t{name}\t{version}\t{file}\t{locks}")?;
        }
        Ok(())
    }
}
