//! What can go wrong while fetching, and what each place that was asked had to say.

use std::fmt;

use crate::store::StoreError;

/// What one place answered instead of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP status other than success.
    Status(u16),
    /// No such file in a local mirror, or no such file named by an index page.
    Absent(String),
    /// No connection, or it broke; the text says how.
    Broken(String),
    /// There is no HTTP client, as this machine has no certificates, say; the text says why.
    Unready(String),
    /// A redirect that is not followed; the text says why.
    Redirect(String),
    /// The body ended early.
    Cut {
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced or are in the lock.
        expected: u64,
    },
    /// The body goes on after as many bytes as it may have.
    TooLong {
        /// That many.
        limit: u64,
    },
    /// All bytes came, but they are not the ones that the digest names.
    WrongBytes {
        /// Their digest.
        actual: String,
    },
}

impl Answer {
    /// Whether asking again may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status(status) => *status >= 500 || matches!(status, 408 | 429),
            Self::Broken(_) | Self::Cut { .. } => true,
            Self::Absent(_) | Self::Redirect(_) | Self::TooLong { .. } => false,
            Self::WrongBytes { .. } | Self::Unready(_) => false,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(404) => f.write_str("404, it is not there"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Absent(why) | Self::Broken(why) | Self::Redirect(why) => f.write_str(why),
            Self::Unready(why) => {
                write!(
                    f,
                    "starting the HTTP client: {why}; is the package ca-certificates installed?"
                )
            }
            Self::Cut { got, expected } => write!(f, "ended after {got} of {expected} bytes"),
            Self::TooLong { limit } => write!(f, "more than the {limit} bytes it may have"),
            Self::WrongBytes { actual } => write!(f, "wrong bytes, with SHA-256 {actual}"),
        }
    }
}

/// One place that was asked for an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The address.
    pub address: String,
    /// Where that address was found (`CHATIMG_PYPI`, `/etc/apt/sources.list`).
    pub found: String,
    /// What came back.
    pub answer: Answer,
}

/// A failure to fetch something.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// One address did not give what was asked for.
    #[error("getting {address}: {answer}{}", hint(answer))]
    Get {
        /// The address, without a password.
        address: String,
        /// What came back.
        answer: Answer,
    },
    /// No place has an input.
    #[error("fetching {what}: no place has it{}\n{remedy}", list(tried))]
    Missing {
        /// The input.
        what: String,
        /// Every place asked, in order.
        tried: Vec<Tried>,
        /// What to do.
        remedy: String,
    },
    /// What is at an address is not what was there when it was locked.
    #[error(
        "input {name}: wrong bytes from {address}, {actual} instead of {expected}; if its author replaced \
         them, {remedy}"
    )]
    Replaced {
        /// The input.
        name: String,
        /// Where.
        address: String,
        /// What should be there.
        expected: String,
        /// What is there.
        actual: String,
        /// What to do.
        remedy: String,
    },
    /// A file is not what an index says of it.
    #[error(
        "{file} from {address}: {why}; that place is damaged or was tampered with: use another one"
    )]
    Lie {
        /// The file.
        file: String,
        /// Where it is.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// A place that had the locked version offers only older ones.
    #[error(
        "{name} is locked at {locked}, which {place} does not offer any more; the newest there is {found}. That place may \
         hold updates back: name another one in [sources]; or run `chatimg lock --update {name}`, which takes the older one"
    )]
    Withheld {
        /// The input.
        name: String,
        /// Its locked version.
        locked: String,
        /// Who offers it.
        place: String,
        /// The version that would be taken.
        found: String,
    },
    /// A place that has the locked version says things that would lead to an older one.
    #[error(
        "{name} would go back from {locked}, which is locked, to {found}: {place} still has {locked}, and nothing that is \
         asked for rules it out, but what it needs there may be missing or conflict, or that place holds updates back. \
         `chatimg lock --update {name}` takes the older one"
    )]
    Backwards {
        /// The input.
        name: String,
        /// Its locked version.
        locked: String,
        /// Who offers it.
        place: String,
        /// The version that would be taken.
        found: String,
    },
    /// Several inputs are missing.
    #[error("{}", join(.0))]
    Several(Vec<FetchError>),
    /// The address cannot be used.
    #[error("'{address}' is not an address to fetch from: {why}")]
    BadAddress {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing names a place for this kind of input.
    #[error(transparent)]
    Sources(#[from] super::SourcesError),
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user stopped it. What was fetched so far stays.
    #[error("fetching was stopped; what came so far is kept, the next run goes on from there")]
    Cancelled,
}

impl FetchError {
    /// The same, if the input `name` was locked and now there are other bytes at `url`.
    pub(crate) fn of_locked(
        self,
        name: &str,
        url: &url::Url,
        locked: Option<crate::digest::Digest>,
    ) -> Self {
        match (self, locked) {
            (Self::Get { answer: Answer::WrongBytes { actual }, .. }, Some(expected)) => {
                Self::Replaced {
                    name: name.to_owned(),
                    address: super::http::shown(url),
                    expected: format!("SHA-256 {expected}"),
                    actual: format!("with SHA-256 {actual}"),
                    remedy: format!("run `chatimg lock --update {name}`"),
                }
            }
            (error, _) => error,
        }
    }

    /// Whether a place has no such thing, which is all that another place may be asked for instead: a trouble of the first
    /// one would hand its names over to whoever took them at the second.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Get { answer: Answer::Status(404) | Answer::Absent(_), .. })
    }

    /// `name` would go back from its locked version to `found`, whether or not the locked one is still `offered`.
    pub(crate) fn backwards(
        name: String,
        locked: &impl ToString,
        place: String,
        found: &impl ToString,
        offered: bool,
    ) -> Self {
        let (locked, found) = (locked.to_string(), found.to_string());
        match offered {
            true => Self::Backwards { name, locked, place, found },
            false => Self::Withheld { name, locked, place, found },
        }
    }

    /// A place gave other bytes than those asked for.
    pub(crate) fn wrong_bytes(url: &url::Url, actual: &crate::digest::Digest) -> Self {
        let answer = Answer::WrongBytes { actual: actual.to_string() };
        Self::Get { address: super::http::shown(url), answer }
    }
}

fn hint(answer: &Answer) -> &'static str {
    match answer {
        Answer::Broken(why) if why.contains("ertificate") => {
            " (check the clock and the package ca-certificates)"
        }
        Answer::Broken(_) => " (check the network, or name another place in [sources])",
        _ => "",
    }
}

fn list(tried: &[Tried]) -> String {
    let line = |t: &Tried| format!("\n  {} (from {}): {}", t.address, t.found, t.answer);
    tried.iter().map(line).collect()
}

fn join(errors: &[FetchError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
