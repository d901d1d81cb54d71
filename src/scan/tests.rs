//! Every rule, on what programs write and on what only looks like it. No secret stands here in full, or whoever keeps this file
//! would be told of it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::*;
use crate::digest::Digest;

/// Bytes that look like chance, and are always the same.
fn random(len: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes()).take(len).collect()
}

fn base64(len: usize) -> String {
    STANDARD.encode(random(len))
}

/// Letters and digits.
fn word(len: usize) -> String {
    base64(len * 2).chars().filter(char::is_ascii_alphanumeric).take(len).collect()
}

fn found(text: &str) -> Vec<String> {
    let none = Canaries::default();
    contents(text.as_bytes(), &none).iter().map(|finding| format!("{finding}")).collect()
}

fn pem(label: &str, headers: &str) -> String {
    let body = base64(600);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{headers}{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn private_keys_are_found_in_every_dress() {
    for label in [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
    ] {
        assert_eq!(
            found(&format!("a\nb\n{}", pem(label, ""))),
            [":3: a private key (PEM)"],
            "{label}"
        );
    }
    let short = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(48));
    let wrapped = |text: &str| {
        let lines = text.as_bytes().chunks(76).map(String::from_utf8_lossy);
        lines.map(|line| line.into_owned() + "\n").collect::<String>()
    };
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n";
    let table = [
        (pem("RSA PRIVATE KEY", headers), ":1: a private key (PEM)"),
        (pem("PGP PRIVATE KEY BLOCK", "Version: 1\n\n"), ":1: a private key (PGP)"),
        (pem("PRIVATE KEY", "").replace('\n', "\r\n"), ":1: a private key (PEM)"),
        (
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", base64(15)),
            ":1: a private key (PEM)",
        ),
        // In JSON, in a program's text, indented in YAML, as a comment.
        (
            format!("{{\"key\": \"{}\"}}", pem("PRIVATE KEY", "").replace('\n', "\\n")),
            ":1: a private key (PEM)",
        ),
        (
            format!("x = (\"{}\")", pem("PRIVATE KEY", "").trim().replace('\n', "\\n\"\n    \"")),
            ":1: a private key (PEM)",
        ),
        (
            format!("key: |\n  {}", pem("PRIVATE KEY", "").replace('\n', "\n  ")),
            ":2: a private key (PEM)",
        ),
        (format!("# {}", pem("PRIVATE KEY", "").replace('\n', "\n# ")), ":1: a private key (PEM)"),
        // In one line.
        (
            format!("KEY=\"{}\"", pem("EC PRIVATE KEY", "").replace('\n', "")),
            ":1: a private key (PEM)",
        ),
        (
            format!("<key>{}</key>", pem("PRIVATE KEY", "").replace('\n', " ")),
            ":1: a private key (PEM)",
        ),
        (
            format!("-----BEGIN PRIVATE KEY-----{}-----END PRIVATE KEY-----", base64(48)),
            ":1: a private key (PEM)",
        ),
        (STANDARD.encode(pem("PRIVATE KEY", "")), ":1: a private key (PEM in base64)"),
        // Of 119 bytes: Ed25519.
        (STANDARD.encode(short), ":1: a private key (PEM in base64)"),
        (wrapped(&STANDARD.encode(pem("PRIVATE KEY", ""))), ":1: a private key (PEM in base64)"),
        (
            wrapped(&STANDARD.encode(pem("CERTIFICATE", "") + &pem("RSA PRIVATE KEY", ""))),
            ":1: a private key (PEM in base64)",
        ),
        (
            format!("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: \"x\"\n{}\n", base64(90)),
            ":1: a private key (SSH2)",
        ),
        (
            format!("PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{}", base64(36)),
            ":1: a private key (PuTTY)",
        ),
        (format!("AGE-SECRET-KEY-1{}", word(58).to_uppercase()), ":1: a private key (age)"),
        (
            STANDARD.encode([b"Ed\0\0B2", &random(152)[..]].concat()),
            ":1: a secret key of minisign or signify",
        ),
        (
            STANDARD.encode([b"EdScB2", &random(152)[..]].concat()),
            ":1: a secret key of minisign or signify",
        ),
        (
            STANDARD.encode([b"EdBK\0\0\0\x2a", &random(96)[..]].concat()),
            ":1: a secret key of minisign or signify",
        ),
        (format!("[Interface]\nPrivateKey = {}\n", base64(32)), ":2: a private key (WireGuard)"),
        (
            format!("ed25519 a_Xy1z {}\n", STANDARD_NO_PAD.encode(random(32))),
            ":1: a signing key (Matrix)",
        ),
        (
            format!("{{\"kty\":\"OKP\",\"d\": \"{}\"}}", URL_SAFE_NO_PAD.encode(random(32))),
            ":1: a private key (JWK)",
        ),
        (
            format!("Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: {}\n", base64(32)),
            ":1: a private key (DNSSEC)",
        ),
        ("Created: 1\nKey: (protected-private-key (rsa\n".to_owned(), ":2: a private key (GnuPG)"),
    ];
    for (text, expected) in table {
        assert!(
            found(&text).contains(&expected.to_owned()),
            "{expected}: {:?}\n{text}",
            found(&text)
        );
    }
}

#[test]
fn keys_of_binary_files_are_found() {
    let der = |inside: &[u8]| {
        let len = u16::try_from(inside.len()).expect("short").to_be_bytes();
        [&[0x30, 0x82], &len[..], inside].concat()
    };
    let oid = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    let pbes = b"\x30\x40\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d";
    let rest = random(600);
    let curve = b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256\0\0\0\x41";
    let ecdsa = [&curve[..], &rest[..65]].concat();
    let certificate =
        [b"\0\0\0\x02\0\x02ca", &rest[..8], b"\0\x05X.509\0\0\x01\0", &rest[..256]].concat();
    let table = [
        (der(&[&[2, 1, 0, 0x30], &rest[..]].concat()), "a private key (DER)"),
        (der(&[&[2, 1, 0, 2], &rest[..]].concat()), "a private key (DER)"),
        (der(&[&[2, 1, 1, 4], &rest[..]].concat()), "a private key (DER)"),
        (der(&[&pbes[..], &rest[..]].concat()), "a private key (DER)"),
        (
            der(&[&[2, 1, 3, 0x30, 0x82, 2, 0], &oid[..], &rest[..]].concat()),
            "a private key (PKCS#12)",
        ),
        (
            [b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x01", &rest[..]].concat(),
            "a private key (Java's key store)",
        ),
        ([b"\0\0\0\x0bssh-ed25519\0\0\0\x40", &rest[..64]].concat(), "a private key (dropbear)"),
        ([b"(21:protected-private-key(3:rsa", &rest[..]].concat(), "a private key (GnuPG)"),
        ([&ecdsa[..], b"\0\0\0\x20", &rest[..32]].concat(), "a private key (dropbear)"),
        (
            [b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x02", &certificate[..], b"\0\0\0\x01", &rest[..]]
                .concat(),
            "a private key (Java's key store)",
        ),
        (
            [b"\xce\xce\xce\xce\0\0\0\x02\0\0\0\x02", &certificate[..], b"\0\0\0\x03", &rest[..]]
                .concat(),
            "a private key (Java's key store)",
        ),
        (
            [&b"\x30\x80\x02\x01\x03\x30\x80"[..], &oid[..], &rest[..]].concat(),
            "a private key (PKCS#12)",
        ),
    ];
    for (bytes, expected) in table {
        let found = contents(&bytes, &Canaries::default());
        assert!(found.iter().any(|found| found.what == expected), "{expected}: {found:?}");
        let cut = contents(&bytes[..bytes.len() - 1], &Canaries::default());
        assert!(!expected.contains("DER") || cut.is_empty(), "its length is wrong: {cut:?}");
    }
    // A certificate, a store of certificates only, a public key.
    for bytes in [
        der(&[&[0x30, 0x82, 1, 0, 0xa0, 3, 2, 1, 2], &rest[..]].concat()),
        der(&[&[2, 0x82, 1, 1, 0], &rest[..]].concat()),
        [b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x02", &certificate[..], &certificate[..]].concat(),
        ecdsa.clone(),
    ] {
        assert_eq!(contents(&bytes, &Canaries::default()), []);
    }
}

#[test]
fn hashes_of_passwords_are_found() {
    let (salt, b86) = (word(16), word(86));
    for text in [
        format!("$6${salt}${b86}"),
        format!("$6$rounds=5000${salt}${b86}"),
        format!("$5${salt}${}", word(43)),
        format!("$1${}${}", word(8), word(22)),
        format!("$apr1${}${}", word(8), word(22)),
        format!("$2b$12${}", word(53)),
        format!("$y$j9T${}${}", word(22), word(43)),
        format!("$argon2id$v=19$m=65536,t=3,p=4${}${}", word(22), word(43)),
        format!("SCRAM-SHA-256$4096:{}==${}=:{}=", word(22), word(43), word(43)),
        format!("{{SSHA}}{}", base64(24)),
        format!("{{SHA}}{}", base64(20)),
        format!("pbkdf2_sha256$260000${}${}=", word(22), word(43)),
        format!("$pbkdf2-sha512$25000${}${}", word(22), word(86)),
    ] {
        let line = format!("\nuser:{text}:19000\n");
        assert_eq!(found(&line), [":2: the hash of a password"], "{text}");
    }
}

#[test]
fn tokens_of_services_are_found() {
    let hex = |len: usize| random(len).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let aws: String = base64(99)
        .to_uppercase()
        .chars()
        .filter(|c| matches!(c, 'A'..='Z' | '2'..='7'))
        .take(16)
        .collect();
    for (text, service) in [
        (format!("{}{aws}", "AKIA"), "AWS"),
        (format!("{}{}", "ghp_", word(36)), "GitHub"),
        (format!("{}{}_{}", "github_pat_", word(22), word(59)), "GitHub"),
        (format!("{}{}", "glpat-", word(20)), "GitLab"),
        (format!("{}907318265402-4816093725518-{}", "xoxb-", word(24)), "Slack"),
        (
            format!(
                "https://{}T{}/B{}/{}",
                "hooks.slack.com/services/",
                word(8),
                word(9),
                word(24)
            ),
            "Slack",
        ),
        (format!("{}{}{}", "cfut_", word(40), hex(4)), "Cloudflare"),
        (format!("{}{}-{}", "v1.0-", hex(12), hex(73)), "Cloudflare"),
        (format!("CLOUDFLARE_API_{}={}", "TOKEN", word(40)), "Cloudflare"),
        (format!("{}{}", "sk_live_", word(24)), "Stripe"),
        (format!("{}{}", "AIza", word(35)), "Google"),
        (format!("{}{}", "npm_", word(36)), "npm"),
        (format!("{}{}", "pypi-AgE", word(90)), "PyPI"),
        (format!("{}{}.{}", "SG.", word(22), word(43)), "SendGrid"),
        (format!("123456789{}{}", ":AA", word(33)), "Telegram"),
        (format!("{}YWxpY2U_{}_{}", "syt_", "abcdefghijKLMNOPQRST", "0aZ9bY"), "Matrix"),
        (format!("{}JIUzI1NiJ9.{}.{}", "eyJhbGciOi", word(30), word(43)), "JWT"),
        (format!("{}{}==", "AccountKey=", word(86)), "Azure"),
    ] {
        let line = format!("key = \"{text}\"\n");
        assert_eq!(found(&line).len(), 1, "{service}: {text} {:?}", found(&line));
        assert!(found(&line)[0].contains(service), "{service}: {text}");
        // In the middle of a longer word it is something else.
        let inside = format!("z{text}");
        assert!(
            service == "Slack"
                || text.starts_with("CLOUD")
                || service == "Cloudflare"
                || service == "Telegram"
                || service == "Azure"
                || found(&inside).is_empty(),
            "{inside}"
        );
    }
}

#[test]
fn what_only_looks_like_a_secret_is_let_through() {
    let public = pem("PUBLIC KEY", "");
    for text in [
        public.as_str(),
        &pem("CERTIFICATE", ""),
        "if line.startswith(\"-----BEGIN OPENSSH PRIVATE KEY-----\"):\n    load(line)\n",
        "-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
        &format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", "x".repeat(100)),
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "AGE-SECRET-KEY-1...",
        "PrivateKey = <your key here>",
        "echo $1$2 $6$7; crypt(\"$6$salt$\")",
        "$2y$10$",
        "root:*:19000:0:99999:7:::",
        "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKuFwEuzkTHtHnpRzJkKFW0kfqkU4Tq1tKGZWsYvNkL admin",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}",
        "xoxb-not-a-real-token-but-a-longer-word-of-letters",
        "CHATIMG-CANARY-",
    ] {
        assert_eq!(found(text), [""; 0], "{text}");
    }
}

#[test]
fn accounts_have_no_passwords() {
    let at = |path: &str, text: &str| {
        let found = by_path(path, text.as_bytes());
        assert!(found.is_empty() || is_known_name(path), "{path}");
        found.iter().map(|finding| finding.line).collect::<Vec<_>>()
    };
    let good = "root:*:1::::::\na:!:1::::::\nb:!*:1::::::\nc:!!:::::::\n";
    assert_eq!(at("etc/shadow", good), [0; 0]);
    assert_eq!(
        at("etc/shadow", "root:*:1\na:abJnggxhB/yWI:1\nb::1\n"),
        [2, 3],
        "DES, and none at all"
    );
    assert_eq!(at("etc/shadow-", "root:$6$x$y:1\n"), [1]);
    assert_eq!(at("etc/shadow", "root:x:1\n"), [1]);
    assert_eq!(at("etc/gshadow", "root:*::\nadm:!::a\nx:::\n"), [0; 0]);
    assert_eq!(at("etc/gshadow", "root:abJnggxhB/yWI::\n"), [1]);
    assert_eq!(at("etc/passwd", "root:x:0:0::/:\nb:*:1:1::/:\n"), [0; 0]);
    assert_eq!(at("etc/passwd", "root::0:0::/:\nb:abJnggxhB/yWI:1:1::/:\n"), [1, 2]);
    assert_eq!(at("srv/shadow", "root::1\n"), [0; 0], "another file");
    assert_eq!(at("etc/nginx/.htpasswd", "a:abJnggxhB/yWI\n"), [1]);
    assert!(at("usr/bin/htpasswd", "\x7fELF\na:abJnggxhB/yWI\n").is_empty());
    assert_eq!(at("root/.netrc", "# none\nmachine x login y password z\n"), [2]);
    assert_eq!(at("root/.git-credentials", "https://a:b@example.org\n"), [1]);
}

#[test]
fn canaries_are_found_plain_and_in_base64_at_any_place() {
    let text = "the parrot is in the vault";
    let canaries = Canaries::new(["something else", text]).expect("long enough");
    for before in 0..7 {
        let plain = format!("{}{text} and more", "x".repeat(before));
        for bytes in [plain.clone().into_bytes(), STANDARD.encode(&plain).into_bytes()] {
            let found = contents(&bytes, &canaries);
            assert_eq!(found.len(), 1, "{before}");
            assert_eq!(found[0].what, "canary 2 of [secrets] canaries");
            assert!(found[0].is_canary());
        }
    }
    assert!(contents(b"the parrot is in the vaults", &Canaries::default()).is_empty());
    assert_eq!(contents(b"a\n CHATIMG-CANARY-0123abcd", &Canaries::default())[0].line, 2);
    assert_eq!(Canaries::new(["short"]), Err(NotACanary));
}
