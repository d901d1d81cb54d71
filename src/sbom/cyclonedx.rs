//! CycloneDX 1.6 as JSON (ECMA-424, <https://cyclonedx.org/docs/1.6/json/>).

use serde_json::{Value, json};

use super::{Bill, Component};

pub(super) fn document(bill: &Bill<'_>) -> Value {
    let system = format!("os-debian-{}", bill.debian);
    let mut components = vec![json!({
        "type": "operating-system", "bom-ref": system, "name": "debian", "version": bill.debian,
    })];
    components.extend(bill.components.iter().map(component));
    let all = bill.components.iter().map(|component| component.id.as_str());
    let all: Vec<&str> = [system.as_str()].into_iter().chain(all).collect();
    let mut relations = vec![json!({"ref": "image", "dependsOn": all})];
    relations.extend(
        bill.components
            .iter()
            .map(|component| json!({"ref": component.id, "dependsOn": component.needs})),
    );
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", bill.number),
        "version": 1,
        "metadata": {
            "timestamp": bill.time,
            "tools": {"components": [
                {"type": "application", "name": "chatimg", "version": env!("CARGO_PKG_VERSION")},
            ]},
            "component": {
                "type": "firmware", "bom-ref": "image", "name": bill.name, "version": bill.tree.short(),
                "description": "A system image; its version begins the digest of its root file system's tree.",
            },
        },
        "components": components,
        "dependencies": relations,
    })
}

fn component(component: &Component) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": component.id,
        "name": component.name,
        "version": component.version,
        "hashes": [{"alg": "SHA-256", "content": component.digest}],
    });
    if let Some(purl) = &component.purl {
        value["purl"] = purl.as_str().into();
    }
    if let Some(licence) = &component.licence {
        value["licenses"] =
            json!([{"expression": licence.expression, "acknowledgement": "declared"}]);
    }
    if let Some(supplier) = component.supplier {
        value["supplier"] = json!({"name": supplier});
    }
    if let Some(homepage) = component.homepage.as_ref().filter(|page| page.starts_with("http")) {
        value["externalReferences"] = json!([{"type": "website", "url": homepage}]);
    }
    value
}
