//! The commands of packaging and what each does to a freshly installed system.

use super::action::nologin;
use super::conditions::{self, not};
use super::evaluate::{Evaluator, Status};
use super::{Action, Alternative, Place, Unit, User};

/// Programs that are there when a script runs (they belong to essential packages or to systemd).
const INSTALLED: &[&str] = &[
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "dpkg-divert",
    "dpkg-statoverride",
    "dpkg-trigger",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "update-alternatives",
    "update-rc.d",
];

/// Commands that only look, print, or set what the shell itself uses.
const WITHOUT_EFFECT: &[&str] = &[
    ":",
    "basename",
    "cat",
    "cd",
    "cmp",
    "cut",
    "dirname",
    "dpkg-query",
    "dpkg-realpath",
    "echo",
    "egrep",
    "fgrep",
    "getcap",
    "grep",
    "head",
    "id",
    "ischroot",
    "ls",
    "md5sum",
    "pidof",
    "readlink",
    "realpath",
    "sha256sum",
    "sleep",
    "stat",
    "tail",
    "tr",
    "uname",
    "uniq",
    "wait",
    "wc",
    "which",
    "who",
    "type",
];

/// Commands whose work is done elsewhere (caches are made when the image is finished), that speak to
/// running services and kernels, or that only undo what an earlier version did.
const DONE_ELSEWHERE: &[&str] = &[
    "/usr/lib/runit-helper/runit-helper",
    "deb-systemd-invoke",
    "depmod",
    "dpkg-maintscript-helper",
    "dpkg-trigger",
    "gtk-update-icon-cache",
    "install-docs",
    "install-info",
    "invoke-rc.d",
    "journalctl",
    "ldconfig",
    "py3clean",
    "py3compile",
    "pypy3compile",
    "restorecon",
    "service",
    "sysctl",
    "systemd-hwdb",
    "ucf-helper",
    "update-desktop-database",
    "update-grub",
    "update-icon-caches",
    "update-initramfs",
    "update-menus",
    "update-mime",
];

/// What systemctl is asked for of a systemd that does not run.
const ASKS_SYSTEMD: &[&str] = &[
    "daemon-reexec",
    "daemon-reload",
    "is-active",
    "is-enabled",
    "is-system-running",
    "kill",
    "list-unit-files",
    "list-units",
    "reload",
    "reload-or-restart",
    "restart",
    "show",
    "start",
    "status",
    "stop",
    "try-reload-or-restart",
    "try-restart",
];

/// The variable that holds the package's name.
const OWN_NAME: &str = "DPKG_MAINTSCRIPT_PACKAGE";

/// Whether a program is sure to be there.
pub(super) fn is_installed(name: &str) -> bool {
    INSTALLED.contains(&name)
}

/// Runs one simple command. `text` is how the script spells it.
pub(super) fn run(
    evaluator: &mut Evaluator,
    name: &str,
    arguments: &[Option<String>],
    text: &str,
) -> Status {
    let short = name.rsplit_once("bin/").map_or(name, |(_, short)| short);
    match short {
        "true" => return Status::True,
        "false" => return Status::False,
        "[" | "test" => {
            let end = arguments.len() - usize::from(short == "[" && !arguments.is_empty());
            return conditions::test(&arguments[..end]);
        }
        "read" => {
            arguments.iter().flatten().for_each(|name| evaluator.set(name, None));
            return Status::Unknown;
        }
        "set" => {
            if !arguments.iter().all(|word| is_option(word.as_deref(), &['-', '+'])) {
                evaluator.forget_arguments();
            }
            return Status::Unknown;
        }
        _ if short.starts_with("db_") => {
            evaluator.set("RET", None);
            return Status::Unknown;
        }
        _ if WITHOUT_EFFECT.contains(&short) || only_looks(short, arguments) => {
            return if short == "echo" || short == ":" { Status::True } else { Status::Unknown };
        }
        _ if DONE_ELSEWHERE.contains(&short) => return Status::True,
        _ => {}
    }
    let known: Option<Vec<String>> = arguments.iter().cloned().collect();
    let status = match (short, known) {
        ("shift", _) => {
            evaluator.forget_arguments();
            Some(Status::True)
        }
        ("dpkg", _) => dpkg(arguments),
        (_, Some(known)) => {
            let words: Vec<_> = known.iter().map(String::as_str).collect();
            with_effect(evaluator, short, &words)
        }
        (_, None) => None,
    };
    status.unwrap_or_else(|| {
        evaluator.unknown(text.to_owned());
        Status::Unknown
    })
}

/// Whether a word is an option of one letter or more; `--` is none.
fn is_option(word: Option<&str>, marks: &[char]) -> bool {
    word.is_some_and(|word| word.starts_with(marks) && word != "--")
}

/// Whether a command that can do more only looks and prints here.
fn only_looks(name: &str, arguments: &[Option<String>]) -> bool {
    let any = |is: &dyn Fn(&str) -> bool| arguments.iter().flatten().any(|word| is(word));
    match name {
        // What a program for awk or sed that is not known would write is not known either.
        "awk" => {
            let writes = |word: &str| ["system", ">", "|"].iter().any(|how| word.contains(how));
            arguments.iter().all(Option::is_some) && !any(&writes)
        }
        "sed" => {
            let in_place = |word: &str| match word.strip_prefix("--") {
                Some(long) => long.starts_with("in-place"),
                None => word.starts_with('-') && word.contains('i'),
            };
            arguments.iter().all(Option::is_some)
                && !any(&in_place)
                && !any(&|word| word.contains("w /"))
        }
        "find" => {
            const EFFECTS: [&str; 4] = ["-exec", "-ok", "-delete", "-f"];
            !any(&|word| EFFECTS.iter().any(|effect| word.starts_with(effect)))
        }
        "sort" => !any(&|word| word.starts_with("-o") || word.starts_with("--output")),
        "printf" => !any(&|word| word == "-v"),
        "trap" => matches!(arguments.first(), Some(Some(what)) if what.is_empty() || what == "-"),
        "umask" => {
            matches!(arguments, [] | [Some(_)] if !any(&|mask| !matches!(mask, "022" | "0022")))
        }
        _ => false,
    }
}

fn dpkg(arguments: &[Option<String>]) -> Option<Status> {
    let (first, rest) = arguments.split_first()?;
    match first.as_deref()? {
        "--compare-versions" => Some(conditions::compare_versions(rest)),
        "-s"
        | "-l"
        | "-L"
        | "-S"
        | "--status"
        | "--list"
        | "--listfiles"
        | "--search"
        | "--print-architecture"
        | "--validate-version" => Some(Status::Unknown),
        _ => None,
    }
}

/// Commands that change the system, all their arguments known. `None`: not understood.
fn with_effect(evaluator: &mut Evaluator, name: &str, words: &[&str]) -> Option<Status> {
    let action = match (name, words) {
        ("." | "source", ["/usr/share/debconf/confmodule"]) => return Some(Status::True),
        ("getent", ["passwd" | "group", ..]) => return Some(Status::Unknown),
        ("command", ["-v", program]) if is_installed(program) => return Some(Status::True),
        ("command", ["-v", _]) => return Some(Status::Unknown),
        ("deb-systemd-helper", words) => return deb_systemd_helper(evaluator, words),
        ("systemctl", words) => match words {
            ["enable", unit] => Action::SystemctlEnable((*unit).to_owned()),
            _ if !words.iter().any(|word| ASKS_SYSTEMD.contains(word)) => return None,
            _ => return Some(Status::Unknown),
        },
        ("systemd-sysusers", files) => Action::Sysusers(file_names(files, None)?),
        ("systemd-tmpfiles", files) => Action::Tmpfiles(file_names(files, Some("--create"))?),
        ("update-rc.d", [script, "defaults", ..]) => Action::InitScript((*script).to_owned()),
        ("update-rc.d", [_, "remove"]) => return Some(Status::True),
        ("update-alternatives", words) => match alternative(words)? {
            Some(alternative) => Action::Alternative(alternative),
            None => return Some(Status::Unknown),
        },
        ("dpkg-divert", words) => match divert(words, evaluator.variable(OWN_NAME).as_deref())? {
            Some(action) => action,
            None => return Some(Status::Unknown),
        },
        ("dpkg-statoverride", words) => match words {
            ["--list", ..] => return Some(Status::False),
            ["--update", "--add", owner, group, mode, path] => {
                Action::Statoverride(place(path, Some(owner), Some(group), Some(mode)))
            }
            _ => return None,
        },
        ("add-shell", shells) => Action::Shells(shells.iter().map(|&s| s.to_owned()).collect()),
        ("update-shells", []) => Action::Shells(Vec::new()),
        ("adduser" | "addgroup", words) => return accounts(evaluator, name, words),
        ("mkdir" | "chmod" | "chgrp" | "chown", [.., path]) if !path.starts_with('/') => {
            return None;
        }
        ("mkdir", ["-p", path]) => Action::Dir(place(path, None, None, None)),
        ("chmod", [mode, path]) if mode.bytes().all(|byte| byte.is_ascii_digit()) => {
            Action::Mode(place(path, None, None, Some(mode)))
        }
        ("chgrp", [group, path]) => Action::Mode(place(path, None, Some(group), None)),
        // A group may stand behind a dot, too; an empty one is that which the user logs in with.
        ("chown", [owner, _])
            if owner.starts_with(':') || owner.ends_with(':') || owner.contains('.') =>
        {
            return None;
        }
        ("chown", [owner, path]) => match owner.split_once(':') {
            Some((owner, group)) => Action::Mode(place(path, Some(owner), Some(group), None)),
            None => Action::Mode(place(path, Some(owner), None, None)),
        },
        ("rm", ["-f", path]) if path.starts_with('/') => Action::Remove((*path).to_owned()),
        _ => return None,
    };
    evaluator.actions.push(action);
    Some(Status::True)
}

fn place(path: &str, owner: Option<&str>, group: Option<&str>, mode: Option<&str>) -> Place {
    let own = |text: Option<&str>| text.map(str::to_owned);
    Place { path: path.to_owned(), owner: own(owner), group: own(group), mode: own(mode) }
}

/// The file names among arguments that have one option at most.
fn file_names(words: &[&str], option: Option<&str>) -> Option<Vec<String>> {
    let files = words.iter().filter(|word| Some(**word) != option);
    files.map(|word| (!word.starts_with('-')).then(|| (*word).to_owned())).collect()
}

fn deb_systemd_helper(evaluator: &mut Evaluator, words: &[&str]) -> Option<Status> {
    let user = words.contains(&"--user");
    let mut words = words.iter().filter(|word| !matches!(**word, "--user" | "--quiet"));
    let verb = *words.next()?;
    let units = words.map(|&name| Unit { name: name.to_owned(), user });
    match verb {
        "enable" => evaluator.actions.extend(units.map(Action::Enable)),
        "update-state" => evaluator.actions.extend(units.map(Action::Track)),
        "unmask" | "was-enabled" => {}
        "debian-installed" => return Some(Status::False),
        _ => return None,
    }
    Some(Status::True)
}

/// `Some(None)`: nothing to do on a fresh system.
fn alternative(words: &[&str]) -> Option<Option<Alternative>> {
    let mut words = words.iter().filter(|word| !matches!(**word, "--quiet" | "--force"));
    let mut next = || words.next().map(|word| (*word).to_owned());
    match next()?.as_str() {
        "--install" => {}
        "--remove" | "--remove-all" | "--auto" | "--list" | "--query" => return Some(None),
        _ => return None,
    }
    let (link, name, path) = (next()?, next()?, next()?);
    let priority = next()?.parse().ok()?;
    let mut slaves = Vec::new();
    while let Some(option) = next() {
        if option != "--slave" {
            return None;
        }
        slaves.push((next()?, next()?, next()?));
    }
    Some(Some(Alternative { link, name, path, priority, slaves }))
}

/// `Some(None)`: nothing to do on a fresh system.
fn divert(words: &[&str], own_name: Option<&str>) -> Option<Option<Action>> {
    let other = ["--remove", "--truename", "--list", "--listpackage"];
    if words.iter().any(|word| other.contains(word)) {
        return Some(None);
    }
    let (mut to, mut path) = (None, None);
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--quiet" | "--no-rename" | "--rename" | "--add" => {}
            // Some diversions are made in another package's name, which is beyond the model.
            "--package" => _ = words.next().filter(|name| Some(**name) == own_name)?,
            "--divert" => to = Some((*words.next()?).to_owned()),
            _ if word.starts_with('/') && path.is_none() => path = Some(word.to_owned()),
            _ => return None,
        }
    }
    Some(Some(Action::Divert { path: path?, to: to? }))
}

fn accounts(evaluator: &mut Evaluator, command: &str, words: &[&str]) -> Option<Status> {
    let (mut names, mut system, mut make_home) = (Vec::new(), false, true);
    let mut own_group = command == "addgroup";
    let mut user = User {
        name: String::new(),
        home: "/nonexistent".to_owned(),
        shell: nologin(),
        comment: String::new(),
        group: Some("nogroup".to_owned()),
    };
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "--system" => system = true,
            "--group" => own_group = true,
            "--quiet"
            | "--force-badname"
            | "--allow-bad-names"
            | "--disabled-login"
            | "--disabled-password" => {}
            "--no-create-home" => make_home = false,
            "--home" => user.home = (*words.next()?).to_owned(),
            "--shell" => user.shell = (*words.next()?).to_owned(),
            "--gecos" | "--comment" => user.comment = (*words.next()?).to_owned(),
            "--ingroup" => user.group = Some((*words.next()?).to_owned()),
            _ if word.starts_with('-') => return None,
            name => names.push(name.to_owned()),
        }
    }
    match (&names[..], system) {
        ([member, group], false) if command == "adduser" => {
            let (user, group) = (member.clone(), group.clone());
            evaluator.actions.push(Action::Member { user, group });
        }
        ([name], true) if command == "addgroup" => {
            evaluator.actions.push(Action::Group(name.clone()));
        }
        ([name], true) => {
            name.clone_into(&mut user.name);
            if own_group {
                user.group = None;
            }
            let (home, owner, group) = (user.home.clone(), name.clone(), user.group.clone());
            evaluator.actions.push(Action::User(user));
            if make_home && home != "/nonexistent" {
                let group = group.unwrap_or_else(|| owner.clone());
                let home = place(&home, Some(&owner), Some(&group), None);
                evaluator.actions.push(Action::Dir(home));
            }
        }
        _ => return None,
    }
    Some(not(Status::False))
}
