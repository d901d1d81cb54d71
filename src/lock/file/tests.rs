use super::*;

fn sample() -> Lock {
    let digest = Digest::of(b"x");
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    let deb = |name: &str, archive| Deb {
        name: name.to_owned(),
        version: "1:2.3~rc1-4+deb13u1".to_owned(),
        arch: "amd64".to_owned(),
        archive,
        path: format!("pool/main/x/{name}_2.3_amd64.deb"),
        size: 1234,
        digest,
        groups: [Group::Image, Group::Vm].into(),
    };
    let asked = |pin| UrlRequest { url: "https://example.org/a?b=\"c\"".to_owned(), digest: pin };
    Lock {
        epoch: 1_795_176_000,
        request: Request {
            debian: [(Group::Image, set(&["bash", "nginx"])), (Group::Vm, set(&[]))].into(),
            python: [("synapse".to_owned(), set(&["matrix-synapse[url-preview]>=1"]))].into(),
            npm: [("@scope/pkg".to_owned(), "^0.3".to_owned())].into(),
            url: [("pinned".to_owned(), asked(Some(digest))), ("a.b".to_owned(), asked(None))]
                .into(),
        },
        indexes: vec![
            Index { suite: "trixie".to_owned(), date: 1_795_176_000, digest },
            Index { suite: "trixie-security".to_owned(), date: 1_795_000_001, digest },
        ],
        debs: vec![deb("bash", DebArchive::Debian), deb("nginx", DebArchive::DebianSecurity)],
        wheels: vec![Wheel {
            env: "synapse".to_owned(),
            name: "attrs".to_owned(),
            version: "26.1.0".to_owned(),
            file: "attrs-26.1.0-py3-none-any.whl".to_owned(),
            size: 5,
            digest,
        }],
        npm: ["1.0.0", "2.0.0"]
            .map(|version| NpmTarball {
                name: "@scope/pkg".to_owned(),
                version: version.to_owned(),
                integrity: "sha512-abc==".to_owned(),
                size: 6,
                digest,
            })
            .into(),
        urls: vec![UrlBlob { name: "pinned".to_owned(), size: 7, digest }],
    }
}

#[test]
fn a_lock_survives_its_text() {
    let text = sample().to_toml();
    assert!(text.starts_with("# made by chatimg lock; do not edit\nversion = 1\n"));
    assert!(text.contains("date = 2026-11-20T12:00:00Z\n"), "{text}");
    assert_eq!(Lock::parse(&text, "appliance.lock").expect("parses"), sample());
    let empty = Lock::default();
    assert_eq!(Lock::parse(&empty.to_toml(), "appliance.lock"), Ok(empty));
}

#[test]
fn odd_names_survive_too() {
    let mut lock = sample();
    for name in ["", "a\"b\\c", "new\nline", "\u{1f600}\u{7f}", "dotted.key"] {
        lock.request.npm.insert(name.to_owned(), name.to_owned());
        lock.request.python.insert(name.to_owned(), [name.to_owned()].into());
    }
    assert_eq!(Lock::parse(&lock.to_toml(), "appliance.lock"), Ok(lock));
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let text = sample().to_toml();
    for (from, to, part) in [
        ("arch = \"amd64\"", "arch = \"arm64\"", "deb bash: 'arm64' is neither"),
        ("arch = \"amd64\"", "arhc = \"amd64\"", "line"),
        ("name = \"nginx\"", "name = \"apt\"", "deb apt: it stands behind bash"),
        ("name = \"nginx\"", "name = \"bash\"", "deb bash: it is there twice"),
        ("pool/main/x/bash", "../bash", "deb bash: '../bash_2.3_amd64.deb' is no path"),
        ("pool/main/x/bash", "/bash", "is no path"),
        ("[\"image\", \"vm\"]", "[]", "no group needs it"),
        ("[\"image\", \"vm\"]", "[\"host\"]", "unknown variant `host`"),
        ("size = 1234", "size = -1", "line"),
        ("size = 1234", "size = 99999999999999", "is beyond"),
        ("attrs-26", "a/attrs-26", "is no wheel's name"),
        ("\"sha512-", "\"sha1-", "integrity is not"),
        ("version = \"2.0.0\"", "version = \"1.0.0\"", "npm @scope/pkg 1.0.0: it is there twice"),
        ("T12:00:00Z", "", "date 2026-11-20"),
        ("[[url]]\nname = \"pinned\"", "[[url]]\nname = \"other\"", "no such input is asked for"),
        ("version = 1\n", "version = 2\n", "appliance.lock has version 2"),
        ("version = 1\n", "", "missing field `version`"),
    ] {
        assert!(text.contains(from), "{from}");
        let bad = text.replacen(from, to, 1);
        let message = Lock::parse(&bad, "appliance.lock").expect_err(to).to_string();
        assert!(message.contains(part), "{part} is not in: {message}");
        assert!(message.contains("appliance.lock"), "{message}");
    }
}

proptest::proptest! {
    #[test]
    fn any_texts_in_a_lock_survive(name in ".{0,20}", value in "\\PC{0,20}", date in 0..4_000_000_000_i64) {
        let mut lock = sample();
        lock.request.npm.insert(name.clone(), value.clone());
        lock.debs[0].version = value;
        lock.indexes[0].date = date;
        lock.epoch = date.max(lock.indexes[1].date);
        proptest::prop_assert_eq!(Lock::parse(&lock.to_toml(), "appliance.lock"), Ok(lock));
    }
}
