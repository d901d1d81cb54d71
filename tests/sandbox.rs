//! Cells: whoever runs in one, hostile to any degree, gets nothing of the host, and leaves nothing behind. All of it as root,
//! as nobody, and as root where there are no user namespaces.

#![allow(clippy::unwrap_used)]

#[path = "sandbox/host.rs"]
mod host;
#[path = "sandbox/kit.rs"]
mod kit;
mod project;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chatimg::interrupt;
use chatimg::sandbox::{Cell, Limits, SandboxError};
use host::{Host, python};
use kit::{KIT, Kit, as_everybody, folder, is_root, says, shell};
use project::text;

/// By probe: whether it got something, and what.
type Found = BTreeMap<String, (bool, String)>;

fn answers(output: &Output) -> Found {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

/// What even root may not everywhere: kernels without it, settings, machines without network, with a process 1 that is
/// protected from root.
const PERHAPS: &str = "interfaces io_uring ipv6 look_into_process_1 measure other_architecture read_by_process_1 sysrq \
                       userfaultfd vsock";
/// What takes root's rights even outside.
const ROOTS: &str = "accounting another_root bpf change_a_mount clock clone_a_mount core_dumps enter_a_namespace kernel_lists \
                     kernel_log kexec kexec_of_a_file make_a_device make_a_disk module module_of_a_file \
                     mount_something mount_without_namespace new_mounts open_by_handle owner packet_socket priority \
                     processes raw_socket reboot remount remove_a_module rename_the_machine rights \
                     second_root settings swap unmount";
/// What a user may unless there can be no user namespaces.
const SPACES: &str = "namespace_by_clone namespace_by_clone3 network_namespace user_namespace";

#[test]
fn nothing_gets_out() {
    let kit = Kit::get().with_python();
    let host = Host::new(&kit);
    let at = |name: &str| host.dir.path().join(name);
    let outside = python(&kit).arg(at("probes.py")).arg(host.facts.to_string()).output();
    let outside = answers(&outside.unwrap());
    assert_ne!(fs::read_to_string(at("victim")).unwrap(), "", "it was written to");
    fs::write(at("victim"), "").unwrap();

    let (dir, mut cell) = kit.cell();
    for (link, to) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        symlink(to, dir.path().join(link)).unwrap();
    }
    fs::copy(at("probes.py"), dir.path().join("probes.py")).unwrap();
    cell.env.push(("LC_ALL".to_owned(), "C.UTF-8".to_owned()));
    cell.binds.push((kit.dir.join("usr"), "/usr".to_owned()));
    cell.binds.push((at("bound"), "/bound".to_owned()));
    let mut facts = host.facts.clone();
    facts["bound"] = "/bound".into();
    facts["here"] = "/tmp".into();
    facts["environment"] = ["LC_ALL"].as_slice().into();
    facts["inside"] = true.into();
    let facts = facts.to_string();
    let inside = cell.run(&["/usr/bin/python3.13", "-B", "-E", "/probes.py", &facts]);
    let inside = answers(&inside.unwrap_or_else(|error| panic!("{error}")));

    println!("{:<30} {:<50} inside", "", "outside");
    for (name, (_, words)) in &inside {
        println!("{name:<30} {:<50.50} {words:.60}", outside[name].1);
    }
    let got = inside.iter().filter(|(_, one)| one.0).collect::<Vec<_>>();
    assert!(got.is_empty(), "got out: {got:?}");
    // A probe that finds nothing outside either shows nothing.
    let again = env::var_os(KIT).is_some();
    let unfit = match (is_root(), again) {
        (true, false) => PERHAPS.to_owned(),
        (false, _) => format!("{PERHAPS} {ROOTS}"),
        (true, true) => format!("{PERHAPS} {ROOTS} {SPACES}"),
    };
    let weak = outside.iter().filter(|(_, one)| !one.0).map(|(name, _)| name.as_str());
    let weak = weak.filter(|name| !unfit.split_whitespace().any(|one| one == *name));
    let weak = weak.collect::<Vec<_>>();
    assert!(weak.is_empty(), "these find nothing outside: {weak:?}");
    assert!(inside.len() >= 80 && inside.keys().eq(outside.keys()), "{}", inside.len());

    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "");
    assert_eq!(fs::read_to_string(at("bound")).unwrap(), "x", "outside only");
    for entry in fs::read_dir(dir.path().join("tmp")).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        assert_eq!(meta.mode() & 0o6000, 0, "{}", entry.path().display());
        assert!(!is_root() || meta.uid() != 0, "{} is root's", entry.path().display());
    }
    as_everybody("nothing_gets_out", &kit);
}

#[test]
fn a_program_finds_what_it_needs() {
    let kit = Kit::get();
    let (dir, mut cell) = kit.cell();
    cell.env = vec![("WORD".to_owned(), "two words".to_owned())];
    let bound = folder();
    fs::write(bound.path().join("file"), "from outside").unwrap();
    cell.binds.push((bound.path().to_owned(), "/a/new/place".to_owned()));
    cell.binds.push((bound.path().join("file"), "/another/file".to_owned()));
    for (script, words) in [
        ("$b pwd; echo \"$WORD\"", "/\ntwo words\n"),
        ("umask; $b hostname", "0022\nlocalhost\n"),
        ("$b cat /a/new/place/file /another/file", "from outsidefrom outside"),
        ("$b ls /dev", "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\nurandom\nzero\n"),
        ("$b head -c 3 /dev/zero | $b wc -c; $b cat", "3\n"),
        ("echo a > /dev/stdout; echo b > /proc/self/fd/1; echo c > /dev/null", "a\nb\n"),
        ("$b mkfifo /tmp/f; echo x > /tmp/f & $b cat /tmp/f", "x\n"),
        ("echo x > /dev/shm/x; $b cat /dev/shm/x", "x\n"),
        (
            "echo x > /file; $b chmod 600 /file; $b ln /file /other; $b stat -c '%a %h' /other",
            "600 2\n",
        ),
        ("$b grep -c processor /proc/cpuinfo; $b cat /proc/sys/kernel/ostype", "1\nLinux\n"),
        ("$b cat /proc/self/oom_score_adj; $b sync && ulimit -c", "1000\n0\n"),
        ("$b ls /proc/net/unix /proc/mounts", "/proc/mounts\n/proc/net/unix\n"),
    ] {
        assert_eq!(says(&cell, script), words, "{script}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "x\n");
    // Where there are no user namespaces, it is nobody.
    let id = says(&cell, "$b id -u");
    assert!(id == "0\n" || id == "1879048192\n", "{id}");

    let output = shell(&cell, "echo out; echo err >&2; exit 7").unwrap();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".into(), "err\n".into()));
    assert_eq!(output.status.code(), Some(7));
    let output = shell(&cell, "kill -SEGV $$").unwrap();
    assert_eq!(output.status.signal(), Some(11));
    let error = cell.run(&["/bin/nothing"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "starting /bin/nothing in the sandbox: No such file or directory (os error 2)"
    );
    let missing = Cell::new(dir.path().join("missing")).run(&["/bin/busybox"]).unwrap_err();
    assert!(matches!(missing, SandboxError::Folder { .. }), "{missing}");
    as_everybody("a_program_finds_what_it_needs", &kit);
}

#[test]
fn links_in_the_folder_lead_nowhere() {
    let kit = Kit::get();
    let victim = folder();
    for name in ["dev", "proc"] {
        let (dir, cell) = kit.cell();
        symlink(victim.path(), dir.path().join(name)).unwrap();
        let error = cell.run(&["/bin/busybox", "true"]).unwrap_err().to_string();
        assert!(error.contains(&format!("/{name}: Not a directory")), "{error}");
    }
    let (dir, mut cell) = kit.cell();
    symlink(victim.path(), dir.path().join("link")).unwrap();
    let file = victim.path().join("file");
    fs::write(&file, "1").unwrap();
    cell.binds.push((file, "/link/below/file".to_owned()));
    // The link's target is looked for in the folder, and is not there.
    let error = cell.run(&["/bin/busybox", "true"]).unwrap_err().to_string();
    assert!(error.contains("/link/below/file"), "{error}");
    fs::create_dir_all(dir.path().join(victim.path().strip_prefix("/").unwrap())).unwrap();
    assert_eq!(says(&cell, "$b cat /link/below/file"), "1");
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1);
    as_everybody("links_in_the_folder_lead_nowhere", &kit);
}

#[test]
fn what_a_program_leaves_is_read_without_being_led_astray() {
    let kit = Kit::get();
    let victim = folder();
    fs::write(victim.path().join("file"), "of the host").unwrap();
    let (dir, cell) = kit.cell();
    cell.prepare().unwrap();
    let before = fs::metadata(dir.path().join("bin/busybox")).unwrap().ctime_nsec();
    let out = victim.path().display();
    let script = format!(
        "echo words > /file; $b ln -s {out}/file /link; $b ln -s {out} /folder; $b mkfifo /fifo; $b mkdir /d; $b head -c 99 /dev/zero > /large"
    );
    says(&cell, &script);
    assert_eq!(cell.read("/file", 10).unwrap(), b"words\n");
    for odd in ["/link", "/folder/file", "/fifo", "/d", "/large", "/none", "/d/../../x"] {
        assert!(cell.read(odd, 10).is_err(), "{odd}");
    }
    says(&cell, "$b mkdir -p /closed/in; $b chmod 0 /closed/in /closed /file /");
    assert_eq!(cell.read("/file", 10).unwrap(), b"words\n");
    assert_eq!(fs::read_dir(dir.path().join("closed/in")).unwrap().count(), 0);
    let after = fs::metadata(dir.path().join("bin/busybox")).unwrap().ctime_nsec();
    assert_eq!(before, after, "it was given away before");
    as_everybody("what_a_program_leaves_is_read_without_being_led_astray", &kit);
}

#[test]
fn who_uses_too_much_is_stopped() {
    let kit = Kit::get();
    let with = |limits: Limits| {
        let (dir, cell) = kit.cell();
        (dir, Cell { limits, ..cell })
    };
    let usual = Limits::default;

    let (_dir, cell) = with(Limits { time: Duration::from_millis(300), ..usual() });
    let start = Instant::now();
    let error = shell(&cell, "$b sleep 100 & $b sleep 100").unwrap_err();
    assert!(matches!(error, SandboxError::Time { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(60));

    let (_dir, cell) = with(Limits { words: 1000, ..usual() });
    for to in [1, 2] {
        let script = format!("while :; do echo many words; done >&{to}");
        let error = shell(&cell, &script).unwrap_err();
        assert!(matches!(error, SandboxError::Words { bytes: 1000, .. }), "{error}");
    }
    assert_eq!(says(&cell, "$b head -c 1000 /dev/zero").len(), 1000);

    let (_dir, cell) = with(Limits { processes: 20, ..usual() });
    let many = "i=0; while [ $i -lt 30 ]; do $b sleep 100 & i=$((i+1)); done";
    let output = shell(&cell, many).unwrap();
    assert!(text(&output.stderr).contains("can't fork"), "{output:?}");
    // Nor does it hurt the next one.
    assert_eq!(says(&cell, "$b true; echo still here"), "still here\n");

    let (dir, cell) = with(Limits { file: 1 << 20, ..usual() });
    let output = shell(&cell, "exec $b dd if=/dev/zero of=/file bs=64k count=32").unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(fs::metadata(dir.path().join("file")).unwrap().len(), 1 << 20);

    let (_dir, cell) = with(Limits { disk: 16 << 20, ..usual() });
    let script = "i=0; while :; do $b head -c 8m /dev/urandom > /file$i; i=$((i+1)); done";
    let error = shell(&cell, script).unwrap_err();
    assert!(matches!(error, SandboxError::Disk { .. }), "{error}");

    let (_dir, cell) = with(Limits { cpu: Duration::from_secs(1), ..usual() });
    let output = shell(&cell, "while :; do :; done").unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");

    let (_dir, cell) = with(Limits { memory: 32 << 20, ..usual() });
    let output = shell(&cell, "x=0123456789abcdef; while :; do x=$x$x; done").unwrap();
    assert!(!output.status.success(), "{output:?}");

    let (_dir, cell) = with(Limits { open: 20, ..usual() });
    let many = "i=3; while [ $i -lt 40 ]; do eval \"exec $i</dev/null\"; i=$((i+1)); done";
    assert!(!shell(&cell, many).unwrap().status.success());
    as_everybody("who_uses_too_much_is_stopped", &kit);
}

/// Whether somebody still writes to a file.
fn beats(file: &Path) -> bool {
    let size = || fs::metadata(file).map_or(0, |meta| meta.len());
    let before = size();
    thread::sleep(Duration::from_millis(400));
    size() != before
}

const HEART: &str = "while :; do echo x >> /beat; $b usleep 20000; done";

#[test]
fn nobody_survives() {
    let kit = Kit::get();
    let (dir, mut cell) = kit.cell();
    let beat = dir.path().join("beat");
    // A daemon as it should be: a session of its own, nothing open, its parent gone.
    let daemon = format!("$b setsid $b sh -c 'b=$0; ({HEART}) </dev/null >/dev/null 2>&1 &' $b");
    let script = format!("{daemon}; until [ -s /beat ]; do :; done; echo done");
    assert_eq!(says(&cell, &script), "done\n");
    assert!(!beats(&beat), "it outlived its cell");
    let size = fs::metadata(&beat).unwrap().len();
    // Those whose parent ended are process 1's children.
    let orphans = "($b true &) ; $b sleep 0.4; $b grep -l zombie /proc/[0-9]*/status | $b wc -l";
    assert_eq!(says(&cell, orphans), "0\n");
    cell.limits.time = Duration::from_secs(2);
    let error = shell(&cell, &format!("{daemon}; $b sleep 100")).unwrap_err();
    assert!(matches!(error, SandboxError::Time { .. }), "{error}");
    assert!(fs::metadata(&beat).unwrap().len() > size && !beats(&beat));
    as_everybody("nobody_survives", &kit);
}

/// Has a test of another process play a part.
const PART: &str = "CHATIMG_TEST_PART";

/// Started by the next test: a chatimg that is killed, or asked to stop.
#[test]
fn a_part_of_the_next_test() {
    let Ok(part) = env::var(PART) else { return };
    let kit = Kit::get();
    let (dir, cell) = kit.cell();
    println!("\nfolder {}", dir.path().display());
    if part == "stop" {
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(500));
            interrupt::flag().store(true, std::sync::atomic::Ordering::SeqCst);
        });
    }
    let error = shell(&cell, HEART).unwrap_err();
    println!("error {error}");
    assert!(!beats(&dir.path().join("beat")));
}

#[test]
fn whoever_is_killed_or_stopped_takes_its_cells_along() {
    let kit = Kit::get();
    let start = |part: &str| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["a_part_of_the_next_test", "--exact", "--nocapture"]);
        command.env(PART, part).env(KIT, &kit.dir).stdout(Stdio::piped()).spawn().unwrap()
    };
    let said = text(&start("stop").wait_with_output().unwrap().stdout);
    assert!(said.contains("error interrupted") && said.contains("1 passed"), "{said}");

    let mut killed = start("kill");
    let lines = BufReader::new(killed.stdout.take().unwrap()).lines();
    let folder = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("folder ").map(str::to_owned));
    let folder = folder.unwrap();
    let (beat, start) = (Path::new(&folder).join("beat"), Instant::now());
    while !beat.exists() && start.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(beats(&beat));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let start = Instant::now();
    while beats(&beat) {
        assert!(start.elapsed() < Duration::from_secs(20), "it outlived chatimg");
    }
    fs::remove_dir_all(&folder).unwrap();
    as_everybody("whoever_is_killed_or_stopped_takes_its_cells_along", &kit);
}

/// Root in a user namespace of one user, in which there can be no other: that is no root.
#[test]
fn where_there_can_be_no_cell_nothing_is_run() {
    let kit = Kit::get();
    if env::var_os(PART).is_some() {
        let (dir, cell) = kit.cell();
        let error = shell(&cell, "echo x > /file").unwrap_err();
        assert!(matches!(error, SandboxError::Forbidden { .. }), "{error}");
        assert!(!dir.path().join("file").exists());
        println!("error {error}");
        return;
    }
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "sh", "-c", script, "sh"]).arg(kit.dir.join("test"));
    command.args(["where_there_can_be_no_cell_nothing_is_run", "--exact", "--nocapture"]);
    let output = command.env(KIT, &kit.dir).env(PART, "").output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for words in
        ["without that none is run: build as root", "`sysctl -w user.max_user_namespaces=10000`"]
    {
        assert!(said.contains(words), "{said}");
    }
}
