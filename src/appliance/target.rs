//! `[target]`: a preset, and what differs from it.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Text;
use super::error::hint;
use super::units::SIZE;
use super::walk::{Node, Table};
use super::{Disks, Firmware, Target};

const GIB: i64 = 1 << 30;
const MIB: i64 = 1 << 20;
const PRESETS: [&str; 2] = ["box", "small"];
const FIRMWARE: [(&str, Firmware); 2] = [("bios", Firmware::Bios), ("uefi", Firmware::Uefi)];

/// A small used server: Celeron G3900T, which has no AVX, and two disks.
fn preset_box() -> Target {
    Target {
        cores: 2,
        memory: 16 << 30,
        cpu_features: BTreeSet::new(),
        firmware: [Firmware::Bios, Firmware::Uefi].into(),
        disks: Disks::Mirror,
        slot_size: 3 << 30,
        swap_size: 2 << 30,
    }
}

/// The least that carries a chat server: a rented virtual machine with one disk.
fn preset_small() -> Target {
    Target { cores: 1, memory: 1 << 30, disks: Disks::Single, ..preset_box() }
}

/// Reads the table; without one it is the preset `box`.
pub(super) fn read(table: Option<Table<'_>>) -> Target {
    let Some(table) = table else { return preset_box() };
    table.only(&[
        "name",
        "cores",
        "memory",
        "cpu-features",
        "firmware",
        "disks",
        "raid",
        "slot",
        "swap",
    ]);
    let mut target = preset_box();
    if let Some(name) = table.string("name") {
        match name.value.as_str() {
            "box" => (),
            "small" => target = preset_small(),
            other => {
                let help = hint(other, "targets", PRESETS);
                name.fail(format!("unknown target \"{}\"", name.value), help);
            }
        }
    }
    let number = |key, range| {
        let node = table.get(key)?;
        let value = node.within(node.integer()?, range, |number| number.to_string())?;
        u32::try_from(value).ok()
    };
    let size = |key, range| {
        let node = table.get(key)?;
        let value = node.within(node.size()?, range, |bytes| SIZE.show(bytes))?;
        Some((node, value.unsigned_abs()))
    };
    target.cores = number("cores", (1, 256)).unwrap_or(target.cores);
    if let Some((_, memory)) = size("memory", (GIB, 4096 * GIB)) {
        target.memory = memory;
    }
    if let Some((node, slot)) = size("slot", (GIB, 16 * GIB)) {
        if !slot.is_multiple_of(MIB.unsigned_abs()) {
            node.fail("is not a whole number of MiB", "partitions begin and end at whole MiB");
        }
        target.slot_size = slot;
    }
    if let Some((_, swap)) = size("swap", (0, 64 * GIB)) {
        target.swap_size = swap;
    }
    if let Some(disks) = disks(&table) {
        target.disks = disks;
    }
    if let Some(node) = table.get("firmware") {
        target.firmware = firmware(&node);
    }
    if table.get("cpu-features").is_some() {
        target.cpu_features = cpu_features(&table).into_keys().collect();
    }
    target
}

/// `disks` and `raid`; each alone implies the other.
fn disks(table: &Table<'_>) -> Option<Disks> {
    const KINDS: [Disks; 2] = [Disks::Single, Disks::Mirror];
    let count = table.get("disks").and_then(|node| {
        let count = node.within(node.integer()?, (1, 2), |count| count.to_string())?;
        KINDS.into_iter().find(|kind| i64::from(kind.count()) == count)
    });
    let text = table.string("raid");
    let raid = text.as_ref().and_then(|text| {
        let found = KINDS.into_iter().find(|kind| kind.raid() == text.value);
        if found.is_none() {
            let help = hint(&text.value, "kinds of RAID", KINDS.map(Disks::raid));
            text.fail(format!("unknown kind of RAID \"{}\"", text.value), help);
        }
        found
    });
    if let (Some(count), Some(raid), Some(text)) = (count, raid, text)
        && count != raid
    {
        let (message, help) = match raid {
            Disks::Mirror => ("a mirror needs two disks", "write disks = 2, or raid = \"none\""),
            Disks::Single => {
                ("the second disk would lie idle", "write raid = \"mirror\", or disks = 1")
            }
        };
        text.fail(message, help);
    }
    raid.or(count)
}

fn firmware(node: &Node<'_>) -> BTreeSet<Firmware> {
    let texts = node.strings();
    if texts.is_empty() {
        node.fail("names none", "choose \"bios\", \"uefi\", or both");
    }
    let known = texts.iter().filter_map(|text| {
        let found = FIRMWARE.iter().find(|(name, _)| *name == text.value);
        if found.is_none() {
            let help = hint(&text.value, "firmwares", FIRMWARE.map(|(name, _)| name));
            text.fail(format!("unknown firmware \"{}\"", text.value), help);
        }
        found.map(|(_, firmware)| *firmware)
    });
    known.collect()
}

/// The list `cpu-features` of a target or an overlay, with places.
pub(super) fn cpu_features<'a>(table: &Table<'a>) -> BTreeMap<String, Text<'a>> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let valid = |text: &Text<'_>| {
        let valid = !text.value.is_empty() && text.value.chars().all(known);
        if !valid {
            let help = "write it as in \"flags\" of /proc/cpuinfo, such as \"avx\"";
            text.fail(format!("\"{}\" is not a CPU feature", text.value), help);
        }
        valid
    };
    let texts = table.strings("cpu-features").into_iter();
    texts.filter(valid).map(|text| (text.value.clone(), text)).collect()
}
