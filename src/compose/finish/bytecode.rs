//! Python byte code. Its validity is bound to a hash of the source (PEP 552, unchecked), not to the source's
//! time stamp, and what a process compiled before leaves no trace in it ([`marshal`]): the bytes depend on nothing else.

use std::io;
use std::path::Path;

use super::{Finish, FinishError, marshal};
use crate::appliance::PythonEnv;
use crate::parallel::try_map;
use crate::tree::{FileRef, Node, Tree};

const COMPILER: &str = include_str!("bytecode.py");
const PYTHON: &str = "usr/bin/python3";
/// PEP 552: magic number, flags, hash of the source.
const HEADER: usize = 16;
/// Files for which another process is worth its start.
const AT_ONCE: usize = 50;

/// Byte code of the Python environments' modules, those that nobody took out.
pub(in crate::compose) fn environments(
    context: Finish<'_>,
    tree: &Tree,
    environments: &[&PythonEnv],
) -> Result<Tree, FinishError> {
    let lib = |env: &&PythonEnv| format!("{}/lib/", env.into.trim_matches('/'));
    let starts: Vec<_> = environments.iter().map(lib).collect();
    below(context, tree, &starts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Byte code of the standard library and of Debian's own Python packages. Where only a program that embeds Python is
/// installed, and no interpreter, no package's script makes any.
pub(super) fn debian(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    if !tree.below("usr/bin").any(|(path, _)| path.as_str().starts_with(PYTHON)) {
        return Ok(Tree::new());
    }
    below(context, tree, &["usr/lib/python3/", "usr/lib/python3.", "usr/share/python3/"])
}

/// Byte code of the box's own programs: apart, for they change when Debian's do not.
pub(super) fn chatimg(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    below(context, tree, &["usr/lib/chatimg/"])
}

fn below(context: Finish<'_>, tree: &Tree, starts: &[&str]) -> Result<Tree, FinishError> {
    let input = tree
        .filter(|path| path.ends_with(".py") && starts.iter().any(|start| path.starts_with(start)));
    let sources: Vec<_> = input
        .iter()
        .filter_map(|(path, entry)| match &entry.node {
            Node::File(file) => Some((path.as_str(), file)),
            _ => None,
        })
        .collect();
    if sources.is_empty() {
        return Ok(Tree::new());
    }
    context.step("bytecode", &input, |output| {
        for (path, code) in compile(context, &sources)? {
            output.file(&path, 0o644, &code)?;
        }
        Ok(())
    })
}

/// A source: its path in the tree and on the box, and its text.
type Source<'a> = (&'a str, &'a FileRef);

/// Compiles sources; gives the path in the tree and the contents of each byte code file. What is no valid
/// Python is left out.
fn compile(
    context: Finish<'_>,
    sources: &[Source<'_>],
) -> Result<Vec<(String, Vec<u8>)>, FinishError> {
    let processes = std::thread::available_parallelism().map_or(2, usize::from);
    let processes = processes.min(sources.len().div_ceil(AT_ONCE));
    let turns: Vec<_> = (0..processes).collect();
    let compiled = try_map(&turns, |turn| {
        let sources: Vec<_> = sources.iter().skip(*turn).step_by(processes).collect();
        in_one_process(context, &sources)
    })?;
    Ok(compiled.into_iter().flatten().collect())
}

fn in_one_process(
    context: Finish<'_>,
    sources: &[&Source<'_>],
) -> Result<Vec<(String, Vec<u8>)>, FinishError> {
    let read = |source| FinishError::Read { program: "python3", source };
    let mut input = Vec::new();
    for (path, text) in sources {
        let text = context.store.read(text)?;
        input.extend(format!("{} /{path}\n", text.len()).into_bytes());
        input.extend(text);
    }
    let args = ["-I", "-S", "-B", "-c", COMPILER];
    let output = context.tools.run(PYTHON, args, Path::new("/"), &input)?;
    drop(input);
    let broken = || read(io::Error::other("the list of what it compiled is broken"));
    let (tag, mut rest) = line(&output).ok_or_else(broken)?;
    let mut compiled = Vec::with_capacity(sources.len());
    while !rest.is_empty() {
        let (head, after) = line(rest).ok_or_else(broken)?;
        let (index, size) = head.split_once(' ').ok_or_else(broken)?;
        let number = |text: &str| text.parse::<usize>().map_err(|_| broken());
        let (path, _) = sources.get(number(index)?).ok_or_else(broken)?;
        let (code, after) = after.split_at_checked(number(size)?).ok_or_else(broken)?;
        let (header, code) = code.split_at_checked(HEADER).ok_or_else(broken)?;
        let code = marshal::canonical(code).map_err(|why| FinishError::Input {
            path: (*path).to_owned(),
            why: format!("its byte code is not as it should be: {why}"),
        })?;
        compiled.push((cache_path(path, tag), [header, &code].concat()));
        rest = after;
    }
    Ok(compiled)
}

fn line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// PEP 3147: `a/b.py` is cached in `a/__pycache__/b.cpython-313.pyc`.
fn cache_path(source: &str, tag: &str) -> String {
    let (dir, name) = source.rsplit_once('/').unwrap_or(("", source));
    let stem = name.strip_suffix(".py").unwrap_or(name);
    format!("{dir}/__pycache__/{stem}.{tag}.pyc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_lies_where_python_looks_for_it() {
        assert_eq!(
            cache_path("usr/lib/x/a.py", "cpython-313"),
            "usr/lib/x/__pycache__/a.cpython-313.pyc"
        );
    }
}
