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
