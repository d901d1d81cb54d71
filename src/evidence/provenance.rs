//! What an image was made from: an in-toto Statement v1 (<https://in-toto.io/Statement/v1>) with SLSA's provenance v1
//! (<https://slsa.dev/spec/v1.0/provenance>). It follows from manifest and sums alone, so whoever verifies it makes it anew.

use serde_json::{Value, json};

use crate::image::sums::Sums;
use crate::sbom;

/// What the parameters mean: docs/evidence.md.
const BUILD_TYPE: &str = "urn:chatimg:image:1";
const BUILDER: &str = "urn:chatimg:build";

/// The statement's bytes: one line, keys in order.
pub(super) fn statement(manifest: &Value, sums: &Sums) -> Vec<u8> {
    let subject =
        sums.iter().map(|(name, digest)| json!({"name": name, "digest": {"sha256": digest}}));
    let inputs = manifest["inputs"].as_array().into_iter().flatten();
    let built = &manifest["built"];
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject.collect::<Vec<_>>(),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "appliance": manifest["appliance"],
                    "lock": {"digest": {"sha256": built["lock"]}},
                    "plan": {"digest": {"sha256": built["plan"]}},
                },
                "internalParameters": {"epoch": manifest["epoch"], "image": manifest["id"], "tree": manifest["tree"]},
                "resolvedDependencies": inputs.map(dependency).collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": {
                    "id": BUILDER,
                    "version": {"chatimg": built["chatimg"], "source": built["source"]},
                },
            },
        },
    });
    statement.to_string().into_bytes()
}

/// An input of the manifest, without the host that it came from.
fn dependency(input: &Value) -> Value {
    let text = |key: &str| input[key].as_str().unwrap_or_default();
    let (name, version) = (text("name"), text("version"));
    let uri = match text("kind") {
        "deb" => Some(sbom::deb_purl(name, version, text("arch"), None, "")),
        "wheel" => Some(sbom::wheel_purl(name, version)),
        "npm" => Some(sbom::npm_purl(name, version)),
        _ => None,
    };
    let mut value = json!({
        "name": format!("{} {name}", text("kind")), "digest": {"sha256": input["sha256"]},
    });
    if let Some(uri) = uri {
        value["uri"] = uri.into();
    }
    if let Some(date) = input["date"].as_i64() {
        value["annotations"] = json!({"date": date});
    }
    value
}
