//! A small project that has a bit of everything, of this project's own lock: some thirty packages, a wheel, a bundle of an npm package, an
//! overlay with templates, two disks. Its kernel and modules are taken from the image that `chatimg build` made, for
//! Debian's whole kernel takes longer than all else together.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use chatimg::image::{INITRD_MODULES, RootImage};
use chatimg::lock::{Deb, Group, Lock, Wheel};
use chatimg::store::Store;
use ext4_view::Ext4;

use crate::project::{self, deb::OwnDeb};

/// What the image asks for; what these need comes by itself.
const DEBS: [&str; 3] = ["base-files", "base-passwd", "mdadm"];
const WHEEL: &str = "unpaddedbase64";
const NPM: &str = "another-json";
/// Drivers that the kernel really brings along, with what they need; of the others it says that they are built in.
const MODULES: [&str; 5] = ["ext4", "md_mod", "raid1", "sd_mod", "softdog"];

const FILES: [(&str, &str); 10] = [
    (
        "appliance.toml",
        "stack = \"small\"\ndomain = \"small.example\"\n\n[target]\nname = \"box\"\nslot = \"1 GiB\"\n\n\
         [options.web]\ngreeting = \"Hello\"\n",
    ),
    (
        "overlays/stacks.toml",
        "[small]\ndescription = \"A bit of everything\"\noverlays = [\"web\"]\n",
    ),
    (
        "overlays/web/overlay.toml",
        "description = \"A bit of everything\"\nenable = [\"web.service\"]\n\n\
         [packages]\ndebian = [\"base-files\", \"base-passwd\", \"mdadm\"]\n\n\
         [inputs.python.tools]\nrequirements = [\"unpaddedbase64\"]\ninto = \"/opt/tools\"\n\n\
         [inputs.npm.another-json]\nversion = \"^0.2\"\n\n\
         [bundles.client]\nnpm = [\"another-json\"]\nentries = [\"app.js\", \"style.css\"]\npages = [\"index.html\"]\n\
         into = \"/srv/client\"\n\n\
         [[users]]\nname = \"web\"\nid = 431\nhome = \"/var/lib/web\"\ncomment = \"Serves\"\n\n\
         [[state]]\npath = \"/var/lib/web\"\nowner = \"web\"\nmode = \"0750\"\n\n\
         [[secrets]]\npath = \"/var/lib/web/key\"\nowner = \"web\"\nmode = \"0400\"\n\
         generate = \"head -c 32 /dev/urandom > \\\"$OUT\\\"\"\n\n\
         [[ports]]\nnumber = 8080\npurpose = \"HTTP\"\n\n\
         [options.greeting]\ntype = \"string\"\ndefault = \"Welcome\"\ndoc = \"What is said.\"\n",
    ),
    ("overlays/web/files/etc/motd.j2", "{{ options.greeting }} to {{ appliance.domain }}\n"),
    (
        "overlays/web/files/usr/lib/systemd/system/web.service.j2",
        "[Unit]\nDescription=Serves {{ appliance.domain }}\n\n[Service]\nExecStart=/usr/lib/chatimg/web.py\n\
         User=web\n\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "overlays/web/files/usr/lib/chatimg/web.py",
        "#!/usr/bin/python3\nORDER = {'b', 'a', 'c'}\nprint(__file__)\n",
    ),
    ("overlays/web/files/usr/lib/chatimg/a.py", "VALUE = frozenset(('x', 'y', 'z'))\n"),
    (
        "overlays/web/client/app.js",
        "import json from 'another-json';\nconsole.log(json.stringify({b: 1, a: 2}));\n",
    ),
    ("overlays/web/client/style.css", "body { margin: 0 }\n"),
    (
        "overlays/web/client/index.html",
        "<link rel=\"stylesheet\" href=\"style.css\"><script src=\"app.js\"></script>\n",
    ),
];

/// Writes the project into a new folder.
pub fn make(dir: &Path) {
    for (path, text) in FILES {
        write(&dir.join(path), text.as_bytes());
    }
    let program = dir.join("overlays/web/files/usr/lib/chatimg/web.py");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("mode");
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(top.join("overlays/debian")).arg(dir.join("overlays"));
    assert!(copy.status().expect("cp").success());
    fs::write(dir.join("appliance.lock"), lock(top, &DEBS).to_toml()).expect("lock");
    kernel(top, &dir.join("overlays/web/files"));
}

/// What scripts that dpkg runs in a cell take, besides the package [`PEEK`].
const SHELL: [&str; 6] = ["coreutils", "dash", "diffutils", "dpkg", "grep", "libc-bin"];
/// A package whose script writes down what it sees of where it runs: nobody understands that, so it is run.
const PEEK: &str = "peek";

/// Has the project ask for a package with a script that is run.
pub fn add_script(dir: &Path) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names: Vec<_> = SHELL.iter().chain([&PEEK]).map(|name| format!("{name:?}")).collect();
    let overlay = format!(
        "description = \"A script that is run\"\n\n[packages]\ndebian = [{}]\n",
        names.join(", ")
    );
    write(&dir.join("overlays/script/overlay.toml"), overlay.as_bytes());
    let stacks = dir.join("overlays/stacks.toml");
    let text = fs::read_to_string(&stacks).expect("stacks");
    fs::write(&stacks, text.replace("[\"web\"]", "[\"web\", \"script\"]")).expect("stacks");

    let mut lock = lock(top, &[&DEBS[..], &SHELL[..]].concat());
    let asked = lock.request.debian.get_mut(&Group::Image).expect("packages are asked for");
    asked.insert(PEEK.to_owned());
    let script = top.join("tests/packages/odd/peek");
    let members = &[("postinst", fs::read_to_string(script).expect("the script"))];
    let peek = OwnDeb { name: PEEK, depends: "dpkg", members, files: &[] };
    let store = Store::open(&project::store_dir()).unwrap_or_else(|error| panic!("{error}"));
    lock.debs.push(peek.make(&store));
    lock.debs.sort_by(|one, other| one.name.cmp(&other.name));
    fs::write(dir.join("appliance.lock"), lock.to_toml()).expect("lock");
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(path, bytes).expect("write");
}

/// This project's lock, without what the small one does not need: `asked` and all of theirs.
fn lock(top: &Path, asked: &[&str]) -> Lock {
    let text = fs::read_to_string(top.join("appliance.lock")).expect("appliance.lock");
    let mut lock = Lock::parse(&text, "appliance.lock").unwrap_or_else(|error| panic!("{error}"));
    let needed = closure(&lock, asked);
    for deb in lock.debs.iter_mut().filter(|deb| !needed.contains(&deb.name)) {
        deb.groups.remove(&Group::Image);
    }
    lock.debs.retain(|deb| !deb.groups.is_empty());
    let asked = asked.iter().map(|&name| name.to_owned()).collect();
    lock.request.debian.insert(Group::Image, asked);
    let wheel = lock.wheels.iter().find(|wheel| wheel.name == WHEEL).expect("the lock has it");
    lock.wheels = vec![Wheel { env: "tools".to_owned(), ..wheel.clone() }];
    lock.request.python = [("tools".to_owned(), [WHEEL.to_owned()].into())].into();
    lock.npm.retain(|tarball| tarball.name == NPM);
    assert_eq!(lock.npm.len(), 1);
    lock.request.npm = [(NPM.to_owned(), "^0.2".to_owned())].into();
    (lock.urls, lock.request.url) = Default::default();
    lock
}

/// Packages and all that they depend on, as their own control files say.
fn closure(lock: &Lock, asked: &[&str]) -> BTreeSet<String> {
    let debs = lock.debs_of(Group::Image);
    let known: BTreeMap<&str, &Deb> = debs.iter().map(|deb| (&*deb.name, deb)).collect();
    let name =
        |text: &str| text.trim().split([' ', '(', ':']).next().unwrap_or_default().to_owned();
    let provider = |wanted: &str| {
        let provides =
            |deb: &&Deb| field(deb, "Provides").split(',').any(|one| name(one) == wanted);
        debs.iter().find(provides).map(|deb| deb.name.clone())
    };
    let mut next: Vec<_> = asked.iter().map(|&name| name.to_owned()).collect();
    let mut found = BTreeSet::new();
    while let Some(deb) = next.pop() {
        let needs = ["Depends", "Pre-Depends"].map(|key| field(known[&*deb], key)).join(",");
        for need in needs.split(',').filter(|need| !need.trim().is_empty()) {
            let choices: Vec<_> = need.split('|').map(name).collect();
            let direct = choices.iter().find(|choice| known.contains_key(&***choice)).cloned();
            let choice = direct.or_else(|| choices.iter().find_map(|choice| provider(choice)));
            next.extend(choice.filter(|choice| !found.contains(choice)));
        }
        found.insert(deb);
    }
    found
}

/// A field of a package's control file; empty: it has none.
fn field(deb: &Deb, name: &str) -> String {
    let hex = deb.digest.to_string();
    let path = project::store_dir().join("blobs").join(&hex[..2]).join(&hex);
    let output =
        Command::new("dpkg-deb").arg("-f").arg(&path).arg(name).output().expect("dpkg-deb");
    assert!(output.status.success(), "run `cargo run --release -- build` first");
    project::text(&output.stdout).trim().to_owned()
}

/// A kernel with a few of its modules, out of the root slot of `images/current`.
fn kernel(top: &Path, files: &Path) {
    let root = RootImage::open(&top.join("images/current"))
        .unwrap_or_else(|error| panic!("{error}\nrun `cargo run --release -- build` first"));
    let slot = Ext4::load(Box::new(root)).expect("a file system");
    let boot = slot.read_dir("/boot").expect("/boot");
    let mut names = boot.map(|entry| entry.expect("an entry").file_name().display().to_string());
    let name = names.find(|name| name.starts_with("vmlinuz-")).expect("a kernel");
    let read = |path: &str| slot.read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    write(&files.join("boot").join(&name), &read(&format!("/boot/{name}")));
    let modules = format!("/usr/lib/modules/{}", &name["vmlinuz-".len()..]);
    let own = files.join(modules.trim_start_matches('/'));
    let dep = String::from_utf8(read(&format!("{modules}/modules.dep"))).expect("text");
    let stem = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.split(".ko").next().unwrap_or(name).replace('-', "_")
    };
    let mut chosen = BTreeSet::new();
    for line in dep.lines() {
        let (path, needs) = line.split_once(':').expect("a line of modules.dep");
        if MODULES.contains(&&*stem(path)) {
            chosen.extend([path].into_iter().chain(needs.split_whitespace()).map(str::to_owned));
        }
    }
    assert!(chosen.len() >= MODULES.len(), "{chosen:?}");
    for path in &chosen {
        write(&own.join(path), &read(&format!("{modules}/{path}")));
    }
    let order: String = chosen.iter().map(|path| format!("{path}\n")).collect();
    write(&own.join("modules.order"), order.as_bytes());
    let missing = INITRD_MODULES.iter().filter(|name| !MODULES.contains(name));
    let builtin: String = missing.map(|name| format!("kernel/none/{name}.ko\n")).collect();
    write(&own.join("modules.builtin"), builtin.as_bytes());
    write(&own.join("modules.builtin.modinfo"), b"");
}
