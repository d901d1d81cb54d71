//! Kernel modules: their indexes (`modules.dep` and its kin), as the kernel package's script has depmod make them, and
//! the modules themselves without compression.
//!
//! Every kernel update makes each module anew, mostly alike. Compressed they have nothing in common any more, so all of
//! them would travel; plain ones travel as what is unlike. An image is compressed as a whole wherever its size
//! counts, and is no larger then.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::fs::symlink;

use super::{Finish, FinishError};
use crate::parallel::try_map;
use crate::tree::{Entry, FileRef, Meta, Node, Tree, TreePath};

/// No module is larger; trixie's largest has 12 MB.
const MODULE_MAX: u64 = 256 << 20;
/// How many are in memory at once.
const BATCH: usize = 64;

/// What depmod writes besides the files that the kernel package ships.
const MADE: [&str; 11] = [
    "modules.alias",
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep",
    "modules.dep.bin",
    "modules.devname",
    "modules.softdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.weakdep",
];

pub(super) fn index(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    let input = tree.filter(|path| {
        path.starts_with("usr/lib/modules/")
            || path.starts_with("usr/lib/depmod.d/")
            || path.starts_with("etc/depmod.d/")
    });
    context.step("modules", &input, |output| {
        let scratch = context.store.scratch()?;
        input.export(context.store, scratch.path())?;
        // depmod looks below /lib; in Debian that is a link, which only base-files has.
        symlink("usr/lib", scratch.path().join("lib"))
            .map_err(|source| FinishError::Read { program: "depmod", source })?;
        let kernels = input.below("usr/lib/modules").filter_map(|(path, _)| {
            path.as_str().strip_suffix("/modules.order")?.strip_prefix("usr/lib/modules/")
        });
        for kernel in kernels {
            let args = [OsStr::new("-b"), scratch.path().as_os_str(), OsStr::new(kernel)];
            context.tools.run("usr/sbin/depmod", args, scratch.path(), b"")?;
            for name in MADE {
                let path = format!("usr/lib/modules/{kernel}/{name}");
                if input.get(&path).is_none() {
                    output.take(&path, 0o644, &scratch.path().join(&path), "depmod")?;
                }
            }
        }
        Ok(())
    })
}

/// Puts plain modules into the place of compressed ones. A module that needs one that is not there is an error: it could
/// not be loaded, and depmod says nothing.
pub(in super::super) fn plain(context: Finish<'_>, tree: &mut Tree) -> Result<(), FinishError> {
    let packed =
        tree.filter(|path| path.starts_with("usr/lib/modules/") && plain_name(path).is_some());
    let plain = context.step("plain-modules", &packed, |output| {
        let modules: Vec<Packed<'_>> = packed.iter().filter_map(Packed::of).collect();
        let known: BTreeSet<_> = modules.iter().map(|module| stem(module.name)).collect();
        for batch in modules.chunks(BATCH) {
            let contents = try_map(batch, |module| {
                let bytes = module.unpack(context)?;
                module.check(&bytes, &known).map(|()| bytes)
            })?;
            for (module, bytes) in batch.iter().zip(contents) {
                let node = Node::File(output.pack.append(&bytes)?);
                let path: TreePath = module.name.parse()?;
                if let Some(parent) = path.parent() {
                    output.tree.make_dirs(&parent.parse()?, output.epoch)?;
                }
                output.tree.insert(path, Entry { meta: module.meta.clone(), node })?;
            }
        }
        Ok(())
    })?;
    tree.remove_all(packed.iter().filter_map(Packed::of).map(|module| module.path));
    for (path, entry) in plain.iter().filter(|(_, entry)| entry.node != Node::Dir) {
        tree.insert(path.clone(), entry.clone())?;
    }
    Ok(())
}

/// The name of a compressed module without its compression's.
fn plain_name(path: &str) -> Option<&str> {
    let (name, _) =
        path.rsplit_once('.').filter(|(_, packing)| ["xz", "zst", "gz"].contains(packing))?;
    name.ends_with(".ko").then_some(name)
}

/// A compressed module.
struct Packed<'a> {
    path: &'a str,
    name: &'a str,
    meta: &'a Meta,
    file: FileRef,
}

impl<'a> Packed<'a> {
    fn of((path, entry): (&'a TreePath, &'a Entry)) -> Option<Self> {
        let Node::File(file) = entry.node else { return None };
        let path = path.as_str();
        Some(Self { path, name: plain_name(path)?, meta: &entry.meta, file })
    }

    fn unpack(&self, context: Finish<'_>) -> Result<Vec<u8>, FinishError> {
        let bytes = context.store.read(&self.file)?;
        let bad = |why: String| FinishError::Input { path: self.path.to_owned(), why };
        let module = unpack(self.path, &bytes).map_err(|error| bad(error.to_string()))?;
        if !module.starts_with(b"\x7fELF") {
            return Err(bad("it is no ELF file".to_owned()));
        }
        Ok(module)
    }

    /// Refuses a module that needs one that is not among the `known`.
    fn check(&self, module: &[u8], known: &BTreeSet<String>) -> Result<(), FinishError> {
        let Some(lacking) = needs(module).into_iter().find(|name| !known.contains(name)) else {
            return Ok(());
        };
        let why = format!(
            "it needs the module {lacking}, which is not there; does an overlay's remove-files name it?"
        );
        Err(FinishError::Input { path: self.name.to_owned(), why })
    }
}

fn unpack(path: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let decoder: Box<dyn Read> = match path.rsplit('.').next() {
        Some("xz") => Box::new(liblzma::read::XzDecoder::new(bytes)),
        Some("zst") => Box::new(zstd::Decoder::new(bytes)?),
        _ => Box::new(flate2::read::GzDecoder::new(bytes)),
    };
    let mut module = Vec::new();
    decoder.take(MODULE_MAX).read_to_end(&mut module)?;
    Ok(module)
}

/// A module's name as the kernel has it: in files' names `-` may stand for `_`.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".ko").unwrap_or(name).replace('-', "_")
}

/// The modules that one needs: `depends=` of its `.modinfo` (scripts/mod/modpost.c), where texts end with NUL.
fn needs(module: &[u8]) -> Vec<String> {
    let mut texts = module.split(|byte| *byte == 0);
    let names = texts.find_map(|text| text.strip_prefix(b"depends=")).unwrap_or_default();
    let names = String::from_utf8_lossy(names).replace('-', "_");
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_module_says_which_others_it_needs() {
        let module =
            |needs: &str| format!("\x7fELF..\0license=GPL\0{needs}\0name=x\0").into_bytes();
        let list = |text: &str| needs(&module(text));
        assert_eq!(list("depends=snd-pcm,soundcore"), ["snd_pcm", "soundcore"]);
        assert!(list("depends=").is_empty() && list("author=depends=x").is_empty());
        assert_eq!(stem("usr/lib/modules/6.1/kernel/sound/core/snd-pcm.ko"), "snd_pcm");
    }

    #[test]
    fn modules_of_every_compression_are_unpacked() {
        let module = b"\x7fELF and more".repeat(99);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        xz.write_all(&module).and_then(|()| gz.write_all(&module)).expect("packs");
        let packed = [
            ("k/a.ko.xz", xz.finish().expect("xz")),
            ("k/a.ko.gz", gz.finish().expect("gz")),
            ("k/a.ko.zst", zstd::encode_all(&module[..], 3).expect("zst")),
        ];
        for (path, bytes) in packed {
            assert_eq!(plain_name(path), Some("k/a.ko"));
            assert_eq!(unpack(path, &bytes).expect("unpacks"), module, "{path}");
            assert!(unpack(path, &module).is_err(), "{path}");
        }
        for path in ["k/a.ko", "k/modules.xz", "k/a.ko.bz2", "xz"] {
            assert_eq!(plain_name(path), None, "{path}");
        }
    }
}
