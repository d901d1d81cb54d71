use super::defaults::pypi_from_deb;
use super::*;

/// A machine with these files and variables, and a configuration file at `/config.toml`.
fn machine(files: &[(&str, &str)], env: &[(&str, &str)]) -> (tempfile::TempDir, Settings) {
    let dir = tempfile::tempdir().expect("folder");
    for (path, text) in files {
        let path = dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("write");
    }
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let (config, root) = (dir.path().join("config.toml"), dir.path().to_owned());
    (dir, Settings { config, env, root })
}

fn bases(files: &[(&str, &str)], env: &[(&str, &str)], archive: Archive) -> Vec<String> {
    let (_dir, settings) = machine(files, env);
    let sources = Sources::discover(&settings).expect("discovers");
    sources.places(archive).iter().map(|place| place.base.clone()).collect()
}

const DEB822: &str = "\
Types: deb deb-src
# http://snapshot.example.org/archive/debian/20250520T000000Z
URIs: http://mirror.example.org/debian
Suites: trixie trixie-updates
Components: main contrib

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: trixie-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example.org/debian
Suites: trixie
Components: main
";

#[test]
fn apt_sources_in_both_forms_name_debians_archives_only() {
    let list = "deb [arch=amd64 signed-by=/x] https://example.org/debian/ bookworm main # here\n\
        #deb https://off.example.org/debian bookworm main\n\
        deb-src https://src.example.org/debian bookworm main\n\
        deb https://third.example.org/apt stable main\n\
        deb https://third.example.org/debian bookworm-pgdg main\n\
        deb https://third.example.org/debian bookworm stable\n\
        deb cdrom:[Debian]/ bookworm main\n\
        deb https://ubuntu.example.org/ubuntu noble main\n\
        deb [ signed-by=/k/debian-archive-keyring.gpg ] https://odd.example.org/x sid main\n";
    let files = [
        ("/etc/apt/sources.list", list),
        ("/etc/apt/sources.list.d/debian.sources", DEB822),
        ("/etc/apt/sources.list.d/ignored.save", "deb http://save.example.org/debian sid main"),
    ];
    let main = [
        "https://example.org/debian/",
        "https://odd.example.org/x/",
        "http://mirror.example.org/debian/",
    ];
    assert_eq!(bases(&files, &[], Archive::Debian), main);
    let security =
        ["http://mirror.example.org/debian-security/", "https://example.org/debian-security/"];
    assert_eq!(bases(&files, &[], Archive::DebianSecurity), security);
    assert_eq!(bases(&files, &[], Archive::DebianSnapshot), ["http://snapshot.example.org/"]);
}

#[test]
fn mirror_lists_of_cloud_images_are_followed() {
    let files = [
        (
            "/etc/apt/sources.list.d/debian.sources",
            "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n",
        ),
        ("/etc/apt/mirrors/debian.list", "# mirrors\nhttps://example.org/debian\tpriority:1\n"),
    ];
    assert_eq!(bases(&files, &[], Archive::Debian), ["https://example.org/debian/"]);
}

#[test]
fn on_ubuntu_the_templates_of_python_apt_know_debian() {
    let info = "ChangelogURI: https://example.org/%s\n\nSuite: {series}\nBaseURI: https://example.org/debian/\n\
        Component: main\n\nSuite: {series}-security\nBaseURI: https://security.example.org/\n";
    let files = [
        ("/etc/apt/sources.list", "deb https://example.com/ubuntu noble main"),
        ("/usr/share/python-apt/templates/Debian.info", info),
    ];
    assert_eq!(bases(&files, &[], Archive::Debian), ["https://example.org/debian/"]);
    let security = ["https://security.example.org/", "https://example.org/debian-security/"];
    assert_eq!(bases(&files, &[], Archive::DebianSecurity), security);
}

#[test]
fn what_the_users_file_may_not_say_is_refused_with_its_line() {
    for (text, words) in [
        ("[source]\ndebian = \"/srv\"\n", "unknown field `source`"),
        ("debian = \"/srv\"\n", "unknown field `debian`"),
        ("[sources]\ndebain = \"/srv\"\n", "unknown variant `debain`"),
        ("[sources]\ndebian = 3\n", "expected an address or a list of addresses"),
        ("[sources]\ndebian = []\n", "the list is empty"),
    ] {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).expect("write");
        let error = configured(&path).expect_err(text).to_string();
        assert!(error.contains(words) && error.contains("config.toml"), "{error}");
    }
}

#[test]
fn the_users_file_comes_before_the_environment_and_both_before_the_machine() {
    let config =
        ("/config.toml", "[sources]\npypi = [\"/srv/wheels\", \"https://example.org/simple\"]\n");
    let pip = ("/etc/pip.conf", "[global]\nindex-url = https://pip.example.org/simple\n");
    let chatimg = ("CHATIMG_PYPI", "https://one.example.org/ https://two.example.org");
    let tool = ("PIP_INDEX_URL", "https://three.example.org/");
    let all = |files: &[(&str, &str)], env: &[(&str, &str)]| bases(files, env, Archive::Pypi);
    let own = ["file:///srv/wheels/", "https://example.org/simple/"];
    assert_eq!(all(&[config, pip], &[chatimg, tool]), own);
    assert_eq!(
        all(&[pip], &[chatimg, tool]),
        ["https://one.example.org/", "https://two.example.org/"]
    );
    assert_eq!(all(&[pip], &[tool]), ["https://three.example.org/"]);
    assert_eq!(all(&[pip], &[]), ["https://pip.example.org/simple/"]);
    assert_eq!(all(&[], &[]), [""; 0]);
}

#[test]
fn an_archive_of_ones_own_is_named_by_the_file_or_the_environment() {
    let config = ("/config.toml", "[sources]\narchive = \"/media/stick\"\n");
    let env = ("CHATIMG_ARCHIVE", "https://a.example.org/chat");
    assert_eq!(bases(&[config], &[env], Archive::Own), ["file:///media/stick/"]);
    assert_eq!(bases(&[], &[env], Archive::Own), ["https://a.example.org/chat/"]);
    // It is no mirror of anything.
    assert_eq!(bases(&[config], &[env], Archive::Debian), [""; 0]);
}

#[test]
fn pip_and_npm_configuration_files_are_read_in_their_order() {
    let home = ("HOME", "/home/me");
    let files = [
        ("/etc/pip.conf", "[global]\nindex-url = https://machine.example.org/\n"),
        (
            "/home/me/.config/pip/pip.conf",
            "[list]\nindex-url=https://no.example.org/\n[global]\nindex_url: https://user.example.org/\n",
        ),
        (
            "/home/me/.npmrc",
            "@s:registry=https://scope.example.org/\nregistry=\"https://${HOST}/npm\"\n",
        ),
        ("/etc/npmrc", "registry = https://machine.example.org/\n"),
    ];
    assert_eq!(bases(&files, &[home], Archive::Pypi), ["https://user.example.org/"]);
    let host = ("HOST", "npm.example.org");
    assert_eq!(bases(&files, &[home, host], Archive::Npm), ["https://npm.example.org/npm/"]);
    assert_eq!(bases(&files, &[home], Archive::Npm), ["https://machine.example.org/"]);
}

const INDEX_PY: &str = "class PackageIndex:\n    pass\n\nPyPI = PackageIndex(\"https://example.org/\", file_storage_domain=\"x\")\n";
const DEFINITIONS_JS: &str = "  registry: new Definition('registry', {\n    default: 'https://npm.example.org/',\n    type: url,\n";

#[test]
fn without_settings_the_installed_clients_defaults_serve() {
    let files = [
        ("/opt/py/lib/python3.12/site-packages/pip/_internal/models/index.py", INDEX_PY),
        (
            "/opt/node/lib/node_modules/npm/node_modules/@npmcli/config/lib/definitions/definitions.js",
            DEFINITIONS_JS,
        ),
    ];
    let path = ("PATH", "/opt/py/bin:/opt/node/bin");
    assert_eq!(bases(&files, &[path], Archive::Pypi), ["https://example.org/simple/"]);
    assert_eq!(bases(&files, &[path], Archive::Npm), ["https://npm.example.org/"]);
}

#[test]
fn debians_pip_tells_its_default_too() {
    let deb = |path: &str, text: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).expect("append");
        let data = zstd::encode_all(tar.into_inner().expect("tar").as_slice(), 1).expect("zstd");
        let mut ar = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("data.tar.zst", &data)] {
            let header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
            ar.append(&header, bytes).expect("append");
        }
        ar.into_inner().expect("ar")
    };
    let pip = deb("usr/lib/python3/dist-packages/pip/_internal/models/index.py", INDEX_PY);
    assert_eq!(pypi_from_deb(&pip).as_deref(), Some("https://example.org/simple/"));
    assert_eq!(pypi_from_deb(b"not a deb"), None);
}

#[test]
fn wrong_settings_are_errors_that_name_them() {
    let error = |files: &[(&str, &str)], env: &[(&str, &str)]| {
        let (_dir, settings) = machine(files, env);
        Sources::discover(&settings).expect_err("refused").to_string()
    };
    let message = error(&[], &[("CHATIMG_NPM", "npm.example.org")]);
    assert!(message.starts_with("CHATIMG_NPM names 'npm.example.org'"), "{message}");
    let message = error(&[("/config.toml", "[sources]\ndebain = \"/srv\"\n")], &[]);
    assert!(message.contains("line 2") && message.contains("debain"), "{message}");
    let message = error(&[("/config.toml", "[sources]\nnpm = \"relative\"\n")], &[]);
    assert!(message.contains("npm in ") && message.contains("'relative'"), "{message}");
    let none = Sources::default().required(Archive::Pypi, Path::new("/c")).expect_err("none");
    assert!(none.to_string().contains("CHATIMG_PYPI"), "{none}");
}
