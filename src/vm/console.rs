//! The serial console: read while the machine runs, and searched for signs of trouble.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A sign of trouble: these words in this order on one line, each standing by itself.
struct Sign {
    words: &'static [&'static str],
    why: &'static str,
}

const fn sign(words: &'static [&'static str], why: &'static str) -> Sign {
    Sign { words, why }
}

/// Whatever shows one of these is not healthy, however well it answers.
const SIGNS: &[Sign] = &[
    sign(&["Kernel panic"], "the kernel gave up"),
    sign(&["Oops"], "the kernel hit a bug"),
    sign(&["general protection fault"], "a program or the kernel touched what it may not"),
    sign(&["watchdog", "BUG"], "a CPU was stuck"),
    sign(&["soft lockup"], "a CPU was stuck"),
    sign(&["BUG:"], "the kernel hit a bug"),
    sign(&["Call Trace"], "the kernel printed a stack: a bug or a stall"),
    sign(&["blocked for more than"], "a task hung, most often waiting for the disk"),
    sign(&["Out of memory"], "memory ran out"),
    sign(&["oom-kill"], "memory ran out"),
    sign(&["I/O error"], "the disk did not do as it was told"),
    sign(&["EXT4-fs error"], "the root file system is damaged"),
    sign(&["XFS", "corruption"], "the data file system is damaged"),
    sign(&["XFS", "Internal error"], "the data file system is damaged"),
    sign(&["Segmentation fault"], "a program crashed"),
    sign(&["segfault at"], "a program crashed"),
    sign(&["Found ordering cycle"], "units wait for each other; systemd drops one of them"),
    sign(&["dependency cycle"], "units wait for each other; systemd drops one of them"),
    sign(&["Failed to start"], "a unit failed"),
    sign(&["Failed to mount"], "a file system is missing"),
    sign(&["Dependency failed"], "a unit failed, and others with it"),
    sign(&["emergency mode"], "the system did not come up"),
    sign(&["Freezing execution"], "systemd itself crashed"),
];

/// A line that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The line.
    pub(super) line: String,
    /// What it means.
    pub(super) why: &'static str,
}

/// Passes over the kernel's reports of CPUs that did nothing for 21 s ("rcu: INFO: rcu_preempt detected stalls", Linux 6.12,
/// kernel/rcu/tree_stall.h), with their stacks. An emulated CPU does nothing while the host is busy with something else, and
/// QEMU's TCG now and then loses a timer's interrupt. So, too, over a kernel that got no tick in the 70 ms that it gives the timer
/// when it starts (arch/x86/kernel/apic/io_apic.c, `timer_irq_works`), gave up, and restarts the machine.
/// What hangs for good is found by the time that its step has.
#[derive(Clone, Debug)]
struct Stalls {
    emulated: bool,
    /// Lines of a report that may still come.
    left: usize,
}

impl Stalls {
    /// Two stalled CPUs' stacks, and the stacks of the thread that was not run and of the CPU where it ran last.
    const LINES: usize = 150;

    /// Whether this line, the next one, is one that such a report explains.
    fn explain(&mut self, line: &str) -> bool {
        self.left = self.left.saturating_sub(1);
        let stall = after_word(line, "rcu: INFO:").is_some() && line.contains("detected stall");
        let timer = line.contains("not syncing: IO-APIC + timer doesn't work!");
        if self.emulated && (stall || timer) {
            self.left = Self::LINES;
        }
        self.left > 0 && (timer || after_word(line, "Call Trace").is_some())
    }
}

/// What is wrong with a line of the console, if anything.
fn trouble(line: &str) -> Option<Trouble> {
    let sign = SIGNS.iter().find(|sign| {
        let mut rest = Some(line);
        for word in sign.words {
            rest = rest.and_then(|text| after_word(text, word));
        }
        rest.is_some()
    })?;
    (!is_read_ahead(line)).then(|| Trouble { line: line.to_owned(), why: sign.why })
}

/// Whether the line tells of a read-ahead that failed: the kernel does not repeat it, for whoever wants these blocks will
/// read them, and is told if that fails. QEMU's SATA disks cut one short now and then when a SMART command comes between.
fn is_read_ahead(line: &str) -> bool {
    /// `REQ_RAHEAD`, Linux 6.12, include/linux/blk_types.h.
    const READ_AHEAD: u32 = 1 << 19;
    let flags = line.split_once("I/O error").and_then(|(_, rest)| rest.split_once("flags 0x"));
    let digits = flags.and_then(|(_, rest)| rest.split(' ').next());
    let flags = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    flags.is_some_and(|flags| flags & READ_AHEAD != 0)
}

/// What follows `word` in `text`, where it is not a piece of a longer word (DEBUG: is no BUG:).
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.match_indices(word).find_map(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        let joined = before.ends_with(char::is_alphanumeric)
            || (word.ends_with(char::is_alphanumeric) && after.starts_with(char::is_alphanumeric));
        (!joined).then_some(after)
    })
}

/// The log of the console, as far as it has been written.
#[derive(Debug)]
pub(super) struct Console {
    path: PathBuf,
    file: Option<File>,
    lines: Vec<String>,
    /// The line that has not ended: a prompt, perhaps.
    partial: Vec<u8>,
    boot: usize,
    checked: usize,
    stalls: Stalls,
    allowed: Vec<String>,
}

impl Console {
    /// The console written to `path`, which need not exist yet. Lines with one of `allowed` in them
    /// are no trouble. `emulated`: the machine's CPUs are.
    pub(super) fn new(path: PathBuf, allowed: Vec<String>, emulated: bool) -> Self {
        let (lines, partial) = (Vec::new(), Vec::new());
        let stalls = Stalls { emulated, left: 0 };
        Self { path, file: None, lines, partial, boot: 0, checked: 0, stalls, allowed }
    }

    /// From here on other lines are allowed.
    pub(super) fn allow(&mut self, allowed: &[String]) {
        self.allowed = allowed.to_vec();
    }

    /// The last line with these words, since the machine was started last.
    pub(super) fn line(&self, words: &str) -> Option<&str> {
        let lines = self.lines.get(self.boot..).unwrap_or_default();
        lines.iter().rev().find(|line| line.contains(words)).map(String::as_str)
    }

    /// The log file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is new. Gives back the first line of it that means trouble.
    pub(super) fn poll(&mut self) -> io::Result<Option<Trouble>> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => Some(opened?),
            };
        }
        let mut new = Vec::new();
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut new)?;
        }
        self.feed(&new);
        Ok(self.check())
    }

    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.lines.push(plain(&self.partial));
                self.partial.clear();
            } else {
                self.partial.push(byte);
            }
        }
    }

    fn check(&mut self) -> Option<Trouble> {
        while let Some(line) = self.lines.get(self.checked) {
            self.checked += 1;
            if !self.stalls.explain(line)
                && let Some(trouble) = self.judged(line)
            {
                return Some(trouble);
            }
        }
        None
    }

    /// The first trouble in what the kernel and systemd said elsewhere: in the journal.
    pub(super) fn judged_all(&self, text: &str) -> Option<Trouble> {
        let mut stalls = Stalls { left: 0, ..self.stalls.clone() };
        text.lines().filter(|line| !stalls.explain(line)).find_map(|line| self.judged(line))
    }

    fn judged(&self, line: &str) -> Option<Trouble> {
        let allowed = self.allowed.iter().any(|words| line.contains(words));
        trouble(line).filter(|_| !allowed)
    }

    /// Trouble in the line that has not ended. For when nothing more will come.
    pub(super) fn last_words(&self) -> Option<Trouble> {
        self.judged(&plain(&self.partial))
    }

    /// From here on, [`Console::says`] sees only what is new.
    pub(super) fn new_boot(&mut self) {
        if !self.partial.is_empty() {
            self.feed(b"\n");
        }
        self.boot = self.lines.len();
    }

    /// Whether `words` stand on the console since the machine was started last.
    pub(super) fn says(&self, words: &str) -> bool {
        self.lines[self.boot..].iter().any(|line| line.contains(words))
            || plain(&self.partial).contains(words)
    }

    /// The last `count` lines.
    pub(super) fn tail(&self, count: usize) -> Vec<String> {
        let mut lines = self.lines[self.lines.len().saturating_sub(count)..].to_vec();
        let partial = plain(&self.partial);
        if !partial.is_empty() {
            lines.push(partial);
        }
        lines
    }
}

/// A line without the terminal's colours, cursor moves and control characters.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // ECMA-48: a control sequence ends with a byte from @ to ~.
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\u{1b}' => _ = chars.next(),
            '\t' => plain.push(' '),
            c if c.is_control() => (),
            c => plain.push(c),
        }
    }
    plain
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut console = Console::new(PathBuf::new(), Vec::new(), true);
    console.feed(bytes);
    while console.check().is_some() {}
    console.last_words();
    console.judged_all(&String::from_utf8_lossy(bytes));
    console.new_boot();
    console.tail(3);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_is_seen() {
        for line in [
            "[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "[    3.0] Oops: 0000 [#1] PREEMPT SMP NOPTI",
            "[    3.0] traps: x[1] general protection fault ip:7f sp:7f error:0",
            "[   30.2] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kworker:1]",
            "[   30.2] clocksource: soft lockup suspected",
            "[    3.0] BUG: unable to handle page fault for address: ffff",
            "[    3.0] Call Trace:",
            "[  242.1] INFO: task xfsaild/sda6:512 blocked for more than 120 seconds.",
            "[   90.1] Out of memory: Killed process 612 (python3)",
            "[   90.1] oom-kill:constraint=CONSTRAINT_NONE",
            "[    4.4] I/O error, dev sda, sector 2048 op 0x0:(READ)",
            "[    4.4] I/O error, dev sda, sector 8 op 0x0:(READ) flags 0x700 phys_seg 1 prio class 2",
            "[    4.4] EXT4-fs error (device sda4): ext4_lookup:1853: inode #2",
            "[    4.4] XFS (sda6): Metadata corruption detected at xfs_agf",
            "[    4.4] XFS (sda6): Internal error xfs_trans_cancel",
            "bash: line 1:   612 Segmentation fault",
            "[   12.0] nginx[700]: segfault at 0 ip 00 sp 00 error 4",
            "[    5.0] systemd[1]: a.service: Found ordering cycle on b.service/start",
            "[    5.0] systemd[1]: Transaction contains a dependency cycle",
            "[\u{1b}[0;1;31mFAILED\u{1b}[0m] Failed to start \u{1b}[0;1;39mnginx.service",
            "[FAILED] Failed to mount /state.",
            "[DEPEND] Dependency failed for local-fs.target",
            "You are in emergency mode. After logging in, type",
            "[!!!!!!] Freezing execution.",
        ] {
            assert!(trouble(&plain(line.as_bytes())).is_some(), "{line}");
        }
        let hit = |sign: &Sign| trouble(&sign.words.join(" ")).is_some();
        assert!(SIGNS.iter().all(hit), "every sign sees itself");
    }

    #[test]
    fn a_healthy_boot_passes() {
        let log = "\
            [    0.000000] Linux version 6.12.48+deb13-amd64\r\n\
            [    0.000000] Command line: BOOT_IMAGE=/boot/vmlinuz ro panic=5 oops=panic quiet\r\n\
            [    0.000000] DEBUG: probing, no DEBUG: left\r\n\
            [    0.2] pcieport 0000:00:01.0: I/O errors: 0\r\n\
            [   41.3] I/O error, dev sda, sector 8 op 0x0:(READ) flags 0x80700 phys_seg 1\r\n\
            [    0.9] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.\r\n\
            [    1.0] systemd[1]: Listening on systemd-oomd - Userspace Out-Of-Memory Killer.\r\n\
            [    2.0] XFS (sda6): Mounting V5 Filesystem\r\n\
            [    2.0] XFS (sda6): Ending clean mount\r\n\
            [    2.1] XFS (sda6): EXPERIMENTAL online scrub finds corruptions. Use at own risk!\r\n\
            [  OK  ] Stopped target emergency.target - Emergency Mode.\r\n\
            [  OK  ] Started failed-to-start.service - tells of units that fail to start.\r\n\
            box login: ";
        let mut console = Console::new(PathBuf::from("/nonexistent"), Vec::new(), false);
        console.feed(log.as_bytes());
        assert_eq!(console.check(), None);
        assert_eq!(console.last_words(), None);
        assert!(console.says("login:") && console.says("Linux version"));
        console.new_boot();
        assert!(!console.says("login:") && !console.says("Linux version"));
        console.feed(b"Linux version\n[ 1.0] BUG: x");
        assert!(console.says("Linux version"));
        assert_eq!(console.check(), None);
        assert_eq!(
            console.last_words().map(|trouble| trouble.line).as_deref(),
            Some("[ 1.0] BUG: x")
        );
        assert_eq!(console.tail(2), ["box login: ", "Linux version", "[ 1.0] BUG: x"]);
    }

    #[test]
    fn an_emulated_cpu_may_stand_still() {
        let report = "\
            [   23.8] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n\
            [   23.8] rcu: \t1-...!: (119 ticks this GP) idle=5478/0/0x0 softirq=15/17 fqs=1\n\
            [   23.9] NMI backtrace for cpu 1\n\
            [   23.9] Call Trace:\n\
            [   23.9] rcu: rcu_preempt kthread starved for 5254 jiffies! g-1155 f0x0 RCU_GP_WAIT_FQS(5)\n\
            [   23.9] Call Trace:\n";
        let found = |log: &str, emulated: bool| {
            let mut console = Console::new(PathBuf::from("/nonexistent"), Vec::new(), emulated);
            let in_journal = console.judged_all(log);
            console.feed(log.as_bytes());
            assert_eq!(console.check(), in_journal);
            in_journal.map(|trouble| trouble.line)
        };
        assert_eq!(found(report, true), None);
        assert_eq!(found(report, false).as_deref(), Some("[   23.9] Call Trace:"));
        let timer = "\
            [    0.012000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug\n\
            [    0.012000] Call Trace:\n\
            [    0.012000] Rebooting in 5 seconds..\n";
        assert_eq!(found(timer, true), None);
        assert!(found(timer, false).is_some_and(|line| line.contains("Kernel panic")));
        let again = format!("{timer}[    0.9] Kernel panic - not syncing: VFS\n");
        assert!(found(&again, true).is_some_and(|line| line.ends_with("VFS")));
        let another = format!("{report}[   24.1] BUG: x\n");
        assert_eq!(found(&another, true).as_deref(), Some("[   24.1] BUG: x"));
        let later = format!("{report}{}[   60.1] Call Trace:\n", "[   30.0] x\n".repeat(150));
        assert_eq!(found(&later, true).as_deref(), Some("[   60.1] Call Trace:"));
    }

    #[test]
    fn expected_trouble_is_let_through() {
        let mut console =
            Console::new(PathBuf::from("/nonexistent"), vec!["sysrq".to_owned()], false);
        console.feed(b"Kernel panic: sysrq triggered\nKernel panic: another\n");
        let line = console.check().map(|trouble| trouble.line);
        assert_eq!(line.as_deref(), Some("Kernel panic: another"));
    }

    #[test]
    fn a_log_that_is_still_written_is_read_on() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("console.log");
        let mut console = Console::new(path.clone(), Vec::new(), true);
        assert_eq!(console.poll().expect("poll"), None);
        std::fs::write(&path, "one\r\ntw").expect("write");
        assert_eq!(console.poll().expect("poll"), None);
        std::fs::write(&path, "one\r\ntwo\r\nOops\n").expect("write");
        assert_eq!(console.poll().expect("poll").expect("trouble").line, "Oops");
        assert_eq!(console.lines, ["one", "two", "Oops"]);
    }
}
