//! Messages: a line of JSON, and bytes behind it if its key `payload` says so.

use std::io::{self, BufRead, Read, Write};

use serde_json::Value;

/// Bytes of a line, at most.
const LINE_MAX: usize = 64 << 10;

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// The line; an object.
    pub(super) head: Value,
    /// The bytes behind it.
    pub(super) payload: Vec<u8>,
}

/// What comes is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// It ends in the middle, or reading fails.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line has no end, or is not JSON.
    #[error("a line that is no message: {0}")]
    Line(String),
    /// More is announced than can be meant.
    #[error("a message announces {0} bytes")]
    Large(u64),
}

/// Writes a message; `head` is without `payload`. Gives back how many bytes it took.
pub(super) fn write(out: &mut impl Write, mut head: Value, payload: &[u8]) -> io::Result<u64> {
    if !payload.is_empty() {
        head["payload"] = payload.len().into();
    }
    let line = format!("{head}\n");
    out.write_all(line.as_bytes())?;
    out.write_all(payload)?;
    out.flush()?;
    Ok((line.len() + payload.len()) as u64)
}

/// Reads a message, with a payload of at most `limit` bytes. `None`: there is no more.
pub(super) fn read(input: &mut impl BufRead, limit: u64) -> Result<Option<Message>, WireError> {
    let mut line = Vec::new();
    input.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let shown = || {
        let text = String::from_utf8_lossy(&line);
        text.trim().chars().filter(|c| !c.is_control()).take(200).collect()
    };
    let head: Option<Value> = match line.ends_with(b"\n") {
        true => serde_json::from_slice(&line).ok(),
        false => None,
    };
    let head = head.filter(Value::is_object).ok_or_else(|| WireError::Line(shown()))?;
    let size = match head.get("payload") {
        Some(size) => size.as_u64().ok_or_else(|| WireError::Line(shown()))?,
        None => 0,
    };
    if size > limit {
        return Err(WireError::Large(size));
    }
    let mut payload = Vec::new();
    if input.take(size).read_to_end(&mut payload)? as u64 != size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(Message { head, payload }))
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(mut bytes: &[u8]) {
    while let Ok(Some(message)) = read(&mut bytes, 1 << 10) {
        assert!(message.payload.len() <= 1 << 10);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        let first = write(&mut bytes, json!({"op": "pieces"}), b"two\nlines").expect("writes");
        write(&mut bytes, json!({"op": "end"}), b"").expect("writes");
        assert!(bytes.starts_with(b"{\"op\":\"pieces\",\"payload\":9}\ntwo\nlines{"));
        assert_eq!(first, 37);
        let mut input = bytes.as_slice();
        let message = read(&mut input, 9).expect("reads").expect("a message");
        assert_eq!(
            (&message.head["op"], &*message.payload),
            (&json!("pieces"), &b"two\nlines"[..])
        );
        let message = read(&mut input, 9).expect("reads").expect("a message");
        assert_eq!((&message.head["op"], &*message.payload), (&json!("end"), &b""[..]));
        assert!(read(&mut input, 9).expect("reads").is_none());
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(LINE_MAX));
        let table: [(&[u8], &str); 8] = [
            (b"Welcome to the box\n", "no message: Welcome to the box"),
            (b"[]\n", "no message: []"),
            (b"{}", "no message: {}"),
            (b"\xff\n", "no message"),
            (long.as_bytes(), "no message: {\"a\":\"xxx"),
            (b"{\"payload\":-1}\n", "no message"),
            (b"{\"payload\":11}\n", "announces 11 bytes"),
            (b"{\"payload\":9}\n12345678", "unexpected end"),
        ];
        for (bytes, expected) in table {
            let error = read(&mut &*bytes, 10).expect_err("refused").to_string();
            assert!(error.contains(expected) && error.len() < 300, "{error}");
        }
    }
}
