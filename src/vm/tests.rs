//! The schema of tests, and the tests that come with chatimg.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::spec::parse;
use super::{Action, Boot, Http, Register, Ssh, TestSpec};
use crate::appliance::Firmware;

fn read(text: &str) -> Result<TestSpec, String> {
    parse(Path::new("qemu-tests/t.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn a_test_is_read() {
    let test = read(
        r#"
description = "all of it"
firmware = ["uefi"]
timeout = "5 min"
console-may-say = ["sysrq"]

[[step]]
wait-console = "login:"
timeout = "90 s"

[[step]]
name = "id"
ssh = "cat /etc/machine-id"
stdout-lacks = "uninitialized"
save = "id"

[[step]]
ssh = "sudo python3 -"
stdin = "t/look.py"

[[step]]
local = "t/browse --slowly"
stdout-contains = "{{id}}"

[[step]]
http = "https://{{domain}}/{{id}}"
expect-json = { "/a/b" = "{{id}}", "/n" = 1 }
eventually = true

[[step]]
matrix-send = { as = "alice", room = "{{id}}", body = "hi", save = "event" }

[[step]]
firmware = "bios"
power-cut = true
"#,
    )
    .expect("test");
    assert_eq!(test.name, "t");
    assert_eq!(test.firmware, Some([Firmware::Uefi].into()));
    assert_eq!(test.timeout, Duration::from_secs(300));
    assert_eq!(test.boot, Boot::Own);
    assert_eq!(test.steps[0].timeout, Duration::from_secs(90));
    assert_eq!(test.steps[0].action, Action::WaitConsole("login:".to_owned()));
    assert_eq!(test.steps[1].title(), "id");
    assert_eq!(test.steps[1].timeout, Duration::from_secs(600));
    let ssh = Ssh {
        command: "cat /etc/machine-id".to_owned(),
        lacks: Some("uninitialized".to_owned()),
        save: Some("id".to_owned()),
        ..Ssh::default()
    };
    assert_eq!(test.steps[1].action, Action::Ssh(ssh));
    let stdin = Some("t/look.py".into());
    let ssh = Ssh { command: "sudo python3 -".to_owned(), stdin, ..Ssh::default() };
    assert_eq!(test.steps[2].action, Action::Ssh(ssh));
    assert_eq!(test.steps[3].title(), "local t/browse --slowly");
    assert_eq!(test.dir, Path::new("qemu-tests/"));
    assert_eq!(test.steps[4].title(), "http https://{{domain}}/{{id}}");
    let Action::Http(Http { status: 200, json, eventually: true, .. }) = &test.steps[4].action
    else {
        panic!("{:?}", test.steps[4])
    };
    assert_eq!(json.len(), 2);
    assert_eq!(test.steps[6].action, Action::PowerCut);
    assert_eq!((test.steps[5].firmware, test.steps[6].firmware), (None, Some(Firmware::Bios)));
}

#[test]
fn errors_show_the_place() {
    let text = "description = \"x\"\n\n[[step]]\nname = \"first\"\nwait-consol = \"login:\"\n";
    let wanted = "\
qemu-tests/t.toml:5:1: there is no key 'wait-consol'
  5 | wait-consol = \"login:\"
    | ^^^^^^^^^^^
  help: did you mean 'wait-console'?";
    assert_eq!(read(text).expect_err("unknown key"), wanted);
}

#[test]
fn what_a_test_cannot_say_is_refused() {
    let step = |text: &str| format!("description = \"x\"\n[[step]]\n{text}\n");
    for (text, place, words, hint) in [
        (step("wait-ssh = true\nreboot = true"), "4:1", "one thing", "make two steps"),
        (step("name = \"n\""), "2:1", "does nothing", "wait-console, wait-ssh"),
        (
            step("wait-ssh = true\nexpect-stdout = \"\""),
            "4:1",
            "does not go with 'wait-ssh'",
            "with ssh",
        ),
        (step("wait-ssh = false"), "3:12", "only true makes sense", ""),
        (step("wait-ssh = \"yes\""), "3:12", "invalid type", ""),
        (step("sleep = \"2\""), "3:9", "'2' is no duration", ""),
        (step("ssh = \"echo {{domian}}\""), "3:7", "no variable here 'domian'", "'domain'?"),
        (
            step("http = \"x\"\nexpect-json = { \"/a\" = [\"{{b}}\"] }"),
            "4:25",
            "'b'",
            "known: admin",
        ),
        (step("ssh = \"a\"\nsave = \"Up\""), "4:8", "cannot be a variable's name", "small letters"),
        (step("ssh = \"a\"\nsave = \"domain\""), "4:8", "cannot be a variable's name", ""),
        (
            step("matrix-login = { user = \"a\", passwort = \"b\" }"),
            "3:30",
            "passwort",
            "'password'?",
        ),
        (step("matrix-login = { user = \"a\" }"), "3:16", "missing field `password`", ""),
        (step("wait-ssh"), "3:9", "key with no value", ""),
        ("description = \"x\"\n".to_owned(), "1:1", "no steps", "[[step]]"),
        ("step = 1\n".to_owned(), "1:1", "not a list", "[[step]]"),
        ("step = [1]\n".to_owned(), "1:9", "a step is a table", "[[step]]"),
        ("[[step]]\nwait-ssh = true\n".to_owned(), "1:1", "missing field `description`", ""),
        ("descripton = \"x\"\n".to_owned(), "1:1", "no key 'descripton'", "'description'?"),
        (
            "description = \"x\"\nfirmware = [\"efi\"]\n[[step]]\nwait-ssh = true\n".to_owned(),
            "2:13",
            "unknown variant `efi`",
            "'uefi'?",
        ),
    ] {
        let error = read(&text).expect_err(&text);
        let line = error.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("qemu-tests/t.toml:{place}: ")), "{text}{error}");
        assert!(line.contains(words), "{text}{error}");
        assert!(error.contains('^'), "{text}{error}");
        let hints = error.lines().last().unwrap_or_default();
        assert!(hint.is_empty() || hints.contains(hint), "{text}{error}");
    }
}

#[test]
fn tests_that_share_a_boot_leave_the_machine_as_it_is() {
    let test = |boot: &str, rest: &str| {
        let text =
            format!("description = \"x\"\nboot = \"{boot}\"\n{rest}\n[[step]]\nwait-ssh = true\n");
        read(&text)
    };
    assert_eq!(test("first", "").expect("first").boot, Boot::First);
    assert_eq!(test("shared", "").expect("shared").boot, Boot::Shared);
    let step = |step: &str| format!("[[step]]\n{step}");
    for (rest, place, what) in [
        ("flash = \"files\"", "3:1", "flash"),
        ("host = \"t/host.toml\"", "3:1", "host"),
        ("images = { next = \"t/next\" }", "3:1", "images"),
        (&step("reboot = true"), "4:1", "reboot"),
        (&step("name = \"n\"\npower-off = true"), "5:1", "power-off"),
        (&step("pull-disk = 1"), "4:1", "pull-disk"),
    ] {
        for boot in ["first", "shared"] {
            let error = test(boot, rest).expect_err(rest);
            let wanted = format!(
                "qemu-tests/t.toml:{place}: a test that shares its boot cannot have '{what}'\n"
            );
            assert!(error.starts_with(&wanted), "{error}");
            assert!(error.ends_with("help: leave 'boot' out: it then boots by itself"), "{error}");
        }
        test("own", rest).expect("a boot of its own");
    }
    let error = test("common", "").expect_err("unknown");
    assert!(error.starts_with("qemu-tests/t.toml:2:8: "), "{error}");
}

#[test]
fn a_test_may_be_of_another_appliance() {
    let steps = "[[step]]\nwait-ssh = true\n";
    let text =
        |rest: &str| format!("description = \"x\"\nappliance.target = \"small\"\n{rest}{steps}");
    let test = read(&text("")).expect("right");
    assert_eq!(test.appliance.expect("a change").target.as_deref(), Some("small"));
    for (rest, place, words) in [
        ("flash = \"files\"\n", "3:1", "'flash' does not go with 'appliance'"),
        ("boot = \"shared\"\n", "2:1", "appliance"),
        ("appliance.targt = \"x\"\n", "3:11", "targt"),
    ] {
        let error = read(&text(rest)).expect_err(rest);
        let line = error.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("qemu-tests/t.toml:{place}: ")), "{error}");
        assert!(line.contains(words), "{error}");
    }
}

#[test]
fn a_test_may_have_another_box() {
    let text = |rest: &str| {
        format!(
            "description = \"x\"\n[guests.other]\ndomain = \"other.example\"\n[guests.other.options.ssh]\nport = 23\n{rest}"
        )
    };
    let steps = "[[step]]\non = \"other\"\nwait-ssh = true\n[[step]]\nwait-ssh = true\n\
        [[step]]\non = \"other\"\nhttp = \"https://x/\"\nas = \"otto\"\n";
    let test = read(&text(steps)).expect("right");
    assert_eq!(test.guests["other"].domain.as_deref(), Some("other.example"));
    let on: Vec<_> = test.steps.iter().map(|step| step.on.as_deref()).collect();
    assert_eq!(on, [Some("other"), None, Some("other")]);
    let Action::Http(http) = &test.steps[2].action else { panic!("{:?}", test.steps[2]) };
    assert_eq!(http.by.as_deref(), Some("otto"));
    for (rest, place, words, hint) in [
        ("[[step]]\non = \"othr\"\nwait-ssh = true", "7:6", "no guest 'othr'", "'other'?"),
        ("[[step]]\non = 2\nwait-ssh = true", "7:6", "invalid type", ""),
        ("[[step]]\nwait-ssh = true\nas = \"a\"", "8:1", "does not go with 'wait-ssh'", "http"),
        (
            "[guests.third]\ndomain = \"c\"\n[[step]]\nwait-ssh = true",
            "6:9",
            "two boxes",
            "two ends",
        ),
    ] {
        let error = read(&text(rest)).expect_err(rest);
        let line = error.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("qemu-tests/t.toml:{place}: ")), "{error}");
        assert!(line.contains(words) && error.contains(hint), "{error}");
    }
    let step = "[[step]]\nwait-ssh = true\n";
    for (guests, place, words) in [
        ("[guests.Other]\ndomain = \"b\"\n", "2:9", "cannot be a guest's name"),
        ("[guests.other]\n", "2:9", "has no 'domain'"),
        ("[guests.other]\ndomain = \"b\"\nname = \"c\"\n", "4:1", "name"),
        ("boot = \"shared\"\n[guests.other]\ndomain = \"b\"\n", "3:2", "cannot have 'guests'"),
    ] {
        let error = read(&format!("description = \"x\"\n{guests}{step}")).expect_err(guests);
        let line = error.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("qemu-tests/t.toml:{place}: ")), "{error}");
        assert!(line.contains(words), "{error}");
    }
    let error = read("description = \"x\"\n[[step]]\non = \"b\"\nwait-ssh = true\n");
    let error = error.expect_err("no guests");
    assert!(error.contains(":3:6: ") && error.contains("none but the test's own box"), "{error}");
}

#[test]
fn a_variable_is_there_only_after_it_was_saved() {
    let text = "description = \"x\"\n[[step]]\nssh = \"echo {{a}}\"\n\
        [[step]]\nssh = \"a\"\nsave = \"a\"\n";
    assert!(read(text).expect_err("too early").contains("3:7: there is no variable here 'a'"));
}

#[test]
fn the_tests_that_come_with_chatimg_are_right() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu-tests");
    let (mut names, mut users) = (Vec::new(), BTreeSet::new());
    for entry in std::fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            continue; // Host settings of the test of that name.
        }
        let test = super::load_test(&path).unwrap_or_else(|error| panic!("{error}"));
        for step in test.steps.iter().filter(|_| test.boot != Boot::Own) {
            let Action::Register(Register { user, .. }) = &step.action else { continue };
            assert!(users.insert(user.clone()), "{}: another test has '{user}', too", test.name);
        }
        names.push(test.name);
    }
    names.sort();
    assert!(names.contains(&"smoke".to_owned()) && names.contains(&"host-settings".to_owned()));
}
