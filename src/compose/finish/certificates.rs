//! `/etc/ssl/certs`, as update-ca-certificates(8) makes it: a link to each certificate that
//! `/etc/ca-certificates.conf` enables, OpenSSL's links by the hash of the subject, and all in one file.

use std::collections::BTreeMap;

use super::{Finish, FinishError};
use crate::tree::{Node, Tree};

const DIR: &str = "etc/ssl/certs";
const SHIPPED: &str = "usr/share/ca-certificates";
const LOCAL: &str = "usr/local/share/ca-certificates";
const CONF: &str = "etc/ca-certificates.conf";

pub(super) fn bundle(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    let input = tree.filter(|path| {
        path == CONF || [SHIPPED, LOCAL].iter().any(|dir| path.starts_with(&format!("{dir}/")))
    });
    if input.get(CONF).is_none() {
        return Ok(Tree::new());
    }
    context.step("certificates", &input, |output| {
        let enabled = enabled(context, &input)?;
        let mut all = Vec::new();
        let scratch = context.store.scratch()?;
        for (name, path) in &enabled {
            let mut pem = context.store.read(input.file(path)?.0)?;
            if pem.last() != Some(&b'\n') {
                pem.push(b'\n');
            }
            output.link(&format!("{DIR}/{name}"), &format!("/{path}"))?;
            std::fs::write(scratch.path().join(name), &pem)
                .map_err(|source| FinishError::Read { program: "openssl rehash", source })?;
            all.extend(pem);
        }
        context.tools.run("usr/bin/openssl", ["rehash", "."], scratch.path(), b"")?;
        for (link, to) in hash_links(scratch.path())? {
            output.link(&format!("{DIR}/{link}"), &to)?;
        }
        output.file(&format!("{DIR}/ca-certificates.crt"), 0o644, &all)
    })
}

/// Link name in `/etc/ssl/certs` to path in the tree, in the order of the bundle: that of the configuration,
/// then the local ones.
fn enabled(context: Finish<'_>, input: &Tree) -> Result<Vec<(String, String)>, FinishError> {
    let conf = context.text(input, CONF)?;
    let listed = conf.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let mut found: Vec<_> = listed.map(|name| (name, format!("{SHIPPED}/{name}"))).collect();
    let local: Vec<_> = input
        .below(LOCAL)
        .filter(|(path, entry)| {
            matches!(entry.node, Node::File(_)) && path.name().ends_with(".crt")
        })
        .map(|(path, _)| path.to_string())
        .collect();
    found.extend(local.iter().map(|path| (path.as_str(), path.clone())));
    let link = |name: &str| {
        let base = name.rsplit('/').next().unwrap_or(name);
        let base = base.strip_suffix(".crt").unwrap_or(base);
        format!("{}.pem", base.replace([' ', ','], "_").replace(['(', ')'], "="))
    };
    Ok(found.into_iter().map(|(name, path)| (link(name), path)).collect())
}

fn hash_links(dir: &std::path::Path) -> Result<BTreeMap<String, String>, FinishError> {
    let read = |source| FinishError::Read { program: "openssl rehash", source };
    let mut links = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_symlink() {
            let to = std::fs::read_link(&path).map_err(read)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            links.insert(name, to.to_string_lossy().into_owned());
        }
    }
    Ok(links)
}
