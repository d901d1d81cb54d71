//! Base64 between two lines that say what it is.
//!
//! Source: RFC 9580, section 6. The checksum after it is not looked at, as section 6.1 has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Malformed;

/// What is between the lines `begin` and `end`, of which there is one each, first and last.
pub(in super::super) fn dearmor(text: &str, begin: &str, end: &str) -> Result<Vec<u8>, Malformed> {
    let mut lines = text.trim_end_matches('\n').lines();
    if lines.next() != Some(begin) || lines.next_back() != Some(end) {
        return Err(Malformed("its first or last line is another one"));
    }
    for header in lines.by_ref().take_while(|line| !line.is_empty()) {
        let key = header.split_once(": ").map_or("", |(key, _)| key);
        if !matches!(key, "Version" | "Comment" | "Hash" | "Charset" | "MessageID") {
            return Err(Malformed("there is no empty line before its base64"));
        }
    }
    let mut base64 = String::with_capacity(text.len());
    while let Some(line) = lines.next() {
        if line.len() == 5 && line.starts_with('=') {
            return match lines.next() {
                None => decode(&base64),
                Some(_) => Err(Malformed("there is something after its checksum")),
            };
        }
        base64.push_str(line);
    }
    decode(&base64)
}

fn decode(base64: &str) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode(base64).map_err(|_| Malformed("it is not base64"))
}
