use std::path::Path;

use super::*;
use crate::lock::Group;

fn own() -> Plan {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    load(&root.join("appliance.toml")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_repository_s_own_appliance_loads() {
    let plan = own();
    assert_eq!((plan.name.as_str(), plan.domain.as_str()), ("chat.example", "chat.example"));
    let names: Vec<&str> = plan.overlays.iter().map(|overlay| overlay.name.as_str()).collect();
    for (index, overlay) in plan.overlays.iter().enumerate() {
        let earlier = &names[..index];
        assert!(overlay.requires.iter().all(|name| earlier.contains(&name.as_str())), "{names:?}");
    }
    let synapse = plan.overlays.iter().find(|overlay| overlay.name == "synapse").unwrap();
    assert_eq!(synapse.options["max-upload"], Value::Int(50 << 20));
    assert_eq!(synapse.users[0].shell, "/usr/sbin/nologin");
    assert_eq!(plan.request.python["synapse"], synapse.python[0].requirements);
    assert!(plan.request.debian[&Group::Image].contains("nginx"));
    let home = plan.overlays[0].state.iter().find(|state| state.path == "/home/admin").unwrap();
    assert_eq!((home.owner.as_str(), home.group.as_str(), home.mode), ("admin", "admin", 0o700));
}

#[test]
fn another_box_is_the_same_appliance_with_changes() {
    let appliance = Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance.toml");
    let changed = |text: &str| load_changed(&appliance, &toml::from_str(text).unwrap());
    let text = "domain = \"other.example\"\noverlays = [\"federation-port\"]\n\
        [options.synapse]\nurl-previews = true\n";
    let (own, other) = (own(), changed(text).unwrap());
    assert_eq!((other.name.as_str(), other.domain.as_str()), ("other.example", "other.example"));
    let ports: Vec<_> = other.open_ports().difference(&own.open_ports()).cloned().collect();
    assert_eq!(ports, ["8448/tcp"]);
    let synapse = other.overlays.iter().find(|overlay| overlay.name == "synapse").unwrap();
    assert_eq!(synapse.options["url-previews"], Value::Bool(true));
    assert_eq!(synapse.options["max-upload"], Value::Int(50 << 20));
    for (text, words) in [
        ("domain = \"Other\"", "\"Other\" is not a domain name"),
        ("domain = \"b.example\"\noverlays = [\"federation\"]", "unknown overlay \"federation\""),
        ("domain = \"b.example\"\n[options.synapse]\nurl-preview = true", "\"url-previews\"?"),
    ] {
        let error = changed(text).unwrap_err().to_string();
        assert!(error.contains("appliance.changed.toml:") && error.contains(words), "{error}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let appliance = dir.path().join("appliance.toml");
    let message = || load(&appliance).unwrap_err().to_string();
    assert!(message().contains("appliance.toml: No such file"), "{}", message());
    std::fs::write(&appliance, b"stack = \"\xff\"").unwrap();
    assert!(message().contains("UTF-8"), "{}", message());
    std::fs::write(&appliance, "stack = \"matrix\"\ndomain = \"chat.example\"\n").unwrap();
    assert!(message().contains("overlays/ must lie beside appliance.toml"), "{}", message());
    std::fs::create_dir(dir.path().join("overlays")).unwrap();
    assert!(message().contains("stacks.toml: No such file"), "{}", message());
}
