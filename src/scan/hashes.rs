//! Hashes of passwords, as crypt(5) and programs beside it write them.

use super::needles::Needle;
use super::{is_base64, looks_random, run};

const WHAT: &str = "the hash of a password";

const fn needle(bytes: &'static [u8], check: fn(&[u8], usize) -> bool) -> Needle {
    Needle { bytes, what: WHAT, check }
}

/// crypt(5) of libxcrypt; Apache's `password_encryptions`; the PHC string format (argon2); PostgreSQL's `pg_authid`; RFC 2307
/// and OpenLDAP's guide (SSHA); passlib and Django (PBKDF2).
pub(super) const NEEDLES: &[Needle] = &[
    needle(b"$1$", |bytes, at| crypt(bytes, at + 3, 1..=8, 22)),
    needle(b"$apr1$", |bytes, at| crypt(bytes, at + 6, 1..=8, 22)),
    needle(b"$5$", |bytes, at| crypt(bytes, rounds(bytes, at + 3), 1..=16, 43)),
    needle(b"$6$", |bytes, at| crypt(bytes, rounds(bytes, at + 3), 1..=16, 86)),
    needle(b"$2a$", bcrypt),
    needle(b"$2b$", bcrypt),
    needle(b"$2x$", bcrypt),
    needle(b"$2y$", bcrypt),
    needle(b"$y$", |bytes, at| yescrypt(bytes, at + 3)),
    needle(b"$gy$", |bytes, at| yescrypt(bytes, at + 4)),
    needle(b"$7$", |bytes, at| crypt(bytes, at + 3, 11..=97, 43)),
    needle(b"$argon2", argon2),
    needle(b"SCRAM-SHA-256$", |bytes, at| {
        run(bytes, at + 14, |byte| is_base64(byte) || matches!(byte, b'$' | b':' | b'=')) >= 110
    }),
    needle(b"{SSHA}", |bytes, at| ldap(bytes, at + 6, 32)),
    needle(b"{SHA}", |bytes, at| ldap(bytes, at + 5, 27)),
    needle(b"{SSHA512}", |bytes, at| ldap(bytes, at + 9, 88)),
    needle(b"pbkdf2_sha256$", |bytes, at| pbkdf2(bytes, at + 14)),
    needle(b"$pbkdf2-sha", |bytes, at| pbkdf2(bytes, at + 11)),
];

/// crypt's own alphabet.
fn is_crypt(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/')
}

fn rounds(bytes: &[u8], at: usize) -> usize {
    let digits = match bytes[at..].starts_with(b"rounds=") {
        true => run(bytes, at + 7, |byte| byte.is_ascii_digit()),
        false => return at,
    };
    if bytes.get(at + 7 + digits) == Some(&b'$') { at + 8 + digits } else { at }
}

/// `SALT$HASH`, the hash of exactly so many characters.
fn crypt(bytes: &[u8], at: usize, salt: std::ops::RangeInclusive<usize>, hash: usize) -> bool {
    let len = run(bytes, at, |byte| byte.is_ascii_graphic() && !matches!(byte, b'$' | b':'));
    let from = at + len + 1;
    salt.contains(&len) && bytes.get(from - 1) == Some(&b'$') && hashed(bytes, from, hash)
}

fn hashed(bytes: &[u8], from: usize, len: usize) -> bool {
    run(bytes, from, is_crypt) == len && looks_random(&bytes[from..from + len])
}

fn bcrypt(bytes: &[u8], at: usize) -> bool {
    run(bytes, at + 4, |byte| byte.is_ascii_digit()) == 2
        && bytes.get(at + 6) == Some(&b'$')
        && hashed(bytes, at + 7, 53)
}

/// `PARAMETERS$SALT$HASH`
fn yescrypt(bytes: &[u8], at: usize) -> bool {
    let parameters = run(bytes, at, is_crypt);
    let salt = at + parameters + 1;
    (1..=16).contains(&parameters)
        && bytes.get(salt - 1) == Some(&b'$')
        && crypt(bytes, salt, 1..=86, 43)
}

/// `$argon2id$v=19$m=65536,t=3,p=4$SALT$HASH`
fn argon2(bytes: &[u8], at: usize) -> bool {
    let all = run(bytes, at, |byte| is_base64(byte) || matches!(byte, b'$' | b'=' | b','));
    let text = String::from_utf8_lossy(&bytes[at..at + all]);
    let parts: Vec<_> = text.split('$').collect();
    let [.., parameters, salt, hash] = &parts[..] else { return false };
    parameters.starts_with("m=")
        && salt.len() >= 11
        && hash.len() >= 22
        && looks_random(hash.as_bytes())
}

fn ldap(bytes: &[u8], at: usize, least: usize) -> bool {
    let len = run(bytes, at, is_base64);
    len >= least && looks_random(&bytes[at..at + len])
}

/// `ROUNDS$SALT$HASH`, perhaps behind the size of the hash function.
fn pbkdf2(bytes: &[u8], at: usize) -> bool {
    let all = run(bytes, at, |byte| is_base64(byte) || matches!(byte, b'$' | b'.' | b'='));
    let text = String::from_utf8_lossy(&bytes[at..at + all]);
    let parts: Vec<_> = text.split('$').collect();
    let [.., rounds, salt, hash] = &parts[..] else { return false };
    let rounds = !rounds.is_empty() && rounds.bytes().all(|byte| byte.is_ascii_digit());
    rounds && salt.len() >= 4 && hash.len() >= 27 && looks_random(hash.as_bytes())
}
