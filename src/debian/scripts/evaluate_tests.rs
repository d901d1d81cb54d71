use super::super::{Place, Unit};
use super::*;

fn run(text: &str) -> Result<Vec<Action>, String> {
    evaluate("pkg", Stage::Postinst, text, 1).map_err(|unknown| {
        let lines = unknown.iter().map(|unknown| format!("{}: {}", unknown.line, unknown.text));
        lines.collect::<Vec<_>>().join("\n")
    })
}

fn group(name: &str) -> Action {
    Action::Group(name.to_owned())
}

#[test]
fn code_for_upgrades_is_never_reached() {
    for text in [
        "if [ \"$1\" = upgrade ]; then rm -rf /x; fi",
        "if [ -n \"$2\" ] && dpkg --compare-versions \"$2\" lt 3; then frob; fi",
        "if dpkg --compare-versions \"$2\" lt-nl 3; then frob; fi",
        "case \"$1\" in upgrade) frob;; configure) ;; *) exit 1;; esac",
        "f() {\n [ \"$2\" ] || return 0\n frob\n}\nf \"$@\"",
        "if [ -d /run/systemd/system ]; then systemctl frob || frob; fi",
        ". /usr/share/debconf/confmodule\ndb_get x/y\nif [ \"$RET\" = true ]; then echo x; fi",
    ] {
        assert_eq!(run(text), Ok(vec![]), "{text}");
    }
}

#[test]
fn what_is_not_known_is_reported_with_its_line() {
    for (text, line) in [
        ("set -e\nfrob --now\n", "2: "),
        ("if [ -e /etc/x ]; then\nrm -f /y\nfi", "1: "),
        ("echo x > /etc/y", "1: "),
        ("a=$(mktemp)\necho", "1: "),
        ("echo a | frob", "1: "),
        ("[ -e /x ] && exit 0\naddgroup --system x", "1: "),
        (". /usr/share/x/functions", "1: "),
        ("systemctl mask x.service", "1: "),
        ("for i in /*; do rm -f $i; done", "1: "),
        ("case $x in a) addgroup --system a;; esac; chown $y /x", "1: "),
    ] {
        let error = run(text).expect_err(text);
        assert!(error.starts_with(line), "{text}: {error}");
    }
}

#[test]
fn words_that_end_within_a_quote_are_not_known() {
    let mut evaluator = Evaluator::new("pkg", Stage::Postinst);
    for word in [
        "\"",
        "\"a",
        "\"é",
        "'",
        "'é",
        "$(",
        "$(a",
        "${",
        "${a",
        "\"${a\"",
        "\"$('a)\"",
        "`",
        "`a",
        "a\"`b\"`c\"",
    ] {
        assert_eq!(evaluator.expand(word), Expanded::Unknown, "{word}");
    }
    assert_eq!(evaluator.expand("\"a\"'b'"), Expanded::Known("ab".to_owned()));
}

#[test]
fn known_commands_become_actions() {
    assert_eq!(run("addgroup --system a"), Ok(vec![group("a")]));
    assert_eq!(
        run("if ! getent group a >/dev/null; then addgroup --system a; fi"),
        Ok(vec![group("a")])
    );
    assert_eq!(
        run("for g in a b; do addgroup --system $g; done"),
        Ok(vec![group("a"), group("b")])
    );
    assert_eq!(
        run(
            "deb-systemd-helper --quiet was-enabled 'a.b' && deb-systemd-helper enable 'a.b' || true"
        ),
        Ok(vec![Action::Enable(Unit { name: "a.b".into(), user: false })])
    );
    assert_eq!(
        run("V=${DPKG_MAINTSCRIPT_PACKAGE##*-}; addgroup --system \"$V\""),
        Ok(vec![group("pkg")])
    );
    let made = run("update-alternatives --install /a b /c 10 --slave /d e /f").expect("known");
    let Action::Alternative(made) = &made[0] else { panic!("{made:?}") };
    assert_eq!((made.priority, made.slaves.len()), (10, 1));
}

#[test]
fn a_users_home_is_made_unless_told_otherwise() {
    let made = run("adduser --system --group --home /h --quiet u").expect("known");
    assert_eq!(made.len(), 2, "{made:?}");
    let made = run("adduser --system --group --home /h --no-create-home u").expect("known");
    assert_eq!(made.len(), 1, "{made:?}");
}

#[test]
fn what_ends_otherwise_than_it_looks_is_followed_as_a_shell_does() {
    let place = |path: &str| Place {
        path: path.to_owned(),
        owner: Some("a".to_owned()),
        group: Some("b".to_owned()),
        mode: None,
    };
    let owned = Action::Mode(place("/y"));
    for (text, wanted) in [
        // An assignment ends as the command in it.
        ("if ! x=`dpkg-statoverride --list /y 2>&1`; then chown a:b /y; fi", vec![owned.clone()]),
        ("x=$(false) || chown a:b /y", vec![owned.clone()]),
        ("x=$(true) && chown a:b /y", vec![owned.clone()]),
        ("local x=$(false) && chown a:b /y", vec![owned.clone()]),
        // `return` and `exit` alone end as what was before.
        ("f() { false || return\n}\nf || chown a:b /y", vec![owned.clone()]),
        ("(false || exit) || chown a:b /y", vec![owned.clone()]),
        // What is set in a subshell, for a command or in a function stays there.
        ("x=b\n(x=c)\nchown a:$x /y", vec![owned.clone()]),
        ("x=b\nx=c true\nchown a:$x /y", vec![owned.clone()]),
        ("x=b\nf() { local x=c; }\nf\nchown a:$x /y", vec![owned.clone()]),
        ("x=b\nx=c\nunset x\nchown a:b$x /y", vec![owned]),
    ] {
        assert_eq!(run(text), Ok(wanted), "{text}");
    }
}

#[test]
fn what_only_seems_to_be_without_effect_is_not_understood() {
    for text in [
        "trap 'rm -f /x' EXIT",
        "perl -e 'unlink \"/x\"'",
        "find /x -delete",
        "find /x -ok rm {} ';'",
        "awk '{ print > \"/x\" }' /y",
        "awk 'BEGIN { system(\"rm /x\") }'",
        "sed -ni s/a/b/ /x",
        "sed --in-place s/a/b/ /x",
        "sed -n 'w /x' /y",
        "sort -o /x /y",
        "printf -v x y",
        "systemctl preset x.service",
        "systemctl link /x.service",
        "umask 077",
        "chown a.b /x",
        "chown a: /x",
        "chown :b /x",
        "chmod 644 x",
        "mkdir -p x",
        "mkdir -p /x/{a,b}",
        "chown a:b ~a",
        "read x y\nchown a:$x /x",
        "db_fget a/b seen\nchown a:$RET /x",
        "x=b\nset -- c\nchown a:$1 /x",
        "x=b\nlocal x\nchown a:$x /x",
        "x=b\nlocal x=$(frob)\nchown a:$x /x",
        "x=##b\nchown a:${x##b} /x",
    ] {
        run(text).expect_err(text);
    }
}
