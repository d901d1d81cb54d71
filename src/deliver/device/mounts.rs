//! `mountinfo`, `/proc/swaps`: what is mounted from where, and what is swapped to.

use std::fs;
use std::path::PathBuf;

use super::{DeviceError, Machine, parse_number};

/// One line of `mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Of the device, unless the file system spans several.
    pub(super) number: (u64, u64),
    /// What was mounted; a path for most file systems.
    pub(super) source: String,
    /// Where.
    pub(super) at: String,
}

/// What is in use.
#[derive(Debug, Default)]
pub(super) struct InUse {
    pub(super) mounts: Vec<Mount>,
    /// Names of devices.
    pub(super) swaps: Vec<String>,
}

impl InUse {
    /// As this process sees it, and as the machine's first process does.
    ///
    /// # Errors
    /// This process's own view cannot be read: without it, no disk can be called free.
    pub(super) fn of(machine: &Machine) -> Result<Self, DeviceError> {
        // A name in it may be in any encoding.
        let read = |path: &str| {
            let path = machine.root.join(path);
            let bytes = fs::read(&path).map_err(DeviceError::io("reading", &path))?;
            Ok::<_, DeviceError>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let mut mounts = parse_mounts(&read("proc/self/mountinfo")?);
        mounts.extend(parse_mounts(&read("proc/1/mountinfo").unwrap_or_default()));
        mounts.dedup();
        for mount in &mut mounts {
            mount.source = machine.device_name(&mount.source);
        }
        let swaps = read("proc/swaps")?;
        let swaps = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
        let swaps = swaps.map(|path| machine.device_name(&unescape(path))).collect();
        Ok(Self { mounts, swaps })
    }
}

impl Machine {
    /// `sda1` for `/dev/sda1`, `dm-0` for `/dev/mapper/root`; what is no device stays as it is.
    fn device_name(&self, path: &str) -> String {
        let Some(below) = path.strip_prefix("/dev/") else { return path.to_owned() };
        let path: PathBuf = self.root.join("dev").join(below);
        super::file_name(&path.canonicalize().unwrap_or(path))
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_mounts(text: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let number = parse_number(fields.next()?)?;
        let at = unescape(fields.nth(1)?);
        let source = unescape(after.split(' ').nth(1)?);
        Some(Mount { number, source, at })
    };
    text.lines().filter_map(parse).collect()
}

/// The kernel writes blanks and the like as `\040`.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                out.push(char::from(code));
                out.push_str(&part[3..]);
            }
            _ => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    parse_mounts(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_and_blanks_are_understood_and_nonsense_is_passed_over() {
        let text = "36 35 98:0 /sub /my\\040disk rw master:1 shared:2 - ext3 /dev/my\\134x rw\n\
                    21 1 0:20 / /proc rw - proc proc rw\nnonsense\n1 2 x / / rw - a b c\n";
        let mount = |number, source: &str, at: &str| Mount {
            number,
            source: source.to_owned(),
            at: at.to_owned(),
        };
        let expected = [mount((98, 0), "/dev/my\\x", "/my disk"), mount((0, 20), "proc", "/proc")];
        assert_eq!(parse_mounts(text), expected);
        assert_eq!(unescape("a\\04"), "a\\04");
    }
}
