//! Secrets that are known by how their file begins, or by its name.

use super::{Finding, placed};

/// What a whole file is, if that is a secret: DER (RFC 5208, 5958, 8017, 5915; PKCS#12 is RFC 7292), Java's key stores, GnuPG's
/// private keys (libgcrypt's S-expressions), dropbear's host keys (RFC 4253, 8709, and the private half behind it).
pub(super) fn by_contents(bytes: &[u8]) -> Option<&'static str> {
    const PRIVATE: &str = "a private key (DER)";
    let begins = |marks: &[&[u8]]| marks.iter().any(|mark| bytes.starts_with(mark));
    if begins(&[b"(11:private-key", b"(21:protected-private-key"]) {
        return Some("a private key (GnuPG)");
    }
    if begins(&[b"\0\0\0\x0bssh-ed25519\0\0\0\x40", b"\0\0\0\x07ssh-rsa\0\0\0"])
        && bytes.len() < 8192
    {
        return Some("a private key (dropbear)");
    }
    if begins(&[b"\0\0\0\x13ecdsa-sha2-nistp"]) && bytes.len() < 8192 && more_than_strings(bytes, 3)
    {
        return Some("a private key (dropbear)");
    }
    if begins(&[b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"]) && has_own_key(bytes) == Some(true) {
        return Some("a private key (Java's key store)");
    }
    let inner = sequence(bytes).filter(|_| (40..64 << 10).contains(&bytes.len()))?;
    match inner {
        [2, 1, 0, 0x30 | 2, ..] | [2, 1, 1, 0x30 | 4, ..] => Some(PRIVATE),
        // OID 1.2.840.113549.1.7.1: data that is encrypted further in.
        [2, 1, 3, 0x30, ..] if has(inner, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01") => {
            Some("a private key (PKCS#12)")
        }
        // An algorithm of PKCS#5 and what it encrypted.
        [0x30, ..]
            if has(&inner[..24.min(inner.len())], b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05") =>
        {
            Some(PRIVATE)
        }
        _ => None,
    }
}

/// The first bytes, without a number of so many bytes before them that says how many.
fn counted(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (number, rest) = bytes.split_at_checked(width)?;
    let len = number.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    rest.split_at_checked(len)
}

/// Whether something follows so many strings of SSH: a public key of an elliptic curve is three.
fn more_than_strings(bytes: &[u8], count: usize) -> bool {
    let rest = (0..count).try_fold(bytes, |rest, _| Some(counted(rest, 4)?.1));
    rest.is_some_and(|rest| !rest.is_empty())
}

/// Whether one of the entries of a Java key store is more than somebody's certificate (`sun.security.provider.JavaKeyStore` and
/// `com.sun.crypto.provider.JceKeyStore` of OpenJDK).
fn has_own_key(bytes: &[u8]) -> Option<bool> {
    let version = *bytes.get(7)?;
    let mut rest = bytes.get(12..)?;
    while let [0, 0, 0, tag, entry @ ..] = rest {
        match tag {
            1 | 3 => return Some(true),
            2 => {
                let (_alias, entry) = counted(entry, 2)?;
                let mut entry = entry.get(8..)?;
                if version == 2 {
                    entry = counted(entry, 2)?.1;
                }
                rest = counted(entry, 4)?.1;
            }
            _ => break,
        }
    }
    Some(false)
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).take(64).any(|window| window == part)
}

/// The inside of a SEQUENCE that is all of these bytes. In BER its length may be left open.
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), &rest[2..]),
        0x80 => (rest.len(), rest),
        0..=0x7f => (usize::from(first), rest),
        _ => return None,
    };
    (tag == 0x30 && len == rest.len()).then_some(rest)
}

/// Whether [`by_path`] may have something to say of a file at this path.
pub fn is_known_name(path: &str) -> bool {
    const NAMES: [&str; 7] =
        ["htpasswd", ".netrc", ".pgpass", ".git-credentials", ".vault-token", ".my.cnf", ".keytab"];
    const ACCOUNTS: [&str; 3] = ["etc/shadow", "etc/gshadow", "etc/passwd"];
    let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
    ACCOUNTS.contains(&path.trim_end_matches('-'))
        || ends(&NAMES)
        || ends(&[".gpg", ".pgp", ".sec"])
}

/// What a file at this path of a root file system may not say.
pub fn by_path(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let found = match path.strip_prefix("etc/").unwrap_or(path).trim_end_matches('-') {
        "shadow" | "passwd" | "gshadow" if path.starts_with("etc/") => accounts(bytes, path),
        // The programs that make such files.
        _ if bytes.starts_with(b"\x7fELF") => Vec::new(),
        _ if matches!(name, ".htpasswd" | "htpasswd") || name.ends_with(".htpasswd") => lines(
            bytes,
            |line| line.split_once(':').is_some_and(|(_, hash)| !hash.is_empty()),
            "the hash of a password",
        ),
        _ if matches!(
            name,
            ".netrc" | ".pgpass" | ".git-credentials" | ".vault-token" | ".my.cnf"
        ) =>
        {
            lines(
                bytes,
                |line| !line.trim().is_empty() && !line.starts_with(['#', '[']),
                "a password",
            )
        }
        _ if name.ends_with(".keytab") && bytes.starts_with(b"\x05\x02") && bytes.len() > 2 => {
            vec![(0, "a key (Kerberos keytab)".to_owned())]
        }
        _ if matches!(bytes, [0x94 | 0x95 | 0x97 | 0xc5, ..])
            && [".gpg", ".pgp", ".sec"].iter().any(|end| name.ends_with(end)) =>
        {
            vec![(0, "a private key (PGP)".to_owned())]
        }
        _ => Vec::new(),
    };
    placed(bytes, found)
}

/// shadow(5), gshadow(5), passwd(5): nobody has a password, and nobody needs none.
fn accounts(bytes: &[u8], path: &str) -> Vec<(usize, String)> {
    let bad = |line: &str| {
        let password = line.split(':').nth(1).unwrap_or_default();
        match password {
            "" => !path.contains("gshadow") && !line.trim().is_empty(),
            "x" => !path.ends_with("passwd") && !path.ends_with("passwd-"),
            locked => !locked.trim_start_matches(['!', '*']).is_empty(),
        }
    };
    lines(bytes, bad, "a password: no account of an image has one")
}

fn lines(bytes: &[u8], bad: impl Fn(&str) -> bool, what: &str) -> Vec<(usize, String)> {
    let mut at = 0;
    let mut found = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if bad(String::from_utf8_lossy(line).trim_end_matches('\n')) {
            found.push((at, what.to_owned()));
        }
        at += line.len();
    }
    found
}
