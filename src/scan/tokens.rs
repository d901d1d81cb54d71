//! Tokens of services, made so that they can be recognised.

use super::needles::{Needle, needle};
use super::{begins_word, is_base64, is_base64_url, looks_random, run};

const AWS: &str = "a key of AWS";
const GITHUB: &str = "a token of GitHub";
const SLACK: &str = "a token of Slack";
const STRIPE: &str = "a key of Stripe";
const CLOUDFLARE: &str = "a token of Cloudflare";

/// As the services' own pages on scanning for secrets and the rules of gitleaks have them.
pub(super) const NEEDLES: &[Needle] = &[
    needle(b"AKIA", AWS, aws),
    needle(b"ASIA", AWS, aws),
    needle(b"ghp_", GITHUB, |bytes, at| word(bytes, at, 4, 36..=255)),
    needle(b"gho_", GITHUB, |bytes, at| word(bytes, at, 4, 36..=255)),
    needle(b"ghu_", GITHUB, |bytes, at| word(bytes, at, 4, 36..=255)),
    needle(b"ghs_", GITHUB, |bytes, at| word(bytes, at, 4, 36..=255)),
    needle(b"ghr_", GITHUB, |bytes, at| word(bytes, at, 4, 36..=255)),
    needle(b"github_pat_", GITHUB, |bytes, at| token(bytes, at, 11, 60..=255)),
    needle(b"glpat-", "a token of GitLab", |bytes, at| token(bytes, at, 6, 20..=255)),
    needle(b"xoxb-", SLACK, slack),
    needle(b"xoxp-", SLACK, slack),
    needle(b"xoxa-", SLACK, slack),
    needle(b"xoxe-", SLACK, slack),
    needle(b"xoxr-", SLACK, slack),
    needle(b"xoxs-", SLACK, slack),
    needle(b"xapp-", SLACK, slack),
    needle(b"hooks.slack.com/services/", "a webhook of Slack", |bytes, at| {
        let len = run(bytes, at + 25, |byte| byte.is_ascii_alphanumeric() || byte == b'/');
        len >= 40 && looks_random(&bytes[at + 25..at + 25 + len])
    }),
    needle(b"v1.0-", CLOUDFLARE, |bytes, at| {
        let hex = |at| run(bytes, at, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex(at + 5) == 24 && bytes.get(at + 29) == Some(&b'-') && hex(at + 30) == 146
    }),
    needle(b"cfut_", CLOUDFLARE, |bytes, at| word(bytes, at, 5, 40..=64)),
    needle(b"cfat_", CLOUDFLARE, |bytes, at| word(bytes, at, 5, 40..=64)),
    needle(b"cfk_", CLOUDFLARE, |bytes, at| word(bytes, at, 4, 40..=64)),
    needle(b"LOUDFLARE_", CLOUDFLARE, cloudflare),
    needle(b"sk_live_", STRIPE, |bytes, at| word(bytes, at, 8, 20..=255)),
    needle(b"rk_live_", STRIPE, |bytes, at| word(bytes, at, 8, 20..=255)),
    needle(b"AIza", "a key of Google", |bytes, at| token(bytes, at, 4, 35..=35)),
    needle(b"GOCSPX-", "a secret of Google", |bytes, at| token(bytes, at, 7, 28..=28)),
    needle(b"npm_", "a token of npm", |bytes, at| word(bytes, at, 4, 36..=36)),
    needle(b"pypi-AgE", "a token of PyPI", |bytes, at| token(bytes, at, 8, 60..=1024)),
    needle(b"dop_v1_", "a token of DigitalOcean", |bytes, at| word(bytes, at, 7, 64..=64)),
    needle(b"dckr_pat_", "a token of Docker", |bytes, at| token(bytes, at, 9, 27..=64)),
    needle(b"hvs.", "a token of Vault", |bytes, at| token(bytes, at, 4, 90..=255)),
    needle(b"tskey-", "a key of Tailscale", |bytes, at| token(bytes, at, 6, 30..=255)),
    needle(b"sk-ant-", "a key of Anthropic", |bytes, at| token(bytes, at, 7, 80..=255)),
    needle(b"T3BlbkFJ", "a key of OpenAI", |bytes, at| {
        let before = bytes[..at].iter().rev().take_while(|byte| is_base64_url(**byte)).count();
        bytes[at - before..].starts_with(b"sk-") && token(bytes, at - before, 3, 40..=255)
    }),
    needle(b"SG.", "a key of SendGrid", |bytes, at| {
        let first = run(bytes, at + 3, is_base64_url);
        begins_word(bytes, at)
            && first == 22
            && bytes.get(at + 25) == Some(&b'.')
            && run(bytes, at + 26, is_base64_url) == 43
    }),
    needle(b"AccountKey=", "a key of Azure", |bytes, at| {
        run(bytes, at + 11, is_base64) == 86 && looks_random(&bytes[at + 11..at + 97])
    }),
    needle(b":AA", "a token of Telegram", |bytes, at| {
        let digits = bytes[..at].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        (8..=10).contains(&digits)
            && begins_word(bytes, at - digits)
            && run(bytes, at + 1, is_base64_url) == 35
            && looks_random(&bytes[at + 3..at + 36])
    }),
    needle(b"syt_", "an access token of Matrix", |bytes, at| {
        let all = run(bytes, at, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let text = String::from_utf8_lossy(&bytes[at..at + all]);
        let parts: Vec<_> = text.split('_').map(str::len).collect();
        matches!(parts[..], [3, _, 20, 6]) && begins_word(bytes, at)
    }),
    needle(b"eyJhbGciOi", "a token (JWT)", |bytes, at| {
        let all = run(bytes, at, |byte| is_base64_url(byte) || byte == b'.');
        let text = String::from_utf8_lossy(&bytes[at..at + all]);
        let parts: Vec<_> = text.split('.').map(str::len).collect();
        parts.len() == 3 && parts.iter().all(|len| *len >= 16) && begins_word(bytes, at)
    }),
];

/// A prefix, and behind it so many letters and digits.
fn word(bytes: &[u8], at: usize, prefix: usize, len: std::ops::RangeInclusive<usize>) -> bool {
    let found = run(bytes, at + prefix, |byte| byte.is_ascii_alphanumeric());
    good(bytes, at, prefix, found, &len)
}

/// The same with `-` and `_`.
fn token(bytes: &[u8], at: usize, prefix: usize, len: std::ops::RangeInclusive<usize>) -> bool {
    let found = run(bytes, at + prefix, is_base64_url);
    good(bytes, at, prefix, found, &len)
}

fn good(
    bytes: &[u8],
    at: usize,
    prefix: usize,
    found: usize,
    len: &std::ops::RangeInclusive<usize>,
) -> bool {
    begins_word(bytes, at)
        && len.contains(&found)
        && looks_random(&bytes[at + prefix..at + prefix + found])
}

/// The number of a key; Amazon's own examples end so.
fn aws(bytes: &[u8], at: usize) -> bool {
    let len = run(bytes, at, |byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
    let ends = !bytes.get(at + len).is_some_and(|byte| byte.is_ascii_alphanumeric());
    len == 20
        && ends
        && begins_word(bytes, at)
        && !bytes[at..at + len].ends_with(b"EXAMPLE")
        && looks_random(&bytes[at + 4..at + len])
}

fn slack(bytes: &[u8], at: usize) -> bool {
    let len = run(bytes, at + 5, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let text = &bytes[at + 5..at + 5 + len];
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    begins_word(bytes, at) && len >= 24 && digits >= 8 && looks_random(text)
}

/// The variables that Cloudflare's own programs read: `CLOUDFLARE_API_TOKEN=...`, of 37 to 48 characters.
fn cloudflare(bytes: &[u8], at: usize) -> bool {
    let name = run(bytes, at, |byte| byte.is_ascii_uppercase() || byte == b'_');
    let sign = run(bytes, at + name, |byte| matches!(byte, b'=' | b':' | b' ' | b'"' | b'\''));
    let value = at + name + sign;
    let len = run(bytes, value, is_base64_url);
    sign > 0 && (37..=48).contains(&len) && looks_random(&bytes[value..value + len])
}
