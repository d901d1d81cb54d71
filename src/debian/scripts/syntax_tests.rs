use super::*;

fn shape(text: &str) -> String {
    fn list(list: &List) -> String {
        list.iter().map(command).collect::<Vec<_>>().join("; ")
    }
    fn command(it: &Command) -> String {
        match &it.kind {
            Kind::Simple { words, writes } => {
                format!("{}{}", words.join(" "), if *writes { " >" } else { "" })
            }
            Kind::Pipe(parts) => parts.iter().map(command).collect::<Vec<_>>().join(" | "),
            Kind::Not(inner) => format!("not {}", command(inner)),
            Kind::And(a, b) => format!("({} && {})", command(a), command(b)),
            Kind::Or(a, b) => format!("({} || {})", command(a), command(b)),
            Kind::If(branches) => {
                let branches = branches.iter().map(|(c, b)| format!("[{}: {}]", list(c), list(b)));
                format!("if{}", branches.collect::<String>())
            }
            Kind::Case(word, arms) => {
                let arms = arms.iter().map(|(p, b)| format!("[{}: {}]", p.join("|"), list(b)));
                format!("case {word} {}", arms.collect::<String>())
            }
            Kind::For(name, words, inner) => {
                format!("for {name} in {}({})", words.join(" "), list(inner))
            }
            Kind::Loop(inner) => format!("loop({})", list(inner)),
            Kind::Group(inner) => format!("{{{}}}", list(inner)),
            Kind::Subshell(inner) => format!("sub({})", list(inner)),
            Kind::Function(name, inner) => format!("{name}()={}", list(inner)),
        }
    }
    match parse(text, 1) {
        Ok(parsed) => list(&parsed),
        Err(error) => format!("line {}: {}", error.line, error.what),
    }
}

#[test]
fn the_subset_is_read_as_a_shell_reads_it() {
    for (text, wanted) in [
        ("#!/bin/sh\nset -e\n# x\n\nexit 0", "set -e; exit 0"),
        ("a && b || c", "((a && b) || c)"),
        ("! a | b", "not a | b"),
        ("a \"x y\" 'b # c' d#e # f", "a \"x y\" 'b # c' d#e"),
        ("a \\\n  b", "a b"),
        ("if a; then b; elif c; then d; else e; fi", "if[a: b][c: d][: e]"),
        ("case \"$1\" in (a|b) c;; d) ;; *) e\nesac", "case \"$1\" [a|b: c][d: ][*: e]"),
        ("f() {\n a\n}\nf", "f()={a}; f"),
        ("for i in a b; do c; done", "for i in a b(c)"),
        ("while read x; do c; done < y", "loop(read x; c)"),
        ("a >/dev/null 2>&1; b > c; d <<E\n if (\nE\ne", "a; b >; d; e"),
        ("a <<-'E'\n\tx\n\tE\nb", "a; b"),
        ("a=`b c | d`; e=$(f \"$(g)\" | h)", "a=`b c | d`; e=$(f \"$(g)\" | h)"),
        ("x ${A:+--root=\"$A\"} y", "x ${A:+--root=\"$A\"} y"),
        ("(a; b)", "sub(a; b)"),
    ] {
        assert_eq!(shape(text), wanted, "{text}");
    }
}

#[test]
fn what_is_outside_the_subset_is_an_error_with_its_line() {
    for (text, line) in [
        ("a\nb &\n", 2),
        ("if a; then b\n", 1),
        ("a\n'x", 2),
        ("a <<E\nx\n", 3),
        ("case a in b c) ;; esac", 1),
        ("fi )", 1),
        ("{ a; } > b", 1),
    ] {
        let error = parse(text, 1).map(|list| format!("{list:?}")).expect_err(text);
        assert!(error.line >= line, "{text:?}: {error:?}");
    }
    let deep = "if a; then ".repeat(100);
    assert!(parse(&deep, 1).is_err(), "{deep}");
}
