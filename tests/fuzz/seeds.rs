//! Real input for each reader: this project's own files, what they are made of, and what the formats' own pages show.

use std::fs;
use std::io::{Cursor, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chatimg::digest::Digest;
use chatimg::image::SCHEMA;
use serde_json::json;

use crate::make::{Raw, Tar, control, deb, pack};

/// Files of this project, the first so many bytes of each.
fn files(paths: &[&str]) -> Vec<Vec<u8>> {
    let read = |path: &&str| {
        let mut bytes = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        bytes.truncate(24 << 10);
        bytes
    };
    paths.iter().map(read).collect()
}

/// All files of a folder that are for this one of the sample project, or end so.
fn samples(dir: &str, role: &str, ending: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        fs::read_dir(dir).expect(dir).map(|it| it.expect("entry").path()).collect();
    paths.sort();
    let texts = paths.iter().filter(|path| path.extension().is_some_and(|it| it == ending));
    let texts = texts.map(|path| fs::read(path).expect("a sample"));
    texts.filter(|text| text.starts_with(role.as_bytes())).collect()
}

fn overlays() -> Vec<Vec<u8>> {
    let names = ["base", "nginx", "synapse", "web-client", "coturn"];
    let paths: Vec<_> = names.iter().map(|name| format!("overlays/{name}/overlay.toml")).collect();
    files(&paths.iter().map(String::as_str).collect::<Vec<_>>())
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The lock's beginning and one block of each kind.
fn lock() -> Vec<Vec<u8>> {
    let text = fs::read_to_string("appliance.lock").expect("the lock");
    let blocks: Vec<_> = text.split("\n[[").collect();
    let head = blocks[0].to_owned();
    let of = |kind: &str| {
        let all = blocks.iter().skip(1).filter(|block| block.starts_with(kind));
        all.take(2).map(|block| format!("\n[[{block}")).collect::<String>()
    };
    let small = format!("version = 1\n[request.debian]\nimage = [\"bash\"]\n{}", of("deb]]"));
    let all = ["index]]", "deb]]", "wheel]]", "npm]]", "url]]"].map(of).concat();
    texts(&[&small, &format!("{head}{all}"), &format!("version = 1\n{all}")])
}

fn a_deb() -> Vec<u8> {
    let text = "Package: a\nVersion: 1.0-1\nArchitecture: amd64\nDescription: b\n c\n";
    let data = Tar::new()
        .dir("./")
        .dir("./usr/")
        .file("./usr/a", "contents\n")
        .hard_link("./usr/b", "./usr/a")
        .symlink("./usr/c", "../../etc/passwd")
        .long(b'L', format!("./usr/{}", "d".repeat(120)).as_bytes())
        .file("cut", "");
    deb(".gz", &control(text), &data.end())
}

fn tars() -> Vec<Vec<u8>> {
    let plain = Tar::new()
        .dir("package/")
        .file(
            "package/package.json",
            "{\"name\":\"a\",\"version\":\"1.0.0\",\"dependencies\":{\"a\":\"1\"}}",
        )
        .raw(&Raw { name: b"package/run", mode: 0o755, body: b"#!/bin/sh\n", ..Raw::default() });
    let more = plain.clone().pax(b'x', &[("path", "package/b"), ("mtime", "1.5"), ("size", "1")]);
    vec![plain.end(), more.file("package/x", "x").end()]
}

fn zips() -> Vec<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("a/__init__.py", "import os\n".repeat(20)),
        (
            "a-1.dist-info/METADATA",
            "Name: a\nVersion: 1\nRequires-Dist: b>=1; extra == 'c'\n".to_owned(),
        ),
        ("a-1.dist-info/RECORD", "a/__init__.py,sha256=x,200\n".to_owned()),
    ] {
        zip.start_file(name, options).expect("a member");
        zip.write_all(text.as_bytes()).expect("in memory");
    }
    vec![zip.finish().expect("in memory").into_inner()]
}

fn certificates() -> Vec<Vec<u8>> {
    let keys = ["automatic", "security-automatic", "stable"];
    let read = |name: &&str| {
        let path = format!("keys/debian-archive-trixie-{name}.asc");
        let text = fs::read_to_string(path).expect("a key");
        let lines = text.lines().skip_while(|line| !line.is_empty());
        let base64: String = lines.take_while(|line| !line.starts_with(['=', '-'])).collect();
        BASE64_STANDARD.decode(base64).expect("base64")
    };
    keys.iter().map(read).collect()
}

/// What is in Debian's own index, in small.
const PACKAGES: &str = "Package: bash\nEssential: yes\nVersion: 5.2.37-2+b10\nPriority: required\nArchitecture: amd64\n\
    Multi-Arch: foreign\nPre-Depends: libc6 (>= 2.38), libtinfo6 (>= 6)\nDepends: base-files (>= 2.1.12), debianutils (>= 5.6-0.1) | x:any\n\
    Provides: y (= 1)\nDescription: GNU Bourne Again SHell\n more\nFilename: pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb\n\
    Size: 1502596\nSHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\n";

const RELEASE: &str = "Origin: Debian\nSuite: stable-updates\nCodename: trixie-updates\nDate: Thu, 19 Nov 2026 02:12:54 UTC\n\
    Valid-Until: Thu, 26 Nov 2026 02:12:54 UTC\nAcquire-By-Hash: yes\nArchitectures: all amd64\nComponents: main contrib\nSHA256:\n \
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855     0 main/binary-amd64/Packages\n";

/// Debian's helpers' own fragments, and what people write.
const SCRIPT: &str = "#!/bin/sh\nset -e\n\nif [ \"$1\" = \"configure\" ] || [ \"$1\" = abort-upgrade ]; then\n\
    \tif ! getent passwd x >/dev/null 2>&1; then adduser --system --home /var/lib/x --no-create-home --group x; fi\n\
    \tcase \"$2\" in 1.*|2.0) ln -sf ../a \"/etc/b\" ;; *) rm -f \"${A:-/etc/c}\" ;; esac\nfi\n\
    # Automatically added by dh_installsystemd/13.24.2\nif deb-systemd-helper --quiet was-enabled 'x.service'; then\n\
    \tdeb-systemd-helper enable 'x.service' >/dev/null || true\nfi\n# End automatically added section\n\
    for i in a b; do echo $(cat <<EOF\n$i\nEOF\n); done\nwhile read -r x; do f() { :; }; done < /etc/d & exit 0\n";

const MINISIGN: &str = "untrusted comment: signature from minisign secret key\n\
    RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
    trusted comment: timestamp:1556193335\tfile:test\n\
    y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==";

const NPM: &str = "{\"name\":\"a\",\"dist-tags\":{\"latest\":\"1.0.0\"},\"versions\":{\"1.0.0\":{\"dependencies\":{\"b\":\"^1\"},\
    \"optionalDependencies\":{\"c\":\"*\"},\"os\":[\"!win32\"],\"cpu\":[\"x64\"],\"deprecated\":\"x\",\
    \"dist\":{\"tarball\":\"https://r.example/a.tgz\",\"integrity\":\"sha512-x\"}},\"2.0.0-rc.1\":{}}}";

const PAGE: &str = "<!DOCTYPE html><html><body><a href=\"../../files/foo-1.0%2Bx-py3-none-any.whl#sha256=\
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" data-requires-python=\"&gt;=3.8\" data-yanked \
    data-core-metadata=\"sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\">foo</a><br/><base href='/x'></body>";

const PAGE_JSON: &str = "{\"meta\":{\"api-version\":\"1.1\"},\"files\":[{\"filename\":\"foo-1.0-py3-none-any.whl\",\"url\":\"../foo.whl\",\
    \"hashes\":{\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"},\"requires-python\":\">=3.8\",\
    \"yanked\":false,\"core-metadata\":{\"sha256\":\"x\"}},{\"odd\":1}]}";

const TREE: &str = "a%20b dir 755 0 0 1740000000 -\na%20b/f file 4755 0 42 -1 security.capability=0100ff,user.x=00 \
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 \
    @e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 7\na%20b/h hardlink 644 0 0 0 - a%20b/f\n\
    b symlink 777 0 0 0 - ../x%20y\nnull chardev 666 0 0 0 - 1 3\npipe fifo 600 0 0 0 -\n";

const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: a\n\
    License: GPL-2+ or MIT\n\nFiles: b\nLicense: Expat and BSD-3-clause\n\nLicense: Expat\n text\n";

const HISTORY: &str = "{\"time\":1,\"what\":\"switched\",\"from\":\"a\",\"to\":\"b\",\"outcome\":\"kept\",\"reason\":\"\\u001bx\"}\n";

const MOUNTS: &str = "36 35 98:0 /mnt1 /mnt2\\040x rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
    37 35 8:1 / /boot rw - vfat /dev/sda1 rw\n";

const SECRETS: &str = "root:$6$salt$hash:19000:0:99999:7:::\nwww:!:1::::::\nAKIAIOSFODNN7EXAMPLE\nghp_0123456789abcdefghijABCDEFGHIJ012345\n\
    -----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUx\n\
    -----END OPENSSH PRIVATE KEY-----\nAGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ\n";

/// systemd's format: a header with one node and no strings.
fn hwdb() -> Vec<u8> {
    let header: [u64; 9] = [257, 80, 24, 16, 32, 80, 24, 19, 0];
    let head: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
    [b"KSLPHHRH", &head[..], &[0; 24], b"\0/usr/lib/udev/a\0b\0"].concat()
}

/// This very program's beginning: an ELF header, program headers.
fn elf() -> Vec<u8> {
    let mut bytes = fs::read(std::env::current_exe().expect("this program")).expect("it is read");
    bytes.truncate(4 << 10);
    bytes
}

/// The superblock of an empty file system of 64 KiB, as far as readers look at it first.
fn ext4() -> Vec<u8> {
    let mut bytes = vec![0; 16 << 10];
    let mut put =
        |at: usize, value: &[u8]| bytes[1024 + at..1024 + at + value.len()].copy_from_slice(value);
    for (at, value) in
        [(0, 16_u32), (4, 64), (20, 1), (24, 0), (32, 8192), (40, 16), (76, 1), (96, 0x40)]
    {
        put(at, &value.to_le_bytes());
    }
    put(56, &0xef53_u16.to_le_bytes());
    put(88, &256_u16.to_le_bytes());
    bytes
}

fn environment_block() -> Vec<u8> {
    let text = "# GRUB Environment Block\nslot=a\ntries=3\n";
    [text.as_bytes(), &vec![b'#'; 1024 - text.len()]].concat()
}

pub fn of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "accounts" => texts(&["root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:\n"]),
        "addresses" => {
            texts(&["192.0.2.1", "2001:db8::/32", "10.0.0.0/8", "::ffff:1.2.3.4", "1.2.3.4/0"])
        }
        "appliance" => {
            let own = [files(&["appliance.toml", "tests/samples/project/appliance.toml"])];
            [&own.concat()[..], &samples("tests/samples/valid", "# appliance", "toml")].concat()
        }
        "apt_sources" => texts(&[
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/debian trixie main contrib\n# x\n",
            "Types: deb deb-src\nURIs: mirror+file:/etc/apt/mirrors/debian.list\nSuites: trixie trixie-updates\nComponents: main\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\nEnabled: yes\n\nTypes: deb\n x\n",
            "# https://s.example/archive/debian/20250520T000000Z\n",
        ]),
        "certificate" => certificates(),
        "clear_signed" => files(&["src/debian/keyring/fixture/InRelease"]),
        "console" => texts(&[
            "[    0.000000] Linux version 6.12\r\n\u{1b}[0;32m  OK  \u{1b}[0m] Started x.service\r\n[ 1.0] EXT4-fs error (device sda): x\n\
             blk_update_request: I/O error, dev sda, sector 1 op 0x0:(READ) flags 0x80700 phys_seg 1\nKernel panic - not syncing\n",
        ]),
        "control" => texts(&[
            "Package: a\nVersion: 1.0-1\nArchitecture: amd64\nDescription: short\n long\n .\n more\n",
            &PACKAGES.replace("\n\n", "\n"),
        ]),
        "deb" => vec![a_deb(), deb("", &control("Package: a\n"), &Tar::new().dir("./").end())],
        "door" => texts(&[
            "GET /_matrix/client/versions?x=y HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n",
        ]),
        "dsse" => texts(&[
            "{\"payload\":\"e30=\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{\"keyid\":\"E7620F1842B4E81F\",\"sig\":\"AA==\"}]}\n",
        ]),
        "environment_block" => vec![environment_block()],
        "ext4" => vec![ext4()],
        "flash_manifest" => {
            let extent = json!({"start": 0, "size": 1 << 20, "sha256": Digest::of(b"")});
            let partition = json!({"number": 7, "start": 2 << 20, "size": 1 << 20});
            let disk = json!({
                "file": "disk.img", "size": 8 << 20, "partitions": [partition], "extents": [extent],
            });
            texts(&[&json!({"schema": SCHEMA, "id": "a", "disks": [disk]}).to_string()])
        }
        "history" => texts(&[HISTORY, &format!("[{}]", HISTORY.trim())]),
        "host" => {
            let mut all = samples("tests/host/valid", "", "toml");
            all.extend(samples("tests/host/invalid", "", "toml").into_iter().take(20));
            all
        }
        "hwdb" => vec![hwdb()],
        "libraries" => vec![elf(), b"libc.so.6\nlibc.so.10".to_vec()],
        "licences" => texts(&[
            COPYRIGHT,
            "License-Expression: MIT OR (Apache-2.0 AND BSD-3-Clause)\n",
            "(MIT OR GPL-2.0+)",
        ]),
        "lock" => lock(),
        "minisign" => texts(&[
            MINISIGN,
            "untrusted comment: minisign public key E7620F1842B4E81F\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n",
            "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3",
        ]),
        "modules" => texts(&[
            "kernel/fs/ext4/ext4.ko: kernel/lib/a.ko kernel/b.ko\nkernel/lib/a.ko:\nsoftdep ext4 pre: a post: b\nalias fs-x ext4\n",
        ]),
        "mounts" => texts(&[MOUNTS]),
        "npm_document" => texts(&[NPM]),
        "npm_range" => texts(&[
            "^1.2.3 || ~2 || >=3.0.0-rc.1 <4 || 5.x\n1.2.3",
            "1.2.3 - 2.3.4\n2.0.0",
            "*\n1.0.0-a.1+b",
            "v1\n0.0.1",
        ]),
        "npm_tarball" => vec![pack(".gz", &tars()[0]), pack(".gz", &tars()[1])],
        "npmrc" => texts(&[
            "registry=https://r.example/${A}/\n@a:registry=https://b.example\n//r.example/:_authToken=x\n; c\n",
        ]),
        "overlay" => {
            let mut all = overlays();
            all.extend(samples("tests/samples/valid", "# overlay", "toml"));
            all
        }
        "packages" => texts(&[PACKAGES, &PACKAGES.repeat(3)]),
        "pam" => texts(&[
            "Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass\nSession-Interactive-Only: yes\n",
        ]),
        "pip_configuration" => texts(&[
            "[global]\nindex-url = https://p.example/simple\n[install]\nindex_url: https://q.example\n",
        ]),
        "pip_defaults" => vec![
            a_deb(),
            b"x\nPyPI = PackageIndex(\n    \"https://p.example/\", file_storage_domain=\"x\"\n)\n"
                .to_vec(),
            b"define('registry', {\n  default: 'https://r.example/',\n".to_vec(),
        ],
        "project_page" => texts(&[PAGE, PAGE_JSON]),
        "proxies" => texts(&[
            "http://u:p@proxy.example:3128",
            "localhost,127.0.0.0/8,.example.org,[::1],*,10.1.2.3/33",
        ]),
        "quantities" => texts(&["50 MiB", "5min", "9223372036854775807 TiB"]),
        "quoted" => texts(&["d /run/x 0755 root root - \"a b\" 'c'", "Exec=\"a\\\"b\" c"]),
        "record" => texts(&[
            "a/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n\"a,b\"\"c.py\",sha256=x,1\na-1.dist-info/RECORD,,\n",
        ]),
        "relation" => {
            texts(&["base-files (>= 2.1.12), debianutils (>= 5.6-0.1) | x:any (<< 2:1~rc1-1)"])
        }
        "release" => texts(&[RELEASE]),
        "result" => {
            let digest = chatimg::digest::Digest::of(b"text\n");
            vec![format!("sha256 {digest}\ntext\n").into_bytes()]
        }
        "script" => texts(&[SCRIPT]),
        "secrets" => texts(&[SECRETS]),
        "ssh_key" => texts(&[
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE4xI1CJ+1cB3yP9+0l2yS1yS4zZrGJ3vCw7g3yqk2Jp a@b",
        ]),
        "sums" => texts(&[
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n0000000000000000000000000000000000000000000000000000000000000000  b\n",
        ]),
        "tar" => tars(),
        "test" => samples("qemu-tests", "", "toml"),
        "tree" => texts(&[TREE]),
        "tree_path" => texts(&["./usr/bin/", "/etc//x/./y", "a/../../b"]),
        "update" => texts(&["{\"op\":\"pieces\",\"payload\":9}\ntwo\nlines{\"op\":\"end\"}\n"]),
        "update_facts" => texts(&[
            "@image\n{\"id\":\"a\",\"epoch\":1}\n@debs\nbash 5.2\n@wheels\n/opt/x/a-1.dist-info\n@links\n/etc/systemd/system/multi-user.target.wants/x.service ../x\n@files\n0123  /etc/x\n",
        ]),
        "version" => texts(&["2:1.0~rc1-3+b1\n2:1.0-3", "0:0", "1.0-1\n1.00-1"]),
        "wheel_metadata" => {
            let mut all = zips();
            all.extend(texts(&[
                "Requires-Dist: c[d]>=1,!=2.*; (python_version < '3' and extra == 'x') or os_name == \"posix\"\nProvides-Extra: x\n",
                "a[b,c] (>=1.0) ; sys_platform in 'linux darwin'",
            ]));
            all
        }
        "wheel_name" => texts(&[
            "a_b-1.0-1x-py2.py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "A.b",
        ]),
        "zip" => zips(),
        _ => Vec::new(),
    }
}
