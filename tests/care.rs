//! `chatimg gc`, `store verify`, `images` and `diff` as a user runs them, on two images of a small made-up root.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use crate::project::{chatimg, text};
use crate::small::{self, Fixture};
use chatimg::appliance::Disks;
use chatimg::image::layout::{Layout, Part};
use chatimg::tree::{Node, TreePath};
use serde_json::Value;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n";
const UNIT: &str = "[Service]\nExecStart=/usr/bin/true\n";

/// A project folder with two images, the second one newer.
struct World {
    dir: tempfile::TempDir,
    ids: [String; 2],
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        fs::write(dir.path().join("appliance.toml"), "").expect("write");
        let motd: String = (1..20).map(|line| format!("line {line}\n")).collect();
        let old = [
            ("etc/passwd", PASSWD),
            ("etc/group", "root:x:0:\n"),
            ("etc/motd", &motd),
            ("etc/old", "old\n"),
            ("usr/lib/systemd/system/a.service", UNIT),
            ("usr/share/program", "1"),
        ];
        let passwd = format!("{PASSWD}eve:x:401:401::/home/eve:/bin/sh\n");
        let (changed, unit) = (motd.replace("line 7\n", "line <7>\n"), format!("{UNIT}User=eve\n"));
        let new = [
            ("etc/passwd", &*passwd),
            ("etc/group", "root:x:0:\neve:x:401:\n"),
            ("etc/motd", &changed),
            ("usr/lib/systemd/system/a.service", &unit),
            ("usr/lib/systemd/system/b.timer", "[Timer]\n"),
            ("usr/share/program", "1"),
            ("usr/share/more", "more"),
        ];
        let built = [&old[..], &new[..]].map(|files| {
            let mut fixture = Fixture::at(dir.path(), files).unwrap_or_else(|e| panic!("{e}"));
            let is_new = files.len() == new.len();
            if is_new {
                let program = fixture.root.get_mut("usr/share/program").expect("it is there");
                (program.meta.mode, program.meta.uid) = (0o4755, 401);
                let wants: TreePath =
                    "etc/systemd/system/timers.target.wants".parse().expect("path");
                fixture.root.make_dirs(&wants, small::EPOCH).expect("folders");
                let mut link = fixture.root.get("etc/motd").expect("it is there").clone();
                link.node = Node::Symlink("/usr/lib/systemd/system/b.timer".into());
                let name = wants.join("b.timer").expect("path");
                fixture.root.insert(name, link).expect("inserts");
            }
            let port = if is_new { "443/tcp" } else { "80/tcp" };
            fixture.ports.insert(port.to_owned());
            let built = fixture.build(&dir.path().join("images")).expect("builds");
            let manifest = File::open(built.dir.join("manifest.json")).expect("opens");
            let age = Duration::from_secs(if is_new { 0 } else { 7200 });
            for disk in built.disks() {
                let file = File::open(disk).expect("opens");
                file.set_modified(SystemTime::now() - age).expect("time");
            }
            manifest.set_modified(SystemTime::now() - age).expect("time");
            built.id
        });
        Self { dir, ids: built }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(chatimg());
        command.arg("--store").arg(self.path("store")).args(args).current_dir(self.dir.path());
        command.output().expect("chatimg runs")
    }

    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(args)).expect("JSON")
    }

    /// As if the processes that made all this had died the day before yesterday.
    fn age(&self) {
        let before = SystemTime::now() - Duration::from_secs(2 * 86_400);
        for entry in fs::read_dir(self.path("store/using")).expect("using").flatten() {
            File::open(entry.path()).and_then(|file| file.set_modified(before)).expect("time");
        }
    }
}

#[test]
fn images_are_listed() {
    let world = World::new();
    let said = world.says(&["images"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with(&format!("* {}", world.ids[1])), "{said}");
    assert!(lines[1].starts_with(&format!("  {}", world.ids[0])), "{said}");
    assert!(lines[1].contains("2 hours ago") && lines[1].contains("lock of 2023-11-14"), "{said}");
    assert!(lines[1].ends_with("  sample"), "{said}");
    let json = world.json(&["images", "--json"]);
    assert_eq!((&json[0]["id"], &json[0]["current"]), (&world.ids[1].clone().into(), &true.into()));
    let disk = |name: &str| {
        let meta = fs::metadata(world.path("images/current").join(name)).expect("a file");
        std::os::unix::fs::MetadataExt::blocks(&meta) * 512
    };
    let files = ["disk-1.img", "disk-2.img", "manifest.json"].map(disk);
    let (sum, said) = (files.iter().sum::<u64>(), json[0]["on-disk"].as_u64().expect("a number"));
    assert!((sum..sum + 10_000).contains(&said), "{sum} {said}");
    assert_eq!(json[0]["of-this-lock"], false);
}

#[test]
fn space_is_freed_and_what_is_needed_stays() {
    let world = World::new();
    let store = chatimg::store::Store::open(&world.path("store")).expect("store");
    let locked = store.add_blob(b"locked").expect("adds");
    let loose = store.add_blob(b"loose").expect("adds");
    drop(store);
    fs::write(world.path("appliance.lock"), format!("sha256 = \"{locked}\"\n")).expect("write");
    world.age();
    fs::write(world.path("images/mine.txt"), "mine").expect("write");

    let told = world.says(&["gc", "--dry-run", "--keep", "0"]);
    assert!(told.contains(&format!("would free ./images/{}", world.ids[0])), "{told}");
    assert!(told.contains("1 fetched inputs") && told.contains("results ("), "{told}");
    let both = [&world.ids[0], &world.ids[1]].map(|id| world.path("images").join(id));
    assert!(both[0].exists() && world.path("store/blobs").join(&loose.to_string()[..2]).exists());

    world.says(&["gc"]);
    assert!(both[0].exists(), "two stay besides the newest");
    let done = world.says(&["gc", "--keep", "0"]);
    assert!(done.contains("freed"), "{done}");
    assert!(!both[0].exists() && both[1].exists() && world.path("images/mine.txt").exists());
    assert_eq!(
        fs::read_link(world.path("images/current")).expect("current"),
        Path::new(&world.ids[1])
    );
    let store = chatimg::store::Store::open(&world.path("store")).expect("store");
    assert!(store.has_blob(&locked) && !store.has_blob(&loose));
    drop(store);
    assert!(world.says(&["gc", "--keep", "0"]).contains("freed of the store: nothing"));
}

#[test]
fn damage_is_named_and_told_by_the_exit_status() {
    let world = World::new();
    assert!(world.says(&["store", "verify"]).contains("all are sound"));
    assert_eq!(world.says(&["store", "verify", "--quiet"]), "");
    let store = chatimg::store::Store::open(&world.path("store")).expect("store");
    let blob = store.add_blob(b"blob").expect("adds").to_string();
    drop(store);
    let path = world.path("store/blobs").join(&blob[..2]).join(&blob);
    fs::write(&path, "b10b").expect("damage");
    let output = world.run(&["store", "verify", "--quiet"]);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), ""));
    let said = text(&output.stdout);
    assert!(said.starts_with(&format!("damaged: blobs/{blob}: its SHA-256 is")), "{said}");
    assert!(!path.exists() && said.contains("store/corrupt/blobs-"), "{said}");
    assert_eq!(world.says(&["store", "verify", "--quiet"]), "");
}

#[test]
fn what_differs_is_told() {
    let world = World::new();
    let [old, _] = &world.ids;
    let said = world.says(&["diff", &old[..6], "current"]);
    for part in [
        "units: 1 new, 1 changed\n  ~ a.service not enabled -> not enabled\n  + b.timer enabled\n",
        "users: 1 new\n  + eve uid 401, gid 401, /home/eve, /bin/sh\n",
        "groups: 1 new\n  + eve gid 401\n",
        "open ports: 1 new, 1 gone\n  + 443/tcp\n  - 80/tcp\n",
        "  - /etc/old\n",
        "    @@ -4,7 +4,7 @@\n     line 4\n     line 5\n     line 6\n    -line 7\n    +line <7>\n     line 8\n",
        "  ~ /usr/share/program (mode, owner)\n",
        "  + /usr/share/more",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
    assert!(!said.contains("/usr/share/large"), "{said}");
    assert_eq!(world.says(&["diff", &old[..6], "current"]), said);
    assert!(world.says(&["diff", old, old]).ends_with("nothing differs\n"));
    // The other way round all is the other way round.
    let back = world.says(&["diff", "current", old]);
    assert!(
        back.contains("  - eve uid 401") && back.contains("    -line <7>\n    +line 7\n"),
        "{back}"
    );

    let json = world.json(&["diff", old, "images/current", "--json"]);
    let files = json["files"].as_array().expect("files");
    let program = files.iter().find(|file| file["path"] == "/usr/share/program").expect("program");
    assert_eq!(program["differs"], serde_json::json!(["mode", "owner"]));
    assert_eq!(
        (&program["from"]["owner"], &program["to"]["owner"]),
        (&"root:root".into(), &"eve:root".into())
    );
    assert_eq!(program["to"]["mode"], "4755");

    let page = world.path("diff.html");
    world.says(&["diff", old, "current", "--html", "diff.html"]);
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("line &lt;7&gt;") && page.contains("root:root → eve:root"), "{page}");
}

#[test]
fn an_image_that_is_not_there_is_said() {
    let world = World::new();
    for (name, words) in [("zz", world.ids[0].as_str()), ("", "it could be")] {
        let output = world.run(&["diff", name, "current"]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("there is no image") && said.contains(words), "{said}");
    }
    let disk = world.path("images").join(&world.ids[0]).join("disk-1.img");
    fs::set_permissions(&disk, PermissionsExt::from_mode(0o644)).expect("mode");
    let slot = Layout::new("sample", small::SLOT, Disks::Mirror).expect("layout").span(Part::RootA);
    let file = File::options().write(true).open(&disk).expect("opens");
    file.write_all_at(&[b'x'; 4096], slot.start).expect("write");
    let output = world.run(&["diff", &world.ids[0], "current"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("disk-1.img"), "{}", text(&output.stderr));
}
