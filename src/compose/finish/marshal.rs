//! Python's marshal format (`Python/marshal.c` of CPython 3.13, version 4), made canonical.
//!
//! What `marshal.dumps` makes of one code object differs with what the interpreter did before: an object gets a number, to be
//! referred to, if anything else in the process holds it; a string is interned if an equal one was; and the members of frozen
//! sets have their order from both. Here numbers are given only to what is referred to, equal constants are one, strings are
//! interned for what they say, and members are sorted by their contents.

use std::collections::HashMap;

/// Marks an object that gets the next number.
const FLAG_REF: u8 = 0x80;
/// Deeper than anything that Python's parser takes: 200 brackets, 100 indented blocks.
const MAX_DEPTH: usize = 600;

/// The same objects in canonical bytes.
///
/// # Errors
/// It is no code object in this format.
pub(super) fn canonical(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = Reader { rest: bytes, nodes: Vec::new(), known: HashMap::new(), refs: vec![] };
    let root = reader.object(0)?;
    if !reader.rest.is_empty() {
        return Err("bytes follow its end".to_owned());
    }
    let nodes = reader.nodes;
    let mut uses = vec![0_u32; nodes.len()];
    count(&nodes, root, &mut uses);
    let mut writer = Writer { nodes: &nodes, uses, numbers: HashMap::new(), out: Vec::new() };
    writer.object(root);
    Ok(writer.out)
}

/// One object: bytes and members, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    /// Its type, without the flag.
    kind: u8,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Bytes(Vec<u8>),
    Member(usize),
}

struct Reader<'a> {
    rest: &'a [u8],
    nodes: Vec<Node>,
    /// Equal constants are one.
    known: HashMap<Node, usize>,
    /// What has which number; none yet: it is being read.
    refs: Vec<Option<usize>>,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<Vec<u8>, String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it is cut short")?;
        self.rest = rest;
        Ok(taken.to_vec())
    }

    fn number(&mut self) -> Result<(usize, Vec<u8>), String> {
        let bytes = self.take(4)?;
        let number = u32::from_le_bytes(bytes.as_slice().try_into().expect("four bytes"));
        Ok((usize::try_from(number).map_err(|error| error.to_string())?, bytes))
    }

    fn object(&mut self, depth: usize) -> Result<usize, String> {
        if depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let byte = self.take(1)?[0];
        let kind = byte & !FLAG_REF;
        if kind == b'r' {
            let (number, _) = self.number()?;
            let found = self.refs.get(number).copied().flatten();
            return found.ok_or_else(|| format!("number {number} is nobody's"));
        }
        let number = (byte != kind).then(|| {
            self.refs.push(None);
            self.refs.len() - 1
        });
        let parts = self.parts(kind, depth)?;
        let kind = interned(kind, &parts);
        let node = self.add(Node { kind, parts });
        if let Some(number) = number {
            self.refs[number] = Some(node);
        }
        Ok(node)
    }

    fn parts(&mut self, kind: u8, depth: usize) -> Result<Vec<Part>, String> {
        match kind {
            b')' => {
                let bytes = self.take(1)?;
                self.members(bytes[0].into(), bytes, depth)
            }
            b'(' => {
                let (count, bytes) = self.number()?;
                self.members(count, bytes, depth)
            }
            b'>' => {
                let (count, bytes) = self.number()?;
                let mut parts = self.members(count, bytes, depth)?;
                parts[1..].sort_by_cached_key(|part| self.plain(part));
                Ok(parts)
            }
            b'c' => self.code(depth),
            _ => self.scalar(kind),
        }
    }

    fn scalar(&mut self, kind: u8) -> Result<Vec<Part>, String> {
        let bytes = match kind {
            // None, True, False, ..., StopIteration.
            b'N' | b'T' | b'F' | b'.' | b'S' => return Ok(vec![]),
            b'i' => self.take(4)?,
            b'g' => self.take(8)?,
            b'y' => self.take(16)?,
            // Digits of 15 bits; a negative number has a negative count.
            b'l' => {
                let (count, bytes) = self.number()?;
                let count = u32::try_from(count).expect("it was one").cast_signed().unsigned_abs();
                let digits = usize::try_from(u64::from(count) * 2);
                [bytes, self.take(digits.map_err(|error| error.to_string())?)?].concat()
            }
            // Bytes and strings.
            b's' | b'u' | b't' | b'a' | b'A' => {
                let (count, bytes) = self.number()?;
                [bytes, self.take(count)?].concat()
            }
            b'z' | b'Z' => {
                let count = self.take(1)?;
                let text = self.take(count[0].into())?;
                [count, text].concat()
            }
            other => return Err(format!("no constant is of type {:?}", char::from(other))),
        };
        Ok(vec![Part::Bytes(bytes)])
    }

    fn members(&mut self, count: usize, size: Vec<u8>, depth: usize) -> Result<Vec<Part>, String> {
        let mut parts = vec![Part::Bytes(size)];
        for _ in 0..count {
            parts.push(Part::Member(self.object(depth + 1)?));
        }
        Ok(parts)
    }

    /// Five numbers; code, constants, names, variables, their kinds, file, name, qualified name; the first line; tables of
    /// lines and of exceptions.
    fn code(&mut self, depth: usize) -> Result<Vec<Part>, String> {
        let mut parts = vec![Part::Bytes(self.take(20)?)];
        for _ in 0..8 {
            parts.push(Part::Member(self.object(depth + 1)?));
        }
        parts.push(Part::Bytes(self.take(4)?));
        for _ in 0..2 {
            parts.push(Part::Member(self.object(depth + 1)?));
        }
        Ok(parts)
    }

    fn add(&mut self, node: Node) -> usize {
        let next = self.nodes.len();
        // Functions are told apart by what they are, not by what they are made of.
        if node.kind != b'c' {
            let known = *self.known.entry(node.clone()).or_insert(next);
            if known != next {
                return known;
            }
        }
        self.nodes.push(node);
        next
    }

    /// All of it without any numbers.
    fn plain(&self, part: &Part) -> Vec<u8> {
        match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Member(node) => {
                let Node { kind, parts } = &self.nodes[*node];
                let parts = parts.iter().flat_map(|part| self.plain(part));
                std::iter::once(*kind).chain(parts).collect()
            }
        }
    }
}

/// The type of a string by what it says: what looks like a name is interned, as the compiler has it. Others are if somebody
/// else had them so; names that look otherwise (`a.b` of an import) Python interns when it loads them.
fn interned(kind: u8, parts: &[Part]) -> u8 {
    let is_name = || match parts {
        [Part::Bytes(bytes)] => {
            let size = if matches!(kind, b'z' | b'Z') { 1 } else { 4 };
            bytes[size..].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        }
        _ => false,
    };
    match kind {
        b'z' | b'Z' => {
            if is_name() {
                b'Z'
            } else {
                b'z'
            }
        }
        b'a' | b'A' => {
            if is_name() {
                b'A'
            } else {
                b'a'
            }
        }
        b'u' | b't' => b'u',
        other => other,
    }
}

/// How often each object is met; what is in it, the first time only.
fn count(nodes: &[Node], node: usize, uses: &mut [u32]) {
    uses[node] += 1;
    if uses[node] > 1 {
        return;
    }
    for part in &nodes[node].parts {
        if let Part::Member(member) = part {
            count(nodes, *member, uses);
        }
    }
}

struct Writer<'a> {
    nodes: &'a [Node],
    uses: Vec<u32>,
    numbers: HashMap<usize, u32>,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn object(&mut self, node: usize) {
        let Node { kind, parts } = &self.nodes[node];
        if let Some(number) = self.numbers.get(&node) {
            self.out.push(b'r');
            self.out.extend(number.to_le_bytes());
            return;
        }
        // What has no contents is never referred to, as Python does.
        if self.uses[node] > 1 && !parts.is_empty() {
            let number = u32::try_from(self.numbers.len()).expect("as many as were read");
            self.numbers.insert(node, number);
            self.out.push(kind | FLAG_REF);
        } else {
            self.out.push(*kind);
        }
        for part in parts {
            match part {
                Part::Bytes(bytes) => self.out.extend(bytes),
                Part::Member(member) => self.object(*member),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x = ("ab", "ab", 1.5)` of which only parts have numbers.
    fn tuple(first: &[u8], second: &[u8]) -> Vec<u8> {
        [b")\x03", first, second, b"g\0\0\0\0\0\0\xf8\x3f"].concat()
    }

    #[test]
    fn equal_objects_are_one_whoever_held_them() {
        let expected = tuple(b"\xda\x02ab", b"r\0\0\0\0");
        // Nobody else had it; somebody did; the tuple, too; and nobody found out that it is the same.
        let same = [
            tuple(b"\xda\x02ab", b"r\0\0\0\0"),
            [b"\xa9", &tuple(b"\xda\x02ab", b"r\x01\0\0\0")[1..]].concat(),
            tuple(b"Z\x02ab", b"Z\x02ab"),
            tuple(b"\xda\x02ab", b"\xda\x02ab"),
        ];
        for bytes in same {
            assert_eq!(canonical(&bytes).as_ref(), Ok(&expected), "{bytes:?}");
        }
        // So are strings, interned or not: names are, others are not.
        for (name, kind) in [(b"ab", b'Z'), (b"a.", b'z')] {
            let text = |kind: u8| [&[kind, 2], &name[..]].concat();
            let expected = tuple(&text(kind | FLAG_REF), b"r\0\0\0\0");
            assert_eq!(canonical(&tuple(&text(b'z'), &text(b'Z'))), Ok(expected));
        }
    }

    #[test]
    fn members_of_sets_are_sorted() {
        let set = |members: &[&[u8]]| [b">\x03\0\0\0", &members.concat()[..]].concat();
        let expected = set(&[b"N", b"Z\x01a", b"Z\x01b"]);
        assert_eq!(canonical(&set(&[b"Z\x01b", b"\xda\x01a", b"N"])), Ok(expected));
    }

    #[test]
    fn what_is_no_constant_is_refused() {
        let deep = [[b')', 1].repeat(1000), vec![b'N']].concat();
        let bad: [&[u8]; 9] = [
            b"",
            b"NN",
            b"Z\x05ab",
            b"r\0\0\0\0",
            b"\xa9\x01r\0\0\0\0",
            b"[\0",
            b")\x02N",
            b"l\0\0\0\x80",
            &deep,
        ];
        for bytes in bad {
            assert!(canonical(bytes).is_err(), "{bytes:?}");
        }
    }
}
