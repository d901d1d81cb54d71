//! `update-rc.d NAME defaults` where no insserv is installed: links by the runlevels of the LSB header.
//!
//! ```text
//! # Default-Start:  2 3 4 5      /etc/rc2.d/S01NAME ...
//! # Default-Stop:   0 1 6        /etc/rc0.d/K01NAME ...
//! ```

use super::packages::ComposeError;
use super::root::Root;
use crate::tree::{Entry, Node};

/// Makes the links, if the package ships the script and it may be executed.
pub(super) fn defaults(root: &mut Root<'_>, name: &str) -> Result<(), ComposeError> {
    let path = format!("/etc/init.d/{name}");
    let runs = matches!(root.get(&path), Some(Entry { node: Node::File(_), meta }) if meta.mode & 0o111 != 0);
    let Some(script) = root.bytes(&path)?.filter(|_| runs) else { return Ok(()) };
    // An author's name elsewhere in the script may be Latin-1 (smartmontools).
    let text = String::from_utf8_lossy(&script);
    for (field, prefix) in [("# Default-Start:", "S01"), ("# Default-Stop:", "K01")] {
        let levels = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        for level in levels.split_whitespace() {
            if !matches!(level, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "S") {
                return Err(ComposeError::action(&path, format!("unknown runlevel {level:?}")));
            }
            root.link(&format!("/etc/rc{level}.d/{prefix}{name}"), &format!("../init.d/{name}"))?;
        }
    }
    Ok(())
}
