//! Packages that users add, with all that they need, whatever their scripts do: the same tree twice, and that of real dpkg.
//!
//! CI takes a small set; `CHATIMG_PACKAGES=all` takes all, and the names of sets or of any packages those. What is not in the store is
//! locked and fetched from the machine's archives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use crate::project::deb::OwnDeb;
use crate::project::{Copy, Project, chatimg, fetch, lay_out, settings, text};
use crate::reference::reference;
use chatimg::compose::{
    ComposeError, Declarations, Inputs, installed, parity, strip, understood, without_secrets,
};
use chatimg::debian::keyring::Keyring;
use chatimg::fetch::{Http, Sources};
use chatimg::lock::{Group, Lock, Online, deb::UpdateSet, resolve};
use chatimg::sandbox;
use chatimg::store::Store;
use chatimg::tools::Tools;
use chatimg::tree::Tree;

/// Sets of packages that go together. Each has systemd, as an appliance does.
const SETS: &[(&str, &[&str])] = &[
    ("sample", &["cron", "gawk", "libcap2-bin", "memcached", "screen", "ucf"]),
    (
        "tools",
        &[
            "borgbackup",
            "emacs-nox",
            "fish",
            "git",
            "htop",
            "locales-all",
            "logrotate",
            "man-db",
            "mc",
            "mosh",
            "nano",
            "nmap",
            "restic",
            "rsync",
            "strace",
            "tcpdump",
            "tmux",
            "vim",
            "weechat",
            "zsh",
        ],
    ),
    ("languages", &["default-jre-headless", "nodejs", "php-fpm", "ruby"]),
    ("web", &["apache2", "caddy", "haproxy", "redis-server", "squid", "tor"]),
    ("names", &["avahi-daemon", "bind9", "dnsmasq", "unbound"]),
    ("mail", &["dovecot-imapd", "postfix"]),
    ("data", &["mariadb-server", "rabbitmq-server", "slapd"]),
    ("files", &["cups", "nfs-kernel-server", "samba"]),
    ("network", &["collectd-core", "munin-node", "openvpn", "snmpd", "wireguard-tools"]),
    ("talk", &["docker.io", "prosody"]),
    (
        "services",
        &[
            "apparmor",
            "auditd",
            "chrony",
            "lighttpd",
            "lm-sensors",
            "monit",
            "mosquitto",
            "qemu-guest-agent",
            "rsyslog",
            "syncthing",
            "transmission-daemon",
            "ufw",
            "unattended-upgrades",
            "varnish",
            "zabbix-agent",
            "znc",
        ],
    ),
];

struct Bench {
    project: Project,
    declarations: Declarations,
    tools: Tools,
}

impl Bench {
    fn new() -> Self {
        sandbox::made_by(Path::new(chatimg()));
        let project = Project::open();
        let declarations = Declarations::load(&project.dir.join("overlays/debian"));
        let declarations = declarations.unwrap_or_else(|error| panic!("{error}"));
        let (tools, _) = project.tools(Group::Build);
        Self { project, declarations, tools }
    }

    /// These packages with all that they need, all fetched; the project's lock decides versions first.
    fn locked(&self, packages: &[&str]) -> Lock {
        let Project { store, plan, lock, .. } = &self.project;
        let mut request = plan.request.clone();
        let names = packages.iter().chain(&["passwd", "systemd-sysv"]).map(|&name| name.to_owned());
        request.debian = BTreeMap::from([(Group::Image, names.collect())]);
        (request.python, request.npm, request.url) = Default::default();
        let settings = settings();
        let sources = Sources::discover(&settings).unwrap_or_else(|error| panic!("{error}"));
        let http = Http::new();
        let (config, note) = (&settings.config, &|_: &str| ());
        let keyring = &Keyring::debian().expect("Debian's keys");
        let online = Online { store, http: &http, keyring, sources: &sources, config, note };
        let locked = resolve(&online, &request, Some(lock), &UpdateSet::None, lock.epoch);
        let mut locked = locked.unwrap_or_else(|error| panic!("{packages:?}: {error}"));
        // What "now" is may not hang on the day of the test.
        locked.epoch = lock.epoch;
        fetch(store, &locked, &[Group::Image]);
        locked
    }

    /// The tree that a store of its own makes.
    fn made(&self, store: &Store, lock: &Lock) -> Result<Tree, String> {
        self.made_with(&self.declarations, store, lock)
    }

    fn made_with(
        &self,
        declarations: &Declarations,
        store: &Store,
        lock: &Lock,
    ) -> Result<Tree, String> {
        let Self { project, tools, .. } = self;
        for deb in lock.debs_of(Group::Image) {
            project.store.lend_blob(store, &deb.digest).expect("the .deb is there");
        }
        let (plan, events) = (&project.plan, &|_| ());
        let inputs = Inputs { store, plan, lock, tools, declarations, events };
        installed(&inputs).map_err(|error| error.to_string())
    }

    /// Whether an image may have what it made.
    fn harmless(&self, store: &Store, lock: &Lock, tree: &Tree) -> Result<(), String> {
        let Self { project, tools, declarations } = self;
        let (plan, events) = (&project.plan, &|_| ());
        let inputs = Inputs { store, plan, lock, tools, declarations, events };
        let mut tree = tree.clone();
        strip(&mut tree);
        without_secrets(&inputs, &tree).map_err(|error| error.to_string())
    }
}

fn chosen() -> Vec<(&'static str, Vec<&'static str>)> {
    static WANTED: OnceLock<String> = OnceLock::new();
    let wanted = || std::env::var("CHATIMG_PACKAGES").unwrap_or_else(|_| "sample".to_owned());
    let words = WANTED.get_or_init(wanted).split([',', ' ']).filter(|word| !word.is_empty());
    let wanted: BTreeSet<_> = words.collect();
    let mut others = wanted.clone();
    others.remove("all");
    let mut chosen = Vec::new();
    for (name, packages) in SETS {
        others.retain(|other| other != name && !packages.contains(other));
        let of_set: Vec<_> = match wanted.contains(name) || wanted.contains("all") {
            true => packages.to_vec(),
            false => packages.iter().copied().filter(|name| wanted.contains(name)).collect(),
        };
        if !of_set.is_empty() {
            chosen.push((*name, of_set));
        }
    }
    if !others.is_empty() {
        chosen.push(("others", others.into_iter().collect()));
    }
    assert!(!chosen.is_empty(), "CHATIMG_PACKAGES names no set and no package");
    chosen
}

fn member(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/odd").join(name);
    std::fs::read_to_string(path).expect(name)
}

/// A package whose scripts do what scripts can do, among others.
fn add_odd(store: &Store, lock: &mut Lock) {
    let unit = "[Service]\nExecStart=/usr/lib/odd/able\n[Install]\nWantedBy=multi-user.target\n";
    let members = ["preinst", "postinst", "templates"].map(|name| (name, member(name)));
    let odd = OwnDeb {
        name: "odd",
        depends: "adduser, debconf, libcap2-bin, ucf",
        members: &members,
        files: &[
            ("usr/bin/tac", "#!/bin/sh\nexec tac.real \"$@\"\n"),
            ("usr/lib/odd/able", "#!/bin/sh\n"),
            ("usr/lib/odd/started", "#!/bin/sh\ntouch /var/lib/odd/started\n"),
            ("usr/lib/systemd/system/odd.service", unit),
            ("usr/share/odd/template", "# a template\n"),
        ],
    };
    lock.debs.push(odd.make(store));
}

#[test]
fn any_package_is_installed_as_dpkg_does_it_and_the_same_twice() {
    let bench = Bench::new();
    let list = bench.project.dir.join("tests/packages/differences.toml");
    let list = std::fs::read_to_string(list).expect("the list of differences");
    let accepted: parity::Accepted = toml::from_str(&list).expect("the list of differences");
    let mut failures = Vec::new();
    for (name, mut packages) in chosen() {
        println!("== {name}: {}", packages.join(" "));
        let start = std::time::Instant::now();
        let mut lock = bench.locked(&packages);
        let store = &bench.project.store;
        if *name == *"sample" && packages.contains(&"libcap2-bin") {
            add_odd(store, &mut lock);
            packages.push("odd");
        }
        let refused = match understood(store, &lock, &bench.declarations) {
            Err(ComposeError::Scripts(problems)) => {
                problems.into_iter().map(|problem| problem.package).collect()
            }
            Err(error) => panic!("{name}: {error}"),
            Ok(()) => BTreeSet::new(),
        };
        let refused: Vec<_> = refused.into_iter().collect();
        println!("{} packages; scripts are run of {}", lock.debs.len(), refused.join(" "));
        let work = tempfile::tempdir().expect("temporary folder");
        let open = |name: &str| Store::open(&work.path().join(name)).expect("a store");
        let ours_store = open("store");
        let ours = match bench.made(&ours_store, &lock) {
            Ok(tree) => tree,
            Err(error) => {
                println!("{error}");
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        println!("made in {:.0?}", start.elapsed());
        if let Err(error) = bench.harmless(&ours_store, &lock, &ours) {
            println!("{error}");
            failures.push(format!("{name}: {error}"));
        }
        match bench.made(&open("again"), &lock) {
            Ok(again) if again.id() == ours.id() => {}
            Ok(_) => failures.push(format!("{name}: another tree the second time")),
            Err(error) => failures.push(format!("{name}: the second time: {error}")),
        }
        std::fs::remove_dir_all(work.path().join("again")).expect("removed");
        let theirs_store = open("reference");
        lay_out(store, &lock, work.path());
        let names: Vec<_> = packages.iter().copied().chain(["passwd", "systemd-sysv"]).collect();
        let theirs = reference(&theirs_store, work.path(), &names);
        let report = parity::compare((&ours, &ours_store), (&theirs, &theirs_store), &accepted)
            .expect("both trees can be read");
        println!("compared {} paths in {:.0?}", report.compared, start.elapsed());
        for (reason, count) in &report.explained {
            println!("{count:7}  {reason}");
        }
        for difference in &report.unexplained {
            println!("no reason: {difference}");
            failures.push(format!("{name}: {difference}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The smallest system that scripts can run in, an allocator, and the packages given.
fn small(bench: &Bench, own: &[OwnDeb<'_>]) -> Lock {
    let mut lock = bench.locked(&["libjemalloc2"]);
    lock.debs.extend(own.iter().map(|own| own.make(&bench.project.store)));
    lock
}

fn postinst(text: &str) -> (&'static str, String) {
    ("postinst", format!("#!/bin/sh\nset -e\n{text}"))
}

#[test]
fn scripts_see_the_same_everywhere_and_nothing_of_this_machine() {
    let bench = Bench::new();
    let members = [("postinst", member("peek"))];
    let peek = OwnDeb { name: "peek", depends: "dpkg", members: &members, files: &[] };
    let lock = small(&bench, &[peek]);
    let work = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(work.path()).expect("a store");
    let tree = bench.made(&store, &lock).unwrap_or_else(|error| panic!("{error}"));
    let said = |name: &str| {
        let (file, meta) = tree.file(&format!("var/lib/peek/{name}")).expect(name);
        assert_eq!(
            (meta.uid, meta.gid, meta.mode, meta.mtime),
            (0, 0, 0o644, lock.epoch),
            "{name}"
        );
        text(&store.read(file).expect(name)).trim_end().to_owned()
    };
    assert_eq!(said("date"), lock.epoch.to_string());
    assert!(tree.get("usr/lib/x86_64-linux-gnu/libjemalloc.so.2").is_some());
    assert_eq!(said("allocated"), lock.epoch.to_string());
    assert_eq!(said("name"), "localhost");
    assert_eq!(said("user"), "0");
    assert_eq!(said("umask"), "0022");
    assert_eq!(said("folder"), "/");
    let root = said("root");
    let of_tree: Vec<_> = tree.iter().filter(|(path, _)| path.parent().is_none()).collect();
    for name in root.lines().filter(|name| *name != ".chatimg") {
        assert!(of_tree.iter().any(|(path, _)| path.as_str() == name), "/{name} of the host?");
    }
    let environment = said("environment");
    for line in ["DEBIAN_FRONTEND=noninteractive", "DPKG_MAINTSCRIPT_PACKAGE=peek", "TZ=UTC"] {
        assert!(environment.lines().any(|found| found == line), "{environment}");
    }
    assert!(!environment.contains("CARGO"), "{environment}");
    assert!(said("networks").parse::<u32>().is_ok_and(|count| count <= 1), "{}", said("networks"));
}

#[test]
fn what_is_random_is_refused_by_its_path_unless_it_is_discarded() {
    let bench = Bench::new();
    let members = [postinst(
        "mkdir -p /var/lib/key\ncat /proc/sys/kernel/random/uuid >/var/lib/key/id || head -c 32 /dev/urandom >/var/lib/key/id\ndate >/var/lib/key/made\n",
    )];
    let odd = OwnDeb { name: "random", depends: "dpkg", members: &members, files: &[] };
    let lock = small(&bench, &[odd]);
    let work = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(&work.path().join("store")).expect("a store");
    let error = bench.made(&store, &lock).expect_err("nobody may have the same key");
    for words in [
        "the scripts of random were run twice, and did not make the same:\n  /var/lib/key/id: contents\n",
        "[[discard]]",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!error.contains("/var/lib/key/made"), "{error}");

    let declared = work.path().join("declared");
    std::fs::create_dir(&declared).expect("folder");
    let discard = "[[discard]]\npaths = [\"/var/lib/key/id\"]\nreason = \"a key that every box makes itself\"\n";
    std::fs::write(declared.join("random.toml"), discard).expect("written");
    for entry in std::fs::read_dir(bench.project.dir.join("overlays/debian")).expect("listed") {
        let entry = entry.expect("listed");
        std::fs::copy(entry.path(), declared.join(entry.file_name())).expect("copied");
    }
    let declarations = Declarations::load(&declared).expect("declarations");
    let tree = bench.made_with(&declarations, &store, &lock);
    let tree = tree.unwrap_or_else(|error| panic!("{error}"));
    assert!(tree.get("var/lib/key/made").is_some() && tree.get("var/lib/key/id").is_none());
}

#[test]
fn a_script_that_fails_is_named_with_its_words() {
    let bench = Bench::new();
    let members = [postinst("echo there is no such thing >&2\nno-such-program\n")];
    let lock =
        small(&bench, &[OwnDeb { name: "bad", depends: "dpkg", members: &members, files: &[] }]);
    let work = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(work.path()).expect("a store");
    let error = bench.made(&store, &lock).expect_err("it fails");
    for words in ["there is no such thing", "no-such-program", "package bad", "exit status 127"] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn strict_refuses_what_would_be_run_with_its_lines() {
    let copy = Copy::new();
    copy.edit("packages = []", "packages = [\"memcached\"]");
    let lock = copy.run(&["lock"]);
    assert!(lock.status.success(), "{}", text(&lock.stderr));
    let refused = copy.run(&["build", "--strict"]);
    let words = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{words}");
    for expected in [
        "package memcached: its postinst does something that chatimg has no model of:\n  line ",
        "overlays/debian/memcached.toml",
        "build without --strict",
    ] {
        assert!(words.contains(expected), "{words}");
    }
    assert!(!copy.images().join("current").exists());
}
