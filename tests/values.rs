//! Wrong values of the options of the project's own overlays: each is refused, at its line of `appliance.toml`.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use chatimg::appliance::{Change, Plan, load, load_changed, render_file};

/// More overlays, options of overlays, and the line that is wrong; what the message says there.
struct Case {
    overlays: &'static [&'static str],
    set: String,
    wrong: String,
    words: &'static str,
}

/// Reads an appliance of the stack `matrix`.
fn outcome(overlays: &[&str], rest: &str) -> (String, Result<Plan, String>) {
    outcome_of("chat.example", overlays, rest)
}

/// The same, of this domain.
fn outcome_of(domain: &str, overlays: &[&str], rest: &str) -> (String, Result<Plan, String>) {
    let dir = tempfile::tempdir().unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(own.join("overlays"), dir.path().join("overlays")).unwrap();
    let text =
        format!("stack = \"matrix\"\ndomain = \"{domain}\"\noverlays = {overlays:?}\n{rest}");
    let path = dir.path().join("appliance.toml");
    std::fs::write(&path, &text).unwrap();
    let plain = |text: String| text.replace(&format!("{}/", dir.path().display()), "");
    (text, load(&path).map_err(|error| plain(error.to_string())))
}

fn refused(cases: &[Case]) {
    let mut wrong = String::new();
    for Case { overlays, set, wrong: line, words } in cases {
        let (text, outcome) = outcome(overlays, set);
        let number = text.lines().position(|of| of == line).unwrap() + 1;
        let told = match outcome {
            Ok(_) => "nothing is wrong with it".to_owned(),
            Err(told) => told,
        };
        // One mistake, one message.
        let places = told.lines().filter(|line| line.contains(".toml:") && !line.starts_with(' '));
        if !told.starts_with(&format!("appliance.toml:{number}:"))
            || !told.contains(words)
            || places.count() != 1
        {
            let _ = writeln!(wrong, "{set}\nwanted at line {number}: {words}\n{told}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// One option, alone.
fn one(overlay: &str, option: &str, value: &str, words: &'static str) -> Case {
    let overlays: &[&str] = if overlay == "cloudflare" { &["cloudflare"] } else { &[] };
    let wrong = format!("{option} = {value}");
    Case { overlays, set: format!("[options.{overlay}]\n{wrong}\n"), wrong, words }
}

/// Several, of which one line is where the message stands.
fn several(overlays: &'static [&'static str], set: &str, wrong: &str, words: &'static str) -> Case {
    Case { overlays, set: set.to_owned(), wrong: wrong.to_owned(), words }
}

#[test]
fn values_that_no_option_may_have() {
    let long = |what: &str| format!("\"{}\"", what.repeat(300));
    let mut cases = Vec::new();
    for (overlay, option, values, words) in [
        (
            "base",
            "dns",
            &[
                r#"["256.1.1.1"]"#,
                r#"["1.2.3"]"#,
                r#"["::g"]"#,
                r#"[""]"#,
                r#"[":::"]"#,
                r#"["9.9.9.9\nDNSSEC=no"]"#,
                r#"["dns.example.org"]"#,
                r#"["0.0.0.0"]"#,
                r#"["9.9.9.9#x"]"#,
            ][..],
            "dns",
        ),
        ("base", "dns", &[r#""9.9.9.9""#, "[5]"], "must be"),
        (
            "base",
            "journal-size",
            &[
                r#""0 B""#,
                r#""1 XB""#,
                r#""""#,
                "5",
                r#""-1 GiB""#,
                r#""99999999999 TiB""#,
                r#""20000 TiB""#,
            ],
            "journal-size",
        ),
        ("base", "trial", &[r#""16 min""#, r#""59 s""#, "600", r#""10 min\nconfirm=0""#], "trial"),
        ("acme", "terms-agreed", &[r#""yes""#, "1"], "must be true or false"),
        (
            "acme",
            "email",
            &[
                r#""me""#,
                r#""me@example""#,
                r#""me@example.org\n""#,
                r#""a b@example.org""#,
                r#""me@exämple.org""#,
                "5",
                r#""-x@example.org""#,
            ],
            "email",
        ),
        (
            "acme",
            "server",
            &[
                r#""http://acme.example""#,
                r#""""#,
                r#""https://""#,
                r#""https://a b""#,
                r#""Letsencrypt""#,
                r#""https://a.example/\u0022""#,
                r#""https://..""#,
                r#""https://a.example:99999/""#,
            ],
            "server",
        ),
        ("acme", "challenge", &[r#""dns""#, r#""HTTP""#, r#""""#], "none of the choices"),
        (
            "acme",
            "names",
            &[
                r#"["localhost"]"#,
                r#"["a.example."]"#,
                r#"["A.example"]"#,
                r#"["*.example.org"]"#,
                r#"["a..b"]"#,
                r#"["-a.example"]"#,
                r#"["a.example, b.example"]"#,
                r#"["1.2.3.4"]"#,
            ],
            "names",
        ),
        ("acme", "without", &[r#"["localhost"]"#, r#"["a.example."]"#, r#"[""]"#], "without"),
        (
            "cloudflare",
            "ranges",
            &[
                r#"["0.0.0.0/0"]"#,
                r#"["::/0"]"#,
                r#"["1.2.3.4/33"]"#,
                r#"["104.16.0.1/13"]"#,
                r#"["104.16.0.0/13; }"]"#,
                r#"["999.0.0.0/16"]"#,
                r#"["2400:cb00:::/32"]"#,
                "[]",
            ],
            "ranges",
        ),
        (
            "coturn",
            "host",
            &[
                r#""Turn""#,
                r#""turn.chat""#,
                r#""-turn""#,
                r#""turn.""#,
                r#""tür""#,
                r#""turn\nlistening-port=1""#,
                r#"" ""#,
            ],
            "host",
        ),
        ("coturn", "port", &["80", "0", "65536", "-1", r#""3478""#, "3478.5"], "port"),
        ("coturn", "tls-port", &["443", "3478"], "port"),
        ("coturn", "relay-port", &["1023", "65535", "3478"], "port"),
        ("coturn", "relay-ports", &["15", "16385"], "relay-ports"),
        ("coturn", "max-bps", &[r#""2 GB""#, "1000000", r#""1 MB/s""#, r#""500 B""#], "max-bps"),
        (
            "coturn",
            "external-ip",
            &[
                r#""10.0.0.1""#,
                r#""127.0.0.1""#,
                r#""169.254.0.1""#,
                r#""192.0.2.1""#,
                r#""100.64.1.1""#,
                r#""0.0.0.0""#,
                r#""255.255.255.255""#,
                r#""224.0.0.1""#,
                r#""198.51.100.7""#,
                r#""172.16.0.1""#,
                r#""192.168.0.1""#,
            ],
            "must be a public address",
        ),
        (
            "coturn",
            "external-ip",
            &[
                r#""256.1.1.1""#,
                r#""2a00::1""#,
                r#""1.2.3.4/24""#,
                r#""1.2.3.4 ""#,
                r#""turn.example.org""#,
                r#""01.2.3.4""#,
            ],
            "IPv4",
        ),
        (
            "fail2ban",
            "ban-time",
            &[r#""59 s""#, r#""366 d""#, "60", r#""1 w""#, r#""""#],
            "ban-time",
        ),
        ("fail2ban", "find-time", &[r#""2 d""#, r#""0 s""#], "find-time"),
        ("fail2ban", "max-retry", &["0", "1001", "true"], "max-retry"),
        (
            "fail2ban",
            "ignore",
            &[
                r#"["1.2.3.256"]"#,
                r#"["::1::"]"#,
                r#"["1.2.3.4/33"]"#,
                r#"["example.org"]"#,
                r#"["1.2.3.4 5.6.7.8"]"#,
                r#"["%(x)s"]"#,
                r#"["10.0.0.5/8"]"#,
                r#"["::ffff:1.2.3.4"]"#,
                r#"["fe80::1%eth0"]"#,
            ],
            "ignore",
        ),
        ("nginx", "hsts", &[r#""no""#, "0"], "must be true or false"),
        ("node-exporter", "port", &["80", "99", "0", "70000", "9000", "8008", "22"], "port"),
        (
            "postgresql",
            "memory",
            &[r#""65 GiB""#, r#""16 GiB""#, r#""9 GiB""#, r#""1 MiB""#, "0"],
            "memory",
        ),
        ("postgresql", "connections", &["19", "1001", r#""50""#], "connections"),
        (
            "ssh",
            "port",
            &["0", "80", "443", "65536", "22.5", r#""ssh""#, "53", "8008", "3478", "5349"],
            "port",
        ),
        (
            "synapse",
            "host",
            &[r#""Matrix""#, r#""a.b""#, r#""a.""#, r#""-""#, r#""a'; x""#, r#""{{ 1 }}""#],
            "host",
        ),
        ("synapse", "max-upload", &[r#""3 GiB""#, r#""0 B""#, r#""50""#, "52428800"], "max-upload"),
        (
            "synapse",
            "cache-factor",
            &[
                "0.5",
                r#""0""#,
                r#""0.0""#,
                r#""-1""#,
                r#""1e3""#,
                r#""100""#,
                r#"".5""#,
                r#""0.5\nx: 1""#,
            ],
            "cache-factor",
        ),
        ("synapse", "cache-memory", &[r#""2 TiB""#, r#""16 GiB""#, r#""1 KiB""#], "cache-memory"),
        ("synapse", "file-handles", &["4095", "1048577"], "file-handles"),
        ("synapse", "registration", &[r#""open""#, "true"], "registration"),
        (
            "synapse",
            "remote-media-lifetime",
            &[r#""1 h""#, r#""9000000000 d""#],
            "remote-media-lifetime",
        ),
        (
            "synapse",
            "local-media-lifetime",
            &[r#""1 s""#, r#""23 h""#, r#""9000000000 d""#],
            "local-media-lifetime",
        ),
        ("synapse", "metrics-port", &["8008", "443", "9100", "100"], "port"),
        (
            "synapse",
            "federation-domains",
            &[
                r#"["matrix.org."]"#,
                r#"["Matrix.org"]"#,
                r#"["*"]"#,
                r#"[".."]"#,
                r#"["-"]"#,
                r#"["matrix.org:0x1"]"#,
                r#"["matrix.org:99999999"]"#,
                r#"["https://matrix.org"]"#,
                r#"[""]"#,
            ],
            "federation-domains",
        ),
        ("synapse", "encrypted-rooms", &[r#""none""#], "none of the choices"),
        ("synapse", "log-level", &[r#""info""#], "did you mean \"INFO\"?"),
        ("synapse", "jemalloc", &["0"], "must be true or false"),
        (
            "web-client",
            "host",
            &[r#""""#, r#""Chat""#, r#""a b""#, r#""matrix""#, r#""chat.""#],
            "host",
        ),
        ("web-client", "client", &[r#""cinny""#], "none of the choices"),
        (
            "web-client",
            "title",
            &[
                r#""a\nb""#,
                r#""<b>""#,
                r#""a\"b""#,
                r#""it's""#,
                r#""{{ 7 }}""#,
                r#""\\""#,
                r#""$uri""#,
                r#""a\u2028b""#,
                r#""a\u0085b""#,
                r#""\u202Egnp""#,
                r#"" ""#,
            ],
            "title",
        ),
    ] {
        cases.extend(values.iter().map(|value| one(overlay, option, value, words)));
    }
    for (overlay, option) in [
        ("acme", "email"),
        ("acme", "server"),
        ("coturn", "host"),
        ("synapse", "host"),
        ("web-client", "host"),
        ("web-client", "title"),
        ("synapse", "cache-factor"),
        ("coturn", "external-ip"),
    ] {
        let value = if option == "server" { long("https://a.example/") } else { long("a") };
        cases.push(one(overlay, option, &value, option));
    }
    cases.push(one("acme", "names", &format!("[{}]", long("a.")), "names"));
    cases.push(one("acme", "names", &format!("[\"{}.example\"]", "a".repeat(64)), "names"));
    cases.push(one(
        "synapse",
        "federation-domains",
        &format!("[{}]", long("a")),
        "federation-domains",
    ));
    refused(&cases);
}

#[test]
fn values_that_do_not_go_together() {
    refused(&[
        several(
            &[],
            "[admin]\nname = \"postgres\"\n",
            "name = \"postgres\"",
            "of a Debian package",
        ),
        several(
            &[],
            "[admin]\nname = \"matrix-synapse\"\n",
            "name = \"matrix-synapse\"",
            "user of an overlay",
        ),
        several(&[], "[admin]\nname = \"adm\"\n", "name = \"adm\"", "every Debian system"),
        several(
            &[],
            "[options.fail2ban]\nban-time = \"30 d\"\n",
            "ban-time = \"30 d\"",
            "[options.fail2ban] max-ban-time is \"7 d\"",
        ),
        several(
            &[],
            "[options.fail2ban]\nmax-ban-time = \"5 min\"\n",
            "max-ban-time = \"5 min\"",
            "[options.fail2ban] ban-time is \"1 h\"",
        ),
        several(
            &[],
            "[options.fail2ban]\nban-time = \"3 h\"\nmax-ban-time = \"2 h\"\n",
            "max-ban-time = \"2 h\"",
            "ban-time is \"3 h\" (appliance.toml:5)",
        ),
        several(
            &[],
            "[options.coturn]\nuser-quota = 1000\n",
            "user-quota = 1000",
            "total-quota is 240",
        ),
        several(
            &[],
            "[options.coturn]\ntotal-quota = 20\n",
            "total-quota = 20",
            "user-quota is 24",
        ),
        several(
            &[],
            "[options.coturn]\nrelay-port = 65400\n",
            "relay-port = 65400",
            "relay-ports is 256",
        ),
        several(
            &[],
            "[options.coturn]\nrelay-port = 60000\nrelay-ports = 10000\n",
            "relay-port = 60000",
            "65535",
        ),
        several(&[], "[options.coturn]\nport = 49200\n", "port = 49200", "is used twice"),
        several(&[], "[options.coturn]\ntls-port = 8008\n", "tls-port = 8008", "Synapse itself"),
        several(&[], "[options.ssh]\nport = 9100\n", "port = 9100", "Metrics of the machine"),
        several(
            &[],
            "[options.synapse]\njemalloc = false\ncache-memory = \"1 GiB\"\n",
            "cache-memory = \"1 GiB\"",
            "jemalloc is false",
        ),
        several(
            &[],
            "[options.synapse]\nfederation = false\nfederation-domains = [\"matrix.org\"]\n",
            "federation-domains = [\"matrix.org\"]",
            "federation is false",
        ),
        several(
            &["federation-port"],
            "[options.synapse]\nfederation = false\n",
            "federation = false",
            "8448",
        ),
        several(
            &[],
            "[target]\nmemory = \"1 GiB\"\n[options.synapse]\nmax-upload = \"1 GiB\"\n",
            "max-upload = \"1 GiB\"",
            "memory",
        ),
        several(
            &[],
            "[target]\nmemory = \"3 GiB\"\n[options.postgresql]\nmemory = \"2 GiB\"\n",
            "memory = \"2 GiB\"",
            "memory",
        ),
        several(
            &["cloudflare", "federation-port"],
            "",
            "overlays = [\"cloudflare\", \"federation-port\"]",
            "8448",
        ),
        several(
            &[],
            "[options.web-client]\nhost = \"matrix\"\n",
            "host = \"matrix\"",
            "[options.synapse] host is \"matrix\"",
        ),
        several(
            &[],
            "[options.synapse]\nhost = \"chat\"\n",
            "host = \"chat\"",
            "[options.web-client] host is \"chat\"",
        ),
        several(
            &[],
            "[options.acme]\nnames = [\"a.example.org\"]\nwithout = [\"b.example.org\", \"a.example.org\"]\n",
            "names = [\"a.example.org\"]",
            "without",
        ),
        several(&[], "[options]\nsynapse = 5\n", "synapse = 5", "[options.synapse]"),
        several(
            &[],
            "[options]\nmax-upload = \"5 MiB\"\n",
            "max-upload = \"5 MiB\"",
            "[options.OVERLAY]",
        ),
    ]);
}

#[test]
fn names_that_the_dns_cannot_hold() {
    let label = "a".repeat(63);
    let domain = format!("{label}.{label}.{label}.example");
    let set = format!("[options.synapse]\nhost = \"{label}\"\n");
    let (text, told) = outcome_of(&domain, &[], &set);
    let line = text.lines().position(|line| line.starts_with("host")).unwrap() + 1;
    let told = told.unwrap_err();
    assert!(told.starts_with(&format!("appliance.toml:{line}:")), "{told}");
    assert!(told.contains("longer than the 253 characters"), "{told}");
}

/// What an overlay's file becomes.
fn rendered(plan: &Plan, overlay: &str, path: &str) -> String {
    let overlay = plan.overlays.iter().find(|one| one.name == overlay).unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("overlays").join(&overlay.name);
    let path = own.join("files").join(format!("{path}.j2"));
    let text = std::fs::read_to_string(&path).unwrap();
    render_file(plan, overlay, &path, &text).unwrap()
}

#[test]
fn values_that_are_right_reach_their_files() {
    let set = r#"
[options.base]
dns = ["9.9.9.9", "2620:FE::FE", "::1"]
[options.fail2ban]
ignore = ["::1", "2001:db8::/32", "192.0.2.7", "10.0.0.0/8", "0.0.0.0/0"]
[options.coturn]
external-ip = "9.9.9.9"
relay-port = 65280
max-bps = "0 B"
user-quota = 240
[options.synapse]
cache-memory = "12 GiB"
local-media-lifetime = "1 d"
federation-domains = ["matrix.org", "chat.example.org:8448", "[2001:db8::1]:8448", "192.0.2.1"]
[options.acme]
email = "o'neil+box@mail.example.org"
server = "https://acme.example.org:14000/dir?x=1"
names = ["xn--bcher-kva.example"]
[options.web-client]
title = "¡Räder & Töpfe! 100 % 👩‍🚒; # */"
"#;
    let set = set.replace(" & ", " + ");
    let (_, plan) = outcome(&["cloudflare"], &set);
    let plan = plan.unwrap_or_else(|error| panic!("{error}"));
    for (overlay, path, line) in [
        ("base", "etc/systemd/resolved.conf.d/chatimg.conf", "DNS=9.9.9.9 2620:fe::fe ::1"),
        (
            "fail2ban",
            "etc/fail2ban/jail.d/chatimg.local",
            "ignoreip = 127.0.0.0/8 ::1 ::1 2001:db8::/32 192.0.2.7 10.0.0.0/8 0.0.0.0/0",
        ),
        ("coturn", "etc/turnserver.conf", "external-ip=9.9.9.9"),
        ("coturn", "etc/turnserver.conf", "max-port=65535"),
        ("acme", "etc/chatimg/acme.json", r#"  "email": "o\u0027neil+box@mail.example.org","#),
        (
            "synapse",
            "etc/matrix-synapse/homeserver.yaml",
            r#"federation_domain_whitelist: ["matrix.org", "chat.example.org:8448", "[2001:db8::1]:8448", "192.0.2.1"]"#,
        ),
    ] {
        let text = rendered(&plan, overlay, path);
        assert!(text.lines().any(|own| own == line), "{line}\n{text}");
    }
}

/// What `qemu-tests/` make of the appliance is one.
#[test]
fn the_appliances_of_tests_in_machines_load() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(own.join("qemu-tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let test: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let guests = test.get("guests").and_then(toml::Value::as_table).into_iter().flatten();
        for change in test.get("appliance").into_iter().chain(guests.map(|(_, change)| change)) {
            let change: Change = change.clone().try_into().unwrap();
            let plan = load_changed(&own.join("appliance.toml"), &change);
            plan.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}
