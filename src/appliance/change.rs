//! How an appliance differs from another one: a test's box is the project's own, but for this.

use serde::Deserialize;
use toml::{Table, Value};

/// What is otherwise than in `appliance.toml`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Change {
    /// The server's name.
    pub domain: Option<String>,
    /// The target's name, in the place of the whole `[target]`.
    pub target: Option<String>,
    /// More overlays.
    #[serde(default)]
    pub overlays: Vec<String>,
    /// Options of overlays, each in the place of its own.
    #[serde(default)]
    pub options: Table,
}

impl Change {
    /// The text of the changed `appliance.toml`; one that is no TOML stays as it is.
    pub(super) fn apply(&self, text: &str) -> String {
        let Ok(mut whole) = text.parse::<Table>() else { return text.to_owned() };
        if let Some(domain) = &self.domain {
            whole.insert("domain".to_owned(), Value::String(domain.clone()));
        }
        if let Some(name) = &self.target {
            let target = Table::from_iter([("name".to_owned(), Value::String(name.clone()))]);
            whole.insert("target".to_owned(), Value::Table(target));
        }
        let overlays = whole.entry("overlays").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(overlays) = overlays {
            overlays.extend(self.overlays.iter().cloned().map(Value::String));
        }
        let options = whole.entry("options").or_insert_with(|| Value::Table(Table::new()));
        for (overlay, settings) in &self.options {
            let (Value::Table(options), Value::Table(settings)) = (&mut *options, settings) else {
                continue;
            };
            let own = options.entry(overlay).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(own) = own {
                own.extend(settings.clone());
            }
        }
        whole.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_changed_stays() {
        let change: Change = toml::from_str(
            "domain = \"other.example\"\noverlays = [\"b\"]\n[options.ssh]\nport = 23\n[options.new]\nx = 1\n",
        )
        .expect("a change");
        let text = "stack = \"matrix\"\ndomain = \"chat.example\"\noverlays = [\"a\"]\n\
            [options.ssh]\nport = 22\nold = true\n";
        let changed: Table = change.apply(text).parse().expect("TOML");
        let wanted: Table =
            "stack = \"matrix\"\ndomain = \"other.example\"\noverlays = [\"a\", \"b\"]\n\
            [options.ssh]\nport = 23\nold = true\n[options.new]\nx = 1\n"
                .parse()
                .expect("TOML");
        assert_eq!(changed, wanted);
        let target: Change = toml::from_str("target = \"small\"\n").expect("a change");
        let text = "domain = \"a.example\"\n[target]\nname = \"box\"\nraid = \"mirror\"\n";
        let small: Table = target.apply(text).parse().expect("TOML");
        assert_eq!(small["target"], Value::Table("name = \"small\"".parse().expect("TOML")));
        assert_eq!(small["domain"], Value::String("a.example".to_owned()));
        let changed: Table = change.apply("stack = \"matrix\"\n").parse().expect("TOML");
        assert_eq!(changed["overlays"], Value::Array(vec!["b".into()]));
        assert!(toml::from_str::<Change>("domain = \"a\"\nname = \"b\"\n").is_err());
    }
}
