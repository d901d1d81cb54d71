//! Secrets in the tree of the real appliance: every one is refused, with its place, before anything is written.

use std::fs;
use std::process::Command;

use crate::project::{Copy, text};
use chatimg::digest::Digest;

#[test]
fn secrets_of_every_kind_are_refused_with_their_places() {
    let copy = Copy::new();
    copy.edit("[target]", "[secrets]\ncanaries = [\"the parrot is in the vault\"]\n\n[target]");
    let overlay = copy.dir().join("overlays/base");
    let folder = overlay.join("files/etc/leak");
    fs::create_dir_all(&folder).expect("folder");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("writes");
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(&folder).output();
        assert!(output.as_ref().is_ok_and(|output| output.status.success()), "{output:?}");
        text(&output.expect("openssl").stdout).trim().to_owned()
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "ed25519.pem"]);
    openssl(&["genpkey", "-algorithm", "rsa", "-outform", "DER", "-out", "rsa.der"]);
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ec.pem"]);
    openssl(&["genpkey", "-algorithm", "x25519", "-out", "listed.pem"]);
    openssl(&["genpkey", "-algorithm", "x448", "-out", "listed-without-digest.pem"]);
    let hash = openssl(&["passwd", "-6", "a password of somebody"]);
    write("users", &format!("# of the door\nuser:{hash}\n"));
    write(
        "env.j2",
        &format!(
            "DOMAIN={{{{ appliance.domain }}}}\nTOKEN={}{}\n",
            "ghp_", "w8Jb2Kq0ZrX5vT1nYc7LmD3sHf9GpA4eUoQi"
        ),
    );
    write("settings.json", "{\"plain\": \"here the parrot is in the vault again\"}\n");
    let digest = Digest::of(&fs::read(folder.join("listed.pem")).expect("key"));
    let mut settings = fs::read_to_string(overlay.join("overlay.toml")).expect("overlay.toml");
    settings += &format!(
        "\n[[published]]\npath = \"/etc/leak/listed.pem\"\nsha256 = \"{digest}\"\nwhy = \"a sample\"\n\
         \n[[published]]\npath = \"/etc/leak/*\"\nwhy = \"all of it, and nobody else has it\"\n"
    );
    fs::write(overlay.join("overlay.toml"), settings).expect("overlay.toml");

    let output = copy.run(&["build"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for line in [
        "/etc/leak/ed25519.pem:1: a private key (PEM)",
        "/etc/leak/ec.pem:1: a private key (PEM)",
        "/etc/leak/rsa.der, at byte 0: a private key (DER)",
        "/etc/leak/users:2: the hash of a password",
        "/etc/leak/env:2: a token of GitHub",
        "/etc/leak/settings.json:1: canary 1 of [secrets] canaries",
        // An overlay's own file is published by nobody; its digest shows that this very one is meant.
        "/etc/leak/listed-without-digest.pem:1: a private key (PEM)",
    ] {
        assert!(error.contains(&format!("\n  {line}\n")), "{line}\n{error}");
    }
    assert!(!error.contains("/etc/leak/listed.pem"), "{error}");
    assert_eq!(error.lines().filter(|line| line.starts_with("  /")).count(), 7, "{error}");
    assert!(!error.contains("parrot") && !error.contains(&hash), "{error}");
    assert!(!copy.images().join("current").exists());
}
