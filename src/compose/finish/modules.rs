//! Kernel module indexes (`modules.dep` and its kin), as the kernel package's script has depmod make them.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;

use super::{Finish, FinishError};
use crate::tree::Tree;

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
