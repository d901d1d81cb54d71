//! Packages that users add, with all that they need, whatever their scripts do: the same tree twice, and that of real dpkg.
//!
//! CI takes a small set; `CHATIMG_PACKAGES=all` takes all, and the names of sets or packages those. What is not in the store is locked
//! and fetched from the machine's archives.

mod project;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chatimg::compose::{ComposeError, Declarations, Inputs, installed, parity, understood};
use chatimg::fetch::{self, Http, Settings, Sources};
use chatimg::lock::{Group, Lock, Online, deb::UpdateSet, resolve};
use chatimg::store::Store;
use chatimg::tools::Tools;
use project::{Project, lay_out};
use reference::reference;

/// Sets of packages that go together. Each has systemd, as an appliance does.
const SETS: &[(&str, &[&str])] = &[
    ("sample", &["cron", "memcached", "screen"]),
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
    ("exim", &["exim4-daemon-light"]),
    ("data", &["mariadb-server", "rabbitmq-server", "slapd"]),
    ("files", &["cups", "nfs-kernel-server", "samba"]),
    ("network", &["collectd-core", "munin-node", "openvpn", "snmpd", "wireguard-tools"]),
    ("talk", &["docker.io", "prosody"]),
];

struct Bench {
    project: Project,
    declarations: Declarations,
    tools: Tools,
}

impl Bench {
    fn new() -> Self {
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
        let names = packages.iter().chain(&["systemd-sysv"]).map(|&name| name.to_owned());
        request.debian = BTreeMap::from([(Group::Image, names.collect())]);
        (request.python, request.npm, request.url) = Default::default();
        let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
        let settings = Settings {
            config: home.join(".config/chatimg/config.toml"),
            env: std::env::vars().collect(),
            root: PathBuf::from("/"),
        };
        let sources = Sources::discover(&settings).unwrap_or_else(|error| panic!("{error}"));
        let http = Http::new().unwrap_or_else(|error| panic!("{error}"));
        let (config, note) = (&settings.config, &|_: &str| ());
        let online = Online { store, http: &http, sources: &sources, config, note };
        let locked = resolve(&online, &request, Some(lock), &UpdateSet::None, lock.epoch);
        let mut locked = locked.unwrap_or_else(|error| panic!("{packages:?}: {error}"));
        // What "now" is may not hang on the day of the test.
        locked.epoch = lock.epoch;
        let wanted = fetch::wanted(&locked, &[Group::Image]);
        let cancel = std::sync::atomic::AtomicBool::new(false);
        fetch::fetch_all(store, &http, &sources, &wanted, &|_| (), &cancel)
            .unwrap_or_else(|error| panic!("{packages:?}: {error}"));
        locked
    }

    /// The tree that a store of its own makes.
    fn made(&self, store: &Store, lock: &Lock) -> Result<chatimg::tree::Tree, String> {
        let Self { project, declarations, tools } = self;
        for deb in lock.debs_of(Group::Image) {
            project.store.lend_blob(store, &deb.digest).expect("the .deb is there");
        }
        let (plan, events) = (&project.plan, &|_| ());
        let inputs = Inputs { store, plan, lock, tools, declarations, events };
        installed(&inputs).map_err(|error| error.to_string())
    }
}

fn chosen() -> Vec<(&'static str, Vec<&'static str>)> {
    let wanted = std::env::var("CHATIMG_PACKAGES").unwrap_or_else(|_| "sample".to_owned());
    let wanted: BTreeSet<_> = wanted.split([',', ' ']).collect();
    let mut chosen = Vec::new();
    for (name, packages) in SETS {
        let of_set: Vec<_> = match wanted.contains(name) || wanted.contains("all") {
            true => packages.to_vec(),
            false => packages.iter().copied().filter(|name| wanted.contains(name)).collect(),
        };
        if !of_set.is_empty() {
            chosen.push((*name, of_set));
        }
    }
    assert!(!chosen.is_empty(), "CHATIMG_PACKAGES names no set and no package");
    chosen
}

#[test]
fn any_package_is_installed_as_dpkg_does_it_and_the_same_twice() {
    let bench = Bench::new();
    let list = bench.project.dir.join("tests/packages/differences.toml");
    let list = std::fs::read_to_string(list).expect("the list of differences");
    let accepted: parity::Accepted = toml::from_str(&list).expect("the list of differences");
    let mut failures = Vec::new();
    for (name, packages) in chosen() {
        println!("== {name}: {}", packages.join(" "));
        let start = std::time::Instant::now();
        let lock = bench.locked(&packages);
        let store = &bench.project.store;
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
        match bench.made(&open("again"), &lock) {
            Ok(again) if again.id() == ours.id() => {}
            Ok(_) => failures.push(format!("{name}: another tree the second time")),
            Err(error) => failures.push(format!("{name}: the second time: {error}")),
        }
        std::fs::remove_dir_all(work.path().join("again")).expect("removed");
        let theirs_store = open("reference");
        lay_out(store, &lock, work.path());
        let names: Vec<_> = packages.iter().copied().chain(["systemd-sysv"]).collect();
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
