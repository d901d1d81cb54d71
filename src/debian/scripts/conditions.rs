//! What `test`, `[` and `dpkg --compare-versions` say on a freshly installed system.

use super::evaluate::Status;

/// `test` and `[` (without its `]`). `None` arguments are not known.
pub(super) fn test(arguments: &[Option<String>]) -> Status {
    for (operator, decides) in [("-o", Status::True), ("-a", Status::False)] {
        let at = arguments.iter().position(|word| word.as_deref() == Some(operator));
        if let Some(at) = at.filter(|&at| at > 0 && at + 1 < arguments.len()) {
            return match (test(&arguments[..at]), test(&arguments[at + 1..])) {
                (left, right) if left == decides || right == decides => decides,
                (left, right) if left == right => left,
                _ => Status::Unknown,
            };
        }
    }
    match arguments {
        [] => Status::False,
        [Some(bang), rest @ ..] if bang == "!" && !rest.is_empty() => not(test(rest)),
        [Some(word)] => truth(!word.is_empty()),
        [Some(operator), operand] => unary(operator, operand.as_deref()),
        [Some(left), Some(operator), Some(right)] => binary(left, operator, right),
        _ => Status::Unknown,
    }
}

fn unary(operator: &str, operand: Option<&str>) -> Status {
    let Some(operand) = operand else { return Status::Unknown };
    match operator {
        "-n" => truth(!operand.is_empty()),
        "-z" => truth(operand.is_empty()),
        // Nothing runs while an image is made.
        "-d" | "-e" | "-S" | "-f" if operand.starts_with("/run/systemd") => Status::False,
        "-S" => Status::False,
        // Only said of programs that are there, and of init scripts, which are looked at later.
        "-x" if operand.starts_with("/etc/init.d/") => Status::True,
        "-x" | "-e" if is_known_program(operand) => Status::True,
        _ => Status::Unknown,
    }
}

fn is_known_program(path: &str) -> bool {
    let name = ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"]
        .iter()
        .find_map(|folder| path.strip_prefix(folder));
    name.is_some_and(super::commands::is_installed)
}

fn binary(left: &str, operator: &str, right: &str) -> Status {
    match operator {
        "=" | "==" => truth(left == right),
        "!=" => truth(left != right),
        _ => Status::Unknown,
    }
}

/// `dpkg --compare-versions`, where one side is known to be empty: no version was installed before.
pub(super) fn compare_versions(arguments: &[Option<String>]) -> Status {
    let [Some(left), Some(operator), Some(right)] = arguments else { return Status::Unknown };
    match (left.is_empty(), right.is_empty()) {
        (true, false) => match operator.as_str() {
            "lt" | "le" | "ne" | "gt-nl" | "ge-nl" => Status::True,
            "eq" | "gt" | "ge" | "lt-nl" | "le-nl" => Status::False,
            _ => Status::Unknown,
        },
        _ => Status::Unknown,
    }
}

pub(super) fn not(status: Status) -> Status {
    match status {
        Status::True => Status::False,
        Status::False => Status::True,
        Status::Unknown => Status::Unknown,
    }
}

fn truth(it: bool) -> Status {
    if it { Status::True } else { Status::False }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Option<String>> {
        let word = |word: &str| match word {
            "?" => None,
            "''" => Some(String::new()),
            word => Some(word.to_owned()),
        };
        text.split_whitespace().map(word).collect()
    }

    #[test]
    fn conditions_are_judged_as_on_a_fresh_system() {
        for (text, wanted) in [
            ("a = a", Status::True),
            ("a = b", Status::False),
            ("! a = b", Status::True),
            ("-n ''", Status::False),
            ("-n", Status::True),
            ("-z ''", Status::True),
            ("? = b", Status::Unknown),
            ("-f /etc/x", Status::Unknown),
            ("-d /run/systemd/system", Status::False),
            ("a = a -a -f /x", Status::Unknown),
            ("a = b -a -f /x", Status::False),
            ("a = a -o -f /x", Status::True),
        ] {
            assert_eq!(test(&words(text)), wanted, "{text}");
        }
    }

    #[test]
    fn nothing_installed_is_older_than_any_version_unless_asked_otherwise() {
        for (operator, wanted) in
            [("lt", Status::True), ("lt-nl", Status::False), ("ge", Status::False)]
        {
            assert_eq!(compare_versions(&words(&format!("'' {operator} 1.0"))), wanted);
        }
        assert_eq!(compare_versions(&words("1 lt 2")), Status::Unknown);
    }
}
