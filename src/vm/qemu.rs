//! One QEMU process: the virtual twin of the target, on scratch disks over the image.

mod ports;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qapi::qmp;

use super::diagnose::JOURNAL;
use super::drives::{self, Drives};
use super::failure::TestFailure;
use super::host::Hardware;
use crate::appliance::Firmware;
use crate::tools::Tools;
use ports::{free_ports, with_other_ports};

const QEMU: &str = "usr/bin/qemu-system-x86_64";
const OVMF_CODE: &str = "usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "usr/share/OVMF/OVMF_VARS_4M.fd";
const VARS: &str = "vars.fd";
const QMP: &str = "qmp.sock";
const PID: &str = "qemu.pid";
const WORDS: &str = "qemu.log";
/// Where a machine's end of the cable takes packets, in its work folder.
pub(super) const CABLE: &str = "cable.sock";
/// The console's log, in the work folder.
pub(super) const CONSOLE: &str = "console.log";
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What the machine is made of.
#[derive(Debug)]
pub(super) struct Make<'a> {
    pub(super) tools: &'a Tools,
    pub(super) hardware: Hardware,
    pub(super) firmware: Firmware,
    /// Ports of the guest to be reached from the host.
    pub(super) ports: &'a [u16],
    /// One more of them.
    pub(super) ssh_port: u16,
    pub(super) cable: Option<Cable>,
    /// The folder of all its files.
    pub(super) work: PathBuf,
    /// A line for the administrator's authorized_keys.
    pub(super) key: String,
    pub(super) drives: Drives,
    /// If it is not for a test.
    pub(super) by_hand: Option<ByHand>,
}

/// A machine that a person uses.
#[derive(Clone, Debug, Default)]
pub(super) struct ByHand {
    /// Port of the guest → that of 127.0.0.1 to take if it is free.
    pub(super) tcp: BTreeMap<u16, u16>,
    /// The same of UDP; all that are reached are here.
    pub(super) udp: BTreeMap<u16, u16>,
    /// Whether disks that are there stay.
    pub(super) keep: bool,
}

/// A second network, which two machines have to themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cable {
    /// 1, 2: the last digit of the port's hardware address.
    pub(super) number: u8,
    /// The other end's socket, seen from the work folder.
    pub(super) far: String,
}

/// A running machine. Dropping it kills QEMU.
#[derive(Debug)]
pub(super) struct Machine {
    child: Child,
    work: PathBuf,
    /// Port of the guest → port of 127.0.0.1.
    pub(super) ports: BTreeMap<u16, u16>,
    /// The same of UDP.
    pub(super) udp: BTreeMap<u16, u16>,
}

/// Clears the work folder of what another run left, and makes the UEFI variables anew.
pub(super) fn prepare(make: &Make<'_>) -> Result<(), TestFailure> {
    let work = &make.work;
    end_leftover(work);
    discard(make);
    for name in [VARS, QMP, PID, WORDS, CONSOLE, JOURNAL, CABLE] {
        match fs::remove_file(work.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let doing = format!("removing {}", work.join(name).display());
                return Err(TestFailure::Io { doing, source: error });
            }
            _ => (),
        }
    }
    if make.firmware == Firmware::Uefi {
        let from = make.tools.path(OVMF_VARS);
        // Not fs::copy: the store's files are read-only, and that mode would come along.
        let copied = fs::read(&from).and_then(|bytes| fs::write(work.join(VARS), bytes));
        let doing = format!("copying {} to {}", from.display(), work.display());
        copied.map_err(|source| TestFailure::Io { doing, source })?;
    }
    Ok(())
}

/// Ends a QEMU that a killed chatimg left on this work folder. Others are not touched: it must have
/// a scratch disk of this folder, or its console's log, open.
fn end_leftover(work: &Path) {
    let pid = fs::read_to_string(work.join(PID)).ok();
    let Some(pid) = pid.and_then(|text| text.trim().parse::<i32>().ok()) else { return };
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
    let Ok(work) = work.canonicalize() else { return };
    let scratch = |open: PathBuf| {
        let name = open.file_name().and_then(OsStr::to_str);
        // One whose disks were recorded has the console's log open, and no disk.
        let ours = |name: &str| drives::is_scratch(name) || name == CONSOLE;
        open.parent() == Some(&work) && name.is_some_and(ours)
    };
    let ours = files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(scratch);
    if ours {
        // It may have ended by itself in between.
        _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Removes what is large. After a failure it stays, for a look at it.
pub(super) fn discard(make: &Make<'_>) {
    if make.by_hand.as_ref().is_some_and(|hand| hand.keep) {
        return;
    }
    for file in fs::read_dir(&make.work).into_iter().flatten().flatten() {
        if file.file_name().to_str().is_some_and(drives::is_scratch) {
            // If it cannot be removed now, qemu-img will say so when it is to be made anew.
            _ = fs::remove_file(file.path());
        }
    }
}

/// QEMU's arguments; file names are relative to the work folder.
fn arguments(
    make: &Make<'_>,
    ports: &BTreeMap<u16, u16>,
    udp: &BTreeMap<u16, u16>,
) -> Vec<OsString> {
    let hardware = &make.hardware;
    let firmware_dir = |name: &str| make.tools.path("usr/share").join(name).into_os_string();
    let mut forwards = "user,id=n0,restrict=on".to_owned();
    for (protocol, ports) in [("tcp", ports), ("udp", udp)] {
        for (guest, host) in ports {
            forwards.push_str(&format!(",hostfwd={protocol}:127.0.0.1:{host}-:{guest}"));
        }
    }
    let credential = format!("io.systemd.credential:chatimg.authorized_keys={}", make.key);
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |option: &str, value: OsString| args.extend([option.into(), value]);
    add("-L", firmware_dir("qemu"));
    add("-L", firmware_dir("seabios"));
    add("-machine", "q35".into());
    add("-accel", hardware.accel.argument().into());
    add("-cpu", hardware.cpu.clone().into());
    add("-smp", hardware.cores.to_string().into());
    add("-m", format!("{}M", hardware.memory >> 20).into());
    add("-rtc", "base=utc".into());
    add("-display", "none".into());
    add("-vga", "std".into());
    add("-chardev", format!("file,id=console,path={CONSOLE},append=on").into());
    add("-serial", "chardev:console".into());
    add("-qmp", format!("unix:{QMP},server=on,wait=off").into());
    add("-pidfile", PID.into());
    add("-netdev", forwards.into());
    // Without its boot ROM: the box does not boot from the network.
    add("-device", "e1000e,netdev=n0,romfile=".into());
    if let Some(Cable { number, far }) = &make.cable {
        let near = format!("local.type=unix,local.path={CABLE}");
        let far = format!("remote.type=unix,remote.path={}", escaped(far.as_ref()));
        add("-netdev", format!("dgram,id=n1,{near},{far}").into());
        add("-device", format!("e1000e,netdev=n1,romfile=,mac=52:54:00:c4:a7:{number:02x}").into());
    }
    add("-smbios", format!("type=11,value={}", escaped(credential.as_ref())).into());
    if make.firmware == Firmware::Uefi {
        let code = escaped(make.tools.path(OVMF_CODE).as_os_str());
        add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}").into());
        add("-drive", format!("if=pflash,unit=1,format=raw,file={VARS}").into());
    }
    args.extend(make.drives.arguments().into_iter().map(OsString::from));
    args.extend(["-nodefaults", "-no-user-config"].map(OsString::from));
    args
}

/// QEMU's way to write a comma in a value.
fn escaped(value: &OsStr) -> String {
    value.to_string_lossy().replace(',', ",,")
}

impl Machine {
    /// Switches the machine on.
    pub(super) fn start(make: &Make<'_>) -> Result<Self, TestFailure> {
        with_other_ports(|| Self::try_start(make))
    }

    fn try_start(make: &Make<'_>) -> Result<Self, TestFailure> {
        let work = make.work.clone();
        let failed = |doing: &str| {
            let doing = format!("{doing} in {}", work.display());
            move |source| TestFailure::Io { doing, source }
        };
        let hand = make.by_hand.clone().unwrap_or_default();
        let guest = make.ports.iter().chain([&make.ssh_port]).chain(hand.tcp.keys());
        let ports = free_ports::<TcpListener>(&guest.copied().collect(), &hand.tcp);
        let ports = ports.map_err(failed("choosing free ports"))?;
        let udp = free_ports::<UdpSocket>(&hand.udp.keys().copied().collect(), &hand.udp);
        let udp = udp.map_err(failed("choosing free ports"))?;
        let words = File::create(work.join(WORDS)).map_err(failed("making QEMU's log"))?;
        let mut command = make.tools.command(QEMU);
        command
            .args(arguments(make, &ports, &udp))
            .current_dir(&work)
            // What is written to a disk with `snapshot=on` goes there.
            .env("TMPDIR", &work)
            .env("QEMU_MODULE_DIR", make.tools.path("usr/lib/x86_64-linux-gnu/qemu"))
            .stdout(words.try_clone().map_err(failed("making QEMU's log"))?)
            .stderr(words);
        if make.by_hand.is_some() {
            // The terminal's Ctrl-C is not for it: it is switched off in order.
            command.process_group(0);
        }
        let child = command.spawn().map_err(failed("starting QEMU"))?;
        let mut machine = Self { child, work, ports, udp };
        let start = Instant::now();
        loop {
            if let Some(status) = machine.ended() {
                return Err(machine.unwell(format!("ended with {status}")));
            }
            match machine.execute(&qmp::query_status {}) {
                Ok(_) => return Ok(machine),
                Err(_) if start.elapsed() < START_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(machine.unwell(format!("does not answer ({error})"))),
            }
        }
    }

    fn unwell(&self, what: String) -> TestFailure {
        TestFailure::Qemu { what, words: self.words() }
    }

    /// The end of what QEMU said on standard error.
    pub(super) fn words(&self) -> String {
        let text = fs::read(self.work.join(WORDS)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last: Vec<_> = text.lines().rev().take(5).collect();
        if last.is_empty() {
            return "nothing".to_owned();
        }
        last.into_iter().rev().collect::<Vec<_>>().join("; ")
    }

    /// How QEMU ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Presses the power button.
    pub(super) fn press_power(&self) -> io::Result<()> {
        self.execute(&qmp::system_powerdown {}).map(|_| ())
    }

    /// Presses the reset button.
    pub(super) fn press_reset(&self) -> io::Result<()> {
        self.execute(&qmp::system_reset {}).map(|_| ())
    }

    /// Gives commands to QEMU's monitor.
    pub(super) fn tell(&self, commands: impl IntoIterator<Item = String>) -> io::Result<()> {
        for command_line in commands {
            let command = qmp::human_monitor_command { cpu_index: None, command_line };
            let said = self.execute(&command)?;
            if !matches!(said.trim(), "" | "OK") {
                return Err(io::Error::other(format!("{}: {said}", command.command_line)));
            }
        }
        Ok(())
    }

    fn execute<C: qapi::Command>(&self, command: &C) -> io::Result<C::Ok> {
        // A socket's address has 108 bytes at most; the work folder's name may be longer.
        let dir = File::open(&self.work)?;
        let socket = UnixStream::connect(format!("/proc/self/fd/{}/{QMP}", dir.as_raw_fd()))?;
        socket.set_read_timeout(Some(START_PATIENCE))?;
        let mut reader = BufReader::new(socket.try_clone()?);
        // qapi panics on a connection that ends before the greeting.
        if reader.fill_buf()?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut qmp = qapi::Qmp::new(qapi::Stream::new(reader, socket));
        qmp.handshake()?;
        Ok(qmp.execute(command)?)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Either may say that QEMU has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::tree::Tree;
    use crate::vm::Accel;

    #[test]
    fn the_machine_is_the_targets_twin() {
        let dir = tempfile::tempdir().expect("dir");
        let store = Store::open(dir.path()).expect("store");
        let tools = Tools::unpack(&store, &Tree::new(), 0).expect("tools");
        let mut make = Make {
            tools: &tools,
            hardware: Hardware {
                accel: Accel::Tcg,
                cpu: "Westmere,+avx".to_owned(),
                cores: 2,
                memory: 3 << 30,
                notes: Vec::new(),
            },
            firmware: Firmware::Bios,
            ports: &[443],
            ssh_port: 2222,
            cable: None,
            work: dir.path().join("work"),
            key: "ssh-ed25519 AAAA test".to_owned(),
            drives: Drives::default(),
            by_hand: None,
        };
        let text = |make: &Make<'_>| {
            let tcp = BTreeMap::from([(443, 40001), (2222, 40002)]);
            let args = arguments(make, &tcp, &BTreeMap::from([(3478, 40003)]));
            args.iter().map(|arg| arg.to_string_lossy() + "\n").collect::<String>()
        };
        let args = text(&make);
        for part in [
            "-accel\ntcg,thread=multi\n",
            "-cpu\nWestmere,+avx\n",
            "-smp\n2\n-m\n3072M\n",
            "restrict=on,hostfwd=tcp:127.0.0.1:40001-:443,hostfwd=tcp:127.0.0.1:40002-:2222,\
             hostfwd=udp:127.0.0.1:40003-:3478\n",
            "type=11,value=io.systemd.credential:chatimg.authorized_keys=ssh-ed25519 AAAA test\n",
            "-nodefaults\n",
        ] {
            assert!(args.contains(part), "{part}{args}");
        }
        assert_eq!(args.matches("netdev=n0").count(), 1);
        assert!(!args.contains("pflash") && !args.contains("dgram"));
        make.cable = Some(Cable { number: 2, far: "../cable.sock".to_owned() });
        let cable = "dgram,id=n1,local.type=unix,local.path=cable.sock,remote.type=unix,remote.path=../cable.sock\n";
        assert!(text(&make).contains(cable));
        assert!(text(&make).contains("netdev=n1,romfile=,mac=52:54:00:c4:a7:02\n"));
        make.firmware = Firmware::Uefi;
        assert_eq!(text(&make).matches("pflash").count(), 2);
        assert!(text(&make).contains("readonly=on,file="));
    }

    #[test]
    fn commas_are_doubled() {
        assert_eq!(escaped("a,b".as_ref()), "a,,b");
    }

    #[test]
    fn only_a_qemu_on_this_scratch_disk_is_a_leftover() {
        let dir = tempfile::tempdir().expect("dir");
        end_leftover(dir.path());
        let disk = dir.path().join("scratch-1.qcow2");
        fs::write(&disk, "").expect("disk");
        let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        fs::write(dir.path().join(PID), other.id().to_string()).expect("pid");
        end_leftover(dir.path());
        assert_eq!(other.try_wait().expect("wait"), None);
        let disk = File::open(&disk).expect("disk");
        let mut ours = std::process::Command::new("sleep");
        let mut ours = ours.arg("60").stdin(disk).spawn().expect("sleep");
        fs::write(dir.path().join(PID), ours.id().to_string()).expect("pid");
        end_leftover(dir.path());
        assert!(!ours.wait().expect("wait").success());
        other.kill().and_then(|()| other.wait()).expect("end");
    }
}
