//! Private keys that are text, or lie somewhere in a text.

use super::needles::{Needle, needle};
use super::{begins_line, begins_word, is_base64, is_base64_url, looks_random, run};

const MINISIGN: &str = "a secret key of minisign or signify";

/// RFC 7468 and OpenSSH's `PROTOCOL.key` (PEM), RFC 9580 (PGP), RFC 4716 (SSH2); PuTTY's `sshpubk.c`; age's `age-encryption.org/v1`;
/// minisign's page and OpenBSD's `signify.c`; Tor's `control-spec`; BIND's `dst_parse.c`; WireGuard's `wg(8)`; Synapse's `signedjson`;
/// RFC 7517 (JWK); GnuPG's `keyformat.txt`.
pub(super) const NEEDLES: &[Needle] = &[
    needle(b"PRIVATE KEY-----", "a private key (PEM)", pem),
    needle(b"PRIVATE KEY BLOCK-----", "a private key (PGP)", pem),
    needle(b"PRIVATE KEY ----", "a private key (SSH2)", pem),
    // "-----BEGIN" and "openssh-key-v1", themselves in base64.
    needle(b"LS0tLS1CRUdJTi", "a private key (PEM in base64)", pem_in_base64),
    needle(b"b3BlbnNzaC1rZXktdjE", "a private key (OpenSSH)", |bytes, at| {
        run(bytes, at, base64_line) > 160
    }),
    needle(b"PuTTY-User-Key-File-", "a private key (PuTTY)", putty),
    needle(b"AGE-SECRET-KEY-", "a private key (age)", age),
    needle(b"RWQAAEIy", MINISIGN, |bytes, at| base64_of(bytes, at, 158)),
    needle(b"RWRTY0Iy", MINISIGN, |bytes, at| base64_of(bytes, at, 158)),
    needle(b"RWRCSw", MINISIGN, |bytes, at| base64_of(bytes, at, 104)),
    needle(b"== ed25519v1-secret:", "a secret key of Tor", |bytes, at| {
        at == 0 && bytes.len() >= 96
    }),
    needle(b"Private-key-format: v", "a private key (DNSSEC)", |bytes, at| {
        let near = window(bytes, at, 4096);
        begins_line(bytes, at)
            && (contains(near, b"\nPrivateKey: ") || contains(near, b"\nPrivateExponent: "))
    }),
    needle(b"PrivateKey", "a private key (WireGuard)", wireguard),
    needle(b"PresharedKey", "a shared key (WireGuard)", wireguard),
    needle(b"ed25519 ", "a signing key (Matrix)", matrix),
    needle(b"\"kty\"", "a private key (JWK)", jwk),
    needle(b"Key: (", "a private key (GnuPG)", |bytes, at| {
        let key = [&b"private-key"[..], b"protected-private-key"];
        begins_line(bytes, at) && key.iter().any(|key| bytes[at + 6..].starts_with(key))
    }),
];

fn window(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    &bytes[at..bytes.len().min(at.saturating_add(len))]
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn base64_line(byte: u8) -> bool {
    is_base64(byte) || matches!(byte, b'=' | b'\n' | b'\r' | b' ')
}

/// The first line, and 64 bytes of key below it. What is between them may be headers, quotes of a program's text, or line
/// breaks that are written `\n`.
fn pem(bytes: &[u8], at: usize) -> bool {
    let begin = &bytes[at.saturating_sub(40)..at];
    let line = begin.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if !contains(line, b"---BEGIN ") && !contains(line, b"---- BEGIN ") {
        return false;
    }
    let head = run(bytes, at, |byte| byte.is_ascii_uppercase() || byte == b' ');
    let dashes = run(bytes, at + head, |byte| byte == b'-');
    body(window(bytes, at + head + dashes, 4096))
}

/// Whether these bytes are a key's base64 and the line that ends it, or more of it than anybody writes as an example.
fn body(bytes: &[u8]) -> bool {
    const WHOLE: usize = 16;
    const MUCH: usize = 64;
    let text = String::from_utf8_lossy(bytes).replace("\\r", "").replace("\\n", "\n");
    let mut key = String::new();
    let mut least = MUCH;
    for line in text.split('\n').take(80) {
        let end = ["-----", "---- END"].iter().filter_map(|mark| line.find(mark)).min();
        // Signs of a program's text, of a comment, of a list.
        let signs = |c: char| c.is_whitespace() || "\"'+,;()\\*#".contains(c);
        let line = line[..end.unwrap_or(line.len())].trim_start_matches(signs);
        let line = line.trim_end_matches(|c| signs(c) && c != '+');
        // All of it in one line, with spaces in the place of its ends.
        let words: Vec<_> = line.split_whitespace().collect();
        let lines = words.len() < 2 || words[0].len() >= 32;
        let plain = lines
            && !words.is_empty()
            && words.iter().all(|word| word.bytes().all(|byte| is_base64(byte) || byte == b'='));
        let header = line.is_empty() || line.contains(": ");
        match (plain, header) {
            (true, _) => key.extend(words),
            (_, true) => {}
            _ => break,
        }
        if end.is_some() {
            least = WHOLE;
        }
        if end.is_some() || key.len() >= MUCH {
            break;
        }
    }
    key.len() >= least && looks_random(key.as_bytes())
}

/// The key need not be the first of what is encoded together.
fn pem_in_base64(bytes: &[u8], at: usize) -> bool {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let all = run(window(bytes, at, 1 << 16), 0, base64_line);
    let mut text = bytes[at..at + all].to_vec();
    text.retain(|byte| is_base64(*byte));
    text.truncate(text.len() / 4 * 4);
    let text = STANDARD.decode(text).unwrap_or_default();
    let marks = [&b"PRIVATE KEY-----"[..], b"PRIVATE KEY BLOCK-----"];
    (0..text.len())
        .any(|at| marks.iter().any(|mark| text[at..].starts_with(mark)) && pem(&text, at))
}

fn putty(bytes: &[u8], at: usize) -> bool {
    let version =
        bytes.get(at + 20).is_some_and(u8::is_ascii_digit) && bytes.get(at + 21) == Some(&b':');
    version && contains(window(bytes, at, 8192), b"Private-Lines: ")
}

fn age(bytes: &[u8], at: usize) -> bool {
    let rest = window(bytes, at + 15, 4096);
    let from = if rest.starts_with(b"PQ-1") { 4 } else { 1 };
    let key = run(rest, from, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    key >= 58 && looks_random(&rest[from..from + key])
}

/// The base64 of exactly so many bytes.
fn base64_of(bytes: &[u8], at: usize, len: usize) -> bool {
    let all = run(bytes, at, |byte| is_base64(byte) || byte == b'=');
    begins_word(bytes, at) && all == len.div_ceil(3) * 4
}

/// `PrivateKey = ` and 32 bytes in base64.
fn wireguard(bytes: &[u8], at: usize) -> bool {
    let name = run(bytes, at, |byte| byte.is_ascii_alphanumeric());
    let before = run(bytes, at + name, |byte| byte == b' ');
    let mut place = at + name + before;
    if bytes.get(place) != Some(&b'=') {
        return false;
    }
    place += 1 + run(bytes, place + 1, |byte| byte == b' ');
    let key = run(bytes, place, is_base64);
    key == 43 && bytes.get(place + 43) == Some(&b'=') && looks_random(&bytes[place..place + key])
}

/// A line `ed25519 VERSION SEED`.
fn matrix(bytes: &[u8], at: usize) -> bool {
    let version = run(bytes, at + 8, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let seed = at + 8 + version + 1;
    begins_line(bytes, at)
        && version > 0
        && bytes.get(seed - 1) == Some(&b' ')
        && run(bytes, seed, is_base64) == 43
        && matches!(bytes.get(seed + 43), None | Some(b'\n' | b'\r'))
}

/// An object with a key's kind and its private part.
fn jwk(bytes: &[u8], at: usize) -> bool {
    let near = &bytes[at.saturating_sub(1024)..bytes.len().min(at + 1024)];
    near.windows(3).enumerate().filter(|(_, name)| *name == b"\"d\"").any(|(place, _)| {
        let sign = |byte: u8| byte == b':' || byte.is_ascii_whitespace();
        let value = place + 3 + run(near, place + 3, sign);
        let len = run(near, value + 1, is_base64_url);
        near.get(value) == Some(&b'"')
            && len >= 32
            && looks_random(&near[value + 1..value + 1 + len])
    })
}
