//! Whether what came is what was expected.

use std::collections::BTreeMap;

use serde_json::Value;

use super::http::Answer;
use super::spec::{Http, Ssh};
use super::ssh::Output;
use super::text::shortened;

/// Something else came than was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) got: String,
}

impl Mismatch {
    pub(super) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into() }
    }
}

/// Judges a command's output.
pub(super) fn command(wanted: &Ssh, output: &Output) -> Result<(), Mismatch> {
    let got = || {
        let stdout = shortened(output.stdout.trim(), 2000);
        let mut got = format!("exit status {}, standard output \"{stdout}\"", output.exit);
        if !output.stderr.trim().is_empty() {
            got.push_str(&format!("\nstandard error: {}", shortened(output.stderr.trim(), 2000)));
        }
        got
    };
    let mismatch = |expected: String| Err(Mismatch::new(expected, got()));
    let stdout = output.stdout.trim();
    if let Some(text) = wanted.stdout.as_deref().filter(|text| text.trim() != stdout) {
        return mismatch(format!("standard output \"{}\"", text.trim()));
    }
    if output.exit != wanted.exit {
        return mismatch(format!("exit status {}", wanted.exit));
    }
    if let Some(text) = wanted.contains.as_deref().filter(|text| !stdout.contains(*text)) {
        return mismatch(format!("\"{text}\" in standard output"));
    }
    if let Some(text) = wanted.lacks.as_deref().filter(|text| stdout.contains(*text)) {
        return mismatch(format!("no \"{text}\" in standard output"));
    }
    Ok(())
}

/// Judges an answer over HTTP.
pub(super) fn answer(wanted: &Http, answer: &Answer) -> Result<(), Mismatch> {
    if answer.status != wanted.status {
        return Err(Mismatch::new(format!("status {}", wanted.status), answer.shown()));
    }
    json(&wanted.json, answer)?;
    match &wanted.contains {
        Some(text) if !answer.body.contains(text) => {
            Err(Mismatch::new(format!("\"{text}\" in the body"), answer.shown()))
        }
        _ => Ok(()),
    }
}

fn json(wanted: &BTreeMap<String, Value>, answer: &Answer) -> Result<(), Mismatch> {
    let body = answer.json();
    for (pointer, value) in wanted {
        let found = body.as_ref().and_then(|body| body.pointer(pointer));
        let same = found.is_some_and(|found| {
            found == value || matches!(value, Value::String(text) if *text == plain(found))
        });
        if !same {
            let got = match found {
                Some(found) => format!("{}, in {}", plain(found), answer.shown()),
                None => answer.shown(),
            };
            return Err(Mismatch::new(format!("{} at {pointer} of the JSON", plain(value)), got));
        }
    }
    Ok(())
}

/// What `save` keeps of an answer.
pub(super) fn kept(wanted: &Http, answer: &Answer) -> Result<String, Mismatch> {
    let Some(pointer) = &wanted.save_json else { return Ok(answer.body.trim().to_owned()) };
    let body = answer.json();
    let found = body.as_ref().and_then(|body| body.pointer(pointer));
    let missing = || Mismatch::new(format!("something at {pointer} of the JSON"), answer.shown());
    found.map(plain).ok_or_else(missing)
}

/// A value as text: strings as they are, all else as compact JSON with sorted keys.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_are_judged() {
        let output =
            Output { exit: 0, stdout: " a b \n".to_owned(), stderr: "warned\n".to_owned() };
        let text = |text: &str| Some(text.to_owned());
        for (wanted, expected) in [
            (Ssh::default(), None),
            (Ssh { stdout: text("a b"), ..Ssh::default() }, None),
            (Ssh { stdout: text(""), ..Ssh::default() }, Some("standard output \"\"")),
            (Ssh { exit: 3, ..Ssh::default() }, Some("exit status 3")),
            (Ssh { contains: text("b"), lacks: text("c"), ..Ssh::default() }, None),
            (Ssh { contains: text("c"), ..Ssh::default() }, Some("\"c\" in standard output")),
            (Ssh { lacks: text("a"), ..Ssh::default() }, Some("no \"a\" in standard output")),
        ] {
            let mismatch = command(&wanted, &output).err();
            assert_eq!(mismatch.as_ref().map(|wrong| wrong.expected.as_str()), expected);
            if let Some(mismatch) = mismatch {
                let got = "exit status 0, standard output \"a b\"\nstandard error: warned";
                assert_eq!(mismatch.got, got);
            }
        }
    }

    #[test]
    fn answers_are_judged() {
        let body =
            json!({"m.homeserver": {"base_url": "https://a"}, "n": 1, "keys": {"b": 1, "a": 2}});
        let given = Answer { status: 200, body: body.to_string() };
        let http = |json: Value| {
            let json = serde_json::from_value(json).expect("map");
            Http { status: 200, json, ..Http::default() }
        };
        for (wanted, expected) in [
            (http(json!({"/m.homeserver/base_url": "https://a", "/n": 1})), None),
            (http(json!({"/n": "1", "/keys": r#"{"a":2,"b":1}"#})), None),
            (http(json!({"/n": 2})), Some("2 at /n of the JSON")),
            (http(json!({"/no": "x"})), Some("x at /no of the JSON")),
            (Http { status: 404, ..Http::default() }, Some("status 404")),
            (
                Http { contains: Some("zz".to_owned()), ..http(json!({})) },
                Some("\"zz\" in the body"),
            ),
        ] {
            let mismatch = answer(&wanted, &given).err();
            assert_eq!(mismatch.map(|wrong| wrong.expected).as_deref(), expected);
        }
        let page = Answer { status: 200, body: "<html>".to_owned() };
        assert!(answer(&http(json!({"/n": 1})), &page).is_err());
        let keep = |pointer: Option<&str>| Http {
            save_json: pointer.map(str::to_owned),
            ..Http::default()
        };
        assert_eq!(kept(&keep(None), &page).as_deref(), Ok("<html>"));
        assert_eq!(kept(&keep(Some("/keys")), &given).as_deref(), Ok(r#"{"a":2,"b":1}"#));
        assert!(kept(&keep(Some("/no")), &given).is_err());
    }
}
