//! A whole image of a small made-up root: what it holds, that its bytes depend on nothing else, and that
//! a build that fails leaves everything as it was.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::disks::{Loop, run};
use crate::small::{self, EPOCH, Fixture, SLOT};
use chatimg::appliance::Disks;
use chatimg::digest::Digest;
use chatimg::image::BuiltImage;
use chatimg::image::envblock::EnvBlock;
use chatimg::image::layout::{BLANK_DATA_MARKER, Layout, PARTS, Part};

fn bytes_at(path: &Path, start: u64, len: usize) -> Vec<u8> {
    let mut file = File::open(path).expect("opens");
    file.seek(SeekFrom::Start(start)).expect("seeks");
    let mut bytes = vec![0; len];
    file.read_exact(&mut bytes).expect("reads");
    bytes
}

#[test]
fn the_disk_holds_what_the_layout_says() {
    for disks in [Disks::Single, Disks::Mirror] {
        let fixture = Fixture { disks, ..Fixture::new() };
        let built = fixture.build(&fixture.images("images")).expect("builds");
        let layout = Layout::new("sample", SLOT, disks).expect("layout");
        assert_eq!(built.disks().len(), layout.legs().count());
        for disk in built.disks() {
            let at = |part, from, len| bytes_at(&disk, layout.span(part).start + from, len);
            assert_eq!(fs::metadata(&disk).expect("disk").len(), layout.disk_size());
            assert!(fs::metadata(&disk).expect("disk").blocks() * 512 < 40 << 20, "it is sparse");
            let root = small::root(&built.dir);
            assert!(at(Part::RootA, 0, root.len()) == root, "slot A holds it");
            assert!(at(Part::RootB, 0, 4096).iter().all(|byte| *byte == 0), "slot B is empty");
            assert!(at(Part::Data, layout.data_offset(), 512).starts_with(BLANK_DATA_MARKER));
            assert!(at(Part::Settings, 0, 1 << 20).iter().all(|byte| *byte == 0));
            assert_eq!(at(Part::BiosBoot, 0, 4), [0xc0; 4]);
            let env = EnvBlock::parse(&at(Part::BootEnv, 0, 1024)).expect("a boot state");
            assert_eq!(env, EnvBlock::initial(&built.id));
        }
    }
}

/// mdadm's own judgement.
#[test]
fn mdadm_finds_the_arrays_of_both_legs_whole() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let layout = Layout::new("sample", SLOT, Disks::Mirror).expect("layout");
    for part in PARTS.into_iter().filter(|part| part.array().is_some()) {
        let mut arrays = Vec::new();
        for (role, disk) in built.disks().iter().enumerate() {
            let span = layout.span(part);
            // Of a file mdadm thinks that it is a bitmap.
            let (start, size) = (span.start.to_string(), span.len.to_string());
            let leg = Loop::new(disk, &["--read-only", "--offset", &start, "--sizelimit", &size]);
            let words = run(Command::new("mdadm").args(["--examine", leg.node()]));
            let said = |key: &str| {
                let line = words
                    .lines()
                    .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" : "));
                line.unwrap_or_else(|| panic!("no {key}: {words}")).trim().to_owned()
            };
            assert_eq!(said("State"), "clean", "{words}");
            assert!(said("Checksum").ends_with("- correct"), "{words}");
            assert_eq!(said("Device Role"), format!("Active device {role}"), "{words}");
            assert!(said("Array State").starts_with("AA "), "{words}");
            assert_eq!(
                (said("Raid Level"), said("Raid Devices")),
                ("raid1".to_owned(), "2".to_owned())
            );
            assert!(
                run(Command::new("mdadm").args(["--examine-bitmap", leg.node()]))
                    .contains("bits (chunks), 0 dirty (0.0%)")
            );
            arrays.push((said("Array UUID"), said("Name"), said("Array Size"), said("Events")));
            let device = said("Device UUID");
            assert!(arrays.iter().all(|(array, ..)| *array != device), "{words}");
        }
        assert_eq!(arrays[0], arrays[1], "{part:?}");
    }
}

/// What is the same on both legs of a mirror, and what is not.
#[test]
fn the_legs_of_a_mirror_differ_in_their_names_alone() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let layout = Layout::new("sample", SLOT, Disks::Mirror).expect("layout");
    let [one, two] = built.disks().try_into().expect("two legs");
    let (one, two) = (fs::read(one).expect("leg 1"), fs::read(two).expect("leg 2"));
    let blocks = |from: u64, len: u64| {
        let range = from as usize..(from + len) as usize;
        let pairs = one[range.clone()].chunks(512).zip(two[range].chunks(512)).enumerate();
        pairs.filter(|(_, (a, b))| a != b).map(|(at, _)| at as u64).collect::<Vec<_>>()
    };
    assert!(!blocks(0, 1 << 20).contains(&0), "boot code");
    for part in PARTS {
        let span = layout.span(part);
        let member = layout.legs().next().and_then(|leg| layout.member(leg, part, EPOCH));
        let differ = blocks(span.start, span.len);
        match (part, member) {
            (_, Some(member)) => assert_eq!(differ, [member.encode()[0].0 / 512], "{part:?}"),
            (Part::Esp, _) => assert_eq!(differ, [0, 6], "the serial, twice"),
            _ => assert!(differ.is_empty(), "{part:?}"),
        }
    }
}

#[test]
fn the_root_knows_the_names_of_its_disks() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let slot = ext4_view::Ext4::load(Box::new(small::root(&built.dir))).expect("opens");
    let text = slot.read_to_string("/usr/lib/chatimg/disks.json").expect("disks.json");
    let known: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let manifest = fs::read_to_string(built.dir.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(known["raid"], "mirror");
    for (index, disk) in built.disks().iter().enumerate() {
        let (known, written) = (&known["disks"][index], &manifest["disks"][index]);
        assert_eq!(known["number"], index + 1);
        assert_eq!(known["guid"], written["guid"]);
        let serial = bytes_at(disk, (2 << 20) + 67, 4);
        let serial = u32::from_le_bytes(serial.try_into().expect("four bytes"));
        assert_eq!(known["esp-serial"], format!("{serial:08X}"));
        for part in written["partitions"].as_array().expect("partitions") {
            assert_eq!(known["partitions"][part["number"].to_string()], part["guid"]);
        }
    }
}

/// What the box takes to tell a damaged disk from a sound one, and to mend it.
#[test]
fn the_root_carries_what_starts_its_disks() {
    for disks in [Disks::Single, Disks::Mirror] {
        let fixture = Fixture { disks, ..Fixture::new() };
        let built = fixture.build(&fixture.images("images")).expect("builds");
        let layout = Layout::new("sample", SLOT, disks).expect("layout");
        let slot = ext4_view::Ext4::load(Box::new(small::root(&built.dir))).expect("opens");
        let part =
            |name: &str| slot.read(format!("/usr/lib/chatimg/boot/{name}").as_str()).expect(name);
        let (code, core, esp) = (part("code"), part("core"), part("esp"));
        let empty = EnvBlock::default().encode().expect("encodes");
        let state_at = esp.windows(1024).position(|piece| piece == empty).expect("a boot state");
        for (leg, path) in layout.legs().zip(built.disks()) {
            assert_eq!(code, bytes_at(&path, 0, 440));
            assert_eq!(core, bytes_at(&path, layout.span(Part::BiosBoot).start, core.len()));
            let mut esp = esp.clone();
            for at in [67, 6 * 512 + 67] {
                esp[at..at + 4].copy_from_slice(&layout.esp_serial(leg).to_le_bytes());
            }
            let state = EnvBlock::initial(&built.id).encode().expect("encodes");
            esp[state_at..state_at + 1024].copy_from_slice(&state);
            let span = layout.span(Part::Esp);
            let whole = bytes_at(&path, span.start, span.len as usize);
            assert!(whole[..esp.len()] == esp, "the ESP of {leg:?}");
            assert!(whole[esp.len()..].iter().all(|byte| *byte == 0), "the rest is nothing");
        }
    }
}

#[test]
fn the_slot_says_which_image_it_is_and_what_grub_may_load() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let slot = ext4_view::Ext4::load(Box::new(small::root(&built.dir))).expect("opens");
    let text = |path: &str| slot.read_to_string(path).expect(path);
    let id = EnvBlock::parse(text("/boot/chatimg-id").as_bytes()).expect("an id");
    assert_eq!(id.get("id"), Some(built.id.as_str()));
    for line in text("/boot/SHA256SUMS").lines() {
        let (digest, name) = line.split_once("  ").expect("two fields");
        let bytes = slot.read(format!("/boot/{name}").as_str()).expect(name);
        assert_eq!(Digest::of(&bytes).to_string(), digest, "{name}");
    }
    assert_eq!(slot.read("/boot/vmlinuz").expect("kernel"), b"kernel");
    assert!(slot.metadata("/state").expect("/state").is_dir());
}

#[test]
fn two_builds_in_different_places_give_the_same_bytes() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let first = one.build(&one.images("here")).expect("builds");
    let second = two.build(&two.images("deep/er")).expect("builds");
    assert_eq!(first.id, second.id);
    for name in ["disk-1.img", "disk-2.img", "manifest.json"] {
        let digest = |built: &BuiltImage| Digest::of(&fs::read(built.dir.join(name)).expect(name));
        assert_eq!(digest(&first), digest(&second), "{name}");
    }
}

#[test]
fn an_image_that_is_found_says_what_one_made_now_would_say() {
    let images = tempfile::tempdir().expect("folder");
    let built = |fixture: &Fixture| fixture.build(images.path()).expect("builds");
    let first = built(&Fixture::new());
    assert!(built(&Fixture::new()).found);
    let beside = vec![("sbom.spdx.json", "{}".to_owned())];
    let mut lock = chatimg::lock::Lock::default();
    lock.request.npm.insert("asked-for".to_owned(), "*".to_owned());
    for other in [
        Fixture { plan: Digest::of(b"another"), ..Fixture::new() },
        Fixture { beside, ..Fixture::new() },
        Fixture { ports: ["1/tcp".to_owned()].into(), ..Fixture::new() },
        Fixture { lock, ..Fixture::new() },
    ] {
        let other = built(&other);
        assert!(!other.found && other.id != first.id);
    }
}

#[test]
fn the_manifest_tells_the_digests_and_every_file() {
    let fixture = Fixture::new();
    let built = fixture.build(&fixture.images("images")).expect("builds");
    let text = fs::read_to_string(built.dir.join("manifest.json")).expect("manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let root = small::root(&built.dir);
    assert_eq!(manifest["root"]["sha256"], Digest::of(&root).to_string());
    assert_eq!(manifest["root"]["size"], root.len());
    let slot = Layout::new("sample", SLOT, Disks::Mirror).expect("layout").span(Part::RootA);
    assert_eq!(manifest["root"]["start"], slot.start);
    assert_eq!(manifest["root"]["file"], "disk-1.img");
    let disks = manifest["disks"].as_array().expect("disks");
    assert_eq!(disks.len(), 2);
    for (path, said) in built.disks().iter().zip(disks) {
        assert_eq!(said["file"], path.file_name().expect("name").to_str().expect("text"));
        let mut disk = fs::read(path).expect("disk");
        assert_eq!(said["size"], disk.len());
        let extents = said["extents"].as_array().expect("extents");
        for extent in extents {
            let number = |name| extent[name].as_u64().expect(name) as usize;
            let bytes = &mut disk[number("start")..][..number("size")];
            assert_eq!(extent["sha256"], Digest::of(bytes).to_string(), "{extent}");
            bytes.fill(0);
        }
        assert_eq!(
            extents.len(),
            13,
            "start, four small parts, slot, end, three superblocks, as many bitmaps"
        );
        assert!(disk.iter().all(|byte| *byte == 0), "all else is zero");
    }
    let files = manifest["files"].as_array().expect("files");
    let large = files.iter().find(|file| file["path"] == "/usr/share/large").expect("large");
    assert_eq!(large["size"], 3 << 20);
    assert_eq!(large["sha256"], Digest::of(&vec![7; 3 << 20]).to_string());
    assert!(files.iter().any(|file| file["path"] == "/boot/initrd.img"));
}

#[test]
fn nothing_is_built_twice_and_current_follows() {
    let mut fixture = Fixture::new();
    let images = fixture.images("images");
    let first = fixture.build(&images).expect("builds");
    assert!(!first.found);
    assert!(fixture.build(&images).expect("finds").found);
    fixture.root.get_mut("usr/share/large").expect("large").meta.mode = 0o600;
    let second = fixture.build(&images).expect("builds");
    assert_ne!(first.id, second.id);
    let current = || fs::read_link(images.join("current")).expect("current");
    assert_eq!(current(), Path::new(&second.id));
    fixture.root.get_mut("usr/share/large").expect("large").meta.mode = 0o644;
    assert!(fixture.build(&images).expect("finds").found);
    assert_eq!(current(), Path::new(&first.id));
}

#[test]
fn a_build_that_fails_leaves_current_and_no_rubbish() {
    let mut fixture = Fixture::new();
    let images = fixture.images("images");
    let good = fixture.build(&images).expect("builds");
    fixture.root.get_mut("usr/share/large").expect("large").meta.mtime += 1;
    fixture.grub.core_img = vec![0; 1 << 20];
    let error = fixture.build(&images).expect_err("GRUB's core is too large").to_string();
    assert!(error.contains("core.img"), "{error}");
    assert_eq!(fs::read_link(images.join("current")).expect("current"), Path::new(&good.id));
    let names: Vec<_> = fs::read_dir(&images)
        .expect("lists")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .filter(|name| *name != good.id && name != "current" && name != ".lock")
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_root_without_exactly_one_kernel_is_refused() {
    let mut fixture = Fixture::new();
    let kernel = fixture.root.get("boot/vmlinuz-6.1").expect("kernel").clone();
    fixture.root.insert("boot/vmlinuz-6.2".parse().expect("path"), kernel).expect("inserts");
    let error = fixture.build(&fixture.images("images")).expect_err("two").to_string();
    assert!(error.contains("/boot/vmlinuz-6.1 and /boot/vmlinuz-6.2"), "{error}");
    fixture.root.remove("boot");
    let error = fixture.build(&fixture.images("images")).expect_err("none").to_string();
    assert!(error.contains("lacks a kernel"), "{error}");
}
