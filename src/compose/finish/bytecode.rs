//! Python byte code. Its validity is bound to a hash of the source (PEP 552, unchecked), not to the source's
//! time stamp, so that the bytes depend on nothing else.

use std::fs;
use std::path::Path;

use super::{Finish, FinishError};
use crate::tree::{Node, Tree};

const COMPILER: &str = include_str!("bytecode.py");
const PYTHON: &str = "usr/bin/python3";

/// A source file to be compiled.
pub(in crate::compose) struct Source<'a> {
    /// Its path in the tree, and on the box.
    pub(in crate::compose) path: &'a str,
    /// Its text.
    pub(in crate::compose) text: Vec<u8>,
}

/// Byte code of the standard library and of Debian's own Python packages.
pub(super) fn debian(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    below(context, tree, &["usr/lib/python3/", "usr/lib/python3.", "usr/share/python3/"])
}

/// Byte code of the box's own programs: apart, for they change when Debian's do not.
pub(super) fn chatimg(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    below(context, tree, &["usr/lib/chatimg/"])
}

fn below(context: Finish<'_>, tree: &Tree, starts: &[&str]) -> Result<Tree, FinishError> {
    let input = tree
        .filter(|path| path.ends_with(".py") && starts.iter().any(|start| path.starts_with(start)));
    let files: Vec<_> = input
        .iter()
        .filter(|(_, entry)| matches!(entry.node, Node::File(_)))
        .map(|(path, _)| path.as_str())
        .collect();
    if files.is_empty() {
        return Ok(Tree::new());
    }
    context.step("bytecode", &input, |output| {
        let mut sources = Vec::with_capacity(files.len());
        for path in files {
            sources.push(Source { path, text: context.store.read(input.file(path)?.0)? });
        }
        for (path, code) in compile(context, &sources)? {
            output.file(&path, 0o644, &code)?;
        }
        Ok(())
    })
}

/// Compiles sources; gives the path in the tree and the contents of each byte code file. What is no valid
/// Python is left out.
pub(in crate::compose) fn compile(
    context: Finish<'_>,
    sources: &[Source<'_>],
) -> Result<Vec<(String, Vec<u8>)>, FinishError> {
    let read = |source| FinishError::Read { program: "python3", source };
    let scratch = context.store.scratch()?;
    let mut list = String::new();
    for (index, source) in sources.iter().enumerate() {
        fs::write(scratch.path().join(format!("{index}.py")), &source.text).map_err(read)?;
        list.push_str(&format!("{index}.py\t{index}.pyc\t/{}\n", source.path));
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from).to_string();
    let args = ["-I", "-S", "-B", "-c", COMPILER, &threads];
    context.tools.run(PYTHON, args, scratch.path(), list.as_bytes())?;
    let version = python_version(context)?;
    let mut compiled = Vec::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        match fs::read(scratch.path().join(format!("{index}.pyc"))) {
            Ok(code) => compiled.push((cache_path(source.path, &version), code)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(read(error)),
        }
    }
    Ok(compiled)
}

/// `313` of Python 3.13.
fn python_version(context: Finish<'_>) -> Result<String, FinishError> {
    let code = "import sys; print(sys.implementation.cache_tag)";
    let tag = context.tools.run(PYTHON, ["-I", "-S", "-B", "-c", code], Path::new("/"), b"")?;
    Ok(String::from_utf8_lossy(&tag).trim().to_owned())
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
