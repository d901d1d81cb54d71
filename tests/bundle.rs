//! Web clients: bundles, by the locked esbuild from the store that `chatimg build` has filled, are the same bytes however
//! esbuild is shut in, and nothing of the host is in them; another client comes as an archive by its address.

use std::fs;
use std::path::Path;

use crate::project::{self, Copy, Project};
use chatimg::appliance::{Bundle, Overlay, Plan, load};
use chatimg::compose::{ApplianceError, BundleError, Declarations, Inputs, bundled, compose};
use chatimg::digest::Digest;
use chatimg::lock::{Group, Lock};
use chatimg::sandbox::{self, Confinement};
use chatimg::store::Store;
use chatimg::tools::Tools;
use chatimg::tree::{Node, Tree};

/// What this machine allows; nothing at all must be among it, and more.
fn levels(tools: &Tools) -> Vec<Confinement> {
    sandbox::made_by(Path::new(project::chatimg()));
    let levels: Vec<_> = Confinement::ALL.into_iter().filter(|level| level.works(tools)).collect();
    println!("tried: {levels:?}");
    assert!(levels.contains(&Confinement::Cell), "this machine allows no namespaces");
    levels
}

fn of<'a>(plan: &'a Plan, name: &str) -> (&'a Overlay, &'a Bundle) {
    let overlays = plan.overlays.iter();
    let mut all =
        overlays.flat_map(|overlay| overlay.bundles.iter().map(move |one| (overlay, one)));
    all.find(|(_, bundle)| bundle.name == name).expect("there is such a bundle")
}

struct Made {
    _dir: tempfile::TempDir,
    store: Store,
    result: Result<Tree, BundleError>,
}

/// Makes a bundle in a store of its own, which has the npm packages of `from`.
fn make(from: &Store, lock: &Lock, plan: &Plan, tools: &Tools, level: Confinement) -> Made {
    let dir = tempfile::tempdir().expect("folder");
    let store = Store::open(dir.path()).expect("store");
    for tarball in &lock.npm {
        let bytes = from.read_blob(&tarball.digest).expect("the store");
        store.add_blob(&bytes.expect("run `cargo run --release -- build` first")).expect("a blob");
    }
    let declarations = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays/debian");
    let declarations = Declarations::load(&declarations).expect("declarations");
    let (declarations, events) = (&declarations, &|_| ());
    let inputs = Inputs { store: &store, plan, lock, tools, declarations, events };
    let name = &plan.overlays.iter().flat_map(|overlay| &overlay.bundles).next().expect("one").name;
    let result = bundled(&inputs, of(plan, name), level);
    Made { _dir: dir, store, result }
}

fn text(made: &Made, tree: &Tree, path: &str) -> String {
    let (file, _) = tree.file(path).unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(made.store.read(file).expect("contents")).expect("text")
}

#[test]
fn the_web_client_is_the_same_however_esbuild_is_shut_in() {
    let project = Project::open();
    let Project { store, plan, lock, .. } = &project;
    let (tools, _) = project.tools(Group::Build);
    let levels = levels(&tools);
    let mut ids = Vec::new();
    for level in levels {
        let made = make(store, lock, plan, &tools, level);
        let tree = made.result.as_ref().unwrap_or_else(|error| panic!("{level:?}: {error}"));
        let into = "usr/share/chatimg/web-client";
        // The page names what is there, and what it names may be kept for ever.
        let page = text(&made, tree, &format!("{into}/index.html"));
        for (start, end) in
            [("src=\"app-", ".js\""), ("href=\"light-", ".css\""), ("data-olm=\"olm-", ".js\"")]
        {
            let (_, rest) = page.split_once(start).unwrap_or_else(|| panic!("{start} in {page}"));
            let hash = rest.split_once(end).expect("an ending").0;
            let name = start.split_once('"').expect("a quote").1;
            let path = format!("{into}/{name}{hash}{}", end.trim_end_matches('"'));
            assert_eq!(hash.len(), 16, "{page}");
            assert!(!text(&made, tree, &path).is_empty(), "{path}");
        }
        assert!(tree.get(&format!("{into}/sw.js")).is_some(), "the service worker has its name");
        let files = tree.iter().filter(|(_, entry)| matches!(entry.node, Node::File(_)));
        assert!(files.count() > 100, "fonts and icons are there");
        ids.push((level, tree.id()));
    }
    assert!(ids.iter().all(|(_, id)| *id == ids[0].1), "{ids:?}");
}

/// A project with one bundle, `client`, of these sources.
fn made_up(dir: &Path, sources: &[(&str, &str)]) -> Plan {
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(path, text).expect("file");
    };
    write("appliance.toml", "stack = \"small\"\ndomain = \"chat.example\"\n");
    write("overlays/stacks.toml", "[small]\ndescription = \"One\"\noverlays = [\"web\"]\n");
    write(
        "overlays/web/overlay.toml",
        "description = \"A bundle\"\n[bundles.client]\nentries = [\"app.js\"]\npages = [\"index.html\"]\n\
         assets = [\"txt\"]\ninto = \"/srv\"\n",
    );
    write("overlays/web/client/index.html", "<script src=\"app.js\"></script>\n");
    for (path, text) in sources {
        write(&format!("overlays/web/client/{path}"), text);
    }
    load(&dir.join("appliance.toml")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn nothing_of_the_host_gets_in() {
    let project = Project::open();
    let (tools, _) = project.tools(Group::Build);
    let lock = Lock::default();
    let host = tempfile::tempdir().expect("folder");
    let secret = host.path().join("secret.txt");
    fs::write(&secret, "of the host").expect("file");
    let secret = secret.to_str().expect("UTF-8");
    let up = format!("./{}{secret}", "../".repeat(30).trim_end_matches('/'));
    for level in levels(&tools) {
        for path in [secret, &up] {
            let dir = tempfile::tempdir().expect("folder");
            let source = format!("import secret from {path:?};\nconsole.log(secret);\n");
            let plan = made_up(dir.path(), &[("app.js", &source)]);
            let made = make(&project.store, &lock, &plan, &tools, level);
            let error = made.result.expect_err("it names a file of the host").to_string();
            let refused =
                error.contains("Could not resolve") || error.contains("none of its sources");
            assert!(refused, "{level:?} {path}: {error}");
        }
    }
}

#[test]
fn what_an_editor_installed_is_refused() {
    let project = Project::open();
    let (tools, _) = project.tools(Group::Build);
    for path in ["node_modules/dompurify/index.js", "package.json"] {
        let dir = tempfile::tempdir().expect("folder");
        let plan = made_up(dir.path(), &[("app.js", "console.log(1);\n"), (path, "{}\n")]);
        let made = make(&project.store, &Lock::default(), &plan, &tools, Confinement::None);
        let error = made.result.expect_err("nobody locked it").to_string();
        assert!(error.contains(&format!("{path} cannot be among its sources")), "{error}");
    }
}

#[test]
fn mistakes_in_sources_are_told_with_their_place() {
    let project = Project::open();
    let (tools, _) = project.tools(Group::Build);
    let dir = tempfile::tempdir().expect("folder");
    let plan = made_up(dir.path(), &[("app.js", "const one = 1;\nconst two = ;\n")]);
    let made = make(&project.store, &Lock::default(), &plan, &tools, Confinement::None);
    let error = made.result.expect_err("a mistake").to_string();
    assert!(
        error.contains("bundle client: esbuild says:") && error.contains("src/app.js:2:12"),
        "{error}"
    );
}

/// A project whose web client is Element, from an archive of these files, pinned by this digest.
fn with_element(files: &[(&str, &str)], pin: impl Fn(Digest) -> String) -> Copy {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        // Names that tar's own functions refuse.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, text.as_bytes()).expect("appends");
    }
    let bytes = tar.into_inner().and_then(|gz| gz.finish()).expect("an archive");
    let copy = Copy::new();
    let archive = copy.root().join("element.tar.gz");
    fs::write(&archive, &bytes).expect("archive");
    copy.edit("[options.ssh]", "[options.web-client]\nclient = \"element\"\n\n[options.ssh]");
    let overlay = copy.dir().join("overlays/web-client/overlay.toml");
    let text = fs::read_to_string(&overlay).expect("overlay");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).expect("a line");
    let address = format!("url = \"file://{}\"", archive.display());
    let pin = format!("sha256 = \"{}\"", pin(Digest::of(&bytes)));
    fs::write(&overlay, text.replace(line("url ="), &address).replace(line("sha256 ="), &pin))
        .expect("overlay");
    copy
}

fn composed(copy: &Copy) -> Result<(Project, Tree), ApplianceError> {
    let project = Project::at(copy.dir().to_owned());
    // What the archives no longer list was locked anew.
    project::fetch(&project.store, &project.lock, &[Group::Build, Group::Image]);
    let (tools, _) = project.tools(Group::Build);
    let Project { store, plan, lock, dir } = &project;
    let declarations = Declarations::load(&dir.join("overlays/debian")).expect("declarations");
    let (declarations, events) = (&declarations, &|_| ());
    let tree = compose(&Inputs { store, plan, lock, tools: &tools, declarations, events })?;
    Ok((project, tree))
}

#[test]
fn element_is_fetched_and_unpacked_only_where_it_is_chosen() {
    let default = Project::open();
    assert!(default.lock.urls.is_empty() && !default.lock.npm.is_empty());
    let files =
        [("element-v1/index.html", "<title>Element</title>"), ("element-v1/bundles/a/x.js", "1")];
    let copy = with_element(&files, |digest| digest.to_string());
    let output = copy.run(&["lock"]);
    assert!(output.status.success(), "{}", project::text(&output.stderr));
    let (Project { store, lock, plan, .. }, tree) =
        composed(&copy).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        lock.npm.is_empty()
            && lock.urls.len() == 1
            && plan.overlays.iter().all(|o| o.bundles.is_empty())
    );
    let text = |path: &str| {
        let (file, meta) = tree.file(path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((meta.mode, meta.uid, meta.gid), (0o644, 0, 0), "{path}");
        String::from_utf8(store.read(file).expect("contents")).expect("text")
    };
    let into = "usr/share/chatimg/web-client";
    assert_eq!(text(&format!("{into}/index.html")), "<title>Element</title>");
    assert_eq!(text(&format!("{into}/bundles/a/x.js")), "1");
    let nginx = text("etc/nginx/chatimg-servers.d/web-client.conf");
    let (_, config) = nginx.split_once("return 200 '").expect("config.json");
    let config: serde_json::Value =
        serde_json::from_str(config.split_once("';").expect("an end").0).expect("JSON");
    let server = &config["default_server_config"]["m.homeserver"];
    assert_eq!(server["base_url"], "https://matrix.chat.example");
    assert_eq!(
        (&server["server_name"], &config["disable_custom_urls"]),
        (&"chat.example".into(), &true.into())
    );
}

#[test]
fn another_archive_than_is_pinned_and_one_that_wants_out_are_refused() {
    let copy = with_element(&[("element-v1/index.html", "")], |_| "0".repeat(64));
    let before = fs::read(copy.dir().join("appliance.lock")).expect("lock");
    let output = copy.run(&["lock"]);
    let words = project::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("input element-web") && words.contains("correct its sha256"), "{words}");
    assert_eq!(fs::read(copy.dir().join("appliance.lock")).expect("lock"), before);

    let copy =
        with_element(&[("element-v1/../../../etc/passwd", "x")], |digest| digest.to_string());
    let output = copy.run(&["lock"]);
    assert!(output.status.success(), "{}", project::text(&output.stderr));
    let error = composed(&copy).err().expect("it wants out").to_string();
    assert!(error.contains("input element-web: ") && error.contains(".."), "{error}");
}
