//! `chatimg update`, `rollback`, `status` and `history` as a user runs them, with a box in a folder
//! (`tests/update/box.py`) behind `--rsh`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use chatimg::digest::Digest;
use chatimg::minisign::{PublicKey, Signature};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const ID: &str = "0123456789abcdef";
const OLD: &str = "fedcba9876543210";
const BEFORE: usize = 3 * BLOCK;
const BLOCK: usize = 4096;

/// An image, a key and a box.
struct World {
    dir: tempfile::TempDir,
    key: String,
    root: Vec<u8>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A disk with a root image; something else lies before and behind it.
fn disk(root: &[u8]) -> Vec<u8> {
    [&[7; BEFORE], root, &[9; BLOCK]].concat()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The image: 600 blocks of chance, among them zeros, and some twice; the box has the first half of it.
        let mut root = vec![0; 600 * BLOCK];
        StdRng::seed_from_u64(1).fill_bytes(&mut root);
        root[100 * BLOCK..140 * BLOCK].fill(0);
        root.copy_within(300 * BLOCK..310 * BLOCK, 500 * BLOCK);
        let mut world = Self { dir, key: String::new(), root };
        let output = world.chatimg(&["key", "new"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        world.key = text(&output.stdout).trim().to_owned();
        fs::create_dir(world.path("image")).unwrap();
        fs::write(world.path("image/disk.img"), disk(&world.root)).unwrap();
        let manifest = json!({
            "schema": chatimg::image::SCHEMA, "id": ID, "appliance": "chat.example", "raid": "none", "epoch": 2000, "tree": "t",
            "formats": {"matrix-synapse": ["1.163.2", "1.100"]}, "disks": [], "files": [], "inputs": [
                {"kind": "wheel", "name": "matrix-synapse", "version": "1.163.2", "env": "synapse"},
                {"kind": "deb", "name": "nginx", "version": "1.26-3", "in-image": true},
            ],
            "root": {"file": "disk.img", "start": BEFORE, "size": world.root.len(), "sha256": Digest::of(&world.root)},
        });
        fs::write(world.path("image/manifest.json"), manifest.to_string()).unwrap();
        fs::create_dir(world.path("box")).unwrap();
        fs::write(world.path("box/running.img"), &world.root[..300 * BLOCK]).unwrap();
        world.set(json!({}));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the box is like.
    fn set(&self, more: Value) {
        let mut state = json!({"id": OLD, "appliance": "chat.example", "keys": [self.key]});
        for (key, value) in more.as_object().unwrap() {
            state[key] = value.clone();
        }
        fs::write(self.path("box/box.json"), state.to_string()).unwrap();
    }

    fn running(&self) -> String {
        let state = fs::read(self.path("box/box.json")).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        state["id"].as_str().unwrap().to_owned()
    }

    fn chatimg(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_chatimg"))
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("CHATIMG_STORE", self.path("store"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// A command for the box.
    fn on_box(&self, command: &str, args: &[&str]) -> Output {
        self.on(command, args, "box.py")
    }

    fn on(&self, command: &str, args: &[&str], script: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/update").join(script);
        let rsh = format!("python3 -B {} {}", script.display(), self.path("box").display());
        self.chatimg(&[&[command, "box.example", "--rsh", &rsh], args].concat())
    }

    fn update(&self, args: &[&str]) -> Output {
        self.on_box("update", &[&["--image", "image"], args].concat())
    }

    /// What a command says that ends with this exit status.
    fn fails(output: &Output, exit: i32) -> String {
        let words = text(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{words}");
        words
    }
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn an_image_is_sent_tried_and_kept() {
    let world = World::new();
    let output = world.update(&["--yes"]);
    let said = done(&output);
    assert!(said.contains(&format!("box.example runs image {ID} instead of {OLD}")), "{said}");
    assert!(said.contains("was down for 74 seconds") && said.contains("sent"), "{said}");
    assert_eq!(world.running(), ID);
    assert!(fs::read(world.path("box/slot.img")).unwrap() == world.root);
    let switch: Value =
        serde_json::from_slice(&fs::read(world.path("box/switch.json")).unwrap()).unwrap();
    assert_eq!((&switch["guard"], &switch["at"]), (&json!("login"), &json!(0)));
    let words = text(&output.stderr);
    assert!(words.contains("warning: one disk is missing"), "{words}");
    // 290 blocks: half of it, less those that come twice.
    assert!(words.contains("lacks 1.13 MiB of 2.34 MiB"), "{words}");
}

#[test]
fn a_box_that_goes_back_says_why() {
    let world = World::new();
    world.set(json!({"fails": "synapse/answers: no answer in 5 min"}));
    let words = World::fails(&world.update(&["--yes"]), 3);
    assert!(words.contains(&format!("went back to the image {OLD}, by itself")), "{words}");
    assert!(words.contains("synapse/answers: no answer in 5 min"), "{words}");
    assert_eq!(world.running(), OLD);
}

#[test]
fn a_switch_that_is_not_answered_is_found_in_the_history() {
    let world = World::new();
    world.set(json!({"silent": true}));
    done(&world.update(&["--yes"]));
    assert_eq!(world.running(), ID);
}

#[test]
fn without_a_login_the_box_s_checks_decide() {
    let world = World::new();
    done(&world.update(&["--yes", "--unattended"]));
    assert_eq!(world.running(), ID);
    let switch = fs::read_to_string(world.path("box/switch.json")).unwrap();
    assert!(switch.contains("\"gate\""), "{switch}");
}

#[test]
fn a_switch_is_planned() {
    let world = World::new();
    let words = World::fails(&world.update(&["--yes", "--at", "tomorrow 03:30"]), 1);
    assert!(words.contains("add --unattended"), "{words}");
    let wrong = [("yesterday", "over already"), ("at tea time", "is no time")];
    for (time, expected) in wrong {
        let words = World::fails(&world.update(&["--unattended", "--at", time]), 1);
        assert!(words.contains(expected), "{words}");
    }
    let said = done(&world.update(&["--yes", "--unattended", "--at", "tomorrow 03:30"]));
    assert!(said.contains("will restart") && said.contains("tomorrow 03:30"), "{said}");
    assert_eq!(world.running(), OLD);
    let switch = fs::read_to_string(world.path("box/switch.json")).unwrap();
    let switch: Value = serde_json::from_str(&switch).unwrap();
    assert!(switch["at"].as_u64().unwrap() > 1_700_000_000);
}

#[test]
fn a_staged_image_is_not_sent_again() {
    let world = World::new();
    let said = done(&world.update(&["--stage"]));
    assert!(said.contains(&format!("image {ID} is in slot b of box.example")), "{said}");
    assert_eq!(world.running(), OLD);
    let output = world.update(&["--yes"]);
    done(&output);
    assert!(text(&output.stderr).contains("lacks 0 B"), "{}", text(&output.stderr));
    assert_eq!(world.running(), ID);
}

#[test]
fn the_box_s_own_receiver_understands_all_of_it() {
    let world = World::new();
    let update = || world.on("update", &["--image", "image", "--stage"], "real.py");
    let output = update();
    let said = done(&output);
    assert!(said.contains(&format!("image {ID} is in slot b")), "{said}");
    // The first block says how large the image is, so it differs.
    let words = text(&output.stderr);
    assert!(words.contains("lacks 1.14 MiB of 2.34 MiB"), "{words}");
    let slot = fs::read(world.path("box/slot.img")).unwrap();
    assert!(slot[..world.root.len()] == world.root);
    let output = update();
    done(&output);
    assert!(text(&output.stderr).contains("lacks 0 B"), "{}", text(&output.stderr));
    world.set(json!({"keys": ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]}));
    let words = World::fails(&update(), 1);
    assert!(words.contains("which this box does not trust") && words.contains("help:"), "{words}");
}

/// The image that runs is still here, and has every byte of the new one, in other blocks.
#[test]
fn what_is_like_the_image_that_runs_takes_little() {
    let world = World::new();
    let old = [b"moved", &world.root[..600 * BLOCK - 5]].concat();
    fs::write(world.path("box/running.img"), &old).unwrap();
    let sent = |script| {
        let output = world.on("plan", &["--image", "image", "--json"], script);
        let json: Value = serde_json::from_str(&done(&output)).unwrap();
        json["download"]["sent"].as_u64().unwrap()
    };
    let without = sent("box.py");
    assert!(without > 500 * BLOCK as u64, "{without}");
    let images = world.path("images").join(OLD);
    fs::create_dir_all(&images).unwrap();
    let manifest = fs::read_to_string(world.path("image/manifest.json")).unwrap();
    fs::write(images.join("manifest.json"), manifest.replace(ID, OLD)).unwrap();
    fs::write(images.join("disk.img"), disk(&old)).unwrap();
    let with = sent("box.py");
    assert!(with < 10_000, "{with}");
    done(&world.update(&["--stage"]));
    assert!(fs::read(world.path("box/slot.img")).unwrap() == world.root);
    // What is here is not what the box has: nothing is like it.
    fs::write(world.path("box/slot.img"), b"").unwrap();
    fs::write(images.join("disk.img"), disk(&world.root)).unwrap();
    assert_eq!(sent("box.py"), without);
}

#[test]
fn nothing_happens_without_a_yes() {
    let world = World::new();
    let words = World::fails(&world.update(&[]), 1);
    assert!(words.contains("nobody to ask") && words.contains("--yes"), "{words}");
    assert!(!world.path("box/slot.img").exists());
}

#[test]
fn a_connection_that_breaks_leaves_the_box_as_it_was() {
    let world = World::new();
    world.set(json!({"cut": 1}));
    let words = World::fails(&world.update(&["--yes"]), 1);
    assert!(words.contains("Connection reset by peer"), "{words}");
    assert_eq!(world.running(), OLD);
    done(&world.update(&["--yes"]));
    assert_eq!(world.running(), ID);
}

#[test]
fn what_the_box_refuses_is_said() {
    let world = World::new();
    world.set(json!({"appliance": "other.example"}));
    let words = World::fails(&world.update(&["--yes"]), 1);
    assert!(words.contains("box.example: the image is for chat.example"), "{words}");
    assert!(words.contains("help: do it right"), "{words}");
    world.set(json!({"keys": ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]}));
    let words = World::fails(&world.update(&["--yes"]), 1);
    assert!(words.contains("key that this box does not trust"), "{words}");
    fs::remove_file(world.path("config/chatimg/owner.key")).unwrap();
    let words = World::fails(&world.update(&["--yes"]), 1);
    assert!(words.contains("chatimg key new"), "{words}");
}

#[test]
fn a_box_that_cannot_be_reached_is_as_it_was() {
    let world = World::new();
    world.set(json!({"down": 9}));
    let words = World::fails(&world.update(&["--yes"]), 1);
    assert!(words.contains("Connection refused"), "{words}");
}

#[test]
fn a_rollback_is_confirmed_too() {
    let world = World::new();
    let said = done(&world.on_box("rollback", &["--with-data", "--yes"]));
    assert!(said.contains("runs image 0000000000000000 instead of"), "{said}");
    world.set(json!({"fails": "it hung"}));
    let words = World::fails(&world.on_box("rollback", &["--keep-data"]), 3);
    World::fails(&world.on_box("rollback", &[]), 2);
    assert!(words.contains("it hung"), "{words}");
}

#[test]
fn what_would_change_is_told() {
    let world = World::new();
    let output = world.on_box("plan", &["--image", "image"]);
    let said = done(&output);
    assert!(said.starts_with(&format!("image {OLD} -> {ID}\n")), "{said}");
    assert!(said.contains("  ~ matrix-synapse (synapse) 1.99.0 -> 1.163.2\n"), "{said}");
    assert!(said.contains("  + nginx 1.26-3\n"), "{said}");
    assert!(said.contains("matrix-synapse 1.99.0 -> 1.163.2: needs the snapshot\n"), "{said}");
    assert!(said.contains("(1.13 MiB of 2.34 MiB before compression)"), "{said}");
    let space = "space:\n  /state: 9.77 KiB needed, 4.88 KiB free; 7 files, room for 9: TOO LITTLE";
    assert!(said.contains(space), "{said}");
    assert!(!world.path("box/slot.img").exists());
    let output = world.on_box("plan", &["--image", "image", "--json"]);
    let json: Value = serde_json::from_str(&done(&output)).unwrap();
    assert_eq!(json["going-back"], "needs-snapshot");
    assert_eq!(json["download"]["image"], 600 * BLOCK);
    assert_eq!(json["space"][0]["free"], 5000);
    // Without the key all else is told.
    fs::remove_file(world.path("config/chatimg/owner.key")).unwrap();
    let output = world.on_box("plan", &["--image", "image"]);
    assert!(done(&output).contains("+ nginx"));
    assert!(text(&output.stderr).contains("what would be sent is not known"));
}

#[test]
fn what_the_box_says_of_itself_is_passed_on() {
    let world = World::new();
    let output = world.on_box("status", &[]);
    assert_eq!(text(&output.stdout), "all is well, but for one disk\n");
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), ""));
    done(&world.update(&["--yes"]));
    let said = done(&world.on_box("history", &["--json"]));
    assert!(said.contains("committed"), "{said}");
}

#[test]
fn the_key_is_made_once() {
    let world = World::new();
    let output = world.chatimg(&["key", "show"]);
    assert_eq!(done(&output).trim(), world.key);
    let words = World::fails(&world.chatimg(&["key", "new"]), 1);
    assert!(words.contains("there is one already"), "{words}");
    assert_eq!(done(&world.chatimg(&["key", "new", "--key", "other.key"])).len(), 57);
}

#[test]
fn an_image_is_signed_for_a_box_without_a_network() {
    let world = World::new();
    let said = done(&world.chatimg(&["key", "sign", "image"]));
    assert!(said.contains(ID) && said.contains("root.img, update.json and"), "{said}");
    assert!(fs::read(world.path("image/root.img")).unwrap() == world.root);
    let update = fs::read(world.path("image/update.json")).unwrap();
    let described: Value = serde_json::from_slice(&update).unwrap();
    assert_eq!(described["root"]["sha256"], Digest::of(&world.root).to_string());
    let signature = fs::read_to_string(world.path("image/update.json.minisig")).unwrap();
    let key = PublicKey::parse(&world.key).unwrap();
    let signature = Signature::parse(&signature).unwrap();
    signature.verify(&update, &key).unwrap();
    assert!(signature.verify(b"{}", &key).is_err());
    let words = World::fails(&world.chatimg(&["key", "sign", "box"]), 1);
    assert!(words.contains("box/manifest.json"), "{words}");
    // A damaged image: what was made before stays.
    fs::write(world.path("image/disk.img"), disk(&vec![1; world.root.len()])).unwrap();
    let words = World::fails(&world.chatimg(&["key", "sign", "image"]), 1);
    assert!(words.contains("disk.img: its root image is not"), "{words}");
    assert!(fs::read(world.path("image/root.img")).unwrap() == world.root);
}
