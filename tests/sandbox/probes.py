"""Ways out of a cell. Each function tries one, and returns what it got; an OSError or None: nothing.

    probes.py FACTS         tries all, each in a process of its own; prints {name: [got out?, what]}
    probes.py --host        is a process of the host: its pid, a key and a queue, until standard input ends

FACTS tells what is there to be found. Outside a cell all of it is found (by root), so that what finds nothing inside is no
mere mistake.
"""

import ctypes
import errno
import glob
import json
import mmap
import os
import signal
import socket
import stat
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
FACTS = {}

# x86-64.
OPEN, MKNOD, CREAT, CLONE, PTRACE, SYSLOG, CHROOT = 2, 133, 85, 56, 101, 103, 161
MOUNT, UMOUNT2, SWAPON, REBOOT, INIT_MODULE, DELETE_MODULE = 165, 166, 167, 169, 175, 176
SETTIMEOFDAY, SETHOSTNAME, IOCTL, MSGGET, PERSONALITY, FCHMODAT2 = 164, 170, 16, 68, 135, 452
ADD_KEY, REQUEST_KEY, KEYCTL, KEXEC_LOAD, UNSHARE, PERF_EVENT_OPEN = 248, 249, 250, 246, 272, 298
OPEN_BY_HANDLE_AT, SETNS, PROCESS_VM_READV, FINIT_MODULE, KEXEC_FILE_LOAD = 304, 308, 310, 313, 320
BPF, USERFAULTFD, IO_URING_SETUP, OPEN_TREE, FSOPEN, CLONE3, PIDFD_GETFD = 321, 323, 425, 428, 430, 435, 438
MOUNT_SETATTR, PIDFD_OPEN, ACCT, PIVOT_ROOT, QUOTACTL, IOPL = 442, 434, 163, 155, 179, 172
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
NEWNS, NEWUSER, NEWPID, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000


def call(number, *args):
    args = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = libc.syscall(ctypes.c_long(number), *args)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def allowed(number, *args):
    """What a call with useless arguments says when it is not refused for want of rights."""
    try:
        return f"returned {call(number, *args)}"
    except OSError as error:
        return None if error.errno == errno.EPERM else str(error)


def read(path):
    with open(path, "rb") as file:
        return file.read(4096).decode(errors="replace") or None


def here(name):
    """A path in a folder where everything may be written."""
    return os.path.join(FACTS["here"], name)


def found(path):
    """The canary, if it is there."""
    return FACTS["canary"] if FACTS["canary"] in (read(path) or "") else None


# The network.

def tcp():
    with socket.create_connection(("127.0.0.1", FACTS["tcp"]), 2) as peer:
        return peer.recv(100).decode()


def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(2)
        peer.sendto(b"?", ("127.0.0.1", FACTS["udp"]))
        return peer.recv(100).decode()


def a_socket(family, kind, protocol=0):
    with socket.socket(family, kind, protocol) as one:
        return f"socket {one.fileno()}"


def ipv6():
    return a_socket(socket.AF_INET6, socket.SOCK_STREAM)


def raw_socket():
    return a_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def packet_socket():
    return a_socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)


def netlink():
    return a_socket(socket.AF_NETLINK, socket.SOCK_RAW)


def vsock():
    return a_socket(socket.AF_VSOCK, socket.SOCK_STREAM)


def interfaces():
    others = [line.split(":")[0].strip() for line in (read("/proc/net/dev") or "").splitlines()[2:]]
    return ", ".join(name for name in others if name != "lo") or None


def abstract_socket():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.connect("\0" + FACTS["abstract"])
        return peer.recv(100).decode()


def socket_of_the_host():
    for root in ["", "/proc/1/root", "/.."]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            try:
                peer.connect(root + FACTS["socket"])
                return peer.recv(100).decode()
            except OSError:
                pass


# Processes of the host.

def attach():
    call(PTRACE, 0x4206, FACTS["pid"], 0, 0)  # PTRACE_SEIZE
    return "attached"


def trace_a_child():
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        call(PTRACE, 0x4206, child, 0, 0)
        return "attached"
    finally:
        os.kill(child, signal.SIGKILL)


def memory_of_a_process():
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 8)
    call(PROCESS_VM_READV, os.getpid(), vector, 1, vector, 1, 0)
    return "read"


def signal_a_process():
    os.kill(FACTS["pid"], signal.SIGCONT)
    return "sent"


def processes():
    mine = {os.getpid(), os.getppid(), 1, 2}
    others = {int(name) for name in os.listdir("/proc") if name.isdigit()} - mine
    # Those of other probes have ended; process 1 takes its time to reap them.
    return ", ".join(str(pid) for pid in others if ") Z " not in (read(f"/proc/{pid}/stat") or ") Z ")) or None


def look_into_process_1():
    for name in ["environ", "mem", "exe", "maps", "cwd/.", "root/.", "fd/0"]:
        try:
            os.close(os.open(f"/proc/1/{name}", os.O_RDONLY))
            return name
        except OSError:
            pass


def descriptor_of_another():
    return allowed(PIDFD_GETFD, call(PIDFD_OPEN, os.getppid(), 0), 1, 0)


def queue_of_the_host():
    return f"queue {call(MSGGET, FACTS['queue'], 0)}"


# Files of the host.

def read_by_path():
    return found(FACTS["file"])


def read_by_dots():
    return found("/.." * 40 + FACTS["file"])


def read_by_process_1():
    return found("/proc/1/root" + FACTS["file"])


def read_by_any_process():
    for link in glob.glob("/proc/[0-9]*/root") + glob.glob("/proc/[0-9]*/cwd") + glob.glob("/proc/[0-9]*/fd/*"):
        for dots in ["", "/.." * 40]:
            try:
                if found(link + dots + FACTS["file"]):
                    return link
            except OSError:
                pass


def write_outside():
    for root in ["", "/.." * 40, "/proc/1/root", "/proc/self/cwd/.." + "/.." * 40]:
        try:
            with open(root + FACTS["victim"], "a") as file:
                return str(file.write("x"))
        except OSError:
            pass


def write_what_is_bound():
    with open(FACTS["bound"], "a") as file:
        return str(file.write("x"))


def chmod_what_is_bound():
    os.chmod(FACTS["bound"], 0o666)
    return "changed"


def second_root():
    os.makedirs(here("second"), exist_ok=True)
    os.chroot(here("second"))
    for _ in range(40):
        os.chdir("..")
    os.chroot(".")
    return found(FACTS["file"])


def open_by_handle():
    root = os.open("/", os.O_RDONLY)
    # ext4, XFS, btrfs and tmpfs have different handles: who may call this at all hears ESTALE.
    handle = ctypes.create_string_buffer(struct.pack("IiQ", 8, 1, 2), 128)
    return allowed(OPEN_BY_HANDLE_AT, root, handle, os.O_RDONLY)


def descriptors():
    left = []
    for number in range(3, 256):
        try:
            left.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    # Listed by the number of each; the pipe to the process that asks is this program's own.
    return ", ".join(name for name in left if name != FACTS["pipe"]) or None


def other_directory():
    for number in range(0, 256):
        try:
            if found(f"/proc/self/fd/{number}/" + ".." + "/.." * 40 + FACTS["file"]):
                return str(number)
        except OSError:
            pass


def environment():
    return ", ".join(set(os.environ) - set(FACTS["environment"])) or None


def name_of_the_machine():
    return None if os.uname().nodename == "localhost" else os.uname().nodename


# Mounts and devices.

def mount_something():
    call(UNSHARE, NEWNS)
    call(MOUNT, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    call(MOUNT, b"tmpfs", here("").encode(), b"tmpfs", 0, None)
    return "mounted"


def mount_without_namespace():
    return allowed(MOUNT, b"none", b"/nonexistent", b"tmpfs", 0, None)


def remount():
    return allowed(MOUNT, b"none", b"/nonexistent", None, MS_REMOUNT | MS_BIND, None)


def unmount():
    return allowed(UMOUNT2, b"/nonexistent", 2)


def new_mounts():
    return allowed(FSOPEN, b"tmpfs", 0)


def clone_a_mount():
    return allowed(OPEN_TREE, -100, b"/", 1)


def change_a_mount():
    return allowed(MOUNT_SETATTR, -100, b"/nonexistent", 0, struct.pack("QQQQ", 0, 1, 0, 0), 32)


def another_root():
    return allowed(PIVOT_ROOT, b"/nonexistent", b"/nonexistent")


def make_a_device():
    os.mknod(here("device"), 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    return "made"


def make_a_disk():
    os.mknod(here("disk"), 0o666 | stat.S_IFBLK, os.stat(FACTS["here"]).st_dev)
    return "made"


def devices():
    known = {"null", "zero", "full", "random", "urandom"}
    odd = []
    for dir, _, names in os.walk("/dev"):
        for name in names:
            mode = os.lstat(os.path.join(dir, name)).st_mode
            if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and name not in known:
                odd.append(name)
    return ", ".join(odd) or None


def setuid(make):
    """A file or folder with such a bit, made by this."""
    path = here(f"setuid-{os.getpid()}")
    os.umask(0)
    make(path)
    mode = os.lstat(path).st_mode
    if mode & 0o6000:
        return oct(mode)


def by_hand(path, mode=0o777):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))


def setuid_by_chmod():
    return setuid(lambda path: (by_hand(path), os.chmod(path, 0o4755)))


def setgid_by_chmod():
    return setuid(lambda path: (by_hand(path), os.chmod(path, 0o2755)))


def setuid_by_fchmod():
    return setuid(lambda path: os.fchmod(os.open(path, os.O_CREAT | os.O_WRONLY), 0o4755))


def setuid_by_fchmodat2():
    return setuid(lambda path: (by_hand(path), call(FCHMODAT2, -100, path.encode(), 0o4755, 0)))


def setuid_by_open():
    return setuid(lambda path: by_hand(path, 0o4755))


def setuid_by_creat():
    return setuid(lambda path: call(CREAT, path.encode(), 0o4755))


def setuid_by_old_open():
    return setuid(lambda path: call(OPEN, path.encode(), os.O_CREAT | os.O_WRONLY, 0o4755))


def setuid_by_mknod():
    return setuid(lambda path: call(MKNOD, path.encode(), stat.S_IFREG | 0o4755, 0))


def attributes():
    by_hand(here("attributes"))
    os.setxattr(here("attributes"), "user.one", b"1")
    return "set"


def owner():
    by_hand(here("owner"))
    os.chown(here("owner"), 12345, 12345)
    return "changed"


# The kernel.

def settings():
    for name in glob.glob("/proc/sys/kernel/*") + glob.glob("/proc/sys/vm/*") + glob.glob("/proc/sys/net/*/*"):
        if os.path.isfile(name):
            try:
                os.close(os.open(name, os.O_WRONLY))
                return name
            except OSError:
                pass


def core_pattern():
    return read("/proc/sys/kernel/core_pattern")


def sysrq():
    os.close(os.open("/proc/sysrq-trigger", os.O_WRONLY))
    return "open"


def sysfs():
    return ", ".join(os.listdir("/sys")) or None


def kernel_lists():
    for name in ["kallsyms", "modules", "iomem", "partitions", "keys", "diskstats", "kcore", "mtrr", "config.gz"]:
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK
            file = os.open(f"/proc/{name}", flags)
            if os.read(file, 1):
                return name
        except OSError:
            pass


def kernel_log():
    return allowed(SYSLOG, 10, None, 0)


def key():
    number = call(KEYCTL, 10, -5, b"user", FACTS["key"].encode(), 0)  # KEYCTL_SEARCH
    buffer = ctypes.create_string_buffer(100)
    call(KEYCTL, 11, number, buffer, 100)  # KEYCTL_READ
    return buffer.value.decode()


def new_key():
    return f"key {call(ADD_KEY, b'user', b'chatimg-probe', b'x', 1, -2)}"


def ask_for_a_key():
    try:
        return f"key {call(REQUEST_KEY, b'user', b'chatimg-nonexistent', None, 0)}"
    except OSError as error:
        return str(error) if error.errno == errno.ENOKEY else None


def kexec():
    return allowed(KEXEC_LOAD, 0, 0, None, 0xFFFF)


def kexec_of_a_file():
    return allowed(KEXEC_FILE_LOAD, -1, -1, 0, None, 0xFFFF)


def reboot():
    return allowed(REBOOT, 1, 2, 3, None)


def module():
    return allowed(INIT_MODULE, None, 0, b"")


def module_of_a_file():
    return allowed(FINIT_MODULE, -1, b"", 0)


def remove_a_module():
    return allowed(DELETE_MODULE, b"chatimg-nonexistent", 0)


def swap():
    return allowed(SWAPON, b"/nonexistent", 0)


def accounting():
    return allowed(ACCT, b"/nonexistent")


def clock():
    return allowed(SETTIMEOFDAY, None, None)


def rename_the_machine():
    name = os.uname().nodename.encode()
    return allowed(SETHOSTNAME, name, len(name))


def ports_of_the_machine():
    return allowed(IOPL, 0)


def bpf():
    return allowed(BPF, 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(112), 128)


def measure():
    attributes = struct.pack("IIQ", 1, 128, 0) + bytes(112)  # A software clock, of this process.
    return f"measures {call(PERF_EVENT_OPEN, attributes, 0, -1, -1, 0)}"


def io_uring():
    return f"ring {call(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))}"


def userfaultfd():
    return f"file {call(USERFAULTFD, 1)}"


def user_namespace():
    call(UNSHARE, NEWUSER)
    return "made"


def network_namespace():
    call(UNSHARE, NEWUSER | NEWNET)
    return "made"


def namespace_by_clone():
    child = call(CLONE, NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return "made"


def namespace_by_clone3():
    child = call(CLONE3, struct.pack("QQQQQQQQ", NEWUSER, 0, 0, 0, signal.SIGCHLD, 0, 0, 0), 64)
    if child == 0:
        os._exit(0)
    return "made"


def enter_a_namespace():
    return allowed(SETNS, os.open("/proc/self/ns/net", os.O_RDONLY), NEWNET)


def layout_of_memory():
    call(PERSONALITY, 0x40000)  # ADDR_NO_RANDOMIZE
    return "set"


def terminal_input():
    null = os.open("/dev/null", os.O_RDWR)
    return allowed(IOCTL, null, 0x5412, b"x")


def terminal_input_by_upper_bits():
    null = os.open("/dev/null", os.O_RDWR)
    return allowed(IOCTL, null, 0x5412 | 1 << 32, b"x")


def terminal():
    os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    return "open"


def other_architecture():
    """getpid(2) of 32-bit programs; the kernel kills whoever may not."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("53 b814000000 cd80 5b c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    pid = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return "it answers" if pid == os.getpid() else None


def x32():
    try:
        return f"process {call(0x40000000 + 39)}"
    except OSError as error:
        # Either way this kernel may not have it: then any answer will do outside.
        return None if FACTS["inside"] else str(error)


def rights():
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    caps = [name for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] if int(status[name], 16)]
    odd = caps + [name for name, good in [("NoNewPrivs", "1"), ("Seccomp", "2")] if status[name] != good]
    return ", ".join(odd) or None


def core_dumps():
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # One byte keeps the kernel from starting the host's program for core dumps; nobody may change that.
    return None if resource.getrlimit(resource.RLIMIT_CORE) == (1, 1) else "changed"


def priority():
    os.nice(-1)
    return "raised"


TRIES = [one for name, one in list(globals().items()) if callable(one) and getattr(one, "__module__", "") == "__main__"
         and name not in {"call", "allowed", "read", "here", "found", "a_socket", "setuid", "by_hand"}]


def attempt(probe):
    """In a process of its own, within three seconds."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        signal.alarm(3)
        FACTS["pipe"] = os.readlink(f"/proc/self/fd/{theirs}")
        try:
            got = probe()
            answer = [got is not None, str(got)]
        except Exception as error:
            answer = [False, f"{type(error).__name__}: {error}"]
        os.write(theirs, json.dumps(answer).encode())
        os._exit(0)
    os.close(theirs)
    answer = os.read(ours, 65536)
    os.close(ours)
    _, status = os.waitpid(child, 0)
    return json.loads(answer) if answer else [False, f"killed by signal {status & 127}"]


def host():
    """Something to be found by those who get out."""
    libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER: Yama would let nobody else attach.
    name, queue = f"chatimg-{os.getpid()}", os.getpid() | 0x43480000
    key = call(ADD_KEY, b"user", name.encode(), b"canary", 6, -5)
    number = call(MSGGET, queue, 0o1666)
    print(json.dumps({"pid": os.getpid(), "key": name, "queue": queue}), flush=True)
    sys.stdin.read()
    call(KEYCTL, 9, key, -5)  # KEYCTL_UNLINK
    call(71, number, 0, None)  # msgctl(IPC_RMID)


if __name__ == "__main__":
    if sys.argv[1] == "--host":
        host()
    else:
        FACTS = json.loads(sys.argv[1])
        print(json.dumps({probe.__name__: attempt(probe) for probe in TRIES}, indent=1))
