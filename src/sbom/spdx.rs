//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Bill, Component};

pub(super) fn document(bill: &Bill<'_>) -> Value {
    let mut packages = vec![json!({
        "SPDXID": "SPDXRef-image",
        "name": bill.name,
        "versionInfo": bill.tree.short(),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "OPERATING_SYSTEM",
        "comment": format!("A system image on Debian {}; versionInfo begins the digest of its root file system's tree.", bill.debian),
    })];
    packages.extend(bill.components.iter().map(package));
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "image")];
    for component in &bill.components {
        relations.push(relation("SPDXRef-image", "CONTAINS", &component.id));
        let from = format!("SPDXRef-{}", component.id);
        relations.extend(component.needs.iter().map(|need| relation(&from, "DEPENDS_ON", need)));
    }
    let licences = bill.components.iter().filter_map(|component| component.licence.as_ref());
    let refs: BTreeMap<_, _> = licences.flat_map(|licence| &licence.refs).collect();
    let refs = refs.into_iter().map(|(id, name)| {
        json!({
            "licenseId": id, "name": name,
            "extractedText": format!("The licence that the package calls \"{name}\"; its text is in the package."),
        })
    });
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}-{}", bill.name, bill.tree.short()),
        "documentNamespace": format!("https://spdx.org/spdxdocs/chatimg-{}", bill.number),
        "creationInfo": {
            "created": bill.time,
            "creators": [concat!("Tool: chatimg-", env!("CARGO_PKG_VERSION"))],
            "comment": "The time is that of the newest package index, so that the same image has the same document.",
        },
        "documentDescribes": ["SPDXRef-image"],
        "packages": packages,
        "relationships": relations,
        "hasExtractedLicensingInfos": refs.collect::<Vec<_>>(),
    })
}

fn package(component: &Component) -> Value {
    let licence = component.licence.as_ref().map(|licence| licence.expression.as_str());
    let mut value = json!({
        "SPDXID": format!("SPDXRef-{}", component.id),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "checksums": [{"algorithm": "SHA256", "checksumValue": component.digest}],
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": licence.unwrap_or("NOASSERTION"),
        "copyrightText": "NOASSERTION",
    });
    if let Some(purl) = &component.purl {
        value["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl,
        }]);
    }
    if let Some(supplier) = component.supplier {
        value["supplier"] = format!("Organization: {supplier}").into();
    }
    if let Some(homepage) = component.homepage.as_ref().filter(|page| page.starts_with("http")) {
        value["homepage"] = homepage.as_str().into();
    }
    value
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({
        "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": format!("SPDXRef-{to}"),
    })
}
